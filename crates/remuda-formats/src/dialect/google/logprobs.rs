//! Log probabilities: `logprobsResult` as the array that Ollama and OpenAI write.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{key, put, separate};
use crate::ir::{Json, Text};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logprobs<'a> {
    #[serde(borrow, default)]
    chosen_candidates: Vec<Token<'a>>,
    #[serde(borrow, default)]
    top_candidates: Vec<Alternatives<'a>>,
}

#[derive(Deserialize)]
struct Alternatives<'a> {
    #[serde(borrow, default)]
    candidates: Vec<Token<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token<'a> {
    #[serde(borrow, default)]
    token: Text<'a>,
    #[serde(default)]
    log_probability: f64,
}

/// Reads one item for each chosen token, with its alternatives.
pub(super) fn read(result: &RawValue) -> Option<Json<'static>> {
    let logprobs: Logprobs<'_> = serde_json::from_str(result.get()).ok()?;
    if logprobs.chosen_candidates.is_empty() {
        return None;
    }
    let mut array = vec![b'['];
    for (position, token) in logprobs.chosen_candidates.iter().enumerate() {
        token.open(&mut array);
        key("top_logprobs", &mut array);
        array.push(b'[');
        let alternatives = logprobs.top_candidates.get(position);
        for alternative in alternatives.iter().flat_map(|one| &one.candidates) {
            alternative.open(&mut array);
            array.push(b'}');
        }
        put("]}", &mut array);
    }
    array.push(b']');
    let array = String::from_utf8(array).expect("made of strings");
    Some(Json::trusted(array))
}

impl Token<'_> {
    /// Appends an object and leaves it open.
    fn open(&self, out: &mut Vec<u8>) {
        separate(out);
        out.push(b'{');
        key("token", out);
        self.token.write(out);
        key("logprob", out);
        put(&self.log_probability.to_string(), out);
        key("bytes", out);
        out.push(b'[');
        for byte in self.token.decoded().bytes() {
            separate(out);
            put(&byte.to_string(), out);
        }
        out.push(b']');
    }
}
