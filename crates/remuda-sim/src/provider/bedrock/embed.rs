//! `invoke` for the models that embed, each with a JSON of its own.

use serde_json::{Value, json};

use super::super::super::embed;
use super::super::exchange::Reply;
use super::super::mind;
use super::fields::Fields;
use super::models::{Kind, Model};
use super::refused::Refused;

/// Texts of one call to Cohere's models.
const MAX_TEXTS: usize = 96;

/// Answers a call of `model`.
pub(super) fn invoke(body: &Value, model: &Model) -> Result<Reply, Refused> {
    let fields = Fields::root(body)?;
    match model.kind {
        Kind::TitanV1 => titan_v1(&fields, model),
        Kind::TitanV2 => titan_v2(&fields, model),
        Kind::CohereV3(length) => cohere(&fields, model, &[length]),
        Kind::CohereV4 => cohere(&fields, model, &[1_536, 256, 512, 1_024]),
        Kind::NovaEmbeddings => nova(&fields, model),
        Kind::Claude(_) | Kind::Nova | Kind::Plain => Err(malformed(
            "#: this model is simulated for Converse and ConverseStream only",
        )),
    }
}

fn malformed(why: &str) -> Refused {
    Refused::invalid(format!(
        "Malformed input request: {why}, please reformat your input and try again."
    ))
}

fn only(fields: &Fields, known: &[&str]) -> Result<(), Refused> {
    fields.only(known).map_err(|refused| {
        let key = refused
            .message
            .split('"')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        malformed(&format!("#: extraneous key [{key}] is not permitted"))
    })
}

fn required<'a>(fields: &Fields<'a>, key: &str) -> Result<&'a Value, Refused> {
    fields
        .get(key)
        .ok_or_else(|| malformed(&format!("#: required key [{key}] not found")))
}

fn text<'a>(fields: &Fields<'a>, key: &str) -> Result<&'a str, Refused> {
    let text = required(fields, key)?.as_str();
    let text = text.ok_or_else(|| malformed(&format!("#/{key}: expected type: String")))?;
    if text.is_empty() {
        Err(malformed(&format!(
            "#/{key}: expected minLength: 1, actual: 0"
        )))
    } else {
        Ok(text)
    }
}

/// Returns a length of vectors, which must be one of the model's; the first is the usual one.
fn length(fields: &Fields, key: &str, lengths: &[usize]) -> Result<usize, Refused> {
    let Some(wanted) = fields.integer(key)? else {
        return Ok(lengths[0]);
    };
    let found = lengths
        .iter()
        .find(|length| i64::try_from(**length) == Ok(wanted));
    found
        .copied()
        .ok_or_else(|| malformed(&format!("#/{key}: {wanted} is not a valid enum value")))
}

/// Returns the answer, with the count that Cohere's models tell in a header alone.
fn answered(value: &Value, tokens: u64) -> Reply {
    Reply::json(200, value)
        .with("x-amzn-bedrock-input-token-count", &tokens.to_string())
        .after(tokens, 0)
}

fn titan_v1(fields: &Fields, model: &Model) -> Result<Reply, Refused> {
    only(fields, &["inputText"])?;
    let text = text(fields, "inputText")?;
    let tokens = mind::tokens(text);
    let vector = embed::direction(text, model.id, 1_536);
    Ok(answered(
        &json!({"embedding": vector, "inputTextTokenCount": tokens}),
        tokens,
    ))
}

fn titan_v2(fields: &Fields, model: &Model) -> Result<Reply, Refused> {
    only(
        fields,
        &["inputText", "dimensions", "normalize", "embeddingTypes"],
    )?;
    let text = text(fields, "inputText")?;
    let length = length(fields, "dimensions", &[1_024, 512, 256])?;
    let types = fields.strings("embeddingTypes")?;
    if let Some(other) = types
        .iter()
        .find(|kind| !["float", "binary"].contains(*kind))
    {
        return Err(malformed(&format!(
            "#/embeddingTypes: {other} is not a valid enum value"
        )));
    }
    let mut vector = embed::direction(text, model.id, length);
    if !fields.boolean("normalize")?.unwrap_or(true) {
        vector.iter_mut().for_each(|number| *number *= 3.0);
    }
    let tokens = mind::tokens(text);
    let mut answer = json!({"inputTextTokenCount": tokens, "embeddingsByType": {}});
    if types.contains(&"binary") {
        let bits: Vec<u8> = vector
            .iter()
            .map(|number| u8::from(*number > 0.0))
            .collect();
        answer["embeddingsByType"]["binary"] = json!(bits);
    }
    if types.is_empty() || types.contains(&"float") {
        answer["embeddingsByType"]["float"] = json!(vector);
        answer["embedding"] = json!(vector);
    }
    Ok(answered(&answer, tokens))
}

