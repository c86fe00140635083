//! What a server is sent that is to load a model, to unload it, or to show that its copy works, and to do nothing else.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::http::RequestHeader;

use crate::admission::LoadRecipe;
use crate::fleet::Backend;
use crate::settings::RunnerOptions;
use remuda_formats::wire::json::write_string;

/// Generates text, if a prompt is there.
const GENERATE: &str = "/api/generate";
/// Computes vectors, if texts are there.
const EMBED: &str = "/api/embed";
/// Tokens of the answer that shows that a copy works, and how fast it is.
const TRIAL_OUTPUT: u32 = 16;
/// The rest of the prompt of such an answer. It is about no one, and long enough for the copy's speed to be told.
const TRIAL_PROMPT: &str = "is the number of this line. Write the names of the days of the week, one after the other, from Monday \
to Sunday, with a comma and a space between two of them, and write nothing else.";

/// A request about the copy of a model.
pub(super) struct LoadRequest {
    pub(super) head: RequestHeader,
    pub(super) body: Bytes,
}

impl LoadRequest {
    /// Writes the request that loads a model, for a server that calls it `name`. Without a context that is left to the server.
    ///
    /// # Errors
    /// If the head cannot be written.
    pub(super) fn of(
        server: &Backend,
        name: &str,
        context: Option<u32>,
        recipe: &LoadRecipe,
    ) -> pingora::Result<LoadRequest> {
        let pins = server.provider.settings.copies.options == RunnerOptions::Pin;
        Self::to(
            server,
            route(recipe.embeds),
            body(name, context, recipe, pins),
        )
    }

    /// Writes the request that unloads a model as soon as nobody uses it, one that only `embeds` or another.
    ///
    /// # Errors
    /// If the head cannot be written.
    pub(super) fn unload(
        server: &Backend,
        name: &str,
        embeds: bool,
    ) -> pingora::Result<LoadRequest> {
        let mut body = model(name);
        body.extend_from_slice(nothing(embeds));
        body.extend_from_slice(b",\"keep_alive\":0}");
        Self::to(server, route(embeds), body)
    }

    /// Writes the request that a copy with that context has to work for: a few words, or a vector if it `embeds`. `number` is
    /// another each time, so that nothing of the prompt is remembered.
    ///
    /// # Errors
    /// If the head cannot be written.
    pub(super) fn trial(
        server: &Backend,
        name: &str,
        context: Option<u32>,
        (embeds, number): (bool, u32),
    ) -> pingora::Result<LoadRequest> {
        Self::to(server, route(embeds), trial(name, context, embeds, number))
    }

    fn to(server: &Backend, route: &str, body: Vec<u8>) -> pingora::Result<LoadRequest> {
        let path = format!("{}{route}", server.base_path());
        let mut head = RequestHeader::build("POST", path.as_bytes(), Some(8))?;
        head.insert_header(header::HOST, &server.host)?;
        head.insert_header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )?;
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
        for (name, value) in server.provider.fields_with(0) {
            head.insert_header(name, value)?;
        }
        Ok(LoadRequest {
            head,
            body: body.into(),
        })
    }
}

fn route(embeds: bool) -> &'static str {
    if embeds { EMBED } else { GENERATE }
}

/// Returns the members by which nothing is asked of the model.
fn nothing(embeds: bool) -> &'static [u8] {
    if embeds {
        b",\"input\":[]"
    } else {
        b",\"prompt\":\"\",\"stream\":false"
    }
}

/// Returns an object that is still open, and names the model.
fn model(name: &str) -> Vec<u8> {
    let mut body = b"{\"model\":".to_vec();
    write_string(name, &mut body);
    body
}

