//! Tool calls in a stream that passes, as OpenAI's own libraries put them together: each by its number. Servers exist that
//! number all calls 0, leave the number out, or write the arguments as an object; only such events are written anew.

use memchr::memmem;

use crate::wire::json::{ByteSpan, Kind, Scanner, SyntaxError, write_string};

/// More calls than any model makes at once: what follows passes as it is.
const MOST: usize = 4096;

/// The calls that have begun.
#[derive(Default)]
pub(super) struct Calls {
    /// The calls in the order of their numbers for the client, each within its choice.
    calls: Vec<Call>,
}

struct Call {
    choice: u64,
    /// The server's number, if it has one.
    given: Option<u64>,
    /// The number that the client is told.
    number: u64,
    /// The id as it stands in JSON.
    id: Vec<u8>,
}

/// What an event says of a call, and where.
#[derive(Default)]
struct Piece {
    /// The offset past the brace that opens it.
    inside: usize,
    is_empty: bool,
    number: Option<(ByteSpan, Option<u64>)>,
    id: Vec<u8>,
    is_named: bool,
    /// Arguments that are an object.
    arguments: Option<ByteSpan>,
}

/// Something to be written in place of what lies there.
struct Edit {
    place: ByteSpan,
    text: Vec<u8>,
}

impl Calls {
    /// Returns the event as its client's library wants it; `None` if it is.
    pub(super) fn mended(&mut self, unit: &[u8]) -> Option<Vec<u8>> {
        memmem::find(unit, b"\"tool_calls\"")?;
        let line = if unit.starts_with(b"data:") {
            0
        } else {
            memmem::find(unit, b"\ndata:")? + 1
        };
        let mut edits = Vec::new();
        let mut scanner = Scanner::starting_at(unit, line + b"data:".len());
        // What is no chat is left to those who read it.
        self.chunk(&mut scanner, unit, &mut edits).ok()?;
        (!edits.is_empty()).then(|| written(unit, edits))
    }

    fn chunk(
        &mut self,
        scanner: &mut Scanner<'_>,
        unit: &[u8],
        edits: &mut Vec<Edit>,
    ) -> Result<(), SyntaxError> {
        members(scanner, unit, |key, scanner| match key {
            b"choices" => items(scanner, |place, scanner| {
                self.choice(place, scanner, unit, edits)
            }),
            _ => scanner.skip_value().map(|_| ()),
        })
    }

    fn choice(
        &mut self,
        place: u64,
        scanner: &mut Scanner<'_>,
        unit: &[u8],
        edits: &mut Vec<Edit>,
    ) -> Result<(), SyntaxError> {
        let (mut choice, mut pieces) = (place, Vec::new());
        members(scanner, unit, |key, scanner| match key {
            b"index" => {
                choice = number(scanner.skip_value()?.of(unit)).unwrap_or(choice);
                Ok(())
            }
            b"delta" => members(scanner, unit, |key, scanner| match key {
                b"tool_calls" => items(scanner, |_, scanner| {
                    pieces.extend(piece(scanner, unit)?);
                    Ok(())
                }),
                _ => scanner.skip_value().map(|_| ()),
            }),
            _ => scanner.skip_value().map(|_| ()),
        })?;
        for piece in pieces {
            self.mend(choice, &piece, unit, edits);
        }
        Ok(())
    }

    fn mend(&mut self, choice: u64, piece: &Piece, unit: &[u8], edits: &mut Vec<Edit>) {
        let given = piece.number.as_ref().and_then(|(_, given)| *given);
        if let Some(number) = self.number(choice, given, piece)
            && given != Some(number)
        {
            edits.push(match &piece.number {
                Some((place, _)) => Edit {
                    place: *place,
                    text: number.to_string().into_bytes(),
                },
                None => Edit {
                    place: ByteSpan {
                        start: piece.inside,
                        end: piece.inside,
                    },
                    text: if piece.is_empty {
                        format!("\"index\":{number}")
                    } else {
                        format!("\"index\":{number},")
                    }
                    .into_bytes(),
                },
            });
        }
        if let Some(place) = piece.arguments
            && let Ok(object) = std::str::from_utf8(place.of(unit))
        {
            let mut text = Vec::new();
            write_string(object, &mut text);
            edits.push(Edit { place, text });
        }
    }

    /// Returns the client's number of the call that the piece belongs to.
    fn number(&mut self, choice: u64, given: Option<u64>, piece: &Piece) -> Option<u64> {
        let mut of_choice = self.calls.iter_mut().filter(|call| call.choice == choice);
        let found = match given {
            Some(_) => of_choice.rfind(|call| call.given == given),
            // Without any number, what begins a call says so by its id or its name.
            None if piece.id.is_empty() && !piece.is_named => of_choice.next_back(),
            None if piece.id.is_empty() => None,
            None => of_choice.rfind(|call| call.id == piece.id),
        };
        // A server that numbers all calls alike begins each with an id of its own, and a name.
        let begins = |call: &Call| {
            piece.is_named && !piece.id.is_empty() && !call.id.is_empty() && call.id != piece.id
        };
        if let Some(call) = found
            && !begins(call)
        {
            if call.id.is_empty() {
                call.id.clone_from(&piece.id);
            }
            return Some(call.number);
        }
        if self.calls.len() == MOST {
            return given;
        }
        let taken = || self.calls.iter().filter(|call| call.choice == choice);
        let is_free = |number: &u64| taken().all(|call| call.number != *number);
        let next = || taken().map(|call| call.number.saturating_add(1)).max();
        let number = given.filter(is_free).unwrap_or_else(|| next().unwrap_or(0));
        self.calls.push(Call {
            choice,
            given,
            number,
            id: piece.id.clone(),
        });
        Some(number)
    }
}

