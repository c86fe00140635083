//! The content of turns, block by block: which fields each kind has, and what is refused within it.

use serde_json::Value;

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
    /// `thinking` or `redacted_thinking`.
    Thinking,
    ToolUse {
        id: &'a str,
    },
    ToolResult {
        id: &'a str,
        text: String,
        images: usize,
    },
    /// `server_tool_use`: a turn that was paused ends with it.
    ServerToolUse,
}

/// Cache breakpoints of one request.
const MAX_BREAKPOINTS: usize = 4;

/// Bytes of one image, decoded.
const MAX_IMAGE: usize = 5 << 20;

const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Checks `content` of a turn or of a tool result: a string or a list of blocks.
pub(super) fn blocks<'a>(
    content: &'a Value,
    path: &str,
    allowed: &[&str],
    ledger: &mut Ledger,
) -> Result<Vec<Block<'a>>, Refused> {
    match content {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => {
            ledger.add(text);
            Ok(vec![said(text)?])
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| block(value, &format!("{path}.{index}"), allowed, ledger))
            .collect(),
        _ => Err(Refused::invalid(format!(
            "{path}: Input should be a valid list"
        ))),
    }
}

fn said(text: &str) -> Result<Block<'_>, Refused> {
    if text.is_empty() {
        return Err(Refused::invalid(
            "messages: text content blocks must be non-empty",
        ));
    }
    if text.trim().is_empty() {
        return Err(Refused::invalid(
            "messages: text content blocks must contain non-whitespace text",
        ));
    }
    Ok(Block::Text(text))
}

fn block<'a>(
    value: &'a Value,
    path: &str,
    allowed: &[&str],
    ledger: &mut Ledger,
) -> Result<Block<'a>, Refused> {
    let outer = Fields::of(value, path.to_owned())?;
    let kind = outer.required_string("type")?;
    if !allowed.contains(&kind) {
        return Err(Refused::invalid(format!(
            "{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: '{}'",
            allowed.join("', '")
        )));
    }
    let fields = Fields::of(value, format!("{path}.{kind}"))?;
    let block = match kind {
        "text" => text(&fields, ledger)?,
        "image" => image(&fields, ledger)?,
        "document" => document(&fields, ledger)?,
        "thinking" | "redacted_thinking" => thinking(&fields, kind, path)?,
        "tool_use" => tool_use(&fields, ledger)?,
        "tool_result" => tool_result(&fields, ledger)?,
        "search_result" => search_result(&fields, ledger)?,
        _ => server_tool_use(&fields, ledger)?,
    };
    breakpoint(&fields, ledger)?;
    Ok(block)
}

/// Sets a cache breakpoint here if the block, or the body, has a `cache_control`.
pub(super) fn breakpoint(fields: &Fields, ledger: &mut Ledger) -> Result<(), Refused> {
    if fields.nullable("cache_control").is_none() {
        return Ok(());
    }
    let Some(control) = fields.object("cache_control")? else {
        return Ok(());
    };
    control.only(&["type", "ttl"])?;
    control.required("type")?;
    control.word("type", &["ephemeral"])?;
    match ledger.mark(control.word("ttl", &["5m", "1h"])? == Some("1h")) {
        0..=MAX_BREAKPOINTS => Ok(()),
        found => Err(Refused::invalid(format!(
            "A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        ))),
    }
}

fn text<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&["type", "text", "cache_control", "citations"])?;
    let text = fields.required_string("text")?;
    if text.is_empty() && fields.nullable("cache_control").is_some() {
        return Err(Refused::invalid(format!(
            "{}: cache_control cannot be set for empty text blocks",
            fields.here()
        )));
    }
    ledger.add(text);
    said(text)
}

fn image<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&["type", "source", "cache_control", "transformations"])?;
    let source = Fields::of(fields.required("source")?, fields.path("source"))?;
    match source.required_string("type")? {
        "base64" => {
            let source = Fields::of(fields.required("source")?, source.path("base64"))?;
            source.only(&["type", "media_type", "data"])?;
            source.required("media_type")?;
            let named = source.word("media_type", &IMAGE_TYPES)?.unwrap_or_default();
            let data = source.required_string("data")?;
            check_image(data, named)
                .map_err(|why| Refused::invalid(format!("{}: {why}", source.here())))?;
            ledger.picture(data);
        }
        "url" => {
            source.only(&["type", "url"])?;
            let url = source.required_string("url")?;
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err(source.wrong("url", "Only HTTPS URLs are supported."));
            }
            ledger.picture(url);
        }
        "file" => {
            source.only(&["type", "file_id"])?;
            ledger.picture(source.required_string("file_id")?);
        }
        other => return Err(unknown_source(&source, other, "'base64', 'file', 'url'")),
    }
    Ok(Block::Image)
}

