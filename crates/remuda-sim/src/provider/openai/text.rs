//! `/v1/completions` and `/v1/embeddings`: text to text, and text to vectors.

use serde_json::{Map, Value, json};

use super::super::World;
use super::super::exchange::{Piece, Reply, Request};
use super::super::mind::{Finish, Prompt, Thought, tokens};
use super::chat::check_context;
use super::error::Refusal;
use super::fields::{
    Kind, empty_array, given, known, stop_strings, too_long_array, type_name, typed, wrong_type,
};
use super::models;
use super::words::{cached, done};
use crate::{base64, embed};

const COMPLETION: [(&str, Kind); 18] = [
    ("model", Kind::Text),
    ("prompt", Kind::Any),
    ("suffix", Kind::Text),
    ("max_tokens", Kind::Integer(0, i64::MAX)),
    ("temperature", Kind::Decimal(0.0, 2.0)),
    ("top_p", Kind::Decimal(0.0, 1.0)),
    ("n", Kind::Integer(1, 128)),
    ("best_of", Kind::Integer(1, 20)),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("logprobs", Kind::Integer(0, 5)),
    ("echo", Kind::Flag),
    ("stop", Kind::Any),
    ("presence_penalty", Kind::Decimal(-2.0, 2.0)),
    ("frequency_penalty", Kind::Decimal(-2.0, 2.0)),
    ("logit_bias", Kind::Object),
    ("seed", Kind::Integer(i64::MIN, i64::MAX)),
    ("user", Kind::Text),
];

const EMBEDDING: [(&str, Kind); 5] = [
    ("model", Kind::Text),
    ("input", Kind::Any),
    ("dimensions", Kind::Integer(1, i64::MAX)),
    ("encoding_format", Kind::Word(&["float", "base64"])),
    ("user", Kind::Text),
];

/// A prompt or an input: text, or tokens that a client has made of it.
struct Input {
    text: String,
    tokens: u64,
}

/// Reads a string, an array of strings, an array of tokens, or an array of those.
fn inputs(value: Option<&Value>, param: &str) -> Result<Vec<Input>, Refusal> {
    let as_text = |text: &str| Input {
        text: text.to_owned(),
        tokens: tokens(text).max(1),
    };
    let as_tokens = |list: &[Value]| Input {
        text: Value::from(list).to_string(),
        tokens: list.len() as u64,
    };
    let wrong = |other: &Value| wrong_type(param, "one of a string or array", type_name(other));
    match value {
        None | Some(Value::Null) => Err(Refusal::missing(param)),
        Some(Value::String(text)) => Ok(vec![as_text(text)]),
        Some(Value::Array(list)) if list.is_empty() => Err(empty_array(param)),
        Some(Value::Array(list)) if list.iter().all(Value::is_u64) => Ok(vec![as_tokens(list)]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(as_text(text)),
                Value::Array(inner) if inner.iter().all(Value::is_u64) && !inner.is_empty() => {
                    Ok(as_tokens(inner))
                }
                other => Err(wrong(other)),
            })
            .collect(),
        Some(other) => Err(wrong(other)),
    }
}

/// Returns what a request says of one of its prompts.
fn prompt(map: &Map<String, Value>, model: &str, said: &str) -> Prompt {
    let suffix = map.get("suffix").and_then(Value::as_str);
    let max_tokens = map.get("max_tokens").and_then(Value::as_u64);
    Prompt {
        model: model.to_owned(),
        said: said.to_owned(),
        system: suffix.unwrap_or_default().to_owned(),
        max_tokens: Some(max_tokens.unwrap_or(16)),
        ..Prompt::default()
    }
}

/// Answers `POST /v1/completions`.
pub(crate) fn completions(
    map: &Map<String, Value>,
    model: &str,
    request: &Request,
    world: &World,
) -> Result<Reply, Refusal> {
    known(map, &COMPLETION, "")?;
    typed(map, &COMPLETION, "")?;
    let family = models::family(model);
    let takes_text = family.kind == models::ModelKind::Text || family.context == u64::MAX;
    if !takes_text {
        return Err(Refusal::bad("This is a chat model and not supported in the v1/completions endpoint. Did you mean to use v1/chat/completions?")
            .status(404)
            .of("model"));
    }
    let stream = map.get("stream") == Some(&Value::Bool(true));
    if given(map, "stream_options").is_some() && !stream {
        return Err(Refusal::bad(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        )
        .of("stream_options"));
    }
    let inputs = inputs(map.get("prompt"), "prompt")?;
    let prompt_tokens = inputs.iter().map(|input| input.tokens).sum();
    check_context(prompt_tokens, family.context)?;
    let stop = stop_strings(map.get("stop"), 4)?;
    let count = map.get("n").and_then(Value::as_u64).unwrap_or(1);
    let seed = map.get("seed").and_then(Value::as_i64).unwrap_or(0);
    let seed = world.seed ^ seed as u64;
    let mut answers = Vec::new();
    for input in &inputs {
        for number in 0..count {
            let prompt = Prompt {
                stop: stop.clone(),
                prose: Some(world.answer_tokens.clone()),
                seed: seed.wrapping_add(number),
                ..prompt(map, model, &input.text)
            };
            answers.push((input.text.as_str(), prompt.think()));
        }
    }
    let written = Written {
        id: request.id("cmpl-", 0, 29),
        request,
        model,
        echo: map.get("echo") == Some(&Value::Bool(true)),
        logprobs: given(map, "logprobs").and_then(Value::as_u64),
        include_usage: map
            .get("stream_options")
            .is_some_and(|options| options["include_usage"] == true),
        prompt_tokens,
        answers,
    };
    let made = written.made();
    let reply = if stream {
        Reply::stream("text/event-stream; charset=utf-8", written.pieces())
    } else {
        Reply::json(200, &written.whole())
    };
    Ok(reply.after(prompt_tokens, made))
}

