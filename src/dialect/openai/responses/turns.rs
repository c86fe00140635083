//! The input of a client, as turns: messages, calls, their outputs and reasoning are items side by side.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::chat::data_uri;
use super::super::field::Field;
use super::{OWN_HIDDEN_THOUGHT, OWN_THOUGHT};
use crate::dialect::signature;
use crate::ir::{
    Document, Dropped, Image, Json, Message, Part, Refused, Role, Text, Thought, ToolCall,
    ToolResult,
};

/// An item of any type; of a type that is not read here its fields may have any shape.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    role: Field<'a>,
    content: Field<'a>,
    id: Field<'a>,
    call_id: Field<'a>,
    name: Field<'a>,
    arguments: Field<'a>,
    /// Of a call of a custom tool: any text.
    input: Field<'a>,
    output: Field<'a>,
    summary: Field<'a>,
    encrypted_content: Field<'a>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    text: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    image_url: Option<Text<'a>>,
    detail: Option<Text<'a>>,
    file_data: Option<Text<'a>>,
    filename: Option<Text<'a>>,
}

fn refused(text: impl Into<Cow<'static, str>>) -> Refused {
    Refused::field("input", text)
}

/// Appends the turns of `input`.
pub(super) fn read<'a>(
    field: Field<'a>,
    messages: &mut Vec<Message<'a>>,
    dropped: &mut Dropped,
) -> Result<(), Refused> {
    let field = field.ok_or_else(|| refused("`input` is missing"))?;
    if let Some(text) = Text::of(field) {
        messages.push(Message::new(Role::User, vec![Part::Text(text)]));
        return Ok(());
    }
    let items: Vec<Item<'a>> = serde_json::from_str(field.get())
        .map_err(|_| refused("`input` must be a string or an array of items"))?;
    if items.is_empty() {
        return Err(refused("`input` must hold an item"));
    }
    for (place, item) in items.into_iter().enumerate() {
        let turn = turn(item, dropped).map_err(|what| {
            let text = format!("`input[{place}]`: {}", what.text);
            Refused {
                text: text.into(),
                ..what
            }
        })?;
        match (turn, messages.last_mut()) {
            // Reasoning, words and calls of one turn are several items.
            (Some(turn), Some(last))
                if turn.role == Role::Assistant && last.role == Role::Assistant =>
            {
                last.parts.extend(turn.parts);
            }
            (Some(turn), _) => messages.push(turn),
            (None, _) => {}
        }
    }
    Ok(())
}

fn turn<'a>(item: Item<'a>, dropped: &mut Dropped) -> Result<Option<Message<'a>>, Refused> {
    let assistant = |part| Ok(Some(Message::new(Role::Assistant, vec![part])));
    match item.kind.as_ref().map_or("message", Text::as_escaped) {
        "message" => message(&item).map(Some),
        "function_call" => {
            let (arguments, _) = match item.arguments.map(|raw| (Text::of(raw), raw)) {
                None => (Json::empty_object(), false),
                Some((Some(text), _)) => Json::arguments(text.into_decoded()),
                // Some clients send the object itself.
                Some((None, raw)) => Json::arguments(raw.get().into()),
            };
            assistant(call(&item, arguments)?)
        }
        "custom_tool_call" => {
            let mut arguments = b"{\"input\":".to_vec();
            full(item.input).unwrap_or_default().write(&mut arguments);
            arguments.push(b'}');
            let arguments = String::from_utf8(arguments).expect("made of strings");
            assistant(call(&item, Json::trusted(arguments))?)
        }
        "function_call_output" | "custom_tool_call_output" => {
            let id = full(item.call_id).ok_or_else(|| refused("`call_id` is missing"))?;
            let result = ToolResult {
                id: Some(signature::unpack(id).0),
                name: None,
                parts: content(item.output)?,
                is_error: false,
            };
            Ok(Some(Message::new(
                Role::User,
                vec![Part::ToolResult(result)],
            )))
        }
        "reasoning" => Ok(thought(&item)
            .map(|thought| Message::new(Role::Assistant, vec![Part::Thought(thought)]))),
        "item_reference" => Err(refused(
            "an `item_reference` names what is stored at OpenAI, and this model's provider is another one",
        )),
        // What tools did that run at OpenAI: its outcome is in the words that follow.
        _ => {
            dropped.add("input");
            Ok(None)
        }
    }
}

