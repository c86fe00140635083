//! The input of a client, as turns: messages, calls, their outputs and reasoning are items side by side.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::caching;
use super::super::chat::data_uri;
use super::super::custom;
use super::super::field::{Field, full};
use super::tools::Offer;
use super::{OWN_HIDDEN_THOUGHT, OWN_THOUGHT};
use crate::dialect::signature;
use crate::ir::{
    CacheTtl, Document, Dropped, Image, Json, Message, Part, Refused, Role, Text, Thought,
    ToolCall, ToolResult, take_from_result,
};

/// An item of any type; of a type that is not read here its fields may have any shape.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    role: Field<'a>,
    content: Field<'a>,
    id: Field<'a>,
    call_id: Field<'a>,
    name: Field<'a>,
    /// The namespace of the tool that is called.
    namespace: Field<'a>,
    arguments: Field<'a>,
    /// The input of a call of a custom tool, which is any text.
    input: Field<'a>,
    /// What a call of the client's shell runs.
    action: Field<'a>,
    output: Field<'a>,
    /// Tools that may be called from here on.
    tools: Field<'a>,
    /// A breakpoint after the item, as chats have it.
    cache_control: Field<'a>,
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
    /// A breakpoint after the part, as chats have it.
    cache_control: Field<'a>,
    filename: Option<Text<'a>>,
}

fn refused(text: impl Into<Cow<'static, str>>) -> Refused {
    Refused::field("input", text)
}

impl<'a> Item<'a> {
    fn kind(&self) -> &str {
        self.kind.as_ref().map_or("message", Text::as_escaped)
    }

    /// Returns the tools that it offers: to a client of OpenAI's newest models all of them, or those that a search has
    /// found.
    pub(super) fn tools(&self) -> Field<'a> {
        self.tools
            .filter(|_| matches!(self.kind(), "additional_tools" | "tool_search_output"))
    }
}

/// `input`.
pub(super) enum Input<'a> {
    /// What the user says.
    Text(Text<'a>),
    Items(Vec<Item<'a>>),
}

impl<'a> Input<'a> {
    pub(super) fn of(field: Field<'a>) -> Result<Self, Refused> {
        let field = field.ok_or_else(|| refused("`input` is missing"))?;
        if let Some(text) = Text::of(field) {
            return Ok(Input::Text(text));
        }
        let items: Vec<Item<'a>> = serde_json::from_str(field.get())
            .map_err(|_| refused("`input` must be a string or an array of items"))?;
        if items.is_empty() {
            Err(refused("`input` must hold an item"))
        } else {
            Ok(Input::Items(items))
        }
    }

    pub(super) fn items(&self) -> &[Item<'a>] {
        match self {
            Input::Text(_) => &[],
            Input::Items(items) => items,
        }
    }
}

fn is_own_thought(id: Field<'_>) -> bool {
    let id = id.and_then(Text::of);
    id.is_some_and(|id| id.as_escaped().starts_with(OWN_THOUGHT))
}

/// Appends the turns of `input`.
pub(super) fn read<'a>(
    input: Input<'a>,
    offer: &Offer<'a>,
    messages: &mut Vec<Message<'a>>,
    dropped: &mut Dropped,
) -> Result<(), Refused> {
    let items = match input {
        Input::Items(items) => items,
        Input::Text(text) => {
            messages.push(Message::new(Role::User, vec![Part::Text(text)]));
            return Ok(());
        }
    };
    for (place, item) in items.into_iter().enumerate() {
        let cache = caching::read(item.cache_control);
        let mut turn = turn(item, offer, dropped).map_err(|what| {
            let text = format!("`input[{place}]`: {}", what.text);
            Refused {
                text: text.into(),
                ..what
            }
        })?;
        if let Some(turn) = &mut turn {
            mark(&mut turn.parts, cache);
        }
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

/// Sets the breakpoint of an item, which is also that of what stands within a result.
fn mark(parts: &mut Vec<Part<'_>>, cache: Option<CacheTtl>) {
    let within = match parts.last_mut() {
        Some(Part::ToolResult(result)) => take_from_result(&mut result.parts),
        _ => None,
    };
    if !parts.last().is_none_or(Part::is_breakpoint) {
        parts.extend(cache.max(within).map(Part::Breakpoint));
    }
}

fn turn<'a>(
    item: Item<'a>,
    offer: &Offer<'a>,
    dropped: &mut Dropped,
) -> Result<Option<Message<'a>>, Refused> {
    let assistant = |part| Ok(Some(Message::new(Role::Assistant, vec![part])));
    match item.kind() {
        "message" => message(&item).map(Some),
        "function_call" => assistant(call(&item, offer, json_of(item.arguments))?),
        "custom_tool_call" => {
            let arguments = custom::arguments(&full(item.input).unwrap_or_default());
            assistant(call(&item, offer, arguments)?)
        }
        // Tools that clients run, and whose types are their names.
        "tool_search_call" => assistant(own_call(&item, "tool_search", item.arguments)?),
        "local_shell_call" => assistant(own_call(&item, "local_shell", item.action)?),
        "shell_call" => assistant(own_call(&item, "shell", item.action)?),
        "function_call_output" | "custom_tool_call_output" | "shell_call_output" => {
            result(item.call_id, content(item.output)?).map(Some)
        }
        "local_shell_call_output" => {
            let id = full(item.call_id).is_some();
            result(
                if id { item.call_id } else { item.id },
                content(item.output)?,
            )
            .map(Some)
        }
        "tool_search_output" => result(item.call_id, vec![Part::Text(found(&item))]).map(Some),
        "additional_tools" => Ok(None),
        "agent_message" => agent_message(&item, dropped),
        "reasoning" => Ok(thought(&item)
            .map(|thought| Message::new(Role::Assistant, vec![Part::Thought(thought)]))),
        // A client believes stored what was thought here, and the conversation goes on without it.
        "item_reference" if is_own_thought(item.id) => {
            dropped.add("input");
            Ok(None)
        }
        "item_reference" => Err(refused(
            "an `item_reference` names what is stored at OpenAI, and this model's provider is another one: send the item itself",
        )),
        "compaction" | "compaction_summary" | "context_compaction" => Err(refused(
            "a compacted conversation can be read by OpenAI alone, and this model's provider is another one: send the conversation itself, or a summary of it as a message",
        )),
        // What tools did that run at OpenAI: its outcome is in the words that follow.
        _ => {
            dropped.add("input");
            Ok(None)
        }
    }
}

