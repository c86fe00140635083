//! Calls of OpenAI's custom tools, whose input is any text: they are told as calls of a function of one string, `input`,
//! as which such a tool is offered where a format has functions alone.

use crate::ir::Text;

/// The arguments' text before the input, and after it, as the inside of a string literal.
pub(super) const BEFORE: &str = r#"{\"input\":\""#;
pub(super) const AFTER: &str = r#"\"}"#;

/// Returns a piece of the input as it stands within the arguments' text: a string within a string.
pub(super) fn within(input: &Text<'_>) -> Text<'static> {
    let mut inside = String::with_capacity(input.as_escaped().len() + 8);
    for character in input.as_escaped().chars() {
        if matches!(character, '"' | '\\') {
            inside.push('\\');
        }
        inside.push(character);
    }
    Text::escaped(inside)
}

/// Returns the whole arguments.
pub(super) fn arguments(input: &Text<'_>) -> Text<'static> {
    let mut text = Text::escaped(BEFORE).into_owned();
    text.push(&within(input));
    text.push(&Text::escaped(AFTER));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_input_comes_back_out_of_the_arguments() {
        for input in ["", "*** Begin \"x\"\n\\d \u{7f}é😀", "</a>&"] {
            let arguments = arguments(&Text::plain(input));
            let read: std::collections::BTreeMap<String, String> =
                serde_json::from_str(&arguments.decoded()).unwrap();
            assert_eq!(read["input"], input);
        }
    }
}
