//! Embeddings: vectors made of the words of the input, so that like texts have like vectors.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::catalogue::Model;
use super::chance::{self, Dice};

use super::ask::Options;
use super::gojson::{Fields, object};
use super::reply::{Refusal, Reply, ok};
use super::runner::Want;
use super::seat::{RUNNER_DIED, Visitor, nanoseconds};
use super::stats::End;

/// Words of one input that are looked at.
const MAX_WORDS: usize = 512;

#[derive(Serialize)]
struct Embedded<'a> {
    model: &'a str,
    embeddings: Vec<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u64>,
}

/// What is to be embedded, and how.
pub(super) struct Wish<'a> {
    pub(super) inputs: &'a [&'a str],
    pub(super) dimensions: Option<i64>,
    /// Whether an input that is too long for the context is cut to it.
    pub(super) truncate: bool,
}

/// What an embedding request has given.
pub(super) struct Vectors {
    pub(super) vectors: Vec<Vec<f32>>,
    pub(super) tokens: u64,
    total: u64,
    load: u64,
}

/// `POST /api/embed`.
pub(super) async fn embed(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "EmbedRequest")?;
    let fields = Fields::new(&map, "EmbedRequest");
    let model = fields.string("model")?;
    let inputs = inputs(fields.value("input"))?;
    let truncate = fields.boolean("truncate")?.unwrap_or(true);
    let dimensions = fields.integer("dimensions")?;
    let want = want(&visitor, &fields, model)?;
    if inputs.is_empty() {
        visitor.load(want).await?;
        return Ok(ok(&Embedded {
            model,
            embeddings: Vec::new(),
            total_duration: None,
            load_duration: None,
            prompt_eval_count: None,
        }));
    }
    let wish = Wish {
        inputs: &inputs,
        dimensions,
        truncate,
    };
    let made = run(&visitor, want, &wish).await?;
    Ok(ok(&Embedded {
        model,
        embeddings: made.vectors,
        total_duration: Some(made.total),
        load_duration: Some(made.load),
        prompt_eval_count: Some(made.tokens),
    }))
}

/// `POST /api/embeddings`, the older route: one vector and nothing else.
pub(super) async fn legacy(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "EmbeddingRequest")?;
    let fields = Fields::new(&map, "EmbeddingRequest");
    let model = fields.string("model")?;
    if model.is_empty() {
        return Err(Refusal::bad("model is required"));
    }
    let prompt = fields.string("prompt")?;
    let want = want(&visitor, &fields, model)?;
    let embedding: Vec<f64> = if prompt.is_empty() {
        visitor.load(want).await?;
        Vec::new()
    } else {
        let wish = Wish {
            inputs: &[prompt],
            dimensions: None,
            truncate: true,
        };
        let made = run(&visitor, want, &wish).await?;
        // This route does not normalise.
        let first = made.vectors.into_iter().next().unwrap_or_default();
        first
            .iter()
            .map(|number| f64::from(*number) * 12.5)
            .collect()
    };
    Ok(ok(&serde_json::json!({ "embedding": embedding })))
}

/// Reads a string or a list of strings; empty strings and lists are nothing to embed.
pub(super) fn inputs(value: Option<&Value>) -> Result<Vec<&str>, Refusal> {
    let invalid = || Refusal::bad("invalid input type");
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| item.as_str().ok_or_else(invalid))
            .collect(),
        Some(_) => Err(invalid()),
    }
}

pub(super) fn want(visitor: &Visitor, fields: &Fields<'_>, model: &str) -> Result<Want, Refusal> {
    let keep_alive = fields.keep_alive()?;
    let found = visitor.find(model, |name| {
        format!("model {name:?} not found, try pulling it first")
    })?;
    Ok(Want {
        model: found.model,
        keep_alive,
        tuning: Options::of(fields)?.tuning,
    })
}

