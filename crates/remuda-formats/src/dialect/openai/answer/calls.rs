//! Which tool call a piece belongs to. OpenAI numbers calls and names each once; other servers leave the number out,
//! number all of them 0, repeat the name or cut it in pieces, or give no id.

use ahash::AHashMap;

use super::super::field::{Field, arguments};
use super::super::plain_input;
use super::balance::Balance;
use super::chunk::{CallDelta, FunctionDelta};
use crate::ir::{Event, Text, ToolNames};

#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    known: Known,
    /// Those that have not been told, in their order.
    untold: Vec<usize>,
    /// How many have been told.
    told: usize,
    too_many: bool,
    /// The one call of the older form is there, and has no name.
    nameless: bool,
    /// They are those of a whole answer, where ids may be the same but each item is a call of its own.
    pub(super) whole: bool,
}

/// More calls than any model makes at once.
const MOST: usize = 4096;

const NAMELESS: &str = "a tool call of the provider's answer has no name";

/// Why the calls of an answer cannot be told.
pub(super) struct Untellable(pub(super) &'static str);

#[derive(Default)]
struct Call {
    /// The server's number.
    number: Option<u64>,
    /// The id as it stands in JSON, as does the name.
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
    /// Whether it calls a custom tool, of whose input the arguments are made.
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
    /// Returns whether no call has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Returns whether the arguments of a call have begun and not ended.
    pub(super) fn is_torn(&self) -> bool {
        let mut calls = self.calls.iter();
        calls.any(|call| !call.custom && call.balance.is_torn())
    }

    /// Returns whether the delta says anything.
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

    /// Reads the one call of the form that knows no more.
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
        let name = text(function.name);
        self.nameless |= self.whole && name.is_empty();
        let piece = Piece {
            number: Some(0),
            id: Text::default(),
            name,
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
        let had_id = !call.id.is_empty();
        call.take(&piece);
        if !had_id {
            self.known.note_id(place, call);
        }
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
        let (calls, told) = (&mut self.calls, &mut self.told);
        self.untold.retain(|place| {
            let call = &mut calls[*place];
            let has_name = !call.name.is_empty();
            if has_name {
                tell(call, told, names, emit);
            }
            !has_name
        });
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
        if self.nameless {
            return Err(Untellable(NAMELESS));
        }
        self.tell_all(names, emit);
        self.known = Known::default();
        self.untold.clear();
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
                    return Err(Untellable(NAMELESS));
                }
            }
        }
        Ok(())
    }

    /// Returns the call that a piece belongs to, a new one where it begins one.
    fn place(&mut self, piece: &Piece<'_>) -> Option<usize> {
        if self.too_many {
            // The answer is lost, and nothing of it is looked for any more.
            return None;
        }
        let found = match (self.whole, piece.id.is_empty()) {
            (true, _) => None,
            (false, true) => self.nameable(piece),
            (false, false) => self.identified(piece),
        };
        if found.is_none() && self.calls.len() == MOST {
            self.too_many = true;
            return None;
        }
        // One that has arguments alone is a call all the same, though none that can be told.
        let says = [&piece.id, &piece.name, &piece.arguments].map(|text| !text.is_empty());
        let begins = says.contains(&true) || piece.number.is_some();
        found.or_else(|| {
            begins.then(|| {
                self.known.note(self.calls.len(), piece.number);
                self.untold.push(self.calls.len());
                self.calls.push(Call {
                    number: piece.number,
                    custom: piece.custom,
                    ..Call::default()
                });
                self.calls.len() - 1
            })
        })
    }

    /// Returns the call of a piece that has no id: the last with its number, unless the piece begins another.
    fn nameable(&self, piece: &Piece<'_>) -> Option<usize> {
        let place = match piece.number {
            Some(number) => self.known.by_number.get(&number).copied(),
            // Without a number a name begins a call.
            None if !piece.name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        }?;
        self.calls[place].takes(piece).then_some(place)
    }

    /// Returns the call of a piece that has an id: the last that has it, too, and the same number if the piece has one.
    fn identified(&mut self, piece: &Piece<'_>) -> Option<usize> {
        let places = self.known.by_id.get(piece.id.as_escaped());
        let by_id = places.and_then(|places| places.get(&piece.number).copied());
        if by_id.is_some() {
            return by_id;
        }
        // An id may come late, or differ from piece to piece.
        let number = piece.number?;
        if piece.name.is_empty() {
            return self.known.by_number.get(&number).copied();
        }
        let nameless = self.known.without_id.get_mut(&number)?;
        while !self.calls[*nameless.last()?].id.is_empty() {
            nameless.pop();
        }
        nameless.last().copied()
    }
}

/// Where calls stand, by what pieces say of them: the last of each.
#[derive(Default)]
struct Known {
    by_number: AHashMap<u64, usize>,
    /// The calls by id and number, and by an id without a number.
    by_id: AHashMap<String, AHashMap<Option<u64>, usize>>,
    /// Those that had no id when they began, in their order.
    without_id: AHashMap<u64, Vec<usize>>,
}

impl Known {
    fn note(&mut self, place: usize, number: Option<u64>) {
        if let Some(number) = number {
            self.by_number.insert(number, place);
            self.without_id.entry(number).or_default().push(place);
        }
    }

    /// Notes the id of a call, once it has one.
    fn note_id(&mut self, place: usize, call: &Call) {
        if call.id.is_empty() {
            return;
        }
        let places = self.by_id.entry(call.id.clone()).or_default();
        for number in [None, call.number] {
            let last = places.entry(number).or_insert(place);
            *last = place.max(*last);
        }
    }
}

impl Call {
    /// Returns whether a piece of the same number without an id may be one of this call.
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
    let before = if call.custom { plain_input::BEFORE } else { "" };
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