struct Written<'a> {
    id: String,
    request: &'a Request,
    model: &'a str,
    echo: bool,
    logprobs: Option<u64>,
    include_usage: bool,
    prompt_tokens: u64,
    /// Prompts, and what was made of them.
    answers: Vec<(&'a str, Thought)>,
}

impl Written<'_> {
    fn made(&self) -> u64 {
        self.answers
            .iter()
            .map(|(_, thought)| thought.tokens())
            .sum()
    }

    fn object(&self, choices: Value) -> Value {
        json!({"id": self.id, "object": "text_completion", "created": self.request.now,
            "model": self.model, "choices": choices})
    }

    fn usage(&self) -> Value {
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": self.made(),
            "total_tokens": self.prompt_tokens + self.made()})
    }

    fn whole(&self) -> Value {
        let choices = self.answers.iter().enumerate().map(|(index, (prompt, thought))| {
            let echo = if self.echo { *prompt } else { "" };
            json!({"index": index, "text": format!("{echo}{}", thought.text()),
                "logprobs": self.parallel(&thought.text, echo.len()), "finish_reason": finish(thought)})
        });
        let mut value = self.object(choices.collect());
        value["usage"] = self.usage();
        value
    }

    /// Log probabilities as the old API has them: arrays side by side.
    fn parallel(&self, tokens: &[String], offset: usize) -> Value {
        let Some(count) = self.logprobs else {
            return Value::Null;
        };
        let offsets = tokens.iter().scan(offset, |at, token| {
            let here = *at;
            *at += token.chars().count();
            Some(here)
        });
        let tops = tokens.iter().map(|token| {
            let pairs = (0..count).map(|index| match index {
                0 => (token.clone(), json!(-0.5)),
                _ => (format!(" other{index}"), json!(-0.5 - index as f64)),
            });
            Value::Object(pairs.collect())
        });
        json!({
            "tokens": tokens,
            "token_logprobs": vec![-0.5; tokens.len()],
            "top_logprobs": tops.collect::<Vec<_>>(),
            "text_offset": offsets.collect::<Vec<_>>(),
        })
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let chunk = |index: usize,
                     text: &str,
                     logprobs: Value,
                     finish: Option<&str>,
                     tokens: u64| {
            let choice = json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish});
            let mut value = self.object(json!([choice]));
            if self.include_usage {
                value["usage"] = Value::Null;
            }
            Piece::data(&value, tokens)
        };
        for (index, (prompt, thought)) in self.answers.iter().enumerate() {
            let mut offset = 0;
            if self.echo {
                pieces.push(chunk(index, prompt, Value::Null, None, 0));
                offset = prompt.chars().count();
            }
            for token in &thought.text {
                let logprobs = self.parallel(std::slice::from_ref(token), offset);
                offset += token.chars().count();
                pieces.push(chunk(index, token, logprobs, None, 1));
            }
            pieces.push(chunk(index, "", Value::Null, Some(finish(thought)), 0));
        }
        if self.include_usage {
            let mut value = self.object(json!([]));
            value["usage"] = self.usage();
            pieces.push(Piece::data(&value, 0));
        }
        pieces.push(done());
        pieces
    }
}

fn finish(thought: &Thought) -> &'static str {
    match thought.finish {
        Finish::Length => "length",
        Finish::Filtered => "content_filter",
        _ => "stop",
    }
}

/// Answers `POST /v1/embeddings`; `strict` is for providers that refuse unknown fields.
pub(crate) fn embeddings(
    map: &Map<String, Value>,
    model: &str,
    strict: bool,
) -> Result<Reply, Refusal> {
    if strict {
        known(map, &EMBEDDING, "")?;
    }
    typed(map, &EMBEDDING, "")?;
    let full = match models::family(model).kind {
        models::ModelKind::Embedding(length) => length,
        _ => {
            return Err(Refusal::bad(format!(
                "You are not allowed to generate embeddings from this model: {model}"
            ))
            .status(403));
        }
    };
    let inputs = inputs(map.get("input"), "input")?;
    if inputs.len() > 2_048 {
        return Err(too_long_array("input", 2_048, inputs.len()));
    }
    if inputs.iter().any(|input| input.text.is_empty()) {
        return Err(Refusal::bad(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
        ));
    }
    if inputs.iter().any(|input| input.tokens > 8_192) {
        return Err(Refusal::bad(
            "This model's maximum context length is 8192 tokens, however you requested more. Please reduce your prompt; or completion length.",
        ));
    }
    let length = match given(map, "dimensions").and_then(Value::as_u64) {
        None => full,
        Some(_) if model == "text-embedding-ada-002" => {
            return Err(Refusal::bad(
                "This model does not support specifying dimensions.",
            ));
        }
        Some(wanted) if wanted as usize > full => {
            return Err(Refusal::bad(format!(
                "Invalid value for 'dimensions' = {wanted}. Must be less than or equal to {full}."
            )));
        }
        Some(wanted) => wanted as usize,
    };
    let as_text = map.get("encoding_format") == Some(&"base64".into());
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = embed::direction(&input.text, model, length);
        let embedding = if as_text {
            little_endian(&vector).into()
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let used: u64 = inputs.iter().map(|input| input.tokens).sum();
    Ok(Reply::json(
        200,
        &json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": model,
            "usage": {"prompt_tokens": used, "total_tokens": used}}),
    )
    .after(used - cached(used).min(used), 0))
}

/// Base64 of the numbers as 32-bit floats, lowest byte first.
fn little_endian(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    base64::encode(&bytes)
}