/// Reads one item of `tool_calls`; `None` if it is no object.
fn piece(scanner: &mut Scanner<'_>, unit: &[u8]) -> Result<Option<Piece>, SyntaxError> {
    if scanner.kind()? != Kind::Object {
        return scanner.skip_value().map(|_| None);
    }
    let mut piece = Piece {
        inside: scanner.position() + 1,
        is_empty: true,
        ..Piece::default()
    };
    members(scanner, unit, |key, scanner| {
        piece.is_empty = false;
        match key {
            b"index" => {
                let value = scanner.skip_value()?;
                piece.number = Some((value, number(value.of(unit))));
            }
            b"id" => piece.id = string(scanner.skip_value()?.of(unit)),
            b"function" => members(scanner, unit, |key, scanner| {
                let kind = scanner.kind()?;
                let value = scanner.skip_value()?;
                match (key, kind) {
                    (b"name", Kind::String) => piece.is_named = value.of(unit) != b"\"\"",
                    (b"arguments", Kind::Object) => piece.arguments = Some(value),
                    _ => {}
                }
                Ok(())
            })?,
            _ => scanner.skip_value().map(|_| ())?,
        }
        Ok(())
    })?;
    Ok(Some(piece))
}

/// Calls `each` with the scanner at the value of each member, which it reads; passes over what is no object.
fn members(
    scanner: &mut Scanner<'_>,
    unit: &[u8],
    mut each: impl FnMut(&[u8], &mut Scanner<'_>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    if scanner.kind()? != Kind::Object {
        return scanner.skip_value().map(|_| ());
    }
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        each(key.inside(unit), scanner)?;
    }
    Ok(())
}

/// Calls `each` with the items of an array and their places.
fn items(
    scanner: &mut Scanner<'_>,
    mut each: impl FnMut(u64, &mut Scanner<'_>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    if scanner.kind()? != Kind::Array {
        return scanner.skip_value().map(|_| ());
    }
    scanner.begin_array()?;
    let mut place = 0;
    while scanner.next_item(place == 0)? {
        each(place, scanner)?;
        place += 1;
    }
    Ok(())
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns what stands between the quotes of a string; nothing of other values.
fn string(value: &[u8]) -> Vec<u8> {
    let inside = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    inside.unwrap_or_default().to_vec()
}

fn written(unit: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.place.start);
    let mut out = Vec::with_capacity(unit.len() + 16 * edits.len());
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(&unit[at..edit.place.start]);
        out.extend_from_slice(&edit.text);
        at = edit.place.end;
    }
    out.extend_from_slice(&unit[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls of each event as they are mended, if any is.
    fn mended(events: &[&str]) -> Vec<Option<String>> {
        let mut calls = Calls::default();
        let event = |calls: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":{calls}}}}}]}}\n\n"
            )
        };
        let mend = |given: &&str| {
            let mended = calls.mended(event(given).as_bytes())?;
            let mended = String::from_utf8(mended).unwrap();
            let (_, rest) = mended.split_once("\"tool_calls\":").unwrap();
            Some(rest.strip_suffix("}}]}\n\n").unwrap().to_owned())
        };
        events.iter().map(mend).collect()
    }

    #[test]
    fn calls_that_are_numbered_as_they_should_be_pass() {
        let events = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":0,"function":{"arguments":"{}"}}]"#,
            r#"[{"index":1,"id":"b","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":1,"id":"b","function":{"name":null,"arguments":"{"}},{"index":0,"function":{"arguments":" "}}]"#,
            r#"[{"index":2,"id":"a","function":{"name":"g","arguments":"{}"}}]"#,
            "[]",
            "null",
        ];
        assert_eq!(mended(&events), vec![None; events.len()]);
    }

    #[test]
    fn calls_that_are_all_numbered_0_get_numbers_of_their_own() {
        let events = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"function":{"arguments":"}"}}]"#,
            r#"[{"id":"c","index": 0,"function":{"name":"g"}}]"#,
        ];
        let expected = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"b","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":1,"function":{"arguments":"}"}}]"#,
            r#"[{"id":"c","index": 2,"function":{"name":"g"}}]"#,
        ];
        assert_eq!(mended(&events), expected.map(|text| Some(text.to_owned())));
    }

    #[test]
    fn calls_without_a_number_get_one() {
        let events = [
            r#"[{"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"function":{"arguments":"}"}}]"#,
            r#"[{"index":null,"id":"b","function":{"name":"g"}},{}]"#,
        ];
        let expected = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"function":{"arguments":"}"}}]"#,
            r#"[{"index":1,"id":"b","function":{"name":"g"}},{"index":1}]"#,
        ];
        assert_eq!(mended(&events), expected.map(|text| Some(text.to_owned())));
    }

    #[test]
    fn arguments_that_are_an_object_become_its_text() {
        let events = [r#"[{"index":0,"id":"a","function":{"name":"f","arguments":{"x":"é"}}}]"#];
        let expected =
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"é\"}"}}]"#;
        assert_eq!(mended(&events), [Some(expected.to_owned())]);
    }
}
