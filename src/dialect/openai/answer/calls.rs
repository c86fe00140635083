//! Which tool call a piece belongs to. OpenAI numbers calls and names each once; other servers leave the number out,
//! number all of them 0, repeat the name or cut it in pieces, or give no id.

use super::super::field::{Field, arguments};
use super::super::plain_input;
use super::balance::Balance;
use super::chunk::{CallDelta, FunctionDelta};
use crate::ir::{Event, Text, ToolNames};

#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// How many have been told.
    told: usize,
    too_many: bool,
}

/// More calls than any model makes at once: each piece is looked for among them.
const MOST: usize = 4096;

/// Why the calls of an answer cannot be told.
pub(super) struct Untellable(pub(super) &'static str);

#[derive(Default)]
struct Call {
    /// The server's number.
    number: Option<u64>,
    /// As it stands in JSON, as is the name.
    id: String,
    /// It may come in pieces, and is told when something else follows.
    name: String,
    /// Arguments that came before the name.
    early: String,
    /// Its index among those that have been told.
    told: Option<usize>,
    /// The server has spoken of its arguments, be it of none.
    has_arguments: bool,
    balance: Balance,
    /// Of a custom tool: the arguments are made of its input.
    custom: bool,
}

/// What a delta says of a call.
struct Piece<'a> {
    number: Option<u64>,
    id: Text<'a>,
    name: Text<'a>,
    arguments: Text<'a>,
    has_arguments: bool,
    custom: bool,
}

impl Calls {
    /// Whether the delta says anything.
    pub(super) fn delta(
        &mut self,
        delta: CallDelta<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        let number = delta.index.and_then(|index| index.get().parse().ok());
        let id = text(delta.id);
        let piece = match (delta.function, delta.custom) {
            (None, Some(custom)) => Piece {
                number,
                id,
                name: text(custom.name),
                arguments: plain_input::within(&text(custom.input)),
                has_arguments: custom.input.is_some(),
                custom: true,
            },
            (function, _) => {
                let function = function.unwrap_or_default();
                Piece {
                    number,
                    id,
                    name: text(function.name),
                    arguments: arguments(function.arguments),
                    has_arguments: function.arguments.is_some(),
                    custom: false,
                }
            }
        };
        self.piece(piece, names, emit)
    }

    /// The one call of the form that knows no more.
    pub(super) fn function(
        &mut self,
        function: FunctionDelta<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        // An empty object says that there is none.
        if function.name.or(function.arguments).is_none() {
            return false;
        }
        let piece = Piece {
            number: Some(0),
            id: Text::default(),
            name: text(function.name),
            arguments: arguments(function.arguments),
            has_arguments: function.arguments.is_some(),
            custom: false,
        };
        self.piece(piece, names, emit)
    }

    fn piece(
        &mut self,
        piece: Piece<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        let known = self.calls.len();
        let Some(place) = self.place(&piece) else {
            return false;
        };
        if place == known {
            // Those before it have their names by now, and keep their order.
            self.tell_all(names, emit);
        }
        let call = &mut self.calls[place];
        call.take(&piece);
        if piece.arguments.is_empty() {
            return !piece.id.is_empty() || !piece.name.is_empty();
        }
        call.balance.add(&piece.arguments);
        if call.name.is_empty() {
            call.early.push_str(piece.arguments.as_escaped());
            return true;
        }
        let index = tell(call, &mut self.told, names, emit);
        let fragment = piece.arguments;
        emit(Event::ToolArguments { index, fragment });
        true
    }

    fn tell_all(&mut self, names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
        for call in self.calls.iter_mut().filter(|call| !call.name.is_empty()) {
            tell(call, &mut self.told, names, emit);
        }
    }