fn check_image(data: &str, named: &str) -> Result<(), String> {
    let bytes = picture::decode(data).ok_or("invalid base64 data")?;
    if bytes.len() > MAX_IMAGE {
        return Err(format!(
            "image exceeds 5 MB maximum: {} bytes > {MAX_IMAGE} bytes",
            bytes.len()
        ));
    }
    match picture::media_type(&bytes) {
        Some(found) if found == named => Ok(()),
        Some(found) => Err(format!(
            "The image was specified using the {named} media type, but the image appears to be a {found} image"
        )),
        None => Err("Could not process image".into()),
    }
}

fn unknown_source(source: &Fields, found: &str, expected: &str) -> Refused {
    Refused::invalid(format!(
        "{}: Input tag '{found}' found using 'type' does not match any of the expected tags: {expected}",
        source.here()
    ))
}

fn document<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&[
        "type",
        "source",
        "cache_control",
        "citations",
        "context",
        "title",
    ])?;
    let source = Fields::of(fields.required("source")?, fields.path("source"))?;
    match source.required_string("type")? {
        kind @ ("base64" | "text") => {
            source.only(&["type", "media_type", "data"])?;
            source.required("media_type")?;
            let media_type = match kind {
                "base64" => "application/pdf",
                _ => "text/plain",
            };
            source.word("media_type", &[media_type])?;
            ledger.add(source.required_string("data")?);
        }
        "url" => ledger.add(source.required_string("url")?),
        "file" => ledger.add(source.required_string("file_id")?),
        "content" => ledger.add(&source.required("content")?.to_string()),
        other => {
            let expected = "'base64', 'content', 'file', 'text', 'url'";
            return Err(unknown_source(&source, other, expected));
        }
    }
    Ok(Block::Document)
}

fn thinking<'a>(fields: &Fields<'a>, kind: &str, path: &str) -> Result<Block<'a>, Refused> {
    let issued = if kind == "thinking" {
        fields.only(&["type", "thinking", "signature"])?;
        let text = fields.required_string("thinking")?;
        signature::is_of(fields.required_string("signature")?, "thinking", text)
    } else {
        fields.only(&["type", "data"])?;
        signature::is_of(fields.required_string("data")?, "redacted", "")
    };
    let part = if kind == "thinking" {
        "signature"
    } else {
        "data"
    };
    if issued {
        Ok(Block::Thinking)
    } else {
        Err(Refused::invalid(format!(
            "{path}: Invalid `{part}` in `{kind}` block"
        )))
    }
}

fn tool_use<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&[
        "type",
        "id",
        "name",
        "input",
        "cache_control",
        "caller",
        "toolset_name",
    ])?;
    let id = tool_id(fields, "id")?;
    let name = fields.required_string("name")?;
    if !is_name(name, 200) {
        return Err(fields.wrong(
            "name",
            "String should match pattern '^[a-zA-Z0-9_-]{1,200}$'",
        ));
    }
    let input = fields.required("input")?;
    if !input.is_object() {
        return Err(fields.wrong("input", "Input should be a valid dictionary"));
    }
    ledger.add(name);
    ledger.add(&input.to_string());
    Ok(Block::ToolUse { id })
}

fn tool_id<'a>(fields: &Fields<'a>, key: &str) -> Result<&'a str, Refused> {
    let id = fields.required_string(key)?;
    if is_name(id, usize::MAX) {
        Ok(id)
    } else {
        Err(fields.wrong(key, "String should match pattern '^[a-zA-Z0-9_-]+$'"))
    }
}

/// Returns whether `text` is 1 to `most` of `[a-zA-Z0-9_-]`.
pub(super) fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn tool_result<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&[
        "type",
        "tool_use_id",
        "content",
        "is_error",
        "cache_control",
        "toolset_name",
    ])?;
    let id = tool_id(fields, "tool_use_id")?;
    fields.boolean("is_error")?;
    let mut text = String::new();
    let mut images = 0;
    if let Some(content) = fields.get("content") {
        let allowed = ["document", "image", "search_result", "text"];
        for block in blocks(content, &fields.path("content"), &allowed, ledger)? {
            match block {
                Block::Text(part) => text.push_str(part),
                Block::Image => images += 1,
                _ => {}
            }
        }
    }
    Ok(Block::ToolResult { id, text, images })
}

fn search_result<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&[
        "type",
        "source",
        "title",
        "content",
        "citations",
        "cache_control",
    ])?;
    fields.required_string("source")?;
    fields.required_string("title")?;
    blocks(
        fields.required("content")?,
        &fields.path("content"),
        &["text"],
        ledger,
    )?;
    Ok(Block::Document)
}

fn server_tool_use<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Block<'a>, Refused> {
    fields.only(&["type", "id", "name", "input", "cache_control", "caller"])?;
    let id = fields.required_string("id")?;
    if !id.starts_with("srvtoolu_") {
        return Err(fields.wrong(
            "id",
            "String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'",
        ));
    }
    ledger.add(fields.required_string("name")?);
    fields.required("input")?;
    Ok(Block::ServerToolUse)
}
