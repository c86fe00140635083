//! Tool calls of a response, piece by piece or whole.

use super::super::field::{self, Field};
use super::super::plain_input;
use super::item::{Item, full};
use super::told::{At, Entry, Kind, Told};
use crate::ir::{Event, Text, ToolNames};

/// The calls of one answer.
#[derive(Default)]
pub(super) struct Calls {
    begun: usize,
}

impl Calls {
    /// An item that is or becomes a call; its place in `told`, unless it cannot be told yet.
    pub(super) fn begin(
        &mut self,
        told: &mut Told,
        item: &Item<'_>,
        kind: Kind,
        place: Option<u64>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Option<usize> {
        // Without a name it is no call yet; the whole item will have one.
        let name = full(item.name)?;
        let id = full(item.call_id).or_else(|| full(item.id));
        let call_id = full(item.call_id).unwrap_or_default();
        let at = At { id: item.id, place };
        let found = told.add(kind, at, call_id.as_escaped());
        let entry = &mut told.entries[found];
        entry.call = self.begun;
        self.begun += 1;
        emit(Event::ToolStart {
            index: entry.call,
            id,
            name: names.original(name),
            signature: full(item.thought_signature),
        });
        entry.early = written(item, kind).into_inner().into_owned();
        Some(found)
    }

    /// A piece of the arguments, or of the input.
    pub(super) fn delta(
        told: &mut Told,
        kind: Kind,
        at: At<'_>,
        fragment: Text<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(found) = told.find(kind, at) else {
            return;
        };
        let entry = &mut told.entries[found];
        if entry.done {
            return;
        }
        let index = entry.call;
        let is_first = !std::mem::replace(&mut entry.has_arguments, true);
        match kind {
            Kind::CustomCall => {
                if is_first {
                    let fragment = Text::escaped(plain_input::BEFORE);
                    emit(Event::ToolArguments { index, fragment });
                }
                let fragment = plain_input::within(&fragment);
                emit(Event::ToolArguments { index, fragment });
            }
            _ => emit(Event::ToolArguments { index, fragment }),
        }
    }

    /// All of the arguments, or of the input, of a call that may have been told in pieces.
    pub(super) fn arguments(
        told: &mut Told,
        kind: Kind,
        at: At<'_>,
        written: Field<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let text = field::arguments(written);
        if let Some(found) = told.find(kind, at)
            && !told.entries[found].has_arguments
            && !text.is_empty()
        {
            Self::delta(told, kind, at, text, emit);
        }
    }

    /// The whole item, which repeats all that was told.
    pub(super) fn end(
        told: &mut Told,
        found: usize,
        item: &Item<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let entry = &mut told.entries[found];
        if entry.done {
            return;
        }
        let whole = written(item, entry.kind);
        if !whole.is_empty() {
            entry.early = whole.into_inner().into_owned();
        }
        close(entry, emit);
    }

    /// Ends those that are open.
    pub(super) fn end_all(told: &mut Told, emit: &mut dyn FnMut(Event<'_>)) {
        let is_call = |kind| matches!(kind, Kind::Call | Kind::CustomCall);
        for entry in told.entries.iter_mut().filter(|entry| is_call(entry.kind)) {
            close(entry, emit);
        }
    }
}

/// Ends a call, once, with its arguments if no piece of them has come.
fn close(entry: &mut Entry, emit: &mut dyn FnMut(Event<'_>)) {
    if std::mem::replace(&mut entry.done, true) {
        return;
    }
    let index = entry.call;
    let early = Text::escaped(std::mem::take(&mut entry.early));
    let fragment = match (entry.kind, entry.has_arguments) {
        (Kind::CustomCall, true) => Text::escaped(plain_input::AFTER),
        (Kind::CustomCall, false) => plain_input::arguments(&early),
        (_, true) => Text::default(),
        (_, false) => early,
    };
    if !fragment.is_empty() {
        emit(Event::ToolArguments { index, fragment });
    }
    emit(Event::ToolEnd { index });
}

/// What a call is called with.
fn written<'a>(item: &Item<'a>, kind: Kind) -> Text<'a> {
    field::arguments(match kind {
        Kind::CustomCall => item.input,
        _ => item.arguments,
    })
}
