//! The lines of a streamed answer put together into the one object that the server would have said without a stream: its
//! last line, with the texts, the calls and the probabilities of all.
//!
//! Ollama does the same (`ChatHandler` and `GenerateHandler` in server/routes.go), and writes the fields of `api/types.go`
//! in their order. Bytes of texts are taken as they were escaped.

use crate::wire::json::{Scanner, SyntaxError};

use super::Api;

/// What stands behind the probabilities in a chat's last object.
const COUNTERS: [&[u8]; 7] = [
    b"total_duration",
    b"load_duration",
    b"prompt_eval_count",
    b"prompt_eval_cached_count",
    b"prompt_eval_duration",
    b"eval_count",
    b"eval_duration",
];

/// What stands behind the calls of a generation's last object.
const LAST: [&[u8]; 5] = [
    b"_debug_info",
    b"logprobs",
    b"image",
    b"completed",
    b"total",
];

/// Puts lines together.
#[derive(Debug)]
pub struct Joined {
    form: Api,
    /// The line that has come last, or has not come whole yet.
    line: Vec<u8>,
    /// The last whole line.
    last: Vec<u8>,
    lines: u64,
    said: Said,
}

/// What the lines have said so far; of strings and arrays the inside.
#[derive(Debug, Default)]
struct Said {
    content: Vec<u8>,
    thinking: Vec<u8>,
    calls: Vec<u8>,
    logprobs: Vec<u8>,
}

impl Joined {
    /// Creates a gatherer of an answer to `/api/chat`.
    pub fn chat() -> Self {
        Self::new(Api::Chat)
    }

    /// Creates a gatherer of an answer to `/api/generate`.
    pub fn generate() -> Self {
        Self::new(Api::Generate)
    }

    fn new(form: Api) -> Self {
        Joined {
            form,
            line: Vec::new(),
            last: Vec::new(),
            lines: 0,
            said: Said::default(),
        }
    }

    /// Returns how many bytes are held.
    pub fn size(&self) -> usize {
        let Said {
            content,
            thinking,
            calls,
            logprobs,
        } = &self.said;
        let parts = [content, thinking, calls, logprobs, &self.line, &self.last];
        parts.into_iter().map(Vec::len).sum()
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            self.line.extend_from_slice(&piece[..end]);
            self.end_line();
            piece = &piece[end + 1..];
        }
        self.line.extend_from_slice(piece);
    }

    /// Returns the whole answer.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_line();
        if self.lines <= 1 {
            // It is whole already, as a load's is.
            return self.last;
        }
        let last = std::mem::take(&mut self.last);
        self.whole(&last).unwrap_or(last)
    }

    fn end_line(&mut self) {
        if self.line.trim_ascii().is_empty() {
            return self.line.clear();
        }
        std::mem::swap(&mut self.line, &mut self.last);
        self.line.clear();
        self.lines += 1;
        // What cannot be read has been left out before.
        let _ = self.said.add(self.form, &self.last);
    }

    /// Returns the last object with what all have said.
    fn whole(&self, last: &[u8]) -> Result<Vec<u8>, SyntaxError> {
        let mut out = Vec::with_capacity(self.size() + last.len());
        let mut members = Members::begin(&mut out);
        let mut pending: &[Part] = match self.form {
            Api::Chat => &[Part::Logprobs],
            Api::Generate => &[Part::Calls, Part::Logprobs],
        };
        each(last, |key, value| {
            while let [part, rest @ ..] = pending
                && part.is_before(self.form, key)
            {
                self.said.put(*part, &mut members);
                pending = rest;
            }
            match (self.form, key) {
                (Api::Chat, b"message") => self.message(value, &mut members),
                (Api::Generate, b"response") => {
                    members.string(key, &self.said.content);
                    self.said.put(Part::Thinking, &mut members);
                    Ok(())
                }
                (Api::Generate, b"thinking" | b"tool_calls") | (_, b"logprobs") => Ok(()),
                _ => {
                    members.value(key, value);
                    Ok(())
                }
            }
        })?;
        for part in pending {
            self.said.put(*part, &mut members);
        }
        members.end();
        Ok(out)
    }

    fn message(&self, last: &[u8], members: &mut Members<'_>) -> Result<(), SyntaxError> {
        let out = members.begin_value(b"message");
        let mut message = Members::begin(out);
        let mut pending: &[Part] = &[Part::Content, Part::Thinking, Part::Calls];
        each(last, |key, value| {
            // The role comes before all of them, pictures before the calls, and what else there is behind.
            let behind = match key {
                b"content" | b"thinking" | b"tool_calls" => return Ok(()),
                b"role" => 0,
                b"images" => 2,
                _ => 3,
            };
            while let [part, rest @ ..] = pending
                && 3 - pending.len() < behind
            {
                self.said.put(*part, &mut message);
                pending = rest;
            }
            message.value(key, value);
            Ok(())
        })?;
        for part in pending {
            self.said.put(*part, &mut message);
        }
        message.end();
        Ok(())
    }
}

