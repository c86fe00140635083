//! While a stream does not begin, its client hears from the gateway: the head of its answer, and again and again a
//! piece that says nothing, so that neither its patience nor that of a proxy in between runs out.
//!
//! Nothing of a backend's answer is sent with it, so another backend can still take over; but from then on the status
//! is 200, and what goes wrong is told in the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::protocols::http::ServerSession;

use crate::access::ClientKey;
use crate::admission::{Dispatcher, LoadView};
use crate::ids::ModelId;
use crate::proxy::failure::Stop;
use crate::proxy::heads;
use crate::proxy::response_body::client::{self, Framing, departed};
use crate::proxy::response_body::limits::state_limits;
use remuda_formats::client::ErrorStyle;
use remuda_formats::dialect::ollama;
use remuda_formats::ir::Text;
use remuda_formats::translate::ClientForm;

/// An event that clients skip (server-sent events, section 9.2.6 of the HTML standard).
const COMMENT: &[u8] = b": waiting\n\n";

/// An event of Anthropic's by which clients know that a stream is alive.
const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// Characters of a model's name that are told: clients may write names that are longer than any model's.
const LONGEST_NAME: usize = 200;

/// What a client has been told before its answer began.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// `None` for what is not streamed.
    expected: Option<Expected>,
    /// When the client is to hear something next.
    due: Option<Instant>,
    said: Said,
    /// Which model it waits for, and who knows of its load.
    awaited: Option<(Arc<Dispatcher>, ModelId)>,
}

/// What is known of a streamed answer before it begins.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) form: ClientForm,
    /// The model's name, as the client wrote it.
    pub(crate) model: Arc<str>,
    pub(crate) framing: Framing,
    pub(crate) request_id: HeaderValue,
    /// The origin whose pages may read the answer.
    pub(crate) allow_origin: Option<HeaderValue>,
    /// The key whose limits the head tells of.
    pub(crate) key: Option<Arc<ClientKey>>,
    pub(crate) style: ErrorStyle,
    /// How long the client waits for each sign of life.
    pub(crate) every: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    /// The head, and whole pieces.
    Head,
    /// A piece whose writing was broken off: nothing may follow it.
    Part,
}

impl Opening {
    /// Notes that a stream is due: its client is to hear something every so often, first after that time.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.due = Some(Instant::now() + expected.every);
        self.expected = Some(expected);
    }

    /// Notes which model it waits for, so that its client hears of that model's load.
    pub(crate) fn await_model(&mut self, dispatcher: &Arc<Dispatcher>, model: Option<ModelId>) {
        if self.expected.is_some() {
            self.awaited = model.map(|model| (Arc::clone(dispatcher), model));
        }
    }

    /// Notes that the answer has begun, so that its head is sent, and is to go on: its client is to hear something as often as
    /// before.
    pub(crate) fn goes_on(&mut self) {
        self.said = Said::Head;
        let every = self.expected.as_ref().map(|expected| expected.every);
        self.due = every.map(|every| Instant::now() + every);
    }

    /// Returns whether the head has been sent.
    ///
    /// # Errors
    /// [`Stop::ClientGone`] if nothing more can be sent.
    pub(crate) fn head_is_sent(&self) -> Result<bool, Stop> {
        match self.said {
            Said::Nothing => Ok(false),
            Said::Head => Ok(true),
            Said::Part => Err(Stop::ClientGone),
        }
    }

    /// Resolves when the client has gone; until then it is told in time that the gateway is still there.
    pub(crate) async fn attend(&mut self, client: &mut ServerSession) {
        loop {
            let Some(due) = self.due else {
                return departed(client).await;
            };
            tokio::select! {
                biased;
                () = departed(client) => return,
                () = tokio::time::sleep_until(due.into()) => {}
            }
            if self.speak(client).await.is_err() {
                return;
            }
        }
    }

    async fn speak(&mut self, client: &mut ServerSession) -> Result<(), Stop> {
        let first = !self.head_is_sent()?;
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        self.said = Said::Part;
        if first {
            let mut head = heads::translated_response(
                expected.form.content_type(true),
                expected.framing.version,
                &expected.framing.method,
                &expected.request_id,
            );
            state_limits(expected.key.as_ref(), expected.style, &mut head);
            client::write_head(client, head, expected.allow_origin.as_ref()).await?;
        }
        let load = self.awaited.as_ref();
        let load = load.and_then(|(dispatcher, model)| dispatcher.load_of(*model));
        client::write_piece(client, &expected.quiet(load.as_ref())).await?;
        self.due = Some(Instant::now() + expected.every);
        self.said = Said::Head;
        Ok(())
    }
}