    /// Ends all calls: only now it is certain that no piece of one comes any more.
    ///
    /// # Errors
    /// If one of them has no name, or if they are too many.
    pub(super) fn end(
        &mut self,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Untellable> {
        if self.too_many {
            return Err(Untellable("the provider's answer has too many tool calls"));
        }
        self.tell_all(names, emit);
        for call in std::mem::take(&mut self.calls) {
            match call.told {
                Some(index) => {
                    if call.custom {
                        let fragment = Text::escaped(plain_input::AFTER);
                        emit(Event::ToolArguments { index, fragment });
                    }
                    emit(Event::ToolEnd { index });
                }
                None if call.early.is_empty() && call.id.is_empty() => {}
                None => {
                    let what = "a tool call of the provider's answer has no name";
                    return Err(Untellable(what));
                }
            }
        }
        Ok(())
    }

    /// The call that a piece belongs to, a new one where it begins one.
    fn place(&mut self, piece: &Piece<'_>) -> Option<usize> {
        let found = match piece.id.is_empty() {
            true => self.nameable(piece),
            false => self.identified(piece),
        };
        if found.is_none() && self.calls.len() == MOST {
            self.too_many = true;
            return None;
        }
        let begins = !piece.id.is_empty() || !piece.name.is_empty() || piece.number.is_some();
        found.or_else(|| {
            begins.then(|| {
                self.calls.push(Call {
                    number: piece.number,
                    custom: piece.custom,
                    ..Call::default()
                });
                self.calls.len() - 1
            })
        })
    }

    /// The call of a piece that has no id: the last with its number, unless the piece begins another.
    fn nameable(&self, piece: &Piece<'_>) -> Option<usize> {
        let place = match piece.number {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.number == piece.number),
            // Without a number a name begins a call.
            None if !piece.name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        }?;
        self.calls[place].takes(piece).then_some(place)
    }

    /// The call of a piece that has an id.
    fn identified(&self, piece: &Piece<'_>) -> Option<usize> {
        let same_number = |call: &Call| piece.number.is_none() || call.number == piece.number;
        let by_id = |call: &Call| call.id == piece.id.as_escaped() && same_number(call);
        // An id may come late, or differ from piece to piece.
        let nameless = |call: &Call| {
            piece.number.is_some()
                && same_number(call)
                && (call.id.is_empty() || piece.name.is_empty())
        };
        let calls = self.calls.iter();
        calls
            .clone()
            .rposition(by_id)
            .or_else(|| calls.clone().rposition(nameless))
    }
}

impl Call {
    /// Whether a piece of the same number without an id may be one of this call.
    fn takes(&self, piece: &Piece<'_>) -> bool {
        let name = piece.name.as_escaped();
        if name.is_empty() || self.name.is_empty() {
            return true;
        }
        if name == self.name {
            // The name comes again with every piece, or it is called once more.
            return !self.balance.is_whole() || piece.arguments.is_empty();
        }
        // The rest of a name: a call of its own would have an id as this one has, or arguments as this one.
        self.told.is_none() && (!self.id.is_empty() || !self.has_arguments)
    }

    fn take(&mut self, piece: &Piece<'_>) {
        if self.id.is_empty() {
            self.id.push_str(piece.id.as_escaped());
        }
        let name = piece.name.as_escaped();
        if self.told.is_none() {
            // Some servers repeat what they have told of it.
            if name.starts_with(self.name.as_str()) {
                self.name.clear();
            }
            self.name.push_str(name);
        }
        self.has_arguments |= piece.has_arguments;
    }
}

/// Tells the beginning of a call, once; gives its index.
fn tell(
    call: &mut Call,
    told: &mut usize,
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) -> usize {
    if let Some(index) = call.told {
        return index;
    }
    let index = *told;
    *told += 1;
    call.told = Some(index);
    emit(Event::ToolStart {
        index,
        id: (!call.id.is_empty()).then(|| Text::escaped(call.id.as_str())),
        name: names.original(Text::escaped(call.name.as_str())),
        signature: None,
    });
    let early = std::mem::take(&mut call.early);
    let before = match call.custom {
        true => plain_input::BEFORE,
        false => "",
    };
    for fragment in [Text::escaped(before), Text::escaped(early)] {
        if !fragment.is_empty() {
            emit(Event::ToolArguments { index, fragment });
        }
    }
    index
}

fn text(field: Field<'_>) -> Text<'_> {
    field.and_then(Text::of).unwrap_or_default()
}
