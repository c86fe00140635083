//! `contents`: roles, parts, and that calls, their responses and their thought signatures fit each other.

use serde_json::Value;

use super::super::signature;
use super::fields::Fields;
use super::refused::Refused;

/// One turn.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) from_model: bool,
    pub(super) parts: Vec<Part<'a>>,
}

/// One part, as far as the simulated model looks at it.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Thought,
    Image,
    Other,
    Call {
        id: Option<&'a str>,
        name: &'a str,
        signed: bool,
    },
    Response {
        id: Option<&'a str>,
        name: &'a str,
        response: &'a Value,
    },
}

/// The kinds of data; a part has one of them.
const DATA: [&str; 9] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];

/// What Google lets stand in for a signature on calls that come from elsewhere.
const BYPASS: &str = "skip_thought_signature_validator";

const ATTRIBUTES: [&str; 5] = [
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "mediaResolution",
    "partMetadata",
];

const IMAGES: [&str; 6] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/heic",
    "image/heif",
];

/// Reads one turn of `contents`, or the system instruction.
pub(super) fn turn<'a>(content: &Fields<'a>) -> Result<Turn<'a>, Refused> {
    content.only(&["role", "parts"])?;
    let from_model = match content.string("role")?.unwrap_or_default() {
        "" | "user" => false,
        "model" => true,
        _ => return Err(Refused::invalid("Please use a valid role: user, model.")),
    };
    let parts = content.messages("parts")?;
    if parts.is_empty() {
        return Err(Refused::rule(
            &content.path("parts"),
            "contents.parts must not be empty.",
        ));
    }
    let parts = parts.iter().map(part).collect::<Result<_, _>>()?;
    Ok(Turn { from_model, parts })
}

fn part<'a>(part: &Fields<'a>) -> Result<Part<'a>, Refused> {
    part.only(&[&DATA[..], &ATTRIBUTES[..]].concat())?;
    let mut data = DATA.iter().filter(|kind| part.has(kind));
    let kind = match (data.next(), data.next()) {
        (None, _) => {
            let why = "required oneof field 'data' must have one initialized field";
            return Err(Refused::rule(&part.path("data"), why));
        }
        (Some(_), Some(second)) => {
            let message = format!(
                "Invalid value at '{}' (oneof), oneof field 'data' is already set. Cannot set '{second}'",
                part.here()
            );
            return Err(Refused::payload(part.here(), message));
        }
        (Some(kind), None) => *kind,
    };
    let signed = part.bytes("thoughtSignature")?;
    let thought = part.boolean("thought")?.unwrap_or_default();
    let read = match kind {
        "text" => {
            let text = part.string("text")?.unwrap_or_default();
            if thought {
                Part::Thought
            } else {
                Part::Text(text)
            }
        }
        "inlineData" => inline(part)?,
        "fileData" => file(part)?,
        "functionCall" => call(part, signed.is_some())?,
        "functionResponse" => response(part)?,
        _ => Part::Other,
    };
    let owner = match &read {
        Part::Call { name, .. } => name,
        _ => "",
    };
    match signed {
        Some(signature) if signature != BYPASS && !signature::is_of(signature, "call", owner) => {
            Err(Refused::invalid("Corrupted thought signature."))
        }
        _ => Ok(read),
    }
}

fn inline<'a>(part: &Fields<'a>) -> Result<Part<'a>, Refused> {
    let Some(data) = part.message("inlineData")? else {
        return Ok(Part::Other);
    };
    data.only(&["mimeType", "data", "displayName"])?;
    let kind = data.string("mimeType")?.unwrap_or_default();
    if data.bytes("data")?.is_none_or(str::is_empty) {
        return Err(Refused::rule(&data.path("data"), "must not be empty"));
    }
    if IMAGES.contains(&kind) {
        return Ok(Part::Image);
    }
    let known = ["audio/", "video/", "text/", "application/pdf"];
    if known.iter().any(|prefix| kind.starts_with(prefix)) {
        Ok(Part::Other)
    } else {
        Err(Refused::invalid(format!("Unsupported MIME type: {kind}")))
    }
}

/// Files are Google's own or videos of one site; nothing is fetched from anywhere else.
fn file<'a>(part: &Fields<'a>) -> Result<Part<'a>, Refused> {
    let Some(file) = part.message("fileData")? else {
        return Ok(Part::Other);
    };
    file.only(&["fileUri", "mimeType", "displayName"])?;
    let uri = file.string("fileUri")?.unwrap_or_default();
    let own = [
        "https://generativelanguage.googleapis.com/v1beta/files/",
        "https://www.youtube.com/",
        "https://youtu.be/",
        "gs://",
    ];
    if !own.iter().any(|prefix| uri.starts_with(prefix)) {
        return Err(Refused::invalid(format!(
            "Unsupported file URI type: {uri}. File URIs must be a File API (i.e. https://generativelanguage.googleapis.com/files/*) or Youtube URI."
        )));
    }
    match file.string("mimeType")? {
        Some(kind) if kind.starts_with("image/") => Ok(Part::Image),
        _ => Ok(Part::Other),
    }
}