/// What is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Content,
    Thinking,
    Calls,
    Logprobs,
}

impl Part {
    /// Returns whether it stands before that member of the last object.
    fn is_before(self, form: Api, key: &[u8]) -> bool {
        match (form, self) {
            (Api::Chat, Part::Logprobs) => COUNTERS.contains(&key) || key == b"logprobs",
            (Api::Generate, Part::Calls) => LAST.contains(&key),
            (Api::Generate, Part::Logprobs) => LAST[1..].contains(&key),
            _ => false,
        }
    }
}

impl Said {
    /// Adds what a line says.
    fn add(&mut self, form: Api, line: &[u8]) -> Result<(), SyntaxError> {
        each(line, |key, value| match (form, key) {
            (Api::Chat, b"message") => each(value, |key, value| {
                match key {
                    b"content" => text(value, &mut self.content),
                    b"thinking" => text(value, &mut self.thinking),
                    b"tool_calls" => items(value, &mut self.calls),
                    _ => {}
                }
                Ok(())
            }),
            (Api::Generate, b"response") => {
                text(value, &mut self.content);
                Ok(())
            }
            (Api::Generate, b"thinking") => {
                text(value, &mut self.thinking);
                Ok(())
            }
            (Api::Generate, b"tool_calls") => {
                items(value, &mut self.calls);
                Ok(())
            }
            (_, b"logprobs") => {
                items(value, &mut self.logprobs);
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// Writes a part; nothing but a content is told if it is empty.
    fn put(&self, part: Part, members: &mut Members<'_>) {
        match part {
            Part::Content => members.string(b"content", &self.content),
            Part::Thinking if !self.thinking.is_empty() => {
                members.string(b"thinking", &self.thinking);
            }
            Part::Calls if !self.calls.is_empty() => members.array(b"tool_calls", &self.calls),
            Part::Logprobs if !self.logprobs.is_empty() => {
                members.array(b"logprobs", &self.logprobs);
            }
            _ => {}
        }
    }
}

/// Calls `member` for each member of an object, with its key and its value as they are written.
fn each(
    object: &[u8],
    mut member: impl FnMut(&[u8], &[u8]) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(object);
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        scanner.kind()?;
        let value = scanner.skip_value()?;
        member(key.inside(object), value.of(object))?;
    }
    Ok(())
}

/// Adds the inside of a string.
fn text(value: &[u8], to: &mut Vec<u8>) {
    if let [b'"', inside @ .., b'"'] = value {
        to.extend_from_slice(inside);
    }
}

/// Adds the inside of an array.
fn items(value: &[u8], to: &mut Vec<u8>) {
    if let [b'[', inside @ .., b']'] = value
        && !inside.trim_ascii().is_empty()
    {
        if !to.is_empty() {
            to.push(b',');
        }
        to.extend_from_slice(inside);
    }
}

/// Writes the members of an object.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Members<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Members { out, first: true }
    }

    fn begin_value(&mut self, key: &[u8]) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn value(&mut self, key: &[u8], value: &[u8]) {
        self.begin_value(key).extend_from_slice(value);
    }

    fn string(&mut self, key: &[u8], inside: &[u8]) {
        self.enclosed(key, b'"', inside, b'"');
    }

    fn array(&mut self, key: &[u8], inside: &[u8]) {
        self.enclosed(key, b'[', inside, b']');
    }

    fn enclosed(&mut self, key: &[u8], begin: u8, inside: &[u8], end: u8) {
        let out = self.begin_value(key);
        out.push(begin);
        out.extend_from_slice(inside);
        out.push(end);
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(mut joined: Joined, lines: &[&str], at: usize) -> String {
        let stream = lines.join("\n");
        for piece in stream.as_bytes().chunks(at) {
            joined.feed(piece);
        }
        String::from_utf8(joined.finish()).unwrap()
    }

    /// In the order of Ollama's own fields, as its transcripts have them.
    #[test]
    fn a_chat_is_put_together_as_its_server_would_have_said_it() {
        let lines = [
            r#"{"model":"m","created_at":"1","message":{"role":"assistant","content":"","thinking":"so \u003c"},"done":false,"logprobs":[{"token":"a"}]}"#,
            r#"{"model":"m","created_at":"2","message":{"role":"assistant","content":"one\n","images":["aGk="]},"done":false,"logprobs":[{"token":"b"},{"token":"c"}]}"#,
            r#"{"model":"m","created_at":"3","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":false}"#,
            r#"{"model":"m","created_at":"4","message":{"role":"assistant","content":" two","tool_calls":[{"function":{"name":"g","arguments":{"a":[1]}}}]},"done":false}"#,
            r#"{"model":"m","created_at":"5","message":{"role":"assistant","content":"","images":["aGk="]},"done":true,"done_reason":"stop","total_duration":9,"eval_count":4}"#,
            "",
        ];
        let whole = r#"{"model":"m","created_at":"5","message":{"role":"assistant","content":"one\n two","thinking":"so \u003c","images":["aGk="],"tool_calls":[{"function":{"name":"f","arguments":{}}},{"function":{"name":"g","arguments":{"a":[1]}}}]},"done":true,"done_reason":"stop","logprobs":[{"token":"a"},{"token":"b"},{"token":"c"}],"total_duration":9,"eval_count":4}"#;
        for at in 1..=97 {
            assert_eq!(joined(Joined::chat(), &lines, at), whole, "{at}");
        }
    }

    #[test]
    fn a_generation_is_put_together_as_its_server_would_have_said_it() {
        let lines = [
            r#"{"model":"m","created_at":"1","response":"","thinking":"so","done":false}"#,
            r#"{"model":"m","created_at":"2","response":"one","done":false,"tool_calls":[{"function":{"name":"f"}}],"logprobs":[{"token":"a"}]}"#,
            r#"{"model":"m","created_at":"3","response":" two","done":true,"done_reason":"length","context":[1,2],"total_duration":9,"logprobs":[{"token":"b"}]}"#,
        ];
        let whole = r#"{"model":"m","created_at":"3","response":"one two","thinking":"so","done":true,"done_reason":"length","context":[1,2],"total_duration":9,"tool_calls":[{"function":{"name":"f"}}],"logprobs":[{"token":"a"},{"token":"b"}]}"#;
        for at in 1..=97 {
            assert_eq!(joined(Joined::generate(), &lines, at), whole, "{at}");
        }
        // Half a character in each of two lines.
        let halves = [
            r#"{"response":"\ud83d","done":false}"#,
            r#"{"response":"\ude00","done":true}"#,
        ];
        let whole = r#"{"response":"\ud83d\ude00","done":true}"#;
        assert_eq!(joined(Joined::generate(), &halves, 5), whole);
    }

    #[test]
    fn what_is_whole_already_stays_as_it_is() {
        for whole in [
            r#"{"model":"m","created_at":"1","message":{"role":"assistant","content":""},"done_reason":"load","done":true}"#,
            r#"{ "model" : "m", "response" : "x" , "done": true }"#,
            "",
        ] {
            for at in [1, 7, 1_000] {
                assert_eq!(joined(Joined::chat(), &[whole], at), whole);
                assert_eq!(joined(Joined::generate(), &[whole, ""], at), whole);
            }
        }
    }

    #[test]
    fn any_bytes_are_taken() {
        let lines = [
            "{",
            "nothing",
            "{\"message\":7}",
            "{\"message\":{\"content\":[]}}",
        ];
        joined(Joined::chat(), &lines, 3);
        joined(Joined::generate(), &lines, 3);
        let mut bytes = Joined::chat();
        bytes.feed(&[0xff, b'\n', 0xfe, b'\n']);
        bytes.finish();
    }
}
