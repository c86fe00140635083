//! `generationConfig`: sampling, limits, thinking, and the form of the answer.

use serde_json::Value;

use super::fields::Fields;
use super::models::{Kind, Model};
use super::refused::Refused;
use super::schema;

/// What the answer is to be like.
#[derive(Debug, Default)]
pub(super) struct Config<'a> {
    pub(super) max_tokens: Option<u64>,
    pub(super) stop: Vec<&'a str>,
    pub(super) seed: u64,
    /// The answer is JSON.
    pub(super) json: bool,
    pub(super) schema: Option<&'a Value>,
    /// How many alternatives of each token are wanted; `None` is no log probabilities.
    pub(super) logprobs: Option<i64>,
    pub(super) thinks: bool,
    pub(super) shows_thoughts: bool,
}

const KNOWN: [&str; 25] = [
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
    "mediaResolution",
    "speechConfig",
    "imageConfig",
    "audioTimestamp",
    "enableEnhancedCivicAnswers",
    "enableAffectiveDialog",
    "routingConfig",
    "translationConfig",
    "audioTranscriptionConfig",
];

/// Stop strings of one request.
const MAX_STOPS: usize = 5;

/// Checks the configuration of a request to `model`; `None` is one that the request does not have.
pub(super) fn check<'a>(config: Option<&Fields<'a>>, model: &Model) -> Result<Config<'a>, Refused> {
    let Some(config) = config else {
        return Ok(Config {
            thinks: thinks_unasked(model),
            ..Config::default()
        });
    };
    config.only(&KNOWN)?;
    sampling(config, model)?;
    let stop = config.strings("stopSequences")?;
    if stop.len() > MAX_STOPS {
        return Err(Refused::rule(
            &config.path("stopSequences"),
            &format!("stop_sequences must have at most {MAX_STOPS} entries"),
        ));
    }
    if stop.iter().any(|stop| stop.is_empty()) {
        return Err(Refused::rule(
            &config.path("stopSequences"),
            "stop_sequence cannot be empty",
        ));
    }
    let (json, schema) = form(config)?;
    let (thinks, shows_thoughts) = thinking(config, model)?;
    Ok(Config {
        max_tokens: max_tokens(config, model)?,
        stop,
        seed: config.integer("seed")?.unwrap_or_default() as u64,
        json,
        schema,
        logprobs: logprobs(config)?,
        thinks,
        shows_thoughts,
    })
}

fn sampling(config: &Fields, model: &Model) -> Result<(), Refused> {
    let range = |key: &str, least: f64, most: f64| match config.number(key)? {
        Some(number) if !(least..=most).contains(&number) => {
            let path = config.path(key);
            let name = path.rsplit('.').next().unwrap_or_default();
            let why = format!("{name} must be in the range [{least:.1}, {most:.1}].");
            Err(Refused::rule(&path, &why))
        }
        _ => Ok(()),
    };
    range("temperature", 0.0, 2.0)?;
    range("topP", 0.0, 1.0)?;
    if config.integer("topK")?.is_some_and(|number| number < 1) {
        return Err(Refused::rule(
            &config.path("topK"),
            "top_k must be positive.",
        ));
    }
    for key in ["presencePenalty", "frequencyPenalty"] {
        range(key, -2.0, 2.0)?;
        if !model.penalties && config.number(key)?.is_some() {
            return Err(Refused::invalid("Penalty is not enabled for this model"));
        }
    }
    match config.integer("candidateCount")?.unwrap_or(1) {
        1 => Ok(()),
        2..=8 => Err(Refused::invalid(
            "Multiple candidates is not enabled for this model",
        )),
        _ => Err(Refused::rule(
            &config.path("candidateCount"),
            "candidate_count must be in the range [1, 8].",
        )),
    }
}

fn max_tokens(config: &Fields, model: &Model) -> Result<Option<u64>, Refused> {
    match config.integer("maxOutputTokens")? {
        Some(most) if !(1..=model.output_limit as i64).contains(&most) => {
            Err(Refused::invalid(format!(
                "Unable to submit request because it has a maxOutputTokens value of {most} but the supported range \
                 is from 1 (inclusive) to {} (exclusive). Update the value and try again.",
                model.output_limit + 1
            )))
        }
        most => Ok(most.map(|most| most as u64)),
    }
}

