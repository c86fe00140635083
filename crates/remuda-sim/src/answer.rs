//! What the simulated model says: prose, JSON that fits a schema, or tool calls; the same for the same prompt and seed.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::ask::Ask;
use super::catalogue::Model;
use super::chance::{self, Dice};
use super::options::Machine;
use super::prompt::OPENING;
use super::prose::Words;
use super::schema;

/// One token's worth of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Thinking(Cow<'static, str>),
    Content(Cow<'static, str>),
    /// A token that a parser keeps back, as those of a tool call.
    Quiet,
    Calls(Vec<Call>),
}

/// A tool call as Ollama writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) function: CallFunction,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CallFunction {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) arguments: Value,
}

/// All that will be said, piece by piece.
pub(super) struct Answer {
    thinking: Words,
    content: Content,
    /// Tokens that may still be made (`num_predict`).
    left: Option<u32>,
}

enum Content {
    Prose(Words),
    Text(std::vec::IntoIter<String>),
    Calls { quiet: u32, calls: Vec<Call> },
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Stop,
    Length,
}

impl Answer {
    /// The answer of `model` to what it has `read`.
    ///
    /// Where the last turn has been begun, this goes on from there: it says what is left of the answer to all before.
    pub(super) fn new(ask: &Ask, read: &str, model: &Model, machine: &Machine) -> Self {
        let seed = machine.seed ^ ask.options.seed as u64;
        let seed = chance::hash(seed, model.name.as_str().as_bytes());
        let opened = read
            .rfind(OPENING)
            .map_or(read.len(), |at| at + OPENING.len());
        let (before, begun) = read.split_at(opened);
        let mut dice = Dice::new(chance::hash(seed, before.as_bytes()));
        let thinks = model.can("thinking") && ask.think != Some(false) && !ask.prompt.raw;
        let thinking = Words::new(&mut dice, if thinks { 8..=24 } else { 0..=0 });
        let content = Content::new(ask, machine, &mut dice).after(begun);
        Self {
            thinking,
            content,
            left: ask.options.num_predict,
        }
    }

    /// Bounds the tokens of the answer, where they are not bounded more tightly.
    pub(super) fn limit(&mut self, tokens: u64) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.left = Some(self.left.map_or(tokens, |left| left.min(tokens)));
    }

    /// The next token, or how the answer ends.
    pub(super) fn next(&mut self) -> Result<Piece, Ending> {
        let cut_short = self.left == Some(0);
        // Tool calls take no token of their own: their text has been counted.
        if cut_short && !matches!(self.content, Content::Calls { quiet: 0, .. }) {
            return Err(if self.is_over() {
                Ending::Stop
            } else {
                Ending::Length
            });
        }
        let piece = match self.thinking.next() {
            Some(word) => Piece::Thinking(word.into()),
            None => self.content.next().ok_or(Ending::Stop)?,
        };
        if let Some(left) = self.left.as_mut() {
            *left = left.saturating_sub(1);
        }
        Ok(piece)
    }

    fn is_over(&self) -> bool {
        self.thinking.is_over()
            && match &self.content {
                Content::Prose(words) => words.is_over(),
                Content::Text(pieces) => pieces.len() == 0,
                Content::Calls { quiet, calls } => *quiet == 0 && calls.is_empty(),
            }
    }
}

impl Content {
    fn new(ask: &Ask, machine: &Machine, dice: &mut Dice) -> Self {
        if let (Some(tool), false) = (ask.prompt.tools.first(), ask.prompt.tool_answered) {
            return Self::Calls {
                quiet: 12,
                calls: vec![call(tool, dice)],
            };
        }
        if let Some(format) = &ask.format {
            return Self::Text(pieces(&json_answer(format, dice)).into_iter());
        }
        let words = Words::new(dice, machine.answer_tokens.clone());
        if ask.options.stop.iter().all(String::is_empty) {
            return Self::Prose(words);
        }
        Self::Text(until_stop(words, &ask.options.stop).into_iter())
    }

    /// What is left once `begun` has been said; all of it, if it would not have begun so.
    fn after(self, begun: &str) -> Self {
        let begun = begun
            .rsplit_once("</think>")
            .map_or(begun, |(_, said)| said.trim_start());
        if begun.is_empty() {
            return self;
        }
        let pieces: Vec<String> = match self {
            Self::Prose(words) => words.map(str::to_owned).collect(),
            Self::Text(pieces) => pieces.collect(),
            Self::Calls { .. } => return self,
        };
        let mut said = if pieces.concat().starts_with(begun) {
            begun.len()
        } else {
            0
        };
        let left = pieces.into_iter().filter_map(|piece| {
            let cut = said.min(piece.len());
            said -= cut;
            (cut < piece.len()).then(|| piece[cut..].to_owned())
        });
        Self::Text(left.collect::<Vec<_>>().into_iter())
    }

    fn next(&mut self) -> Option<Piece> {
        match self {
            Self::Prose(words) => words.next().map(|word| Piece::Content(word.into())),
            Self::Text(pieces) => pieces.next().map(|piece| Piece::Content(piece.into())),
            Self::Calls { quiet: 0, calls } => {
                (!calls.is_empty()).then(|| Piece::Calls(std::mem::take(calls)))
            }
            Self::Calls { quiet, .. } => {
                *quiet -= 1;
                Some(Piece::Quiet)
            }
        }
    }
}

fn call(tool: &Value, dice: &mut Dice) -> Call {
    let function = &tool["function"];
    let name = function["name"].as_str().unwrap_or_default().to_owned();
    let arguments = match function["parameters"].as_object() {
        Some(parameters) => schema::example(&Value::Object(parameters.clone()), dice),
        None => Value::Object(Map::new()),
    };
    Call {
        id: format!(
            "call_{}",
            dice.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 8)
        ),
        function: CallFunction {
            index: 0,
            name,
            arguments,
        },
    }
}

