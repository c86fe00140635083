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
    /// A piece of the answer that says nothing; where a format has comments, they tell of the load of its model.
    fn quiet(&self, load: Option<&LoadView>) -> Vec<u8> {
        let mut piece = Vec::new();
        let model = Text::plain(&self.model);
        match self.form {
            ClientForm::OllamaChat => ollama::chat::write_quiet(&model, &mut piece),
            ClientForm::OllamaGenerate => ollama::generate::write_quiet(&model, &mut piece),
            form => match load {
                None => piece.extend_from_slice(COMMENT),
                Some(load) => {
                    let seconds = load.expected.saturating_sub(load.elapsed).as_secs().max(1);
                    let told = format!(": loading {}, about {seconds} s\n\n", self.model);
                    piece.extend_from_slice(told.as_bytes());
                    if form == ClientForm::AnthropicMessages {
                        piece.extend_from_slice(PING);
                    }
                }
            },
        }
        piece
    }
}