fn trial(name: &str, context: Option<u32>, embeds: bool, number: u32) -> Vec<u8> {
    let mut rest = String::new();
    let (member, output) = if embeds {
        ("input", None)
    } else {
        ("prompt", Some(TRIAL_OUTPUT))
    };
    // Writing to a text cannot fail.
    let _ = write!(rest, ",\"{member}\":\"{number} {TRIAL_PROMPT}\"");
    if !embeds {
        rest.push_str(",\"stream\":false");
    }
    let options = [("num_ctx", context), ("num_predict", output)];
    let stated = options
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    for (index, (name, value)) in stated.enumerate() {
        rest.push_str(if index == 0 { ",\"options\":{" } else { "," });
        let _ = write!(rest, "\"{name}\":{value}");
    }
    if context.or(output).is_some() {
        rest.push('}');
    }
    let mut body = model(name);
    body.extend_from_slice(rest.as_bytes());
    body.push(b'}');
    body
}

/// An empty prompt, or nothing to embed, loads the model and answers at once. A client's `keep_alive` is not part of it: with 0
/// it would unload the model, and the client's own request states it when the model is there.
fn body(name: &str, context: Option<u32>, recipe: &LoadRecipe, pins: bool) -> Vec<u8> {
    let mut body = model(name);
    body.extend_from_slice(nothing(recipe.embeds));
    let mut options = String::new();
    if let Some(context) = context {
        // Writing to a text cannot fail.
        let _ = write!(options, "\"num_ctx\":{context}");
    }
    let tuning = recipe.options.as_deref().filter(|_| !pins);
    let tuning = tuning.and_then(|object| object.strip_prefix('{')?.strip_suffix('}'));
    if let Some(tuning) = tuning.filter(|tuning| !tuning.is_empty()) {
        if !options.is_empty() {
            options.push(',');
        }
        options.push_str(tuning);
    }
    if !options.is_empty() {
        body.extend_from_slice(b",\"options\":{");
        body.extend_from_slice(options.as_bytes());
        body.push(b'}');
    }
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(context: Option<u32>, recipe: &LoadRecipe, pins: bool) -> String {
        String::from_utf8(body("llama3.2:latest", context, recipe, pins)).unwrap()
    }

    #[test]
    fn a_load_has_the_options_of_the_copy_and_no_prompt() {
        let plain = LoadRecipe::default();
        assert_eq!(
            written(None, &plain, true),
            r#"{"model":"llama3.2:latest","prompt":"","stream":false}"#
        );
        let tuned = LoadRecipe {
            options: Some(r#"{"num_thread":2}"#.into()),
            ..LoadRecipe::default()
        };
        assert_eq!(
            written(Some(8192), &tuned, false),
            r#"{"model":"llama3.2:latest","prompt":"","stream":false,"options":{"num_ctx":8192,"num_thread":2}}"#
        );
        assert_eq!(
            written(Some(8192), &tuned, true),
            r#"{"model":"llama3.2:latest","prompt":"","stream":false,"options":{"num_ctx":8192}}"#
        );
        let embeds = LoadRecipe {
            embeds: true,
            ..LoadRecipe::default()
        };
        assert_eq!(
            written(None, &embeds, true),
            r#"{"model":"llama3.2:latest","input":[]}"#
        );
    }

    #[test]
    fn a_copy_is_tried_in_its_own_context() {
        for (context, embeds, options) in [
            (Some(8192), false, Some((Some(8192), Some(16)))),
            (None, false, Some((None, Some(16)))),
            (Some(2048), true, Some((Some(2048), None))),
            (None, true, None),
        ] {
            let written = trial("a\"b", context, embeds, 7);
            let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
            let (member, stream) = if embeds {
                ("input", serde_json::Value::Null)
            } else {
                ("prompt", false.into())
            };
            let text = written[member].as_str().unwrap();
            assert!(text.starts_with("7 is the number"), "{text}");
            assert_eq!(
                (&written["model"], &written["stream"]),
                (&"a\"b".into(), &stream)
            );
            assert!(written["keep_alive"].is_null());
            let number = |name: &str| written["options"][name].as_u64();
            let stated = written["options"].is_object();
            let stated = stated.then(|| (number("num_ctx"), number("num_predict")));
            assert_eq!(stated, options, "{written}");
        }
    }
}