fn json_answer(format: &Value, dice: &mut Dice) -> String {
    match format {
        Value::Object(_) => schema::example(format, dice).to_string(),
        _ => {
            let words: String = Words::new(dice, 6..=12).collect();
            serde_json::json!({ "answer": words.trim() }).to_string()
        }
    }
}

/// Text cut into tokens of about four bytes, never within a character.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::with_capacity(text.len() / 4 + 1);
    for character in text.chars() {
        match pieces.last_mut() {
            Some(last) if last.len() < 4 => last.push(character),
            _ => pieces.push(character.to_string()),
        }
    }
    pieces
}

/// The words up to the first stop sequence, which is not said.
fn until_stop(words: Words, stops: &[String]) -> Vec<String> {
    let words: Vec<&str> = words.collect();
    let text = words.concat();
    let end = stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min()
        .unwrap_or(text.len());
    let mut start = 0;
    let mut said = Vec::new();
    for word in words {
        let word = &word[..word.len().min(end - start)];
        if word.is_empty() {
            break;
        }
        start += word.len();
        said.push(word.to_owned());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Ask {
        Ask::chat(body.as_bytes()).unwrap()
    }

    fn said(body: &str, model: &str) -> (Vec<Piece>, Ending) {
        let model = Model::parse(model).unwrap();
        let ask = ask(body);
        let mut answer = Answer::new(&ask, &ask.prompt.rendered(), &model, &Machine::default());
        let mut pieces = Vec::new();
        loop {
            match answer.next() {
                Ok(piece) => pieces.push(piece),
                Err(ending) => return (pieces, ending),
            }
        }
    }

    fn content(pieces: &[Piece]) -> String {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Content(text) => text.as_ref(),
                _ => "",
            })
            .collect()
    }

    const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

    #[test]
    fn the_same_prompt_has_the_same_answer() {
        let (pieces, ending) = said(HI, "llama3.2");
        assert_eq!(said(HI, "llama3.2").0, pieces);
        assert_eq!(ending, Ending::Stop);
        let text = content(&pieces);
        assert!(text.starts_with(char::is_uppercase), "{text}");
        assert!(text.trim_end().ends_with(['.', '!']), "{text}");
        assert!((24..=96).contains(&pieces.len()));
        assert_ne!(said(&HI.replace("hi", "ho"), "llama3.2").0, pieces);
    }

    #[test]
    fn num_predict_cuts_short() {
        let body = HI.replace("]}", r#"],"options":{"num_predict":5}}"#);
        let (pieces, ending) = said(&body, "llama3.2");
        assert_eq!((pieces.len(), ending), (5, Ending::Length));
    }

    #[test]
    fn a_thinking_model_thinks_first_unless_told_not_to() {
        let (pieces, _) = said(HI, "qwen3:8b");
        assert!(matches!(pieces[0], Piece::Thinking(_)));
        assert!(matches!(pieces.last(), Some(Piece::Content(_))));
        let (pieces, _) = said(&HI.replace("]}", r#"],"think":false}"#), "qwen3:8b");
        assert!(matches!(pieces[0], Piece::Content(_)));
    }

    #[test]
    fn tools_are_called_until_they_have_answered() {
        let tools = r#"],"tools":[{"type":"function","function":{"name":"f","parameters":
            {"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]}"#;
        let (pieces, ending) = said(&HI.replace("]}", tools), "llama3.2");
        let Some(Piece::Calls(calls)) = pieces.last() else {
            panic!("{pieces:?}");
        };
        assert_eq!(ending, Ending::Stop);
        assert_eq!(calls[0].function.name, "f");
        assert!(calls[0].function.arguments["city"].is_string());
        let answered = HI.replace("user", "tool").replace("]}", tools);
        assert!(!content(&said(&answered, "llama3.2").0).is_empty());
    }

    #[test]
    fn an_answer_goes_on_from_where_it_was_cut() {
        let whole = content(&said(HI, "llama3.2").0);
        let rendered = ask(HI).prompt.rendered();
        let model = Model::parse("llama3.2").unwrap();
        let rest = |begun: &str| {
            let body = serde_json::json!({"prompt": rendered.clone() + begun, "raw": true});
            let ask = Ask::generate(body.to_string().as_bytes()).unwrap();
            let read = ask.prompt.rendered();
            let mut answer = Answer::new(&ask, &read, &model, &Machine::default());
            let pieces: Vec<Piece> = std::iter::from_fn(|| answer.next().ok()).collect();
            content(&pieces)
        };
        for (at, _) in whole.char_indices() {
            assert_eq!(rest(&whole[..at]), whole[at..], "after {at} bytes");
        }
        assert_eq!(rest("What it would never say"), whole);
    }

    #[test]
    fn a_format_gives_json() {
        let json = HI.replace("]}", r#"],"format":"json"}"#);
        let text = content(&said(&json, "llama3.2").0);
        assert!(serde_json::from_str::<Value>(&text).unwrap().is_object());
        let schema = r#"],"format":{"type":"object","properties":{"age":{"type":"integer"}}}}"#;
        let text = content(&said(&HI.replace("]}", schema), "llama3.2").0);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["age"].is_i64());
    }

    #[test]
    fn a_stop_sequence_is_not_said() {
        let whole = content(&said(HI, "llama3.2").0);
        let stop = whole.split(' ').nth(3).unwrap();
        let body = HI.replace("]}", &format!(r#"],"options":{{"stop":["{stop}"]}}}}"#));
        let cut = content(&said(&body, "llama3.2").0);
        assert_eq!(cut, whole[..whole.find(stop).unwrap()]);
    }
}