fn form<'a>(config: &Fields<'a>) -> Result<(bool, Option<&'a Value>), Refused> {
    let kind = config.string("responseMimeType")?.unwrap_or("text/plain");
    let kinds = [
        "text/plain",
        "application/json",
        "application/xml",
        "application/yaml",
        "text/x.enum",
    ];
    if !kinds.contains(&kind) {
        return Err(Refused::rule(
            &config.path("responseMimeType"),
            &format!("allowed mimetypes are `{}`.", kinds.join("`, `")),
        ));
    }
    let json = kind == "application/json";
    let subset = config.message("responseSchema")?;
    let full = config.get("responseJsonSchema");
    if subset.is_some() && full.is_some() {
        return Err(Refused::invalid(
            "Only one of response_schema and response_json_schema may be set.",
        ));
    }
    if (subset.is_some() || full.is_some()) && !json {
        return Err(Refused::rule(
            &config.path("responseMimeType"),
            "a response schema needs the mimetype `application/json`.",
        ));
    }
    if let Some(subset) = &subset {
        schema::check(subset)?;
    }
    if let Some(full) = full {
        schema::check_full(full, &config.path("responseJsonSchema"))?;
    }
    Ok((json, full.or(config.get("responseSchema"))))
}

fn logprobs(config: &Fields) -> Result<Option<i64>, Refused> {
    let wanted = config.boolean("responseLogprobs")?.unwrap_or_default();
    match config.integer("logprobs")? {
        Some(_) if !wanted => Err(Refused::invalid(
            "logprobs may only be set if response_logprobs is true.",
        )),
        Some(count) if !(0..=20).contains(&count) => Err(Refused::rule(
            &config.path("logprobs"),
            "logprobs must be in the range [0, 20].",
        )),
        count => Ok(wanted.then_some(count.unwrap_or_default())),
    }
}

fn thinks_unasked(model: &Model) -> bool {
    match model.kind {
        Kind::Budget { thinks_unasked, .. } => thinks_unasked,
        Kind::Level(_) => true,
        Kind::Plain | Kind::Embedding(_) => false,
    }
}

/// Returns whether the model thinks, and whether it shows that.
fn thinking(config: &Fields, model: &Model) -> Result<(bool, bool), Refused> {
    let Some(thinking) = config.message("thinkingConfig")? else {
        return Ok((thinks_unasked(model), false));
    };
    thinking.only(&["includeThoughts", "thinkingBudget", "thinkingLevel"])?;
    let levels = ["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"];
    let shows = thinking.boolean("includeThoughts")?.unwrap_or_default();
    let budget = thinking.integer("thinkingBudget")?;
    let level = thinking.word("thinkingLevel", &levels)?;
    let thinks = match (budget, level) {
        (Some(_), Some(_)) => {
            return Err(Refused::invalid(
                "You can only set only one of thinking budget and thinking level.",
            ));
        }
        (Some(budget), None) => in_budget(budget, model)?,
        (None, Some(level)) => at_level(level, model)?,
        (None, None) => thinks_unasked(model),
    };
    if shows && !thinks {
        return Err(Refused::invalid(
            "Thinking_config.include_thoughts is only enabled when thinking is enabled.",
        ));
    }
    Ok((thinks, shows))
}

fn in_budget(budget: i64, model: &Model) -> Result<bool, Refused> {
    match model.kind {
        Kind::Budget {
            least,
            most,
            can_be_off,
            ..
        } => match budget {
            -1 => Ok(true),
            0 if can_be_off => Ok(false),
            0 => Err(Refused::invalid(
                "Budget 0 is invalid. This model only works in thinking mode.",
            )),
            budget if (least..=most).contains(&budget) => Ok(true),
            budget => Err(Refused::invalid(format!(
                "The thinking budget {budget} is invalid. Please choose a value between {least} and {most}."
            ))),
        },
        Kind::Level(_) => Err(Refused::invalid(
            "Thinking budget is not supported for this model. Please use thinking level instead.",
        )),
        _ => Err(Refused::invalid(
            "Thinking is not supported for this model.",
        )),
    }
}

fn at_level(level: &str, model: &Model) -> Result<bool, Refused> {
    match model.kind {
        Kind::Level(levels) if levels.contains(&level) => Ok(true),
        Kind::Level(_) => Err(Refused::invalid(format!(
            "Thinking level {level} is not supported for this model. Please retry with other thinking level."
        ))),
        Kind::Budget { .. } => Err(Refused::invalid(
            "Thinking level is not supported for this model.",
        )),
        _ => Err(Refused::invalid(
            "Thinking is not supported for this model.",
        )),
    }
}