/// What Cohere's models take vectors for.
const PURPOSES: [&str; 5] = [
    "search_document",
    "search_query",
    "classification",
    "clustering",
    "image",
];

fn cohere(fields: &Fields, model: &Model, lengths: &[usize]) -> Result<Reply, Refused> {
    let mut known = vec![
        "texts",
        "input_type",
        "truncate",
        "embedding_types",
        "images",
    ];
    if lengths.len() > 1 {
        known.extend(["output_dimension", "inputs", "max_tokens"]);
    }
    only(fields, &known)?;
    one_of("input_type", text(fields, "input_type")?, &PURPOSES)?;
    let cut = fields.string("truncate")?.unwrap_or("NONE");
    one_of("truncate", cut, &["NONE", "START", "END", "LEFT", "RIGHT"])?;
    let length = match lengths.len() {
        1 => lengths[0],
        _ => length(fields, "output_dimension", lengths)?,
    };
    required(fields, "texts")?;
    let texts = fields.strings("texts")?;
    if !(1..=MAX_TEXTS).contains(&texts.len()) {
        return Err(malformed(&format!(
            "#/texts: expected from 1 to {MAX_TEXTS} items, found: {}",
            texts.len()
        )));
    }
    let vectors: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| embed::direction(text, model.id, length))
        .collect();
    let types = fields.strings("embedding_types")?;
    let tokens = texts.iter().map(|text| mind::tokens(text)).sum();
    let mut answer = json!({
        "id": "00000000-0000-4000-8000-000000000000",
        "texts": texts,
        "response_type": "embeddings_floats",
        "embeddings": vectors,
    });
    if !types.is_empty() {
        answer["response_type"] = "embeddings_by_type".into();
        answer["embeddings"] = by_type(&types, &vectors)?;
    }
    Ok(answered(&answer, tokens))
}

/// Refuses a value that is none of those that the member may have.
fn one_of(member: &str, value: &str, values: &[&str]) -> Result<(), Refused> {
    if values.contains(&value) {
        return Ok(());
    }
    let words = format!("#/{member}: {value} is not a valid enum value");
    Err(malformed(&words))
}

/// Returns the vectors in each of the types that were asked for.
fn by_type(types: &[&str], vectors: &[Vec<f32>]) -> Result<Value, Refused> {
    let mut all = serde_json::Map::new();
    for kind in types {
        let vectors = match *kind {
            "float" => json!(vectors),
            "int8" => json!(whole_numbers(vectors)),
            other => {
                let words = format!("#/embedding_types: {other} is not a valid enum value");
                return Err(malformed(&words));
            }
        };
        all.insert((*kind).to_owned(), vectors);
    }
    Ok(all.into())
}

fn whole_numbers(vectors: &[Vec<f32>]) -> Vec<Vec<i8>> {
    let whole = |vector: &Vec<f32>| vector.iter().map(|number| (number * 127.0) as i8).collect();
    vectors.iter().map(whole).collect()
}

fn nova(fields: &Fields, model: &Model) -> Result<Reply, Refused> {
    only(
        fields,
        &["schemaVersion", "taskType", "singleEmbeddingParams"],
    )?;
    let version = fields.string("schemaVersion")?;
    if version.is_some_and(|version| version != "nova-multimodal-embed-v1") {
        return Err(malformed("#/schemaVersion: is not a valid enum value"));
    }
    if text(fields, "taskType")? != "SINGLE_EMBEDDING" {
        return Err(malformed("#/taskType: only SINGLE_EMBEDDING runs at once"));
    }
    required(fields, "singleEmbeddingParams")?;
    let params = fields.required_structure("singleEmbeddingParams")?;
    only(
        &params,
        &["embeddingPurpose", "embeddingDimension", "text", "image"],
    )?;
    text(&params, "embeddingPurpose")?;
    let length = length(&params, "embeddingDimension", &[3_072, 1_024, 384, 256])?;
    let inner = params.required_structure("text")?;
    only(&inner, &["truncationMode", "value", "source"])?;
    let cut = text(&inner, "truncationMode")?;
    if !["START", "END", "NONE"].contains(&cut) {
        return Err(malformed(
            "#/text/truncationMode: is not a valid enum value",
        ));
    }
    let value = text(&inner, "value")?;
    let vector = embed::direction(value, model.id, length);
    let answer = json!({"embeddings": [{"embeddingType": "TEXT", "embedding": vector}]});
    Ok(answered(&answer, mind::tokens(value)))
}
