//! Tool calls of a response, piece by piece or whole.

use super::super::field::{self, Field, full};
use super::super::plain_input;
use super::entry::{Entry, Kind};
use super::item::Item;
use super::saying::Pieces;
use super::told::{At, Told};
use crate::ir::{Event, Text, ToolNames};

/// The calls of one answer.
pub(super) struct Calls {
    /// What the client calls the tools.
    names: ToolNames,
    begun: usize,
}

impl Calls {
    pub(super) fn new(names: ToolNames) -> Self {
        Calls { names, begun: 0 }
    }

    /// Begins the call that an item is or becomes. Returns its place in `told`, unless it cannot be told yet.
    pub(super) fn begin(
        &mut self,
        told: &mut Told,
        item: &Item<'_>,
        kind: Kind,
        place: Option<u64>,
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
            name: self.names.original(name),
            signature: full(item.thought_signature),
        });
        entry.early = written(item, kind).into_inner().into_owned();
        Some(found)
    }

    /// Tells a piece of the arguments, or of the input.
    pub(super) fn delta(
        told: &mut Told,
        kind: Kind,
        at: At<'_>,
        fragment: Text<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        if let Some(found) = told.find(kind, at) {
            tell(&mut told.entries[found], fragment, emit);
        }
    }

    /// Takes all of the arguments, or of the input, of a call that may have been told in pieces.
    pub(super) fn arguments(
        told: &mut Told,
        kind: Kind,
        at: At<'_>,
        written: Field<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let text = field::arguments(written);
        if let Some(found) = told.find(kind, at)
            && !text.is_empty()
        {
            tell_rest(&mut told.entries[found], text, emit);
        }
    }

    /// Takes the whole item, which repeats all that was told; `is_last` if nothing repeats it once more.
    pub(super) fn end(
        told: &mut Told,
        found: usize,
        item: &Item<'_>,
        is_last: bool,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let entry = &mut told.entries[found];
        if entry.done {
            return;
        }
        let whole = written(item, entry.kind);
        if whole.is_empty() {
            // The item says nothing that has not been told.
        } else if entry.has_arguments || entry.kind == Kind::Call {
            tell_rest(entry, whole, emit);
        } else {
            entry.early = whole.into_inner().into_owned();
        }
        // The response may have what the item lacks.
        let is_open = entry.contradicted || (entry.balance.is_torn() && !is_last);
        if !is_open {
            close(entry, emit);
        }
    }

    /// Ends those that are open.
    ///
    /// # Errors
    /// If what was told of the arguments of one is not all of them.
    pub(super) fn end_all(
        told: &mut Told,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Contradicted> {
        let is_call = |kind| matches!(kind, Kind::Call | Kind::CustomCall);
        for entry in told.entries.iter_mut().filter(|entry| is_call(entry.kind)) {
            if entry.contradicted && !entry.done {
                return Err(Contradicted);
            }
            close(entry, emit);
        }
        Ok(())
    }
}

/// The arguments of a call were told in pieces that are no whole, and as a whole that does not begin with them.
pub(super) struct Contradicted;

/// Tells a piece of the arguments, or of the input.
fn tell(entry: &mut Entry, fragment: Text<'_>, emit: &mut dyn FnMut(Event<'_>)) {
    if entry.done {
        return;
    }
    let index = entry.call;
    let is_first = !std::mem::replace(&mut entry.has_arguments, true);
    entry.arguments.add(&fragment);
    if entry.kind != Kind::CustomCall {
        entry.balance.add(&fragment);
        return emit(Event::ToolArguments { index, fragment });
    }
    if is_first {
        let fragment = Text::escaped(plain_input::BEFORE);
        emit(Event::ToolArguments { index, fragment });
    }
    let fragment = plain_input::within(&fragment);
    emit(Event::ToolArguments { index, fragment });
}

/// Tells what the whole has beyond the pieces. Servers exist whose pieces are the beginning alone, and others that
/// write the same arguments with other spaces once more: pieces that are a whole by themselves stand then, and others
/// are not enough.
fn tell_rest(entry: &mut Entry, whole: Text<'_>, emit: &mut dyn FnMut(Event<'_>)) {
    if entry.done {
        return;
    }
    let is_longer = Pieces::of(&whole).units() > entry.arguments.units();
    match entry.arguments.rest(whole) {
        Some(rest) => {
            entry.contradicted = false;
            if !rest.is_empty() {
                tell(entry, rest, emit);
            }
        }
        None => {
            entry.contradicted = match entry.kind {
                Kind::CustomCall => is_longer,
                _ => !entry.balance.is_whole() || (is_longer && entry.arguments.units() <= NOTHING),
            };
        }
    }
}

/// The length of `{}`.
const NOTHING: u64 = 2;

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

/// Returns what a call is called with.
fn written<'a>(item: &Item<'a>, kind: Kind) -> Text<'a> {
    field::arguments(match kind {
        Kind::CustomCall => item.input,
        _ => item.arguments,
    })
}