impl Expected {
    /// A piece of the answer that says nothing of it, and tells of the load of its model where one is under way: in a
    /// comment where the format has comments, otherwise in a field that is no part of an answer.
    fn quiet(&self, load: Option<&LoadView>) -> Vec<u8> {
        let mut piece = Vec::new();
        let status = load.map(|load| status(&self.model, load));
        let write_line = match self.form {
            ClientForm::OllamaChat => ollama::chat::write_quiet,
            ClientForm::OllamaGenerate => ollama::generate::write_quiet,
            form => {
                let Some(status) = &status else {
                    return COMMENT.to_vec();
                };
                piece.extend_from_slice(b": ");
                piece.extend_from_slice(status.as_bytes());
                piece.extend_from_slice(b"\n\n");
                if form == ClientForm::AnthropicMessages {
                    piece.extend_from_slice(PING);
                }
                return piece;
            }
        };
        let status = status.as_deref().map(Text::plain);
        write_line(&Text::plain(&self.model), status.as_ref(), &mut piece);
        piece
    }
}

/// Says in one line which model is being loaded and for how many more seconds; of a load that takes longer than expected, for
/// how many seconds it has been under way.
fn status(model: &str, load: &LoadView) -> String {
    let named = model.chars().filter(|character| !character.is_control());
    let name: String = named.take(LONGEST_NAME).collect();
    let left = load.expected.saturating_sub(load.elapsed).as_secs_f64();
    if left > 0.0 {
        format!("loading {name}, about {:.0} s", left.ceil())
    } else {
        let elapsed = load.elapsed.as_secs();
        format!("loading {name}, for {elapsed} s so far")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BackendId;

    fn load(elapsed: u64, expected: u64) -> LoadView {
        LoadView {
            backend: BackendId(1),
            model: ModelId(1),
            elapsed: Duration::from_millis(elapsed),
            expected: Duration::from_millis(expected),
            context: None,
        }
    }

    fn piece(form: ClientForm, model: &str, load: Option<&LoadView>) -> String {
        let expected = Expected {
            form,
            model: model.into(),
            framing: Framing {
                version: http::Version::HTTP_11,
                method: http::Method::POST,
            },
            request_id: HeaderValue::from_static("1"),
            allow_origin: None,
            key: None,
            style: ErrorStyle::Ollama,
            every: Duration::from_secs(1),
        };
        String::from_utf8(expected.quiet(load)).unwrap()
    }

    #[test]
    fn a_load_is_told_by_what_is_left_of_it() {
        for (elapsed, expected, told) in [
            (0, 14_000, "loading llama3.3:70b, about 14 s"),
            (500, 14_000, "loading llama3.3:70b, about 14 s"),
            (13_600, 14_000, "loading llama3.3:70b, about 1 s"),
            (14_000, 14_000, "loading llama3.3:70b, for 14 s so far"),
            (90_400, 14_000, "loading llama3.3:70b, for 90 s so far"),
        ] {
            let load = load(elapsed, expected);
            assert_eq!(status("llama3.3:70b", &load), told);
        }
    }

    #[test]
    fn a_name_cannot_end_the_comment_that_tells_it() {
        let load = load(0, 2000);
        let told = piece(ClientForm::OpenAiChat, "a\n\ndata: x\r", Some(&load));
        assert_eq!(told, ": loading adata: x, about 2 s\n\n");
        let long = "m".repeat(10_000);
        assert!(status(&long, &load).len() < 300);
    }

    #[test]
    fn each_format_is_told_in_what_its_clients_skip() {
        let load = load(0, 14_000);
        let comment = ": loading gemma3, about 14 s\n\n";
        assert_eq!(
            piece(ClientForm::OpenAiChat, "gemma3", Some(&load)),
            comment
        );
        assert_eq!(
            piece(ClientForm::OpenAiChat, "gemma3", None),
            ": waiting\n\n"
        );
        let told = piece(ClientForm::AnthropicMessages, "gemma3", Some(&load));
        let ping = told.strip_prefix(comment).unwrap();
        assert_eq!(ping, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
        for (form, said) in [
            (
                ClientForm::OllamaChat,
                r#""message":{"role":"assistant","content":""}"#,
            ),
            (ClientForm::OllamaGenerate, r#""response":"""#),
        ] {
            let told = piece(form, "gemma3", Some(&load));
            let status = r#","done":false,"status":"loading gemma3, about 14 s"}"#;
            assert!(told.ends_with(&format!("{said}{status}\n")), "{told}");
            let quiet = piece(form, "gemma3", None);
            assert!(
                quiet.ends_with(&format!("{said},\"done\":false}}\n")),
                "{quiet}"
            );
        }
    }
}
