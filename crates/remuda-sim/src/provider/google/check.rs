//! A `generateContent` request as the API checks it.

use serde_json::Value;

use super::config::{self, Config};
use super::contents::{self, Turn};
use super::continuation;
use super::fields::Fields;
use super::models::Model;
use super::refused::Refused;
use super::schema;

/// A request that the API takes.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) system: Option<Turn<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) mode: Mode,
    /// The functions that may be called; none is all.
    pub(super) allowed: Vec<&'a str>,
    pub(super) config: Config<'a>,
    /// Tokens of the answer that were said before it was broken off.
    pub(super) continues_at: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Tool<'a> {
    pub(super) name: &'a str,
    pub(super) schema: Option<&'a Value>,
}

/// `functionCallingConfig.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Auto,
    Any,
    None,
    Validated,
}

const KNOWN: [&str; 10] = [
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "continuationToken",
    "serviceTier",
];

const HARMS: [&str; 6] = [
    "HARM_CATEGORY_UNSPECIFIED",
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
];

const THRESHOLDS: [&str; 6] = [
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
];

/// Checks a body for `model`.
pub(super) fn check<'a>(body: &'a Value, model: &Model) -> Result<Checked<'a>, Refused> {
    let fields = Fields::root(body)?;
    fields.only(&KNOWN)?;
    let system = fields.message("systemInstruction")?;
    let turns = fields.messages("contents")?;
    let turns: Vec<Turn> = turns.iter().map(contents::turn).collect::<Result<_, _>>()?;
    let turns = contents::merged(turns);
    contents::order(&turns, model.signs)?;
    for setting in fields.messages("safetySettings")? {
        setting.only(&["category", "threshold", "method"])?;
        setting.word("category", &HARMS)?;
        setting.word("threshold", &THRESHOLDS)?;
    }
    let tools = tools(&fields)?;
    let (mode, allowed) = mode(&fields, &tools)?;
    let config = fields.message("generationConfig")?;
    Ok(Checked {
        system: system.as_ref().map(contents::turn).transpose()?,
        turns,
        tools,
        mode,
        allowed,
        config: config::check(config.as_ref(), model)?,
        continues_at: continues_at(&fields)?,
    })
}

fn continues_at(fields: &Fields) -> Result<Option<usize>, Refused> {
    let Some(token) = fields.bytes("continuationToken")? else {
        return Ok(None);
    };
    match continuation::read_token(token) {
        Some(said) => Ok(Some(said)),
        None => Err(Refused::invalid("Invalid continuation token.")),
    }
}

fn tools<'a>(fields: &Fields<'a>) -> Result<Vec<Tool<'a>>, Refused> {
    let mut found: Vec<Tool> = Vec::new();
    for tool in fields.messages("tools")? {
        tool.only(&[
            "functionDeclarations",
            "googleSearch",
            "googleSearchRetrieval",
            "codeExecution",
            "urlContext",
            "computerUse",
            "fileSearch",
            "googleMaps",
        ])?;
        for declared in tool.messages("functionDeclarations")? {
            let declared = declaration(&declared)?;
            if found.iter().any(|other| other.name == declared.name) {
                return Err(Refused::invalid(format!(
                    "Duplicate function declaration found: {}",
                    declared.name
                )));
            }
            found.push(declared);
        }
    }
    Ok(found)
}

fn declaration<'a>(declared: &Fields<'a>) -> Result<Tool<'a>, Refused> {
    declared.only(&[
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "behavior",
    ])?;
    declared.string("description")?;
    let name = declared.string("name")?.unwrap_or_default();
    let first = name.bytes().next();
    let begins = first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if !begins || name.len() > 128 || !name.bytes().all(legal) {
        return Err(Refused::rule(
            &declared.path("name"),
            "Invalid function name. Must start with a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), \
             underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.",
        ));
    }
    let subset = declared.message("parameters")?;
    let full = declared.get("parametersJsonSchema");
    match (&subset, full) {
        (Some(_), Some(_)) => {
            return Err(Refused::rule(
                declared.here(),
                "only one of parameters and parameters_json_schema may be set",
            ));
        }
        (Some(subset), None) => {
            schema::check(subset)?;
            if subset.word("type", &["OBJECT"]).is_err() {
                let why = "schema should be of type OBJECT";
                return Err(Refused::rule(&declared.path("parameters"), why));
            }
        }
        (None, Some(full)) if full["type"] != "object" => {
            let why = "schema should be of type object";
            return Err(Refused::rule(&declared.path("parametersJsonSchema"), why));
        }
        (None, Some(full)) => schema::check_full(full, &declared.path("parametersJsonSchema"))?,
        _ => {}
    }
    Ok(Tool {
        name,
        schema: full.or(declared.get("parameters")),
    })
}

fn mode<'a>(fields: &Fields<'a>, tools: &[Tool]) -> Result<(Mode, Vec<&'a str>), Refused> {
    let Some(config) = fields.message("toolConfig")? else {
        return Ok((Mode::Auto, Vec::new()));
    };
    config.only(&[
        "functionCallingConfig",
        "retrievalConfig",
        "includeServerSideToolInvocations",
    ])?;
    let Some(config) = config.message("functionCallingConfig")? else {
        return Ok((Mode::Auto, Vec::new()));
    };
    config.only(&[
        "mode",
        "allowedFunctionNames",
        "streamFunctionCallArguments",
    ])?;
    let words = ["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"];
    let mode = match config.word("mode", &words)? {
        Some("ANY") => Mode::Any,
        Some("NONE") => Mode::None,
        Some("VALIDATED") => Mode::Validated,
        _ => Mode::Auto,
    };
    if tools.is_empty() && mode != Mode::None {
        return Err(Refused::invalid(
            "Function calling config is set without function_declarations.",
        ));
    }
    let allowed = config.strings("allowedFunctionNames")?;
    let path = config.path("allowedFunctionNames");
    if !allowed.is_empty() && !matches!(mode, Mode::Any | Mode::Validated) {
        let why = "allowed_function_names should be set only when mode is ANY or VALIDATED.";
        return Err(Refused::rule(&path, why));
    }
    let declared = |name: &&str| tools.iter().any(|tool| tool.name == *name);
    match allowed.iter().find(|name| !declared(name)) {
        Some(name) => Err(Refused::rule(
            &path,
            &format!(
                "allowed_function_names: \"{name}\" is not declared in function_declarations."
            ),
        )),
        None => Ok((mode, allowed)),
    }
}
