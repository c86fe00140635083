//! The blocks of messages: what each union may hold, and what is refused within it.

use super::super::ledger::Ledger;
use super::super::picture;
use super::super::signature;
use super::fields::Fields;
use super::refused::Refused;

/// One block, as far as the simulated model looks at it.
#[derive(Debug)]
pub(super) enum Block<'a> {
    Text(&'a str),
    Image,
    Document,
    Reasoning,
    ToolUse {
        id: &'a str,
    },
    ToolResult {
        id: &'a str,
        text: String,
        images: usize,
    },
    CachePoint,
}

/// Bytes of one image.
const MAX_IMAGE: usize = 3_932_160;

const BLOCKS: [&str; 7] = [
    "text",
    "image",
    "document",
    "toolUse",
    "toolResult",
    "cachePoint",
    "reasoningContent",
];

/// Returns whether a byte may stand in the name of a tool.
pub(super) fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

pub(super) const NAME_PATTERN: &str = "[a-zA-Z0-9_-]+";

fn in_id(byte: u8) -> bool {
    in_name(byte) || matches!(byte, b'.' | b':')
}

/// Reads one block of a message.
pub(super) fn block<'a>(
    block: &Fields<'a>,
    from_user: bool,
    ledger: &mut Ledger,
) -> Result<Block<'a>, Refused> {
    let kind = block.union(&BLOCKS)?;
    let misplaced = match kind {
        "image" | "document" | "toolResult" => !from_user,
        "toolUse" | "reasoningContent" => from_user,
        _ => false,
    };
    if misplaced {
        let (role, other) = if from_user {
            ("user", "assistant")
        } else {
            ("assistant", "user")
        };
        return Err(Refused::invalid(format!(
            "The {kind} field in the ContentBlock object at {} is not supported for the {role} role. Use it with the {other} role.",
            block.here()
        )));
    }
    match kind {
        "text" => text(block, ledger).map(Block::Text),
        "image" => image(&block.required_structure("image")?, ledger),
        "document" => document(&block.required_structure("document")?, ledger),
        "toolUse" => tool_use(&block.required_structure("toolUse")?, ledger),
        "toolResult" => tool_result(&block.required_structure("toolResult")?, ledger),
        "cachePoint" => cache_point(&block.required_structure("cachePoint")?, ledger),
        _ => reasoning(&block.required_structure("reasoningContent")?),
    }
}

/// Returns a text, which must not be blank.
pub(super) fn text<'a>(block: &Fields<'a>, ledger: &mut Ledger) -> Result<&'a str, Refused> {
    let text = block.required_string("text")?;
    if text.trim().is_empty() {
        return Err(Refused::invalid(format!(
            "The text field in the ContentBlock object at {} is blank. Add text to the text field, and try again.",
            block.here()
        )));
    }
    ledger.add(text);
    Ok(text)
}

fn image<'a>(image: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    image.only(&["format", "source"])?;
    image.required("format")?;
    let formats = ["png", "jpeg", "gif", "webp"];
    let format = image.word("format", &formats)?.unwrap_or_default();
    let source = image.required_structure("source")?;
    if source.union(&["bytes", "s3Location"])? == "s3Location" {
        return Ok(Block::Image);
    }
    let data = source.required_string("bytes")?;
    let bytes = blob(&source, "bytes")?;
    if bytes.len() > MAX_IMAGE {
        return Err(Refused::model(&format!(
            "{}: image exceeds the maximum size of 3.75 MB",
            image.here()
        )));
    }
    if picture::media_type(&bytes) != Some(&format!("image/{format}")) {
        return Err(Refused::model(&format!(
            "{}.source.base64.media_type: Image does not match the provided media type image/{format}",
            image.here()
        )));
    }
    ledger.picture(data);
    Ok(Block::Image)
}

/// Returns the bytes of a member that is base64.
fn blob(fields: &Fields, key: &str) -> Result<Vec<u8>, Refused> {
    let bytes = picture::decode(fields.required_string(key)?);
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    bytes.ok_or_else(|| {
        Refused::new(
            400,
            "SerializationException",
            format!("{} is not a valid base64 blob", fields.path(key)),
        )
    })
}

