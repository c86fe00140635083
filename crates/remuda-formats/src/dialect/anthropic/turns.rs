//! The turns of a request, as the provider takes them: blocks of which none is empty, thoughts where they were and signed,
//! every call answered in the turn that follows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dialect::call_ids::CallIds;
use crate::dialect::signature;
use crate::dialect::signature::of_gemini;
use crate::dialect::turns::{self, Amid};
use crate::ir::{
    CacheTtl, Document, Image, MediaType, Message, Part, Refused, Role, Text, ToolNames, ToolResult,
};

/// The longest name of a tool.
pub(super) const LONGEST_NAME: usize = 64;

const IDS: CallIds = CallIds::Plain(64);

/// Puts the turns in the order that the provider asks for. The system prompt is hoisted before.
pub(super) fn arrange(messages: &mut Vec<Message<'_>>, amid: Amid) {
    for message in messages.iter_mut() {
        message.parts.retain(|part| match part {
            // Nobody else's thoughts are believed, and they must not become text.
            Part::Thought(thought) => {
                // An OpenAI `reasoning` item is told by its id.
                let signature = thought.signature.as_ref();
                thought.id.is_none()
                    && signature.is_some_and(|signature| {
                        !signature.is_empty() && of_gemini(signature).is_none()
                    })
            }
            _ => true,
        });
    }
    turns::arrange(messages, "Continue.", amid);
}

/// Appends `[{"role":…,"content":[…]},…]`.
///
/// # Errors
/// For an image or a document that the provider does not take.
pub(super) fn write(
    messages: &[Message<'_>],
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    out.push(b'[');
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(match message.role {
            Role::Assistant => b"{\"role\":\"assistant\",\"content\":[".as_slice(),
            Role::User => b"{\"role\":\"user\",\"content\":[",
            Role::System => b"{\"role\":\"system\",\"content\":[",
        });
        write_parts(&message.parts, names, out)?;
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    Ok(())
}

/// Appends the blocks of a turn, or of the system prompt.
pub(super) fn write_parts(
    parts: &[Part<'_>],
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let mut markable = false;
    for (index, part) in parts.iter().enumerate() {
        if let Part::Breakpoint(ttl) = part {
            if std::mem::take(&mut markable) {
                out.pop();
                write_breakpoint(*ttl, out);
                out.push(b'}');
            }
            continue;
        }
        // A thought is kept with what it led to, and not by itself.
        markable = !matches!(part, Part::Thought(_));
        if index > 0 {
            out.push(b',');
        }
        match part {
            Part::Text(text) => {
                out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
                text.write(out);
                out.push(b'}');
            }
            Part::Image(image) => write_image(image, out)?,
            Part::Document(document) => write_document(document, out)?,
            Part::Thought(thought) => {
                let data = thought.signature.as_ref().map_or("", Text::as_escaped);
                if thought.redacted {
                    field_texts(&[("type", "redacted_thinking"), ("data", data)], out);
                } else {
                    field_texts(
                        &[
                            ("type", "thinking"),
                            ("thinking", thought.text.as_escaped()),
                            ("signature", data),
                        ],
                        out,
                    );
                }
            }
            Part::ToolCall(call) => {
                let id = id(call.id.as_ref());
                let name = names.sent(&call.name, LONGEST_NAME);
                field_texts(
                    &[
                        ("type", "tool_use"),
                        ("id", id.as_escaped()),
                        ("name", name.as_escaped()),
                    ],
                    out,
                );
                out.pop();
                out.extend_from_slice(b",\"input\":");
                call.arguments.write(out);
                out.push(b'}');
            }
            Part::ToolResult(result) => write_result(result, names, out)?,
            // Said within the block before.
            Part::Breakpoint(_) => {}
        }
    }
    Ok(())
}

/// Appends the member to a block, a tool or the request.
pub(super) fn write_breakpoint(ttl: CacheTtl, out: &mut Vec<u8>) {
    out.extend_from_slice(match ttl {
        CacheTtl::Short => br#","cache_control":{"type":"ephemeral"}"#.as_slice(),
        CacheTtl::Hour => br#","cache_control":{"type":"ephemeral","ttl":"1h"}"#,
    });
}

/// Appends an object of texts that are escaped already.
fn field_texts(fields: &[(&str, &str)], out: &mut Vec<u8>) {
    for (index, (name, text)) in fields.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

fn id<'a>(id: Option<&Text<'a>>) -> Text<'a> {
    let id = id.cloned().unwrap_or_default();
    IDS.sent(&signature::unpack(id).0)
}

fn write_result(
    result: &ToolResult<'_>,
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let id = id(result.id.as_ref());
    field_texts(
        &[("type", "tool_result"), ("tool_use_id", id.as_escaped())],
        out,
    );
    out.pop();
    if result.is_error {
        out.extend_from_slice(b",\"is_error\":true");
    }
    let blank = |part: &&Part<'_>| matches!(part, Part::Text(text) if text.is_blank());
    let parts: Vec<_> = result
        .parts
        .iter()
        .filter(|part| !blank(part))
        .cloned()
        .collect();
    if !parts.is_empty() {
        out.extend_from_slice(b",\"content\":[");
        write_parts(&parts, names, out)?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

fn write_image(image: &Image<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    match image {
        Image::Base64 {
            media_type: MediaType::Bmp | MediaType::Heic | MediaType::Avif,
            ..
        } => Err(Refused::field(
            "messages",
            "this model's provider takes images as PNG, JPEG, GIF or WebP",
        )),
        Image::Base64 {
            media_type, data, ..
        } => {
            out.extend_from_slice(b"{\"type\":\"image\",\"source\":");
            let fields = [
                ("type", "base64"),
                ("media_type", media_type.name()),
                ("data", data),
            ];
            field_texts(&fields, out);
            out.push(b'}');
            Ok(())
        }
        Image::Url { url, .. } => {
            out.extend_from_slice(b"{\"type\":\"image\",\"source\":");
            field_texts(&[("type", "url"), ("url", url.as_escaped())], out);
            out.push(b'}');
            Ok(())
        }
    }
}

/// Returns the text of a file of text.
fn text_of(document: &Document<'_>) -> Result<Text<'static>, Refused> {
    let text = STANDARD
        .decode(&*document.data)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| {
            Refused::field(
                "messages",
                "a file of text must be base64 of UTF-8, and not blank",
            )
        })?;
    Ok(Text::plain(&text).into_owned())
}

fn write_document(document: &Document<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let (kind, media_type, data) = match document.media_type.split(';').next() {
        Some("application/pdf") => ("base64", "application/pdf", Text::escaped(&*document.data)),
        // Whatever it is written in, that is its name here.
        Some(kind) if kind.starts_with("text/") || kind == "application/json" => {
            ("text", "text/plain", text_of(document)?)
        }
        _ => {
            return Err(Refused::field(
                "messages",
                "this model's provider takes documents as PDF or text, and no recordings",
            ));
        }
    };
    out.extend_from_slice(b"{\"type\":\"document\",\"source\":");
    let fields = [
        ("type", kind),
        ("media_type", media_type),
        ("data", data.as_escaped()),
    ];
    field_texts(&fields, out);
    if let Some(name) = &document.name {
        out.extend_from_slice(b",\"title\":");
        name.write(out);
    }
    out.push(b'}');
    Ok(())
}