fn call<'a>(part: &Fields<'a>, signed: bool) -> Result<Part<'a>, Refused> {
    let Some(call) = part.message("functionCall")? else {
        return Ok(Part::Other);
    };
    call.only(&["id", "name", "args", "partialArgs", "willContinue"])?;
    call.free("args")?;
    Ok(Part::Call {
        id: call.string("id")?.filter(|id| !id.is_empty()),
        name: name(&call)?,
        signed,
    })
}

fn response<'a>(part: &Fields<'a>) -> Result<Part<'a>, Refused> {
    let Some(response) = part.message("functionResponse")? else {
        return Ok(Part::Other);
    };
    response.only(&[
        "id",
        "name",
        "response",
        "parts",
        "willContinue",
        "scheduling",
    ])?;
    Ok(Part::Response {
        id: response.string("id")?.filter(|id| !id.is_empty()),
        name: name(&response)?,
        response: response.free("response")?.unwrap_or(&Value::Null),
    })
}

fn name<'a>(of: &Fields<'a>) -> Result<&'a str, Refused> {
    match of.string("name")?.unwrap_or_default() {
        "" => Err(Refused::rule(&of.path("name"), "Name cannot be empty.")),
        name => Ok(name),
    }
}

/// Makes one turn of the model's neighbouring ones, as streamed answers leave them in a client's history.
pub(super) fn merged<'a>(turns: impl IntoIterator<Item = Turn<'a>>) -> Vec<Turn<'a>> {
    let mut merged: Vec<Turn> = Vec::new();
    for turn in turns {
        match merged.last_mut() {
            Some(last) if last.from_model && turn.from_model => last.parts.extend(turn.parts),
            _ => merged.push(turn),
        }
    }
    merged
}

/// Checks the order of turns; `signs` is whether calls of the current turn must carry their signatures.
pub(super) fn order(turns: &[Turn], signs: bool) -> Result<(), Refused> {
    if turns.is_empty() {
        return Err(Refused::rule("contents", "contents is not specified"));
    }
    let mut before: Option<&Turn> = None;
    for turn in turns {
        let pending = before.map_or(0, |turn| turn.calls().count());
        let answered = turn.responses().count();
        if turn.calls().count() > 0 && before.is_none() {
            return Err(Refused::invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
            ));
        }
        if answered > 0 && pending == 0 {
            return Err(Refused::invalid(
                "Please ensure that function response turn comes immediately after a function call turn.",
            ));
        }
        if answered != pending {
            return Err(Refused::invalid(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
            ));
        }
        if let Some(before) = before {
            matched(before, turn)?;
        }
        before = Some(turn);
    }
    if before.is_some_and(|last| last.calls().count() > 0) {
        return Err(Refused::invalid(
            "Please ensure that function call turn is followed by a function response turn.",
        ));
    }
    if signs { signatures(turns) } else { Ok(()) }
}

/// Checks that every response is that of a call of the turn before, by its id if it has one, else by its name.
fn matched(calls: &Turn, responses: &Turn) -> Result<(), Refused> {
    let mut open: Vec<(Option<&str>, &str)> = calls.calls().collect();
    for (id, name) in responses.responses() {
        let found = open.iter().position(|(call_id, call_name)| {
            *call_name == name && (id.is_none() || call_id.is_none() || *call_id == id)
        });
        match found {
            Some(found) => drop(open.swap_remove(found)),
            None => {
                return Err(Refused::invalid(format!(
                    "Function response for `{name}` does not match any function call of the previous turn."
                )));
            }
        }
    }
    Ok(())
}

/// In the current turn, which began when the user last said something, the first call of each step is signed.
fn signatures(turns: &[Turn]) -> Result<(), Refused> {
    let began = turns
        .iter()
        .rposition(|turn| !turn.from_model && turn.responses().count() == 0)
        .unwrap_or_default();
    for (position, turn) in turns.iter().enumerate().skip(began) {
        let first = turn.parts.iter().find_map(|part| match part {
            Part::Call { name, signed, .. } => Some((name, signed)),
            _ => None,
        });
        if let Some((name, false)) = first {
            return Err(Refused::invalid(format!(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to \
                 work correctly, and missing thought_signature may lead to degraded model performance. Additional \
                 data, function call `default_api:{name}`, position {}. Please refer to \
                 https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
                position + 1
            )));
        }
    }
    Ok(())
}

impl<'a> Turn<'a> {
    fn calls(&self) -> impl Iterator<Item = (Option<&'a str>, &'a str)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Call { id, name, .. } => Some((*id, *name)),
            _ => None,
        })
    }

    fn responses(&self) -> impl Iterator<Item = (Option<&'a str>, &'a str)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Response { id, name, .. } => Some((*id, *name)),
            _ => None,
        })
    }
}
