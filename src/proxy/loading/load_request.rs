//! What a server is sent that is to load a model and to do nothing else.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::http::RequestHeader;

use crate::admission::LoadRecipe;
use crate::fleet::Backend;
use crate::settings::RunnerOptions;
use remuda_formats::wire::json::write_string;

/// A request that loads a model.
pub(super) struct LoadRequest {
    pub(super) head: RequestHeader,
    pub(super) body: Bytes,
}

impl LoadRequest {
    /// Writes the request for a server that calls the model `name`. Without a context it is left to the server.
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
        let body = body(name, context, recipe, pins);
        let route = if recipe.embeds {
            "/api/embed"
        } else {
            "/api/generate"
        };
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

/// An empty prompt, or nothing to embed, loads the model and answers at once. A client's `keep_alive` is not part of it: with 0
/// it would unload the model, and the client's own request states it when the model is there.
fn body(name: &str, context: Option<u32>, recipe: &LoadRecipe, pins: bool) -> Vec<u8> {
    let mut body = b"{\"model\":".to_vec();
    write_string(name, &mut body);
    body.extend_from_slice(if recipe.embeds {
        b",\"input\":[]"
    } else {
        b",\"prompt\":\"\",\"stream\":false"
    });
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
}
