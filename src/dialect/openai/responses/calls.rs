//! Which tool call a piece belongs to: the id of its item says so, or the place of the item, never the `call_id`.

use super::super::field::Field;
use super::item::{Item, full};
use crate::ir::{Event, Text, ToolNames};

#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

struct Call {
    /// As it stands in JSON.
    item_id: String,
    place: Option<u64>,
    has_arguments: bool,
    ended: bool,
}

impl Calls {
    pub(super) fn begin(
        &mut self,
        item: &Item<'_>,
        place: Option<u64>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        // Without a name it is no call yet; the whole item will have one.
        let Some(name) = full(item.name) else { return };
        if self.find(item.id, place).is_some() {
            return;
        }
        self.0.push(Call {
            item_id: full(item.id).unwrap_or_default().into_inner().into_owned(),
            place,
            has_arguments: false,
            ended: false,
        });
        emit(Event::ToolStart {
            index: self.0.len() - 1,
            id: full(item.call_id).or_else(|| full(item.id)),
            name: names.original(name),
            signature: full(item.thought_signature),
        });
    }

    /// A piece of the arguments.
    pub(super) fn delta(
        &mut self,
        item_id: Field<'_>,
        place: Option<u64>,
        fragment: Text<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        if let Some(index) = self.find(item_id, place) {
            self.0[index].has_arguments = true;
            emit(Event::ToolArguments { index, fragment });
        }
    }

    /// The whole item, which repeats all that was told.
    pub(super) fn end(
        &mut self,
        item: &Item<'_>,
        place: Option<u64>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        self.begin(item, place, names, emit);
        let Some(index) = self.find(item.id, place) else {
            return;
        };
        let call = &mut self.0[index];
        if let Some(fragment) = full(item.arguments).filter(|_| !call.has_arguments) {
            call.has_arguments = true;
            emit(Event::ToolArguments { index, fragment });
        }
        call.ended = true;
        emit(Event::ToolEnd { index });
    }

    /// Ends those that are open.
    pub(super) fn end_all(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        for (index, call) in self.0.iter_mut().enumerate() {
            if !std::mem::replace(&mut call.ended, true) {
                emit(Event::ToolEnd { index });
            }
        }
    }

    /// The call that is open under this id or, where one of the two has no id, at this place.
    fn find(&self, item_id: Field<'_>, place: Option<u64>) -> Option<usize> {
        let id = full(item_id).unwrap_or_default();
        self.0.iter().rposition(|call| {
            let same = match id.is_empty() || call.item_id.is_empty() {
                true => place.is_some() && call.place == place,
                false => call.item_id == id.as_escaped(),
            };
            same && !call.ended
        })
    }
}
