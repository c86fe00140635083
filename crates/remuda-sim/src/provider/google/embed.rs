//! `embedContent` and `batchEmbedContents`.

use serde_json::{Value, json};

use super::super::super::embed;
use super::super::mind;
use super::contents::{self, Part};
use super::fields::Fields;
use super::models::{Kind, Model};
use super::refused::Refused;

/// Texts of one batch.
const MAX_BATCH: usize = 100;

const TASKS: [&str; 9] = [
    "TASK_TYPE_UNSPECIFIED",
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
];

/// Returns the answer to one text, and the tokens of that text.
pub(super) fn one(body: &Value, model: &Model) -> Result<(Value, u64), Refused> {
    let (values, tokens) = embedding(&Fields::root(body)?, model)?;
    Ok((json!({"embedding": {"values": values}}), tokens))
}

/// Returns the answer to a batch, and the tokens of all its texts.
pub(super) fn batch(body: &Value, model: &Model) -> Result<(Value, u64), Refused> {
    let fields = Fields::root(body)?;
    fields.only(&["requests", "model"])?;
    let requests = fields.messages("requests")?;
    let rule =
        |why: &str| Refused::invalid(format!("* BatchEmbedContentsRequest.requests: {why}\n"));
    if requests.is_empty() {
        return Err(rule("requests must not be empty"));
    }
    if requests.len() > MAX_BATCH {
        return Err(rule("at most 100 requests can be in one batch"));
    }
    let mut embeddings = Vec::with_capacity(requests.len());
    let mut tokens = 0;
    for request in &requests {
        if request.string("model")? != Some(&format!("models/{}", model.id)) {
            return Err(Refused::invalid(format!(
                "* BatchEmbedContentsRequest.{}: model must match the model of the batch, models/{}\n",
                request.path("model"),
                model.id
            )));
        }
        let (values, count) = embedding(request, model)?;
        embeddings.push(json!({ "values": values }));
        tokens += count;
    }
    Ok((json!({ "embeddings": embeddings }), tokens))
}

fn embedding(request: &Fields, model: &Model) -> Result<(Vec<f32>, u64), Refused> {
    request.only(&[
        "model",
        "content",
        "taskType",
        "title",
        "outputDimensionality",
    ])?;
    let task = request.word("taskType", &TASKS)?;
    if request.has("title") && task != Some("RETRIEVAL_DOCUMENT") {
        return Err(Refused::invalid(
            "title is only applicable when TaskType is RETRIEVAL_DOCUMENT",
        ));
    }
    let Some(content) = request.message("content")? else {
        return Err(Refused::invalid(format!(
            "* EmbedContentRequest.{}: content is not specified\n",
            request.path("content")
        )));
    };
    let turn = contents::turn(&content)?;
    let texts = turn.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(*text),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    if text.is_empty() {
        return Err(Refused::invalid(format!(
            "* EmbedContentRequest.{}: content contains an empty Part.\n",
            request.path("content")
        )));
    }
    let Kind::Embedding(full) = model.kind else {
        return Err(Refused::invalid("This model does not embed."));
    };
    let wanted = match request.integer("outputDimensionality")? {
        None => full,
        Some(wanted) => usize::try_from(wanted)
            .ok()
            .filter(|wanted| (1..=full).contains(wanted))
            .ok_or_else(|| {
                Refused::invalid(format!(
                    "* EmbedContentRequest.{}: must be in the range [1, {full}].\n",
                    request.path("outputDimensionality")
                ))
            })?,
    };
    // A shortened vector is the beginning of the whole one, and not of length 1.
    let mut values = embed::direction(&text, model.id, full);
    values.truncate(wanted);
    Ok((values, mind::tokens(&text)))
}
