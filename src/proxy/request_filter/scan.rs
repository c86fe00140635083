//! What a request's body says: which model it names, whether its answer is streamed, and what the model has to be able to
//! do. It is read once, and must say the same to whoever reads it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

use crate::access;
use crate::ids::ModelId;
use crate::proxy::failure::Failure;
use crate::proxy::offload::{LONG, Offload};
use crate::proxy::prepared::WantedModel;
use crate::routing::PrefixedName;
use remuda_formats::client::optillm;
use remuda_formats::client::{self, ErrorStyle, Operation, RequestFacts};
use remuda_formats::dialect::ollama::{self, LoadOrUnload};

/// A model's name has at most so many bytes. An ARN of Bedrock's has 2,048; before it stands a provider, behind it a tag.
const MAX_MODEL_NAME: usize = 2304;

/// A request's body, and what was read in it.
pub(crate) struct Scan<'b> {
    pub(crate) operation: Operation,
    pub(crate) bytes: &'b Bytes,
    pub(crate) facts: RequestFacts<'b>,
}

impl<'b> Scan<'b> {
    /// Reads what a body says, on another thread if that takes long.
    ///
    /// # Errors
    /// 400 for a body that cannot be read.
    pub(crate) async fn of(
        operation: Operation,
        bytes: &'b Bytes,
        offload: &Offload,
    ) -> Result<Scan<'b>, Failure> {
        let facts = if bytes.len() < LONG {
            client::scan_request(operation, bytes)
        } else {
            let body = bytes.clone();
            let scan = move || client::scan_request(operation, &body).map(RequestFacts::into_owned);
            // Boxed, so that a request with a small body does not carry the state of the wait.
            Box::pin(offload.run(scan)).await
        };
        let facts = facts.map_err(unreadable)?;
        Ok(Scan {
            operation,
            bytes,
            facts,
        })
    }

    /// Checks that the body says the same to whoever reads it, and names a model that could be one.
    ///
    /// What is decided here (which model, whether it streams) is what a key may use and is charged, so it must be what the
    /// provider finds in the same bytes.
    ///
    /// # Errors
    /// 400, and 404 where Ollama says so of a request that names no model.
    pub(crate) fn check(&self, fields: &HeaderMap) -> Result<(), Failure> {
        printable(&self.facts.model)?;
        // Ollama's own API is read here as Ollama reads it.
        if let Some(field) = self.facts.ambiguous
            && ErrorStyle::of(self.operation) != ErrorStyle::Ollama
        {
            let text = format!("the body states {field} more than once; state it once");
            return Err(Failure {
                param: Some(field.into()),
                ..Failure::bad_request(text)
            });
        }
        let is_form = client::is_form(self.operation, self.bytes);
        if is_form
            && let Some(boundary) = client::form_boundary(self.bytes)
            && stated_boundary(fields) != Some(boundary)
        {
            let text = "the form does not begin with the boundary that Content-Type names";
            return Err(Failure::bad_request(text));
        }
        if !is_form && says_form(fields) {
            let text = "Content-Type says that the body is a form, and it is JSON";
            return Err(Failure::bad_request(text));
        }
        if self.facts.model.is_empty() {
            return Err(nameless(self.operation));
        }
        Ok(())
    }

    /// Returns how many tokens the prompt has, by an estimate that grows with the body.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        if client::is_form(self.operation, self.bytes) {
            access::tokens_of_form(self.bytes)
        } else {
            access::tokens_of_body(self.bytes)
        }
    }

    /// Returns whether the answer is streamed, for an operator who may refuse that.
    pub(crate) fn streams(&self, refuses_streams: bool) -> bool {
        self.facts.streams(self.operation) && !(refuses_streams && self.facts.stream.is_none())
    }

    /// Returns which of the two is wanted if the request only loads or unloads its model, which only Ollama servers do.
    pub(crate) fn loads(&self) -> Option<LoadOrUnload> {
        let loads = matches!(
            self.operation,
            Operation::Chat | Operation::Generate | Operation::Embed
        );
        LoadOrUnload::of(&self.facts).filter(|_| loads)
    }

    /// Returns the approach of OptiLLM's that the body asks for.
    ///
    /// # Errors
    /// 400 for a body that cannot be read.
    pub(crate) fn approach(&self) -> Result<Option<String>, Failure> {
        if !self.facts.private {
            return Ok(None);
        }
        let texts = optillm::approaches(self.bytes).map_err(unreadable)?;
        let mut named = texts.iter().filter_map(|text| PrefixedName::named(text));
        Ok(named.next().map(str::to_owned))
    }

    /// Returns the names by which a model is asked for that the client calls `name` once the tag is taken away, and where
    /// they stand in this body.
    pub(crate) fn ask(&self, name: &Arc<str>, model: Option<ModelId>) -> WantedModel {
        let facts = &self.facts;
        let has_tag = name.len() < facts.model.len();
        let asked = if has_tag {
            Arc::from(&*facts.model)
        } else {
            Arc::clone(name)
        };
        WantedModel {
            asked,
            untagged: has_tag.then(|| Arc::clone(name)),
            span: facts.model_span,
            model,
            own: None,
            tools: facts.tools,
            raw: facts.raw,
            no_stream_options: facts
                .object_start
                .filter(|_| facts.has_fields && !facts.stream_options),
            schemas: facts.tools || facts.format || self.operation == Operation::OpenAiResponses,
            members: facts.object_start.map(|start| (start, facts.has_fields)),
            copy: facts.copy.clone(),
            most_output: facts.most_output,
        }
    }
}

