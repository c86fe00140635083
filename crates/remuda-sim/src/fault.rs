//! Faults: what can be made to go wrong, how it is written down, and which requests it hits.
//!
//! As text (`--fault`): `kind:key=value,flag`, for instance `status:status=503,times=2,route=/api/chat`, or JSON.
//! As JSON (`POST /sim/fault`): `{"kind":"status","status":503,"times":2,"route":"/api/chat"}`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fault_form::Written;

/// One fault and whom it hits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub harm: Harm,
    /// How many requests (for `slow_load`: loads) it hits before it is spent; `None` is all.
    pub times: Option<u64>,
    /// Hit a request with this probability; `None` is always.
    pub chance: Option<f64>,
    /// A path, a prefix with `*` at its end, or `inference` for the routes that run a model; `None` is every route.
    pub route: Option<String>,
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
    /// Whether this fault belongs to the server on `port`.
    pub(super) fn is_for_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
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

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        if text.trim_start().starts_with('{') {
            return Ok(serde_json::from_str(text)?);
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut fields = serde_json::Map::new();
        match kind.trim().parse::<u16>() {
            Ok(status) => {
                fields.insert("kind".into(), "status".into());
                fields.insert("status".into(), status.into());
            }
            Err(_) => {
                fields.insert("kind".into(), kind.trim().into());
            }
        }
        for pair in rest.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (key, scalar(value)),
                None => (pair, Value::Bool(true)),
            };
            fields.insert(key.trim().into(), value);
        }
        Ok(serde_json::from_value(Value::Object(fields))?)
    }
}

/// A number or a flag where it looks like one, else text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => text.into(),
    }
}

/// A fault that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadFault {
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?
            .fault()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_json_mean_the_same() {
        let json = r#"{"kind":"status","status":503,"times":2,"route":"/api/chat","port":24000}"#;
        let text = "503:times=2,route=/api/chat,port=24000";
        assert_eq!(fault(json), fault(text));
        assert_eq!(fault(text).ports, [24000]);
    }

    #[test]
    fn places_in_a_response() {
        let at = |text| match fault(text).harm {
            Harm::Cut { at, .. } | Harm::Stall { at, .. } => at,
            other => panic!("{other:?}"),
        };
        assert_eq!(at("cut:bytes=512,reset"), At::Bytes(512));
        assert_eq!(at("cut:tokens=3"), At::Tokens(3));
        assert_eq!(at("cut:events=2"), At::Events(2));
        assert_eq!(at("cut:at=last"), At::Last);
        assert_eq!(at("stall:seconds=2"), At::Head);
        assert_eq!(at("stall:seconds=300ms,at=body"), At::Body);
    }

    #[test]
    fn an_error_may_have_words_of_its_own() {
        let Harm::Status {
            status, failure, ..
        } = fault("429:code=insufficient_quota").harm
        else {
            panic!("not a status");
        };
        assert_eq!(status, 429);
        assert_eq!(failure.code.as_deref(), Some("insufficient_quota"));
        // A number is a status, whichever of the two keys has it.
        assert_eq!(fault("status:code=529"), fault("529"));
        assert_eq!(
            fault("error:events=1,message=no").harm,
            Harm::Error {
                at: At::Events(1),
                failure: Failure {
                    message: Some("no".into()),
                    code: None
                }
            }
        );
    }

    #[test]
    fn times_may_have_units() {
        let Harm::Die { after, back_after } = fault("die:after=1m 30s,back_after=2").harm else {
            panic!("not a die");
        };
        assert_eq!(after.as_secs(), 90);
        assert_eq!(back_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "explode",
            "cut:byte=5",
            "stall",
            "status:status=9000",
            "silent:chance=2",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
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