fn document<'a>(document: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    document.only(&["format", "name", "source", "context", "citations"])?;
    let formats = [
        "pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md",
    ];
    document.word("format", &formats)?;
    let name = document.required_string("name")?;
    let legal = |character: char| character.is_ascii_alphanumeric() || " -()[]".contains(character);
    if name.is_empty() || name.len() > 200 || !name.chars().all(legal) || name.contains("  ") {
        return Err(Refused::invalid(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, \
             parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.",
        ));
    }
    let source = document.required_structure("source")?;
    if source.union(&["bytes", "s3Location", "text", "content"])? == "bytes" {
        blob(&source, "bytes")?;
    }
    ledger.add(name);
    Ok(Block::Document)
}

fn tool_use<'a>(call: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    call.only(&["toolUseId", "name", "input", "type"])?;
    let id = call.matching("toolUseId", 64, "[a-zA-Z0-9_.:-]+", in_id)?;
    let name = call.matching("name", 64, NAME_PATTERN, in_name)?;
    let input = call.required("input")?;
    if !input.is_object() {
        return Err(Refused::invalid(format!(
            "The format of the value at {} is invalid. Provide a json object for the field and try again.",
            call.path("input")
        )));
    }
    ledger.add(name);
    ledger.add(&input.to_string());
    Ok(Block::ToolUse { id })
}

fn tool_result<'a>(result: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    result.only(&["toolUseId", "content", "status", "type"])?;
    let id = result.matching("toolUseId", 64, "[a-zA-Z0-9_.:-]+", in_id)?;
    result.word("status", &["success", "error"])?;
    result.required("content")?;
    let (mut text, mut images) = (String::new(), 0);
    for block in result.structures("content")? {
        match block.union(&["json", "text", "image", "document", "video", "searchResult"])? {
            // A result may be blank, unlike what people say.
            "text" => {
                let part = block.required_string("text")?;
                ledger.add(part);
                text.push_str(part);
            }
            "json" => {
                let part = block.required("json")?;
                if !part.is_object() {
                    return Err(Refused::invalid(format!(
                        "The format of the value at {} is invalid. Provide a json object for the field and try again.",
                        block.path("json")
                    )));
                }
                ledger.add(&part.to_string());
                text.push_str(&part.to_string());
            }
            "image" => {
                image(&block.required_structure("image")?, ledger)?;
                images += 1;
            }
            "document" => drop(document(&block.required_structure("document")?, ledger)?),
            _ => {}
        }
    }
    Ok(Block::ToolResult { id, text, images })
}

/// Returns a point up to which the prompt is kept.
pub(super) fn cache_point<'a>(
    point: &Fields<'a>,
    ledger: &mut Ledger,
) -> Result<Block<'a>, Refused> {
    point.only(&["type", "ttl"])?;
    point.required("type")?;
    point.word("type", &["default"])?;
    match ledger.mark(point.word("ttl", &["5m", "1h"])? == Some("1h")) {
        0..=4 => Ok(Block::CachePoint),
        found => Err(Refused::invalid(format!(
            "A maximum of 4 cachePoint blocks may be provided. Found {found}."
        ))),
    }
}

fn reasoning<'a>(reasoning: &Fields<'a>) -> Result<Block<'a>, Refused> {
    if reasoning.union(&["reasoningText", "redactedContent"])? == "redactedContent" {
        let data = reasoning.required_string("redactedContent")?;
        return if signature::is_of(data, "redacted", "") {
            Ok(Block::Reasoning)
        } else {
            Err(unsigned(
                reasoning,
                "Invalid `data` in `redacted_thinking` block",
            ))
        };
    }
    let inner = reasoning.required_structure("reasoningText")?;
    inner.only(&["text", "signature"])?;
    let text = inner
        .required("text")
        .and(inner.string("text"))?
        .unwrap_or_default();
    match inner.string("signature")? {
        None => Err(unsigned(reasoning, "thinking.signature: Field required")),
        Some(signature) if signature::is_of(signature, "reasoning", text) => Ok(Block::Reasoning),
        Some(_) => Err(unsigned(
            reasoning,
            "Invalid `signature` in `thinking` block",
        )),
    }
}

/// Returns the refusal of a block that the model names its own way.
fn unsigned(reasoning: &Fields, why: &str) -> Refused {
    let place = reasoning.here().trim_end_matches(".reasoningContent");
    Refused::model(&format!("{place}: {why}"))
}
