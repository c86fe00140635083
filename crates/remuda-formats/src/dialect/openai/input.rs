//! The text that a custom tool is called with, out of the JSON that a model writes for the function in its place. It is
//! told as it comes: only an escape that is not whole yet is waited for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ir::Text;

/// The name of the one argument that the function in place of a custom tool has.
pub(super) const INPUT: &str = "input";

/// Reads the arguments of one call.
#[derive(Default)]
pub(super) struct Input {
    state: State,
    /// JSON that is not told yet.
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The text has not begun.
    #[default]
    Before,
    Within,
    /// The text is over; nothing after it counts.
    After,
    /// The arguments have another form: what they say is known when they are whole.
    Odd,
}

/// How the arguments begin.
enum Opening {
    /// More must come.
    Open,
    /// The text begins at this byte.
    At(usize),
    Odd,
}

impl Input {
    /// Takes a piece of the arguments and gives what it adds to the text, as the inside of a string literal.
    pub(super) fn feed(&mut self, fragment: &Text<'_>) -> Text<'static> {
        if self.state == State::After {
            return Text::default();
        }
        self.held.push_str(&fragment.decoded());
        if self.state == State::Before {
            match opening(&self.held) {
                Opening::Open => return Text::default(),
                Opening::Odd => self.state = State::Odd,
                Opening::At(place) => {
                    self.state = State::Within;
                    self.held.drain(..place);
                }
            }
        }
        match self.state {
            State::Within => self.within(),
            _ => Text::default(),
        }
    }

    fn within(&mut self) -> Text<'static> {
        let mut text = String::with_capacity(self.held.len());
        let (read, over) = read_string(&self.held, &mut text);
        if over {
            self.state = State::After;
            self.held = String::new();
        } else {
            self.held.drain(..read);
        }
        Text::escaped(text)
    }

    /// Returns the rest of the text, when the arguments are whole.
    pub(super) fn finish(&mut self) -> Text<'static> {
        let state = std::mem::replace(&mut self.state, State::After);
        let held = std::mem::take(&mut self.held);
        match state {
            // Half an escape says nothing.
            State::Within | State::After => Text::default(),
            State::Before | State::Odd => text_of(&held),
        }
    }

    /// Returns the text of arguments that came whole.
    pub(super) fn of(arguments: &Text<'_>) -> Text<'static> {
        let mut input = Input::default();
        let mut text = input.feed(arguments);
        text.push(&input.finish());
        text
    }
}

fn opening(json: &str) -> Opening {
    let mut rest = json.trim_ascii_start();
    let quoted = format!("\"{INPUT}\"");
    for expected in ["{", &quoted, ":", "\""] {
        rest = rest.trim_ascii_start();
        if expected.starts_with(rest) && rest.len() < expected.len() {
            return Opening::Open;
        }
        match rest.strip_prefix(expected) {
            Some(after) => rest = after,
            None => return Opening::Odd,
        }
    }
    Opening::At(json.len() - rest.len())
}

/// Appends the inside of a string literal as far as it is whole; how many bytes were read, and whether its end was
/// among them. What is no JSON in it is put right.
fn read_string(json: &str, text: &mut String) -> (usize, bool) {
    let bytes = json.as_bytes();
    let mut at = 0;
    let mut told = 0;
    while let Some(found) = bytes[at..]
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F))
    {
        at += found;
        text.push_str(&json[told..at]);
        match bytes[at] {
            b'"' => return (at + 1, true),
            b'\\' => match escape(&bytes[at..]) {
                Escape::Whole(length) => {
                    text.push_str(&json[at..at + length]);
                    at += length;
                }
                Escape::Half(length) => {
                    text.push_str(r"\ufffd");
                    at += length;
                }
                // A backslash that the model forgot to escape.
                Escape::None => {
                    text.push_str(r"\\");
                    at += 1;
                }
                Escape::Open => return (at, false),
            },
            control => {
                text.push_str(&format!("\\u{control:04x}"));
                at += 1;
            }
        }
        told = at;
    }
    text.push_str(&json[told..]);
    (json.len(), false)
}

enum Escape {
    /// A whole escape of so many bytes.
    Whole(usize),
    /// Half a surrogate pair.
    Half(usize),
    None,
    /// More must come.
    Open,
}

/// Returns the escape that `bytes` begin with.
fn escape(bytes: &[u8]) -> Escape {
    match bytes.get(1) {
        None => Escape::Open,
        Some(b'u') => match code(bytes) {
            Code::Open => Escape::Open,
            Code::None => Escape::None,
            Code::Unit(0xDC00..=0xDFFF) => Escape::Half(6),
            Code::Unit(0xD800..=0xDBFF) => match code(&bytes[6..]) {
                Code::Open => Escape::Open,
                Code::Unit(0xDC00..=0xDFFF) => Escape::Whole(12),
                _ => Escape::Half(6),
            },
            Code::Unit(_) => Escape::Whole(6),
        },
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::Whole(2),
        Some(_) => Escape::None,
    }
}

enum Code {
    Unit(u32),
    None,
    Open,
}

