//! The content of a turn: blocks of every kind.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::signature;
use crate::ir::{
    CacheTtl, Document, Dropped, Image, Json, Part, Refused, Role, Text, Thought, ToolCall,
    ToolResult, take_from_result,
};

#[derive(Deserialize)]
pub(super) struct CacheControl<'a> {
    #[serde(borrow)]
    ttl: Option<Cow<'a, str>>,
}

impl CacheControl<'_> {
    pub(super) fn ttl(&self) -> CacheTtl {
        CacheTtl::named(self.ttl.as_deref())
    }
}

/// A block of any kind: the fields of all.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    text: Option<Text<'a>>,
    source: Option<&'a RawValue>,
    title: Option<Text<'a>>,
    /// What is said of a document.
    context: Option<Text<'a>>,
    citations: Option<Citations>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    input: Option<Json<'a>>,
    tool_use_id: Option<Text<'a>>,
    content: Option<&'a RawValue>,
    is_error: Option<bool>,
    thinking: Option<Text<'a>>,
    signature: Option<Text<'a>>,
    data: Option<Text<'a>>,
    cache_control: Option<CacheControl<'a>>,
}

/// Says of a document whether the answer is to quote it, and of a text in an answer what it quoted.
#[derive(Deserialize)]
#[serde(untagged)]
enum Citations {
    Wanted { enabled: bool },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    media_type: Option<Cow<'a, str>>,
    data: Option<Text<'a>>,
    url: Option<Text<'a>>,
    /// The text or the blocks of a document that is cut into pieces.
    content: Option<&'a RawValue>,
}

/// Reads a string or blocks.
pub(super) fn parts<'a>(
    content: &'a RawValue,
    role: Role,
    dropped: &mut Dropped,
) -> Result<Vec<Part<'a>>, Refused> {
    if let Some(text) = Text::of(content) {
        return Ok(vec![Part::Text(text)]);
    }
    let blocks: Vec<Block<'a>> = serde_json::from_str(content.get()).map_err(|_| {
        Refused::field(
            "messages",
            "messages: content must be a string or a list of content blocks",
        )
    })?;
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        let cache = block.cache_control.as_ref().map(CacheControl::ttl);
        match &*block.r#type {
            "document" => document(block, role, dropped, &mut parts)?,
            "search_result" => found(block, role, dropped, &mut parts)?,
            _ => parts.extend(part(block, role, dropped)?),
        }
        let within = match parts.last_mut() {
            Some(Part::ToolResult(result)) => take_from_result(&mut result.parts),
            _ => None,
        };
        parts.extend(cache.max(within).map(Part::Breakpoint));
    }
    Ok(parts)
}

fn part<'a>(
    block: Block<'a>,
    role: Role,
    dropped: &mut Dropped,
) -> Result<Option<Part<'a>>, Refused> {
    let missing = |what: &'static str| Refused::field("messages", what);
    Ok(Some(match &*block.r#type {
        "text" => Part::Text(
            block
                .text
                .ok_or_else(|| missing("messages: a text block has no text"))?,
        ),
        "image" => Part::Image(image(block.source)?),
        "tool_use" => {
            let id = block.id.map(signature::unpack);
            let (id, signature) = match id {
                Some((id, signature)) => (Some(id), signature),
                None => (None, None),
            };
            Part::ToolCall(ToolCall {
                id,
                name: block
                    .name
                    .ok_or_else(|| missing("messages: a tool_use block has no name"))?,
                arguments: block
                    .input
                    .filter(Json::is_object)
                    .unwrap_or_else(Json::empty_object),
                signature,
            })
        }
        "tool_result" => Part::ToolResult(ToolResult {
            id: block.tool_use_id.map(|id| signature::unpack(id).0),
            name: None,
            parts: match block.content {
                Some(content) => parts(content, role, dropped)?,
                None => Vec::new(),
            },
            is_error: block.is_error.unwrap_or(false),
        }),
        "thinking" => Part::Thought(Thought {
            text: block.thinking.unwrap_or_default(),
            signature: block.signature.filter(|signature| !signature.is_empty()),
            redacted: false,
            id: None,
        }),
        "redacted_thinking" => Part::Thought(Thought {
            text: Text::default(),
            signature: block.data,
            redacted: true,
            id: None,
        }),
        // Server tools and their results, uploads: only Anthropic knows them.
        _ => {
            dropped.add("messages.content");
            return Ok(None);
        }
    }))
}

