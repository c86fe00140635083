//! What chat completions and Responses have in common when a provider is asked: turns, files, sampling, words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::object::Object;
use super::schema;
use crate::dialect::exchange::Target;
use crate::dialect::turns::{go_on, is_unfinished};
use crate::facts::{Parameter, ReasoningSetting, SamplingRule};
use crate::ir::{
    Document, Dropped, Format, Image, Json, Message, Part, Refused, Role, Sampling, Text, ToolNames,
};

/// The most characters that the name of a function or of a schema has.
pub(super) const LONGEST_NAME: usize = 64;

/// Returns what a model without the capability answers to a request for it.
pub(super) fn refused(target: &Target<'_>, what: &str) -> Refused {
    Refused::field("messages", format!("the model {} {what}", target.model))
}

fn user(text: Text<'_>) -> Message<'_> {
    Message::new(Role::User, vec![Part::Text(text)])
}

/// Adds a user's turn where there is none, as chat templates ask for one.
pub(super) fn never_empty(messages: &mut Vec<Message<'_>>) {
    if messages.is_empty() {
        messages.push(user(Text::escaped(".")));
    }
}

/// Asks a model to go on that does not do so with the assistant's words.
pub(super) fn let_go_on(
    messages: &mut Vec<Message<'_>>,
    target: &Target<'_>,
    dropped: &mut Dropped,
) {
    if is_unfinished(messages) && target.facts.refused.contains(&Parameter::Prefill) {
        dropped.add("prefill");
        messages.push(go_on());
    }
}

/// Puts the system prompt before the user's first words, for models that take none.
pub(super) fn before_the_first_words<'a>(messages: &mut Vec<Message<'a>>, system: Vec<Part<'a>>) {
    let place = messages.iter().position(|message| {
        let words = |part: &Part<'_>| !matches!(part, Part::ToolResult(_) | Part::Breakpoint(_));
        message.role == Role::User && message.parts.iter().any(words)
    });
    match place {
        Some(place) => {
            let parts = &mut messages[place].parts;
            let after_results = parts
                .iter()
                .position(|part| !matches!(part, Part::ToolResult(_) | Part::Breakpoint(_)))
                .unwrap_or(parts.len());
            parts.splice(after_results..after_results, system);
        }
        None => messages.insert(0, Message::new(Role::User, system)),
    }
}

/// Returns whether some text names JSON.
pub(super) fn speaks_of_json(messages: &[Message<'_>]) -> bool {
    let names_it = |text: &Text<'_>| {
        let bytes = text.as_escaped().as_bytes();
        memchr::memchr2_iter(b'j', b'J', bytes).any(|at| {
            bytes[at..]
                .get(..4)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"json"))
        })
    };
    messages
        .iter()
        .flat_map(|message| &message.parts)
        .any(|part| matches!(part, Part::Text(text) if names_it(text)))
}

/// Returns what a model that knows no schemas is told in place of one.
pub(super) fn schema_in_words(schema: &Json<'_>) -> Text<'static> {
    let mut text = Text::escaped("Answer with a JSON object that follows this JSON Schema: ");
    text.push(&schema.to_text());
    text
}

/// Returns the text of a file of text.
pub(super) fn text_of(document: &Document<'_>) -> Result<Text<'static>, Refused> {
    let decoded = STANDARD
        .decode(&*document.data)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Refused::field("messages", "a file of text must be base64 of UTF-8"))?;
    let mut text = Text::default();
    if let Some(name) = &document.name {
        text.push(name);
        text.push(&Text::escaped(r":\n"));
    }
    text.push(&Text::plain(&decoded));
    Ok(text.into_owned())
}

/// Writes a PDF's name and contents into `file`.
pub(super) fn write_pdf(document: &Document<'_>, file: &mut Object<'_>) {
    let name = document
        .name
        .clone()
        .unwrap_or(Text::escaped("document.pdf"));
    file.text("filename", &name);
    let data = file.key("file_data");
    data.extend_from_slice(b"\"data:application/pdf;base64,");
    data.extend_from_slice(document.data.as_bytes());
    data.push(b'"');
}

/// Writes where an image is, or the image itself, as a member of `part`.
pub(super) fn write_url(image: &Image<'_>, key: &str, part: &mut Object<'_>) {
    let url = part.key(key);
    url.push(b'"');
    image.write_url(url);
    url.push(b'"');
}

/// Writes one string: `mark`, then the texts among `parts`, a line each.
pub(super) fn write_texts<'p>(
    mark: &str,
    parts: impl IntoIterator<Item = &'p Part<'p>>,
    out: &mut Vec<u8>,
) {
    out.push(b'"');
    out.extend_from_slice(mark.as_bytes());
    let texts = parts.into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    for (place, text) in texts.enumerate() {
        if place > 0 {
            out.extend_from_slice(br"\n");
        }
        out.extend_from_slice(text.as_escaped().as_bytes());
    }
    out.push(b'"');
}

/// Returns what goes before the words of a tool that has failed.
pub(super) fn mark_of(is_error: bool) -> &'static str {
    if is_error { "Error: " } else { "" }
}

/// Writes `temperature` and `top_p` as far as the model takes them, moved into their legal ranges, and notes the rest.
pub(super) fn write_randomness(
    wanted: &Sampling<'_>,
    (target, ask): (&Target<'_>, ReasoningSetting),
    dropped: &mut Dropped,
    body: &mut Object<'_>,
) {
    let refuses = |parameter| target.facts.refuses(parameter, ask);
    // What a model refuses is any temperature but 1, which it has by itself.
    let temperature = if refuses(Parameter::Temperature) {
        let other = wanted.temperature.is_some_and(|value| value != 1.0);
        dropped.add_if(other, "temperature");
        None
    } else {
        wanted.temperature
    };
    let alone = target.facts.sampling == SamplingRule::OneOfTemperatureAndTopP;
    let top_p = if refuses(Parameter::TopP) || (alone && temperature.is_some()) {
        dropped.add_if(wanted.top_p.is_some(), "top_p");
        None
    } else {
        wanted.top_p
    };
    write_within("temperature", temperature, 0.0..=2.0, dropped, body);
    write_within("top_p", top_p, 0.0..=1.0, dropped, body);
}

/// Writes a number, moved into its legal range.
pub(super) fn write_within(
    name: &'static str,
    value: Option<f64>,
    legal: std::ops::RangeInclusive<f64>,
    dropped: &mut Dropped,
    body: &mut Object<'_>,
) {
    let Some(value) = value else { return };
    dropped.add_if(!legal.contains(&value), name);
    body.number(name, value.clamp(*legal.start(), *legal.end()));
}

/// Writes the members that describe a schema; nothing for any other format.
pub(super) fn write_schema(format: &Format<'_>, wanted: &mut Object<'_>) {
    let Format::Schema {
        name,
        description,
        schema,
        strict,
    } = format
    else {
        return;
    };
    // A name is required, and means nothing.
    let name = name.clone().unwrap_or(Text::escaped("answer"));
    wanted.text("name", &ToolNames::default().sent(&name, LONGEST_NAME));
    if let Some(description) = description {
        wanted.text("description", description);
    }
    schema::write_schema("schema", schema, wanted);
    if let Some(strict) = strict {
        wanted.flag("strict", *strict);
    }
}
