//! Whether the arguments of a call are a whole value: they come as text, in pieces of a string literal's inside.

use crate::ir::Text;

/// How far the brackets of some JSON text are closed.
#[derive(Debug, Default)]
pub(in crate::dialect::openai) struct Balance {
    open: usize,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Balance {
    /// Returns whether all that was opened is closed, and something was.
    pub(in crate::dialect::openai) fn is_whole(&self) -> bool {
        self.begun && self.open == 0
    }

    /// Returns whether something that was opened is not closed.
    pub(in crate::dialect::openai) fn is_torn(&self) -> bool {
        self.open > 0 || self.in_string
    }

    pub(in crate::dialect::openai) fn add(&mut self, piece: &Text<'_>) {
        let mut bytes = piece.as_escaped().bytes();
        while let Some(byte) = bytes.next() {
            // The literal's own escapes; those with digits stand for nothing that matters here.
            let byte = match byte {
                b'\\' => bytes
                    .next()
                    .filter(|byte| matches!(byte, b'"' | b'\\'))
                    .unwrap_or(b' '),
                byte => byte,
            };
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.begun = true;
                    self.open += 1;
                }
                b'}' | b']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_within_strings_do_not_count() {
        for (text, whole) in [
            ("", false),
            (" ", false),
            ("{}", true),
            (r#"{"a":"}","b":["\\\"}"]}"#, true),
            (r#"{"a":"}"#, false),
            (r#"{"a":[1,{"b":2}]"#, false),
        ] {
            let text = Text::plain(text);
            let mut balance = Balance::default();
            balance.add(&text);
            assert_eq!(balance.is_whole(), whole, "{text:?}");
        }
    }
}
