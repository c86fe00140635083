//! Ollama's own fields in requests of other formats: who means an Ollama server sends them beside OpenAI's or Anthropic's,
//! at the top or in `extra_body`, where those who write the body themselves put what their library has no parameter for.

use super::Common;
use crate::dialect::ollama::go::{Field, Reader, read_struct};
use crate::ir::{ChatRequest, Dropped, EmbedRequest, Message, Part, Refused, Role};
use crate::wire::json::Kind;

const PATH: &str = "ChatRequest";
const EXTRA: &str = "extra_body";

/// The members of `options` that are read at the top as well. What other formats have too is not among them, but for
/// what only some of them have.
const OPTIONS: [&str; 18] = [
    "num_ctx",
    "num_predict",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "draft_num_predict",
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "tfs_z",
];

/// Adds to a chat or a completion what its body says in Ollama's words and not in those of its own format.
///
/// # Errors
/// In Ollama's words, for values of a wrong type.
pub fn read_foreign<'a>(body: &'a [u8], request: &mut ChatRequest<'a>) -> Result<(), Refused> {
    let mut common = Common::default();
    read_struct(body, PATH, |reader, key| match key {
        EXTRA => {
            let field = Field(PATH, EXTRA);
            reader.structure(field, "map[string]interface {}", |reader, key| {
                member(reader, key, &mut common, request)
            })?;
            Ok(())
        }
        _ => member(reader, key, &mut common, request),
    })?;
    speak_first(request);
    common.complete(request)
}

/// Adds what the system says before a text that is to be continued, as a turn of the chat that says the same.
fn speak_first(request: &mut ChatRequest<'_>) {
    let completion = request.completion.as_ref();
    let Some(system) = completion.and_then(|completion| completion.system.clone()) else {
        return;
    };
    let is_system = |message: &Message<'_>| message.role == Role::System;
    if !system.is_empty() && !request.messages.iter().any(is_system) {
        let parts = vec![Part::Text(system)];
        request
            .messages
            .insert(0, Message::new(Role::System, parts));
    }
}

fn member<'a>(
    reader: &mut Reader<'a>,
    key: &str,
    common: &mut Common<'a>,
    request: &mut ChatRequest<'a>,
) -> Result<(), Refused> {
    match key {
        "keep_alive" | "truncate" | "shift" | "think" | "format" | "options" => {
            return common.field(reader, PATH, key);
        }
        name if OPTIONS.contains(&name) => return common.option(reader, name),
        _ => {}
    }
    let Some(completion) = &mut request.completion else {
        return reader.skip();
    };
    match key {
        "raw" => completion.raw |= reader.boolean(Field(PATH, "raw"))?.unwrap_or(false),
        "template" => completion.template = reader.text(Field(PATH, "template"))?,
        "system" => completion.system = reader.text(Field(PATH, "system"))?,
        "context" => note(reader, "context", &mut request.dropped)?,
        "images" => note(reader, "images", &mut request.dropped)?,
        _ => reader.skip()?,
    }
    Ok(())
}

/// Names a field whose value is not read.
fn note(reader: &mut Reader<'_>, name: &'static str, dropped: &mut Dropped) -> Result<(), Refused> {
    dropped.add_if(reader.kind()? != Kind::Null, name);
    reader.skip()
}

/// Reads the fields that other formats do not have from a request for embeddings.
///
/// # Errors
/// If a field has another type than Ollama gives it.
pub fn read_foreign_embed<'a>(
    body: &'a [u8],
    request: &mut EmbedRequest<'a>,
) -> Result<(), Refused> {
    let mut common = Common::default();
    read_struct(body, PATH, |reader, key| match key {
        EXTRA => {
            let field = Field(PATH, EXTRA);
            reader.structure(field, "map[string]interface {}", |reader, key| {
                embed_member(reader, key, &mut common, request)
            })?;
            Ok(())
        }
        _ => embed_member(reader, key, &mut common, request),
    })?;
    request
        .local
        .complete(common.into_local(&mut request.dropped));
    Ok(())
}