/// Reads the body of a request that concerns models and runs none, which is small.
///
/// # Errors
/// 400 for a body that cannot be read.
pub(crate) fn read_small(operation: Operation, body: &[u8]) -> Result<RequestFacts<'_>, Failure> {
    client::scan_request(operation, body).map_err(unreadable)
}

/// Returns what the client is told of a body that cannot be read.
pub(crate) fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::bad_request(error.to_string())
}

/// Checks that a model's name is no longer than one can be and can be printed: it is compared with patterns, and kept in
/// the accounts.
///
/// # Errors
/// 400.
pub(crate) fn printable(model: &str) -> Result<(), Failure> {
    if model.len() <= MAX_MODEL_NAME && !model.contains(char::is_control) {
        return Ok(());
    }
    Err(Failure::bad_request(ollama::INVALID_MODEL_NAME))
}

/// Returns what Ollama says to a request that names no model.
fn nameless(operation: Operation) -> Failure {
    match operation {
        Operation::Generate | Operation::Embed => Failure::new(
            404,
            "model_not_found",
            ollama::model_not_found(operation, ""),
        ),
        _ => Failure::bad_request(ollama::MODEL_REQUIRED),
    }
}

/// Returns whether a field says that the body is a form.
fn says_form(fields: &HeaderMap) -> bool {
    const FORM: &[u8] = b"multipart/";
    fields.get_all(header::CONTENT_TYPE).iter().any(|kind| {
        let start = kind.as_bytes().trim_ascii_start().get(..FORM.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(FORM))
    })
}

/// Returns the boundary that `Content-Type` states (RFC 2046 section 5.1.1), if all readers find the same.
fn stated_boundary(fields: &HeaderMap) -> Option<&[u8]> {
    let mut fields = fields.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (fields.next(), fields.next()) else {
        return None;
    };
    // Some read what RFC 2231 has besides, `boundary*` and `boundary*0`.
    let starts = |parameter: &&str| {
        let start = parameter.trim().get(.."boundary".len());
        start.is_some_and(|start| start.eq_ignore_ascii_case("boundary"))
    };
    let mut boundaries = kind.to_str().ok()?.split(';').filter(starts);
    let (Some(parameter), None) = (boundaries.next(), boundaries.next()) else {
        return None;
    };
    let (name, value) = parameter.trim().split_once('=')?;
    let bare = value
        .strip_prefix('"')
        .map_or(Some(value), |value| value.strip_suffix('"'))?;
    (name.len() == "boundary".len() && client::is_plain_boundary(bare.as_bytes()))
        .then_some(bare.as_bytes())
}

