//! The messages of a client, as turns.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::caching;
use super::super::custom;
use super::super::details;
use super::super::field::{self, Field};
use crate::dialect::signature;
use crate::ir::{
    Document, Dropped, Image, Json, Message, Part, Refused, Role, Text, ThoughtPlace, ToolCall,
    ToolResult, take_from_result,
};

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    content: Field<'a>,
    name: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    reasoning: Field<'a>,
    reasoning_content: Field<'a>,
    reasoning_details: Field<'a>,
    tool_calls: Option<Vec<Called<'a>>>,
    function_call: Option<Function<'a>>,
    tool_call_id: Option<Text<'a>>,
    audio: Field<'a>,
    /// A breakpoint after the whole message, as LiteLLM's clients write it.
    cache_control: Field<'a>,
}

#[derive(Deserialize)]
struct Called<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(rename = "type")]
    kind: Option<Text<'a>>,
    function: Option<Function<'a>>,
    custom: Option<Custom<'a>>,
}

/// A call of a tool that takes plain text.
#[derive(Deserialize)]
struct Custom<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    input: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    /// A string of JSON; some clients send the object itself.
    arguments: Field<'a>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    text: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    image_url: Field<'a>,
    input_audio: Option<Audio<'a>>,
    file: Option<File<'a>>,
    cache_control: Field<'a>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    detail: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Text<'a>,
    format: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    file_data: Option<Text<'a>>,
    filename: Option<Text<'a>>,
}

fn refused(text: impl Into<Cow<'static, str>>) -> Refused {
    Refused::field("messages", text)
}

pub(super) fn read<'a>(
    field: Field<'a>,
    dropped: &mut Dropped,
) -> Result<Vec<Message<'a>>, Refused> {
    let turns: Vec<Turn<'_>> = field::read(field, "messages", "an array of messages")?
        .ok_or_else(|| refused("`messages` is missing"))?;
    if turns.is_empty() {
        return Err(refused("`messages` must hold a message"));
    }
    turns
        .into_iter()
        .enumerate()
        .map(|(place, turn)| {
            // What was said aloud is kept by OpenAI, under an id.
            dropped.add_if(turn.audio.is_some(), "messages.audio");
            message(turn).map_err(|what| {
                let text = format!("`messages[{place}]`: {}", what.text);
                Refused {
                    text: text.into(),
                    ..what
                }
            })
        })
        .collect()
}

fn message(turn: Turn<'_>) -> Result<Message<'_>, Refused> {
    let cache = caching::read(turn.cache_control);
    let mut message = said(turn)?;
    // One within a result is one after it.
    let within = match message.parts.last_mut() {
        Some(Part::ToolResult(result)) => take_from_result(&mut result.parts),
        _ => None,
    };
    let cache = cache.max(within).filter(|_| !message.parts.is_empty());
    message.parts.extend(cache.map(Part::Breakpoint));
    Ok(message)
}

fn said(mut turn: Turn<'_>) -> Result<Message<'_>, Refused> {
    let name = turn.name.take().filter(|name| !name.is_empty());
    let role = turn.role.take().unwrap_or_default();
    let mut places = Vec::new();
    let (role, parts) = match role.as_escaped() {
        "system" | "developer" => (Role::System, content(turn.content)?),
        "user" => (Role::User, content(turn.content)?),
        "assistant" => (Role::Assistant, assistant(turn, &mut places)?),
        "tool" => {
            let id = turn.tool_call_id.map(|id| signature::unpack(id).0);
            return result(id, name, turn.content);
        }
        "function" => return result(None, name, turn.content),
        _ => {
            return Err(refused(
                "`role` must be one of system, developer, user, assistant, tool, function",
            ));
        }
    };
    Ok(Message {
        role,
        parts,
        name,
        places,
    })
}

fn result<'a>(
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    said: Field<'a>,
) -> Result<Message<'a>, Refused> {
    let result = ToolResult {
        id: id.filter(|id| !id.is_empty()),
        name,
        parts: content(said)?,
        is_error: false,
    };
    Ok(Message::new(Role::User, vec![Part::ToolResult(result)]))
}

/// Reads a turn of the assistant's; `places` gets where the thoughts stood among the rest.
fn assistant<'a>(
    turn: Turn<'a>,
    places: &mut Vec<Option<ThoughtPlace>>,
) -> Result<Vec<Part<'a>>, Refused> {
    let said = [turn.reasoning_content, turn.reasoning]
        .into_iter()
        .flatten()
        .find_map(|field| Text::of(field).filter(|text| !text.is_empty()));
    let thoughts = details::read(turn.reasoning_details, said);
    let mut parts = Vec::with_capacity(thoughts.len() + 1);
    for placed in thoughts {
        places.push(placed.place.map(ThoughtPlace::from));
        parts.push(Part::Thought(placed.thought));
    }
    parts.extend(content(turn.content)?);
    parts.extend(turn.refusal.filter(|text| !text.is_empty()).map(Part::Text));
    for called in turn.tool_calls.unwrap_or_default() {
        let kind = called.kind.as_ref().map(Text::as_escaped);
        parts.push(match (kind, called.function, called.custom) {
            (None | Some("function"), Some(function), _) => {
                let arguments = arguments(function.arguments);
                call(called.id, function.name, arguments)?
            }
            (None | Some("custom"), _, Some(tool)) => {
                let arguments = custom::arguments(&tool.input.unwrap_or_default());
                call(called.id, tool.name, arguments)?
            }
            _ => {
                return Err(refused(
                    "this model's provider takes only tool calls of type function and custom",
                ));
            }
        });
    }
    if let Some(function) = turn.function_call {
        let arguments = arguments(function.arguments);
        parts.push(call(None, function.name, arguments)?);
    }
    Ok(parts)
}

