//! Faults: what can be made to go wrong, and which requests it hits.

use std::time::Duration;

use super::names::Name;

/// One fault and whom it hits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub harm: Harm,
    /// How many requests (where it is about loads: loads) it hits before it is spent; `None` is all.
    pub times: Option<u64>,
    /// Hit a request with this probability; `None` is always.
    pub chance: Option<f64>,
    /// A path, a prefix with `*` at its end, or `inference` for the routes that run a model; `None` is every route.
    pub route: Option<String>,
    /// The one model that it is about, where it is about models; `None` is every model.
    pub model: Option<String>,
    /// Servers that it belongs to; none is all of them.
    pub ports: Vec<u16>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Harm {
    /// The listener is closed; connections that are open live on.
    Refuse { back_after: Option<Duration> },
    /// The request is read and never answered.
    Silent,
    /// An error instead of an answer.
    Status {
        status: u16,
        /// All of the body, instead of the server's own error.
        body: Option<String>,
        retry_after: Option<String>,
        failure: Failure,
    },
    /// An error line or event at a place of a streamed answer; `Tokens(0)` makes it the first line.
    Error { at: At, failure: Failure },
    /// A stream ends as if it were complete, but without its last lines (simulated providers only).
    End { at: At },
    /// The connection ends, by FIN or by RST.
    Cut { at: At, reset: bool },
    /// Every byte is written by itself, with a pause between two.
    OneByte { pause: Duration },
    /// Nothing is sent for a while.
    Stall { at: At, time: Duration },
    /// A cold load takes this much longer.
    SlowLoad { extra: Duration },
    /// A load makes no progress; the server gives it up after its load timeout.
    StuckLoad,
    /// A load ends in this error, after all its time: a broken file, or too little memory.
    FailLoad { message: String },
    /// Prompts and answers take this many times as long.
    SlowGpu { factor: f64 },
    /// The copy that a request comes to generates nothing more, until it is unloaded; all else there is answered.
    Hang,
    /// The process that runs the copy stops; the server notices when it next looks for it, and loads the model anew.
    Freeze,
    /// The server dies with all its connections and loaded models, and may come back.
    Die {
        after: Duration,
        back_after: Option<Duration>,
    },
}

/// What an error says, where it does not say what such errors usually say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub message: Option<String>,
    /// The provider's own word for it: `insufficient_quota`, `throttlingException`, `RESOURCE_EXHAUSTED`.
    pub code: Option<String>,
}

/// A place in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the head.
    Head,
    /// After the head, before the first byte of the body.
    Body,
    /// After this many tokens.
    Tokens(u64),
    /// After this many lines or events, also those that carry no token (simulated providers only).
    Events(u64),
    /// Before the last line or event: `[DONE]`, or the one that says that all is well (simulated providers only).
    Last,
    /// After this many bytes of the response, head included.
    Bytes(u64),
}

impl Fault {
    /// Whether it hits the models on a server instead of requests.
    pub(super) fn is_about_models(&self) -> bool {
        self.is_about_loads() || self.is_about_copies()
    }

    pub(super) fn is_about_loads(&self) -> bool {
        matches!(
            self.harm,
            Harm::SlowLoad { .. } | Harm::StuckLoad | Harm::FailLoad { .. }
        )
    }

    pub(super) fn is_about_copies(&self) -> bool {
        matches!(self.harm, Harm::SlowGpu { .. } | Harm::Hang | Harm::Freeze)
    }

    /// Whether this fault belongs to the server on `port`.
    pub(super) fn is_for_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    /// Whether it is about `name`.
    pub(super) fn is_for_model(&self, name: &Name) -> bool {
        let stated = self.model.as_deref();
        stated.is_none_or(|stated| Name::parse(stated).as_ref() == Some(name))
    }

    /// Whether a request for `path` can be hit.
    pub(super) fn is_for_route(&self, path: &str) -> bool {
        match self.route.as_deref() {
            None => true,
            Some("inference") => runs_a_model(path),
            Some(route) => match route.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == route,
            },
        }
    }
}

/// Whether requests for `path` run a model, at Ollama's servers or at a provider.
pub(super) fn runs_a_model(path: &str) -> bool {
    INFERENCE.contains(&path) || INFERENCE_ENDS.iter().any(|end| path.ends_with(end))
}

/// The routes that run a model.
pub(super) const INFERENCE: [&str; 7] = [
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
];

/// How the paths end that run a model at simulated providers.
const INFERENCE_ENDS: [&str; 15] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/v1/agent",
    "/messages",
    ":generateContent",
    ":streamGenerateContent",
    ":embedContent",
    ":batchEmbedContents",
    "/converse",
    "/converse-stream",
    "/invoke",
    "/invoke-with-response-stream",
    "/rerank",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn a_fault_of_a_model_goes_by_its_name() {
        let name = |text| Name::parse(text).unwrap();
        let of = fault("hang:model=Llama3.2");
        assert!(of.is_for_model(&name("llama3.2:latest")));
        assert!(!of.is_for_model(&name("llama3.2:1b")));
        assert!(fault("hang").is_for_model(&name("llama3.2:1b")));
    }

    #[test]
    fn routes() {
        assert!(fault("silent").is_for_route("/api/tags"));
        assert!(fault("silent:route=/api/*").is_for_route("/api/tags"));
        assert!(fault("silent:route=inference").is_for_route("/api/chat"));
        assert!(!fault("silent:route=inference").is_for_route("/api/tags"));
        assert!(fault("silent:route=inference").is_for_route("/v1beta/models/x:generateContent"));
        assert!(!fault("silent:route=/api").is_for_route("/api/tags"));
    }
}