fn image(source: Option<&RawValue>) -> Result<Image<'_>, Refused> {
    let refused = |why: String| Refused::field("messages", format!("messages: {why}"));
    let source = source.and_then(|source| serde_json::from_str::<Source<'_>>(source.get()).ok());
    let Some(source) = source else {
        return Err(refused("an image has no source".into()));
    };
    match (&*source.r#type, source.data, source.url) {
        ("base64", Some(data), _) => {
            Image::from_base64(plain(data)).map_err(|bad| refused(bad.to_string()))
        }
        ("url", _, Some(url)) => Image::from_url(url, None).map_err(|bad| refused(bad.to_string())),
        _ => Err(refused(
            "this model's provider takes images as base64 or url, not as files".into(),
        )),
    }
}

fn document<'a>(
    block: Block<'a>,
    role: Role,
    dropped: &mut Dropped,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Refused> {
    let refused = || {
        Refused::field(
            "messages",
            "messages: this model's provider takes documents as base64, text or content, not by address or as files",
        )
    };
    name_citations(&block, dropped);
    let source = block
        .source
        .and_then(|source| serde_json::from_str::<Source<'a>>(source.get()).ok())
        .ok_or_else(refused)?;
    match (&*source.r#type, source.data, source.content) {
        ("base64", Some(data), _) => {
            dropped.add_if(block.context.is_some(), "messages.content.context");
            parts.push(Part::Document(Document {
                name: block.title,
                media_type: source
                    .media_type
                    .unwrap_or(Cow::Borrowed("application/pdf")),
                data: plain(data),
            }));
        }
        ("text", Some(text), _) => {
            parts.push(Part::Text(headed(text, block.title, block.context)));
        }
        ("content", _, Some(content)) => {
            let content = self::parts(content, role, dropped)?;
            parts.extend(under(content, block.title, block.context));
        }
        _ => return Err(refused()),
    }
    Ok(())
}

/// Reads what a client has found by itself, under its title and where it comes from.
fn found<'a>(
    block: Block<'a>,
    role: Role,
    dropped: &mut Dropped,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Refused> {
    name_citations(&block, dropped);
    let content = block.content.ok_or_else(|| {
        Refused::field("messages", "messages: a search_result block has no content")
    })?;
    let content = self::parts(content, role, dropped)?;
    parts.extend(under(content, block.title, block.source.and_then(Text::of)));
    Ok(())
}

fn name_citations(block: &Block<'_>, dropped: &mut Dropped) {
    let cited = matches!(block.citations, Some(Citations::Wanted { enabled: true }));
    dropped.add_if(cited, "messages.content.citations");
}

/// Pieces of a document: texts that follow each other are one, the first under its title.
fn under<'a>(
    content: Vec<Part<'a>>,
    title: Option<Text<'a>>,
    context: Option<Text<'a>>,
) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = vec![Part::Text(Text::default())];
    for part in content {
        match (part, parts.last_mut()) {
            (Part::Text(more), Some(Part::Text(text))) => {
                if !text.is_empty() {
                    text.push(&Text::escaped(r"\n\n"));
                }
                text.push(&more);
            }
            (part, _) => parts.push(part),
        }
    }
    if let Some(Part::Text(first)) = parts.first_mut() {
        *first = headed(std::mem::take(first), title, context);
    }
    parts
}

/// Returns a document of text under its title, and after what is said of it.
fn headed<'a>(text: Text<'a>, title: Option<Text<'a>>, context: Option<Text<'a>>) -> Text<'a> {
    let mut whole = Text::default();
    for (said, end) in [(title, r":\n"), (context, r"\n\n")] {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            whole.push(&said);
            whole.push(&Text::escaped(end));
        }
    }
    if whole.is_empty() {
        return text;
    }
    whole.push(&text);
    whole
}

/// Returns base64 without escapes. It needs none; some writers escape its slashes all the same.
fn plain(text: Text<'_>) -> Cow<'_, str> {
    if text.as_escaped().contains('\\') {
        Cow::Owned(text.decoded().into_owned())
    } else {
        text.into_inner()
    }
}