/// Returns the model that the request names, or the path of `/v1/models/:model`.
pub(crate) fn model_of<'a>(
    operation: Operation,
    path: &'a str,
    facts: &'a RequestFacts<'a>,
) -> Cow<'a, str> {
    match operation {
        // Clients write a slash in a name as %2F.
        Operation::OpenAiModel => {
            percent_decode_str(operation.argument(path).unwrap_or_default()).decode_utf8_lossy()
        }
        _ => Cow::Borrowed(&facts.model),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    async fn checked(
        operation: Operation,
        kind: &'static str,
        body: &'static str,
    ) -> Result<(), String> {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let bytes = Bytes::from_static(body.as_bytes());
        let scan = Scan::of(operation, &bytes, &Offload::new(1)).await;
        let checked = scan.and_then(|scan| scan.check(&fields));
        checked.map_err(|failure| format!("{} {}", failure.status, failure.text))
    }

    #[tokio::test]
    async fn a_body_says_the_same_to_every_reader() {
        use Operation::{AudioTranscriptions, Chat, OpenAiChat};
        let twice = r#"{"model":"a","model":"b"}"#;
        for (operation, kind, body, refused) in [
            (OpenAiChat, "application/json", r#"{"model":"a"}"#, None),
            (OpenAiChat, "text/plain", r#"{"model":"a"}"#, None),
            (
                OpenAiChat,
                "application/json",
                twice,
                Some("more than once"),
            ),
            // Ollama takes the last, as this gateway does.
            (Chat, "application/json", twice, None),
            (
                OpenAiChat,
                "multipart/form-data; boundary=x",
                r#"{"model":"a"}"#,
                Some("it is JSON"),
            ),
            (
                AudioTranscriptions,
                "multipart/form-data; boundary=y",
                "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--x--\r\n",
                Some("boundary"),
            ),
            (
                AudioTranscriptions,
                "multipart/form-data; boundary=x",
                "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--x--\r\n",
                None,
            ),
        ] {
            let told = checked(operation, kind, body).await.err();
            let good = match (&told, refused) {
                (None, None) => true,
                (Some(told), Some(part)) => told.starts_with("400") && told.contains(part),
                _ => false,
            };
            assert!(good, "{operation:?} {kind} {body}: {told:?}");
        }
    }

    #[tokio::test]
    async fn a_request_names_a_model_that_could_be_one() {
        let told = |operation, body| checked(operation, "application/json", body);
        let missing = told(Operation::Chat, "{}").await.unwrap_err();
        assert!(missing.starts_with("400"), "{missing}");
        let missing = told(Operation::Generate, "{}").await.unwrap_err();
        assert!(missing.starts_with("404"), "{missing}");
        let control = told(Operation::Chat, r#"{"model":"a\u0007"}"#).await;
        assert!(control.unwrap_err().starts_with("400"));
        assert!(printable(&"m".repeat(MAX_MODEL_NAME)).is_ok());
        assert!(printable(&"m".repeat(MAX_MODEL_NAME + 1)).is_err());
    }

    #[tokio::test]
    async fn a_tag_is_not_asked_for() {
        let bytes = Bytes::from_static(br#"{"model":"llama3#team"}"#);
        let scan = Scan::of(Operation::Chat, &bytes, &Offload::new(1)).await;
        let scan = scan.unwrap_or_else(|failure| panic!("{failure}"));
        let ask = scan.ask(&"llama3".into(), None);
        assert_eq!((&*ask.asked, ask.name()), ("llama3#team", "llama3"));
        let whole = scan.ask(&"llama3#team".into(), None);
        assert!(whole.untagged.is_none());
    }
}
