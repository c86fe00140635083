//! What is left of a JSON object that is too large to be held: its small members, and for each of the others an empty value
//! of the same kind.

/// Bytes of a member's value that are kept; a longer one is left empty.
const LONGEST_VALUE: usize = 4 << 10;
/// Bytes that are kept of all.
const MOST: usize = 64 << 10;

/// Reads an object in pieces that are split anywhere.
#[derive(Debug, Default)]
pub struct Skim {
    kept: Vec<u8>,
    /// Arrays and objects that are open.
    depth: usize,
    in_string: bool,
    /// Whether the last byte was a backslash in a string.
    escaped: bool,
    /// The value that is being read, if its end can be seen: where it begins in `kept`, and its first byte.
    value: Option<(usize, u8)>,
    /// That value is too long.
    dropping: bool,
    /// There are too many members to keep.
    overflown: bool,
}

impl Skim {
    pub fn feed(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some((&byte, after)) = rest.split_first() {
            if self.in_string && !self.escaped {
                let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if plain > 0 {
                    self.keep(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.byte(byte);
            rest = after;
        }
    }

    /// Returns the object as far as it was kept; `None` if it has not come to its end.
    pub fn finish(self) -> Option<Vec<u8>> {
        (self.depth == 0 && !self.in_string && !self.overflown).then_some(self.kept)
    }

    fn byte(&mut self, byte: u8) {
        if self.in_string {
            self.keep(&[byte]);
            if std::mem::take(&mut self.escaped) {
                return;
            }
            match byte {
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.end_value();
                }
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.begin_value(byte);
                self.in_string = true;
                self.keep(b"\"");
            }
            b'{' | b'[' => {
                self.begin_value(byte);
                self.depth += 1;
                self.keep(&[byte]);
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.keep(&[byte]);
                self.end_value();
            }
            other => self.keep(&[other]),
        }
    }

    fn begin_value(&mut self, first: u8) {
        if self.depth == 1 {
            self.value = Some((self.kept.len(), first));
        }
    }

    fn end_value(&mut self) {
        if self.depth != 1 {
            return;
        }
        if let Some((_, first)) = self.value.take()
            && std::mem::take(&mut self.dropping)
        {
            self.kept.extend_from_slice(match first {
                b'{' => b"{}",
                b'[' => b"[]",
                _ => b"\"\"",
            });
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.dropping || self.overflown {
            return;
        }
        if let Some((start, _)) = self.value
            && self.kept.len() + bytes.len() - start > LONGEST_VALUE
        {
            self.kept.truncate(start);
            self.dropping = true;
            return;
        }
        if self.kept.len() + bytes.len() > MOST {
            self.overflown = true;
            self.kept = Vec::new();
            return;
        }
        self.kept.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skim(body: &str, size: usize) -> Option<String> {
        let mut skim = Skim::default();
        for piece in body.as_bytes().chunks(size) {
            skim.feed(piece);
            assert!(skim.kept.len() <= MOST);
        }
        skim.finish().map(|kept| String::from_utf8(kept).unwrap())
    }

    #[test]
    fn small_members_are_kept_and_large_ones_are_empty() {
        let (numbers, text) = ("0.25,".repeat(2000), r#"a \" } ] \\"#.repeat(2000));
        let body = format!(
            r#"{{"model":"m","data":[[{numbers}1]],"usage":{{"prompt_tokens":7}},"text":"{text}","o":{{"x":"{text}"}},"n":null}}"#
        );
        let expected =
            r#"{"model":"m","data":[],"usage":{"prompt_tokens":7},"text":"","o":{},"n":null}"#;
        for size in [1, 2, 3, 1000, body.len()] {
            assert_eq!(skim(&body, size).as_deref(), Some(expected), "{size}");
            for cut in [1, 30, body.len() / 2, body.len() - 1] {
                assert_eq!(skim(&body[..cut], size), None, "{size} {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_an_object_or_has_no_end_of_members_is_bounded() {
        assert_eq!(skim(&"x".repeat(MOST + 1), 1000), None);
        let members: String = (0..10_000)
            .map(|number| format!("\"key {number}\":1,"))
            .collect();
        assert_eq!(skim(&format!("{{{members}\"last\":1}}"), 1000), None);
        assert_eq!(skim("]]}}\"", 1), None);
    }
}