/// Returns the code unit of `\uXXXX`.
fn code(bytes: &[u8]) -> Code {
    let begin = bytes.get(..6).unwrap_or(bytes);
    let fits = begin.iter().enumerate().all(|(place, byte)| match place {
        0 => *byte == b'\\',
        1 => *byte == b'u',
        _ => byte.is_ascii_hexdigit(),
    });
    if !fits {
        return Code::None;
    }
    if begin.len() < 6 {
        return Code::Open;
    }
    begin[2..]
        .iter()
        .fold(Code::Unit(0), |code, digit| match code {
            Code::Unit(code) => {
                Code::Unit(code << 4 | char::from(*digit).to_digit(16).unwrap_or_default())
            }
            other => other,
        })
}

/// Returns what arguments of another form say: the one string of an object, a string, or the arguments themselves, from
/// models that write the text as it is.
fn text_of(json: &str) -> Text<'static> {
    if let Some(text) = serde_json::from_str::<&RawValue>(json)
        .ok()
        .and_then(Text::of)
    {
        return text.into_owned();
    }
    match serde_json::from_str::<Members<'_>>(json) {
        Ok(members) => members.text().unwrap_or_else(|| {
            let empty = json
                .trim_ascii()
                .strip_prefix('{')
                .is_some_and(|rest| rest.trim_ascii_start() == "}");
            if empty {
                Text::default()
            } else {
                Text::plain(json).into_owned()
            }
        }),
        Err(_) if json.trim_ascii().is_empty() => Text::default(),
        Err(_) => Text::plain(json).into_owned(),
    }
}

/// An object, of which each value is kept as it was written.
#[derive(Deserialize)]
#[serde(transparent)]
struct Members<'a>(#[serde(borrow)] std::collections::BTreeMap<Cow<'a, str>, &'a RawValue>);

impl Members<'_> {
    fn text(&self) -> Option<Text<'static>> {
        let members = &self.0;
        let only = || members.values().next().filter(|_| members.len() == 1);
        let value = members.get(INPUT).or_else(only)?;
        Text::of(value).map(Text::into_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of arguments that come in pieces of `size` bytes, decoded.
    fn told(arguments: &str, size: usize) -> String {
        let mut input = Input::default();
        let mut text = Text::default();
        let mut rest = arguments;
        while !rest.is_empty() {
            let mut end = size.min(rest.len());
            while !rest.is_char_boundary(end) {
                end += 1;
            }
            text.push(&input.feed(&Text::plain(&rest[..end])));
            rest = &rest[end..];
        }
        text.push(&input.finish());
        let mut literal = Vec::new();
        text.write(&mut literal);
        serde_json::from_slice(&literal).unwrap()
    }

    #[test]
    fn the_text_is_the_one_argument() {
        for (arguments, text) in [
            (
                r#"{"input":"*** Begin Patch\n+a \"b\" \\ é\ud83d\ude00\n"}"#,
                "*** Begin Patch\n+a \"b\" \\ é😀\n",
            ),
            (r#" { "input" : "a" , "more" : 1 } "#, "a"),
            (r#"{"input":""}"#, ""),
            ("{\"input\":\"a\nb\tc\"}", "a\nb\tc"),
            (r#"{"input":"\d+ \ud83d x"}"#, "\\d+ \u{fffd} x"),
            // Cut short.
            (r#"{"input":"abc\"#, "abc"),
            // Other forms.
            (r#"{"patch":"p"}"#, "p"),
            (r#"{"why":"w","input":"i"}"#, "i"),
            (r#""text""#, "text"),
            ("*** Begin Patch\n", "*** Begin Patch\n"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"input":7}"#, r#"{"input":7}"#),
            ("{}", ""),
            ("", ""),
        ] {
            for size in 1..=arguments.len().max(1) {
                assert_eq!(told(arguments, size), text, "{arguments} by {size}");
            }
        }
    }

    #[test]
    fn it_is_told_as_it_comes() {
        let mut input = Input::default();
        let mut pieces = Vec::new();
        for fragment in [
            r#"{"inp"#,
            r#"ut": "a"#,
            r"b\",
            "nc",
            r"\ud83d",
            r"\ude00d",
            r#"","x":"#,
        ] {
            pieces.push(input.feed(&Text::plain(fragment)).as_escaped().to_owned());
        }
        assert_eq!(pieces, ["", "a", "b", r"\nc", "", r"\ud83d\ude00d", ""]);
        assert!(input.finish().is_empty());
    }

    proptest! {
        #[test]
        fn any_text_comes_through(text in any::<String>(), size in 1..8usize) {
            let mut arguments = serde_json::json!({"input": text}).to_string();
            prop_assert_eq!(told(&arguments, size), text.as_str());
            arguments = arguments.replace('/', "\\/");
            prop_assert_eq!(told(&arguments, size), text.as_str());
        }

        #[test]
        fn any_arguments_come_to_one_text(arguments in "[{}\":a-c\\\\ ux0-9,input\n]{0,30}", size in 1..8usize) {
            prop_assert_eq!(told(&arguments, size), told(&arguments, 30));
        }
    }
}