/// Embeds all inputs, as many at a time as the copy has slots.
pub(super) async fn run(
    visitor: &Visitor,
    want: Want,
    wish: &Wish<'_>,
) -> Result<Vectors, Refusal> {
    let mut seat = visitor.sit(want).await?;
    let context = u64::from(seat.lease.context_length);
    let counts = wish.inputs.iter().map(|input| tokens(input));
    if let Some(refusal) = refusal(
        visitor,
        &seat.model,
        wish,
        counts.clone().max() > Some(context),
    ) {
        seat.visit.end(End::Failed);
        return Err(refusal);
    }
    let tokens = counts.map(|count| count.min(context));
    let server = &visitor.server;
    let mut reading = JoinSet::new();
    // Each input stands in line for a slot of its own.
    seat.leave_slot();
    for tokens in tokens.clone() {
        let time = seat.slowed(server, tokens as f64, server.machine.prompt_speed);
        let inside = Arc::clone(&seat.lease.inside);
        reading.spawn(async move {
            let _slot = inside.slot().await;
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
        });
    }
    while reading.join_next().await.is_some() {}
    let tokens: u64 = tokens.sum();
    let vectors = wish
        .inputs
        .iter()
        .map(|input| vector(input, &seat.model, wish.dimensions))
        .collect();
    seat.visit.end(End::Completed);
    Ok(Vectors {
        vectors,
        tokens,
        total: nanoseconds(seat.began.elapsed()).max(1),
        load: nanoseconds(seat.load).max(1),
    })
}

/// Why nothing is embedded, if so; `too_long` is an input that does not fit the context.
fn refusal(visitor: &Visitor, model: &Model, wish: &Wish<'_>, too_long: bool) -> Option<Refusal> {
    if !model.can("embedding") {
        let text = "This server does not support embeddings. Start it with `--embeddings`";
        return Some(Refusal::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    if too_long && !wish.truncate {
        return Some(Refusal::bad("the input length exceeds the context length"));
    }
    let (_, failure) = visitor.strike.error.as_ref()?;
    let message = failure.message.as_deref();
    Some(Refusal::internal(message.unwrap_or(RUNNER_DIED)))
}

fn tokens(input: &str) -> u64 {
    (input.len() / 4 + 2) as u64
}

fn vector(input: &str, model: &Model, dimensions: Option<i64>) -> Vec<f32> {
    let full = model.embedding_length as usize;
    let length = dimensions
        .and_then(|wanted| usize::try_from(wanted).ok())
        .filter(|wanted| (1..full).contains(wanted))
        .unwrap_or(full);
    direction(input, model.family, length)
}

/// The sum of a random direction for every word, brought to length 1; each `family` has directions of its own.
pub(super) fn direction(input: &str, family: &str, length: usize) -> Vec<f32> {
    let seed = chance::hash(0, family.as_bytes());
    let mut sum = vec![0.0_f32; length];
    let words = input.split_whitespace().take(MAX_WORDS);
    // The input as a whole adds a little, so that no two texts share a vector and none has length 0.
    for (word, weight) in words.map(|word| (word, 1.0)).chain([(input, 0.25)]) {
        let mut dice = Dice::new(chance::hash(seed, word.to_lowercase().as_bytes()));
        for number in &mut sum {
            *number += weight * (dice.unit() as f32 - 0.5);
        }
    }
    let norm = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    sum.iter().map(|number| number / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(input: &str, dimensions: Option<i64>) -> Vec<f32> {
        vector(
            input,
            &Model::parse("nomic-embed-text").unwrap(),
            dimensions,
        )
    }

    fn dot(one: &[f32], two: &[f32]) -> f32 {
        one.iter().zip(two).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn vectors_have_length_one_and_the_size_asked_for() {
        for dimensions in [None, Some(64), Some(100_000)] {
            let vector = of("a café", dimensions);
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-4);
            assert_eq!(vector.len(), if dimensions == Some(64) { 64 } else { 768 });
        }
    }

    #[test]
    fn like_texts_are_near() {
        let (cat, dog) = (of("the cat sat here", None), of("the dog sat here", None));
        let other = of("quarterly revenue grew strongly", None);
        assert!(dot(&cat, &dog) > dot(&cat, &other) + 0.3);
        assert_eq!(cat, of("the cat sat here", None));
    }

    #[test]
    fn inputs_are_strings() {
        assert_eq!(inputs(Some(&"a".into())).unwrap(), ["a"]);
        assert!(inputs(None).unwrap().is_empty());
        assert!(inputs(Some(&serde_json::json!([1]))).is_err());
        assert!(inputs(Some(&serde_json::json!({}))).is_err());
    }
}