/// Arguments, which are a string of JSON; some clients send the object itself.
fn json_of(field: Field<'_>) -> Json<'_> {
    match field.map(|raw| (Text::of(raw), raw)) {
        None => Json::empty_object(),
        Some((Some(text), _)) => Json::arguments(text.into_decoded()).0,
        Some((None, raw)) => Json::arguments(raw.get().into()).0,
    }
}

fn result<'a>(id: Field<'a>, parts: Vec<Part<'a>>) -> Result<Message<'a>, Refused> {
    let id = full(id).ok_or_else(|| refused("`call_id` is missing"))?;
    let result = ToolResult {
        id: Some(signature::unpack(id).0),
        name: None,
        parts,
        is_error: false,
    };
    Ok(Message::new(Role::User, vec![Part::ToolResult(result)]))
}

/// Returns what a search for tools came to, in words: the tools themselves are offered.
fn found(item: &Item<'_>) -> Text<'static> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Option<Text<'a>>,
        tools: Option<Vec<Named<'a>>>,
    }
    fn list(tools: &[Named<'_>], text: &mut Text<'static>) {
        for tool in tools {
            match (&tool.tools, &tool.name) {
                (Some(within), _) => list(within, text),
                (None, Some(name)) => {
                    text.push(&Text::escaped(r"\n- "));
                    text.push(name);
                }
                (None, None) => {}
            }
        }
    }
    let tools: Vec<Named<'_>> = item
        .tools
        .and_then(|tools| serde_json::from_str(tools.get()).ok())
        .unwrap_or_default();
    if tools.is_empty() {
        return Text::escaped("No tools were found.");
    }
    let mut text = Text::escaped("These tools can be called now:");
    list(&tools, &mut text);
    text
}

/// Returns what another agent told this one; what of it is encrypted only OpenAI can read.
fn agent_message<'a>(
    item: &Item<'a>,
    dropped: &mut Dropped,
) -> Result<Option<Message<'a>>, Refused> {
    let pieces: Vec<&RawValue> = item
        .content
        .and_then(|content| serde_json::from_str(content.get()).ok())
        .unwrap_or_default();
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match serde_json::from_str::<Piece<'a>>(piece.get()) {
            Ok(Piece {
                text: Some(text), ..
            }) => parts.push(Part::Text(text)),
            _ => dropped.add("input"),
        }
    }
    Ok((!parts.is_empty()).then(|| Message::new(Role::User, parts)))
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

fn call<'a>(item: &Item<'a>, offer: &Offer<'a>, arguments: Json<'a>) -> Result<Part<'a>, Refused> {
    let name = full(item.name).ok_or_else(|| refused("`name` is missing"))?;
    let name = offer.called(full(item.namespace).as_ref(), &name);
    named_call(item, name, arguments)
}

/// Reads a call of a tool that the client runs and that has no name but its type.
fn own_call<'a>(
    item: &Item<'a>,
    name: &'static str,
    arguments: Field<'a>,
) -> Result<Part<'a>, Refused> {
    named_call(item, Text::escaped(name), json_of(arguments))
}

fn named_call<'a>(
    item: &Item<'a>,
    name: Text<'a>,
    arguments: Json<'a>,
) -> Result<Part<'a>, Refused> {
    let id = full(item.call_id).or_else(|| full(item.id));
    let id = id.ok_or_else(|| refused("`call_id` is missing"))?;
    let (id, signature) = signature::unpack(id);
    Ok(Part::ToolCall(ToolCall {
        id: Some(id),
        name,
        arguments,
        signature,
    }))
}

/// Reads a thought; `None` where the item says nothing that could be passed on.
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

/// Reads a string, or a list of parts.
fn content(field: Field<'_>) -> Result<Vec<Part<'_>>, Refused> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    if let Some(text) = Text::of(field) {
        return Ok(vec![Part::Text(text)]);
    }
    let pieces: Vec<&RawValue> = serde_json::from_str(field.get())
        .map_err(|_| refused("`content` and `output` must be a string or an array of parts"))?;
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let piece: Piece<'_> = serde_json::from_str(piece.get())
            .map_err(|_| refused("a part must be an object with the fields of its `type`"))?;
        let cache = caching::read(piece.cache_control);
        parts.push(part(piece)?);
        parts.extend(cache.map(Part::Breakpoint));
    }
    Ok(parts)
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