fn message<'a>(item: &Item<'a>) -> Result<Message<'a>, Refused> {
    let role = full(item.role).unwrap_or_default();
    let role = match role.as_escaped() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        _ => {
            return Err(refused(
                "`role` must be one of user, assistant, system, developer",
            ));
        }
    };
    Ok(Message::new(role, content(item.content)?))
}

fn call<'a>(item: &Item<'a>, arguments: Json<'a>) -> Result<Part<'a>, Refused> {
    let id = full(item.call_id).ok_or_else(|| refused("`call_id` is missing"))?;
    let name = full(item.name).ok_or_else(|| refused("`name` is missing"))?;
    let (id, signature) = signature::unpack(id);
    Ok(Part::ToolCall(ToolCall {
        id: Some(id),
        name,
        arguments,
        signature,
    }))
}

/// `None` where the item says nothing that could be passed on.
fn thought<'a>(item: &Item<'a>) -> Option<Thought<'a>> {
    let mut text = Text::default();
    for piece in [item.summary, item.content]
        .into_iter()
        .flatten()
        .flat_map(|list| serde_json::from_str::<Vec<Piece<'a>>>(list.get()).unwrap_or_default())
    {
        let Some(more) = piece.text.filter(|text| !text.is_empty()) else {
            continue;
        };
        if text.is_empty() {
            text = more;
        } else {
            text.push(&Text::escaped(r"\n\n"));
            text.push(&more);
        }
    }
    let signature = full(item.encrypted_content);
    let id = full(item.id);
    let begins = |mark| {
        id.as_ref()
            .is_some_and(|id: &Text<'_>| id.as_escaped().starts_with(mark))
    };
    let redacted = signature.is_some() && begins(OWN_HIDDEN_THOUGHT);
    let own = begins(OWN_THOUGHT);
    (signature.is_some() || !text.is_empty()).then(|| Thought {
        text,
        signature,
        redacted,
        id: id.filter(|_| !own),
    })
}

/// A string that is not empty.
fn full(field: Field<'_>) -> Option<Text<'_>> {
    field.and_then(Text::of).filter(|text| !text.is_empty())
}

/// A string, or a list of parts.
fn content(field: Field<'_>) -> Result<Vec<Part<'_>>, Refused> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    if let Some(text) = Text::of(field) {
        return Ok(vec![Part::Text(text)]);
    }
    let pieces: Vec<&RawValue> = serde_json::from_str(field.get())
        .map_err(|_| refused("`content` and `output` must be a string or an array of parts"))?;
    pieces
        .into_iter()
        .map(|piece| {
            serde_json::from_str::<Piece<'_>>(piece.get())
                .map_err(|_| refused("a part must be an object of its `type`'s form"))
                .and_then(part)
        })
        .collect()
}

fn part(piece: Piece<'_>) -> Result<Part<'_>, Refused> {
    match piece.kind.as_ref().map_or("", Text::as_escaped) {
        "input_text" | "output_text" | "text" => piece
            .text
            .map(Part::Text)
            .ok_or_else(|| refused("a part of text must have `text`")),
        "refusal" => piece
            .refusal
            .map(Part::Text)
            .ok_or_else(|| refused("a part of type refusal must have `refusal`")),
        "input_image" => {
            let url = piece.image_url.ok_or_else(|| {
                refused("an image must come as `image_url`: this model's provider cannot look up a `file_id`")
            })?;
            Image::from_url(url, piece.detail)
                .map(Part::Image)
                .map_err(|bad| refused(bad.to_string()))
        }
        "input_file" => {
            let data = piece.file_data.ok_or_else(|| {
                refused("a file must come as `file_data`: this model's provider cannot look it up elsewhere")
            })?;
            let (media_type, data) = data_uri(data.into_decoded())
                .ok_or_else(|| refused("`file_data` must be a URI of the form data:…;base64,…"))?;
            Ok(Part::Document(Document {
                name: piece.filename.filter(|name| !name.is_empty()),
                media_type,
                data,
            }))
        }
        _ => Err(refused(
            "a part's type must be one of input_text, output_text, refusal, input_image, input_file",
        )),
    }
}