/// Reads a string of JSON, or the object itself.
fn arguments(field: Field<'_>) -> Json<'_> {
    match field.map(|field| (Text::of(field), field)) {
        None => Json::empty_object(),
        Some((Some(text), _)) => Json::arguments(text.into_decoded()).0,
        Some((None, field)) => Json::arguments(Cow::Borrowed(field.get())).0,
    }
}

fn call<'a>(
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    arguments: Json<'a>,
) -> Result<Part<'a>, Refused> {
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| refused("a tool call must have the name of its function"))?;
    let (id, signature) = match id.filter(|id| !id.is_empty()) {
        Some(packed) => {
            let (id, signature) = signature::unpack(packed);
            (Some(id), signature)
        }
        None => (None, None),
    };
    Ok(Part::ToolCall(ToolCall {
        id,
        name,
        arguments,
        signature,
    }))
}

/// Reads a string or an array of parts; empty texts are left out.
fn content(field: Field<'_>) -> Result<Vec<Part<'_>>, Refused> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    if let Some(text) = Text::of(field) {
        return Ok(if text.is_empty() {
            Vec::new()
        } else {
            vec![Part::Text(text)]
        });
    }
    let pieces: Vec<Piece<'_>> = serde_json::from_str(field.get())
        .map_err(|_| refused("`content` must be a string or an array of parts"))?;
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let cache = caching::read(piece.cache_control);
        if let Some(part) = part(piece)? {
            parts.push(part);
            parts.extend(cache.map(Part::Breakpoint));
        }
    }
    Ok(parts)
}

fn part(piece: Piece<'_>) -> Result<Option<Part<'_>>, Refused> {
    let kind = piece.kind.as_ref().map_or("text", |kind| kind.as_escaped());
    let part = match kind {
        "text" | "input_text" | "output_text" => {
            return Ok(piece.text.filter(|text| !text.is_empty()).map(Part::Text));
        }
        "refusal" => {
            let text = piece.refusal.or(piece.text);
            return Ok(text.filter(|text| !text.is_empty()).map(Part::Text));
        }
        "image_url" | "input_image" => piece.image_url.map(image),
        "input_audio" => piece.input_audio.map(audio),
        "file" => piece.file.map(file),
        _ => {
            return Err(refused(
                "a part of `content` must be of type text, image_url, input_audio, file or refusal",
            ));
        }
    };
    part.unwrap_or_else(|| Err(refused("a part of `content` lacks what its type names")))
        .map(Some)
}

/// Reads an object, or the address itself.
fn image(field: &RawValue) -> Result<Part<'_>, Refused> {
    let address = match Text::of(field) {
        Some(url) => ImageUrl { url, detail: None },
        None => serde_json::from_str(field.get())
            .map_err(|_| refused("`image_url` must be an object with a `url`"))?,
    };
    Image::from_url(address.url, address.detail)
        .map(Part::Image)
        .map_err(|bad| refused(bad.to_string()))
}

fn audio(audio: Audio<'_>) -> Result<Part<'_>, Refused> {
    let format = audio.format.unwrap_or_default();
    let media_type = match format.as_escaped() {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        _ => return Err(refused("`input_audio.format` must be wav or mp3")),
    };
    Ok(Part::Document(Document {
        name: None,
        media_type: media_type.into(),
        data: audio.data.into_decoded(),
    }))
}

/// Reads a file that comes with its contents: an id names a file that only OpenAI has.
fn file(file: File<'_>) -> Result<Part<'_>, Refused> {
    let data = file.file_data.ok_or_else(|| {
        refused("a file must come as `file_data`: this model's provider cannot look up a `file_id`")
    })?;
    let (media_type, data) = data_uri(data.into_decoded())
        .ok_or_else(|| refused("`file_data` must be a URI of the form data:…;base64,…"))?;
    Ok(Part::Document(Document {
        name: file.filename.filter(|name| !name.is_empty()),
        media_type,
        data,
    }))
}

/// Returns the media type and the base64 of a `data:` URI (RFC 2397).
pub(in super::super) fn data_uri(uri: Cow<'_, str>) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    fn split(uri: &str) -> Option<(&str, &str)> {
        let (head, data) = uri.split_once(',')?;
        let (scheme, head) = head.split_at_checked("data:".len())?;
        let media_type = head.strip_suffix(";base64")?;
        let media_type = media_type.split(';').next()?;
        (scheme.eq_ignore_ascii_case("data:") && !media_type.is_empty())
            .then_some((media_type, data))
    }
    match uri {
        Cow::Borrowed(uri) => split(uri).map(|(kind, data)| (kind.into(), data.into())),
        Cow::Owned(uri) => {
            split(&uri).map(|(kind, data)| (kind.to_owned().into(), data.to_owned().into()))
        }
    }
}
