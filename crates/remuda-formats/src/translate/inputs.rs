//! How many vectors a request asks for, which its answer is held against.

use crate::client::Operation;
use crate::wire::json::{Kind, Scanner, SyntaxError};

/// Returns how many vectors a request asks for; `None` if it is none for vectors, or cannot be read.
pub(super) fn count(operation: Operation, body: &[u8]) -> Option<usize> {
    let name: &[u8] = match operation {
        Operation::Embed | Operation::OpenAiEmbeddings => b"input",
        Operation::Embeddings => b"prompt",
        _ => return None,
    };
    read(name, operation != Operation::OpenAiEmbeddings, body).ok()
}

/// Counts the inputs; `blank_is_none` says that an empty text is no input, unless it is one of a list.
fn read(name: &[u8], blank_is_none: bool, body: &[u8]) -> Result<usize, SyntaxError> {
    let mut scanner = Scanner::new(body);
    scanner.begin_object()?;
    let (mut count, mut first) = (0, true);
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        // Go's decoder, and so Ollama, takes names in any case.
        if !key.inside(body).eq_ignore_ascii_case(name) {
            scanner.skip_value()?;
            continue;
        }
        count = match scanner.kind()? {
            Kind::Array => items(&mut scanner)?,
            Kind::Null => {
                scanner.skip_value()?;
                0
            }
            _ => {
                let is_blank = scanner.skip_value()?.of(body) == b"\"\"";
                usize::from(!(is_blank && blank_is_none))
            }
        };
    }
    Ok(count)
}

/// Numbers are the tokens of one text.
fn items(scanner: &mut Scanner<'_>) -> Result<usize, SyntaxError> {
    scanner.begin_array()?;
    let (mut count, mut tokens) = (0, false);
    while scanner.next_item(count == 0)? {
        tokens |= scanner.kind()? == Kind::Number;
        scanner.skip_value()?;
        count += 1;
    }
    Ok(if tokens { 1 } else { count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_counted_as_their_servers_count_them() {
        use Operation::{Chat, Embed, Embeddings, OpenAiEmbeddings};
        for (operation, body, expected) in [
            (Embed, r#"{"input":"hi"}"#, Some(1)),
            (Embed, r#"{"INPUT":["a","b",""]}"#, Some(3)),
            (Embed, r#"{"input":""}"#, Some(0)),
            (Embed, r#"{"input":[]}"#, Some(0)),
            (Embed, r#"{"model":"m"}"#, Some(0)),
            (Embed, r#"{"input":null}"#, Some(0)),
            (Embeddings, r#"{"prompt":"hi","input":["a","b"]}"#, Some(1)),
            (Embeddings, r#"{"prompt":""}"#, Some(0)),
            (OpenAiEmbeddings, r#"{"input":[1,2,3]}"#, Some(1)),
            (OpenAiEmbeddings, r#"{"input":[[1],[2,3]]}"#, Some(2)),
            (OpenAiEmbeddings, r#"{"input":""}"#, Some(1)),
            (OpenAiEmbeddings, r#"{"input":"#, None),
            (Chat, r#"{"input":"hi"}"#, None),
        ] {
            assert_eq!(
                count(operation, body.as_bytes()),
                expected,
                "{operation:?} {body}"
            );
        }
    }
}
