//! Which tool call a piece belongs to. OpenAI numbers calls and names each once; other servers leave the number out,
//! number all of them 0, repeat the name, or give no id.

use std::borrow::Cow;

use super::super::field::Field;
use super::chunk::{CallDelta, FunctionDelta};
use crate::ir::{Event, Json, Text, ToolNames};

#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// How many have been told.
    told: usize,
}

#[derive(Default)]
struct Call {
    /// The server's number.
    number: Option<u64>,
    /// As it stands in JSON, as are the others.
    id: String,
    name: String,
    /// Arguments that came before the name.
    early: String,
    /// Its index among those that have been told.
    told: Option<usize>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.told == 0
    }

    pub(super) fn delta(
        &mut self,
        delta: CallDelta<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let function = delta.function.unwrap_or_default();
        let number = delta.index.and_then(|index| index.get().parse().ok());
        let id = text(delta.id);
        let name = text(function.name);
        let Some(place) = self.place(number, &id, &name) else {
            return;
        };
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            call.id.push_str(id.as_escaped());
        }
        if call.name.is_empty() {
            call.name.push_str(name.as_escaped());
        }
        if call.told.is_none() && !call.name.is_empty() {
            call.told = Some(self.told);
            emit(Event::ToolStart {
                index: self.told,
                id: (!call.id.is_empty()).then(|| Text::escaped(call.id.as_str())),
                name: names.original(Text::escaped(call.name.as_str())),
                signature: None,
            });
            self.told += 1;
        }
        let fragment = arguments(function.arguments);
        match call.told {
            None => call.early.push_str(fragment.as_escaped()),
            Some(index) => {
                let early = std::mem::take(&mut call.early);
                for fragment in [Text::escaped(early), fragment] {
                    if !fragment.is_empty() {
                        emit(Event::ToolArguments { index, fragment });
                    }
                }
            }
        }
    }

    /// The one call of the form that knows no more.
    pub(super) fn function(
        &mut self,
        function: FunctionDelta<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        // An empty object says that there is none.
        if function.name.or(function.arguments).is_some() {
            let delta = CallDelta {
                function: Some(function),
                ..CallDelta::default()
            };
            self.delta(delta, names, emit);
        }
    }

    /// Ends all calls: only now it is certain that no piece of one comes any more.
    pub(super) fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        for index in 0..self.told {
            emit(Event::ToolEnd { index });
        }
        self.calls.clear();
    }

    /// The call that a piece belongs to, a new one where it begins one.
    fn place(&mut self, number: Option<u64>, id: &Text<'_>, name: &Text<'_>) -> Option<usize> {
        let (id, name) = (id.as_escaped(), name.as_escaped());
        let same_number = |call: &Call| number.is_none() || call.number == number;
        let found = if id.is_empty() {
            match number {
                Some(_) => self.calls.iter().rposition(same_number),
                // Without a number a name begins a call.
                None if !name.is_empty() => None,
                None => self.calls.len().checked_sub(1),
            }
            .filter(|place| {
                let known = self.calls[*place].name.as_str();
                name.is_empty() || known.is_empty() || known == name
            })
        } else {
            let by_id = |call: &Call| call.id == id && same_number(call);
            // An id may come late, or differ from piece to piece.
            let nameless = |call: &Call| {
                number.is_some() && same_number(call) && (call.id.is_empty() || name.is_empty())
            };
            let calls = self.calls.iter();
            calls
                .clone()
                .rposition(by_id)
                .or_else(|| calls.clone().rposition(nameless))
        };
        let begins = !id.is_empty() || !name.is_empty() || number.is_some();
        found.or_else(|| {
            begins.then(|| {
                self.calls.push(Call {
                    number,
                    ..Call::default()
                });
                self.calls.len() - 1
            })
        })
    }
}

fn text(field: Field<'_>) -> Text<'_> {
    field.and_then(Text::of).unwrap_or_default()
}

fn arguments(field: Field<'_>) -> Text<'_> {
    let Some(raw) = field else {
        return Text::default();
    };
    match Text::of(raw) {
        Some(text) => text,
        None => Json::trusted(Cow::Borrowed(raw.get()))
            .to_text()
            .into_owned(),
    }
}
