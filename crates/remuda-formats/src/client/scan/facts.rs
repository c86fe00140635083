//! What a scan finds, and why a body is refused.

use std::borrow::Cow;

use crate::client::Operation;
use crate::client::copy::CopyFacts;
use crate::wire::json::{ByteSpan, Kind, SyntaxError};

/// What routing needs to know of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFacts<'a> {
    /// The wanted model as the client wrote it; empty when absent. For create it is the new name.
    pub model: Cow<'a, str>,
    /// Where `model` stands: in JSON with its quotes, in a form its text alone.
    pub model_span: Option<ByteSpan>,
    /// What the client said; `None` leaves it to the operation.
    pub stream: Option<bool>,
    /// A field above that the body states twice and otherwise. Servers do not agree which of the two counts: Go takes
    /// the last in any case of its name, others know one case alone, and of a form some take the first.
    pub ambiguous: Option<&'static str>,
    /// Where the last value of `stream` stands (it may be `null`).
    pub stream_span: Option<ByteSpan>,
    /// Offset right after the body's opening brace, where a field can be put in.
    pub object_start: Option<usize>,
    /// Whether any field follows there.
    pub has_fields: bool,
    /// No prompt, no messages, no input: asks to load (or unload) the model and for nothing else.
    pub empty_input: bool,
    /// `keep_alive` is zero: unload the model afterwards.
    pub keep_alive_zero: bool,
    /// Offers at least one tool.
    pub tools: bool,
    /// Carries at least one image (for /v1 routes: speaks of one).
    pub images: bool,
    /// Asks for JSON or a schema.
    pub format: bool,
    /// A text is to be continued as it stands (`raw`, `suffix`, `template`), which a chat cannot say.
    pub raw: bool,
    /// Has parameters of OptiLLM's, or an `extra_body` that may hold some (OpenAI).
    pub private: bool,
    /// Says something of `stream_options` (OpenAI).
    pub stream_options: bool,
    /// Asks for thinking (`think` is neither absent, null nor false).
    pub think: bool,
    /// The most tokens of output that it asks for: `max_tokens` and its later names in OpenAI's and Anthropic's
    /// formats, `options.num_predict` in Ollama's; of several the most, as providers differ in which they take.
    /// Ollama's -1 and -2 set no bound.
    pub most_output: Option<u64>,
    /// How many answers it asks for, or has made to choose from (OpenAI's `n`, `best_of`), if it says so.
    pub answers: Option<u64>,
    /// Texts that are to be continued each by itself (OpenAI's `prompt`, which may be a list); 0 of other requests.
    pub prompts: u64,
    /// What it says of the copy of the model that is to serve it.
    pub copy: CopyFacts,
    /// The model that is copied, or that another is created from.
    pub source: Option<Cow<'a, str>>,
    /// The name that a copy gets.
    pub destination: Option<Cow<'a, str>>,
}

impl RequestFacts<'_> {
    /// Returns whether the answer streams.
    pub fn streams(&self, operation: Operation) -> bool {
        self.stream.unwrap_or(operation.streams_by_default())
    }

    /// Returns the same, apart from the body.
    pub fn into_owned(self) -> RequestFacts<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        RequestFacts {
            model: own(self.model),
            source: self.source.map(own),
            destination: self.destination.map(own),
            ..self
        }
    }

    /// Asks to unload a model and for nothing else.
    pub fn is_unload(&self) -> bool {
        self.empty_input && self.keep_alive_zero
    }
}

/// A body that Ollama answers 400, in its words. No text of the body is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("missing request body")]
    MissingBody,
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("json: cannot unmarshal {} into Go struct field {}.{field} of type {wanted}", .found.go_name(), .operation.go_type())]
    FieldType {
        operation: Operation,
        field: &'static str,
        found: Kind,
        wanted: &'static str,
    },
    #[error("json: cannot unmarshal {} into Go value of type {}.{}", .found.go_name(), .operation.go_package(), .operation.go_type())]
    BodyType { operation: Operation, found: Kind },
    #[error("options repeats its members too often; state each once")]
    Repeated,
}