fn embed_member<'a>(
    reader: &mut Reader<'a>,
    key: &str,
    common: &mut Common<'a>,
    request: &mut EmbedRequest<'a>,
) -> Result<(), Refused> {
    match key {
        "keep_alive" | "options" => common.field(reader, PATH, key),
        "truncate" => {
            let (kind, value) = reader.json()?;
            match (kind, value.as_str()) {
                (Kind::Null, _) => {}
                (Kind::Bool, word) => request.truncate = Some(word == "true"),
                // Cohere's and NVIDIA's words.
                (_, r#""NONE""#) => request.truncate = Some(false),
                (_, r#""END""#) => request.truncate = Some(true),
                _ => request.dropped.add("truncate"),
            }
            Ok(())
        }
        name if OPTIONS.contains(&name) && name.starts_with("num_") => common.option(reader, name),
        _ => reader.skip(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Effort, Format, Json, Sampling, Text, Thinking};

    fn chat(body: &str) -> ChatRequest<'_> {
        let mut request = ChatRequest::default();
        read_foreign(body.as_bytes(), &mut request).unwrap();
        request
    }

    #[test]
    fn ollamas_fields_are_read_at_the_top_and_in_extra_body() {
        let inside = r#""keep_alive":"10m","truncate":false,"shift":true,"think":"high","format":"json",
            "options":{"num_ctx":8192,"temperature":0.5,"num_predict":7,"mirostat":1,"stop":["x"]},"top_k":3,"num_gpu":1"#;
        for body in [
            format!("{{{inside}}}"),
            format!(r#"{{"model":"m","extra_body":{{{inside}}}}}"#),
        ] {
            let request = chat(&body);
            let local = &request.local;
            assert_eq!(local.keep_alive, Some(Json::trusted(r#""10m""#)));
            assert_eq!((local.truncate, local.shift), (Some(false), Some(true)));
            assert_eq!(request.thinking, Some(Thinking::Effort(Effort::High)));
            assert_eq!(request.format, Format::Json);
            assert_eq!(request.max_tokens, Some(7));
            assert_eq!(request.stop, [Text::escaped("x")]);
            let sampling = Sampling {
                temperature: Some(0.5),
                top_k: Some(3),
                ..Sampling::default()
            };
            assert_eq!(request.sampling, sampling);
            let options: Vec<_> = local
                .options
                .iter()
                .map(|(name, value)| (name.as_escaped(), value.as_str()))
                .collect();
            assert_eq!(
                options,
                [("num_ctx", "8192"), ("mirostat", "1"), ("num_gpu", "1")]
            );
        }
    }

    #[test]
    fn what_the_format_itself_says_goes_first_and_null_says_nothing() {
        let body = br#"{"think":true,"format":"json","options":{"temperature":1},"keep_alive":null,"num_ctx":null}"#;
        let mut request = ChatRequest {
            thinking: Some(Thinking::Off),
            format: Format::Text,
            sampling: Sampling {
                temperature: Some(0.0),
                ..Sampling::default()
            },
            ..ChatRequest::default()
        };
        read_foreign(body, &mut request).unwrap();
        assert_eq!(request.thinking, Some(Thinking::Off));
        assert_eq!(request.format, Format::Json);
        assert_eq!(request.sampling.temperature, Some(0.0));
        assert_eq!(request.local, Default::default());
    }

    #[test]
    fn a_wrong_type_is_refused_and_many_options_are_bounded() {
        let refused = |body: &str| {
            let mut request = ChatRequest::default();
            read_foreign(body.as_bytes(), &mut request)
                .unwrap_err()
                .param
        };
        assert_eq!(refused(r#"{"num_ctx":"8192"}"#), Some("num_ctx"));
        assert_eq!(refused(r#"{"options":{"num_ctx":[]}}"#), Some("num_ctx"));
        assert_eq!(refused(r#"{"think":"much"}"#), Some("think"));
        assert_eq!(refused(r#"{"options":7}"#), Some("options"));
        let many: Vec<_> = (0..200).map(|number| format!(r#""o{number}":1"#)).collect();
        let body = format!(r#"{{"options":{{{}}}}}"#, many.join(","));
        let request = chat(&body);
        assert!(request.local.options.len() < 100);
        assert_eq!(request.dropped.fields(), ["options"]);
    }

    #[test]
    fn a_completion_may_be_raw_and_have_a_template() {
        let mut request = ChatRequest {
            completion: Some(Default::default()),
            ..ChatRequest::default()
        };
        let body = br#"{"raw":true,"template":"{{ .Prompt }}","system":"s","context":[1]}"#;
        read_foreign(body, &mut request).unwrap();
        let completion = request.completion.unwrap();
        assert!(completion.raw);
        assert_eq!(completion.template, Some(Text::escaped("{{ .Prompt }}")));
        assert_eq!(completion.system, Some(Text::escaped("s")));
        assert_eq!(request.dropped.fields(), ["context"]);
    }
}
