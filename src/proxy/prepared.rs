//! What `request_filter` hands to `dispatch`: a request whose client may ask it, its body, and where it may go.

use std::sync::Arc;

use crate::access::ClientKey;
use crate::fleet::Backend;
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::proxy::request_filter::body_budget::Body;
use crate::routing::{self, Needs, Permission, Plan, StepModel};
use remuda_formats::client::{CopyFacts, Operation};
use remuda_formats::translate::Interrupted;
use remuda_formats::wire::json::ByteSpan;

/// A model request that has been let in, read and planned. What is said of the client itself is in
/// [`Inbound`](crate::proxy::ctx::Inbound).
pub(crate) struct Prepared {
    /// What the client asks for; it decides the format of the answer and of errors.
    pub(crate) operation: Operation,
    /// The body as a backend gets it that speaks the client's format and knows the model by the client's name: unpacked,
    /// and with `stream` and OptiLLM's fields as the settings want them.
    pub(crate) body: Body,
    /// The names by which the model is asked for, and where they stand in `body`.
    pub(crate) wanted: WantedModel,
    /// The providers that may serve the request, step by step.
    pub(crate) plan: Plan,
    /// What `plan` was made by, for another plan once providers have failed.
    pub(crate) criteria: Criteria,
    /// The request's place among those that wait for a slot: higher goes first, 0 is normal.
    pub(crate) priority: i32,
    /// The only backend that may serve the request, where the client names one with `X-Backend`.
    pub(crate) pinned: Option<BackendId>,
}

/// What a plan is made by: which model is wanted, what it has to be able to do, and what the client may use.
pub(crate) struct Criteria {
    /// The model as the client wrote it, without the tag for accounting.
    pub(crate) model: Arc<str>,
    /// The provider that `X-Provider` names.
    pub(crate) provider: Option<String>,
    /// The approach of OptiLLM's that the body names.
    pub(crate) approach: Option<String>,
    /// What the model has to be able to do.
    pub(crate) needs: Needs,
    /// The client's key, whose permissions and strategy hold.
    pub(crate) key: Option<Arc<ClientKey>>,
    /// The request only asks about the model, so that it takes no provider's turn.
    pub(crate) looks_only: bool,
}

impl Criteria {
    /// Criteria of a look at a model, of which nothing is known but its name and who asks.
    pub(crate) fn look(model: Arc<str>, key: Option<Arc<ClientKey>>) -> Criteria {
        Criteria {
            model,
            provider: None,
            approach: None,
            needs: Needs::default(),
            key,
            looks_only: true,
        }
    }

    /// Returns the question for a first plan.
    pub(crate) fn ask(&self) -> routing::PlanRequest<'_> {
        let key = self.key.as_deref();
        let bound = key.filter(|key| !(key.any_model() && key.any_provider()));
        routing::PlanRequest {
            provider: self.provider.as_deref(),
            approach: self.approach.as_deref(),
            needs: self.needs,
            strategy: key.and_then(|key| key.strategy),
            permission: bound.map(|key| key as &dyn Permission),
            looks_only: self.looks_only,
            ..routing::PlanRequest::of(&self.model)
        }
    }

    /// Returns the question for another plan, without providers that have failed. It takes no provider's turn.
    pub(crate) fn ask_without<'a>(
        &'a self,
        providers: &'a [ProviderId],
    ) -> routing::PlanRequest<'a> {
        routing::PlanRequest {
            without: providers,
            looks_only: true,
            ..self.ask()
        }
    }
}

/// What every attempt at one request has in common.
pub(crate) struct ModelRequest {
    pub(crate) operation: Operation,
    pub(crate) body: Body,
    pub(crate) has_body: bool,
    pub(crate) streams: bool,
    /// The wanted model; `None` for look-ups and for changes of models, which go to Ollama servers as they came.
    pub(crate) wanted: Option<WantedModel>,
    /// Whether a server has kept silent, so that no server is taken to be quick any more.
    pub(crate) wary: bool,
    /// The context of the copy that is to serve it, where that is known.
    pub(crate) context: Option<u32>,
    /// Whether its answer may go on elsewhere if it breaks off, or does.
    pub(crate) resume: Resuming,
}

/// Whether an answer goes on elsewhere where it breaks off.
#[derive(Clone, Debug, Default)]
pub(crate) enum Resuming {
    /// It does not.
    #[default]
    Never,
    /// It may, so that what its client has of it is kept.
    Possible,
    /// It goes on with what has broken off elsewhere.
    From(Arc<Interrupted>),
}

impl ModelRequest {
    /// Returns a copy of the request for a thread that writes what is sent upstream. Its body is counted here alone.
    pub(crate) fn to_write(&self) -> ModelRequest {
        ModelRequest {
            operation: self.operation,
            body: Body::unshared(self.body.bytes.clone()),
            has_body: self.has_body,
            streams: self.streams,
            wanted: self.wanted.clone(),
            wary: self.wary,
            context: self.context,
            resume: self.resume.clone(),
        }
    }

    /// Returns a copy of the request for a second candidate, which knows the model as `asked`, while the first keeps silent.
    pub(crate) fn beside(&self, asked: &StepModel) -> ModelRequest {
        let mut request = self.to_write();
        request.wary = true;
        request.ask_for(asked);
        request
    }

    /// Returns the model that the request wants, if backends list it.
    pub(crate) fn model(&self) -> Option<ModelId> {
        self.wanted.as_ref()?.model
    }

    /// Makes the request ask for the model as the providers of that step know it.
    pub(crate) fn ask_for(&mut self, asked: &StepModel) {
        let Some(wanted) = &mut self.wanted else {
            return;
        };
        let own = asked.own();
        wanted.model = asked.listed();
        if wanted.own.as_ref() != own {
            wanted.own = own.cloned();
        }
    }
}

/// Which model a request wants, as far as an attempt needs to know.
#[derive(Clone, Debug)]
pub(crate) struct WantedModel {
    /// The name as the client wrote it.
    pub(crate) asked: Arc<str>,
    /// The name without its tag, if it has one.
    pub(crate) untagged: Option<Arc<str>>,
    /// The place of the name in the body.
    pub(crate) span: Option<ByteSpan>,
    pub(crate) model: Option<ModelId>,
    /// The name that goes to a backend that has none of its own for the model, where that is not what the client wrote.
    pub(crate) own: Option<Arc<str>>,
    pub(crate) tools: bool,
    /// Whether a text is to be continued rather than answered.
    pub(crate) raw: bool,
    /// Where OpenAI's `stream_options` can be put in, if the client says nothing of it.
    pub(crate) no_stream_options: Option<usize>,
    /// Whether there may be schemas in the body, of tools or of the answer.
    pub(crate) schemas: bool,
    /// Where the members of the body begin, and whether there are any; `None` if the body is no object.
    pub(crate) members: Option<(usize, bool)>,
    /// What the request says of the copy that is to serve it.
    pub(crate) copy: CopyFacts,
    /// The most tokens of output that are asked for.
    pub(crate) most_output: Option<u64>,
}

impl WantedModel {
    /// Returns the model's name as the client gave it, without a tag.
    pub(crate) fn name(&self) -> &str {
        self.untagged.as_deref().unwrap_or(&self.asked)
    }

    /// Returns what a service calls the model.
    pub(crate) fn called(&self, backend: &Backend) -> Arc<str> {
        let listed = self.model.and_then(|model| backend.own_name(model));
        let given = self.own.as_ref().or(self.untagged.as_ref());
        listed.unwrap_or_else(|| Arc::clone(given.unwrap_or(&self.asked)))
    }

    /// Returns the wanted model with its places in a body that was `before` and has become longer or shorter within its texts.
    pub(crate) fn moved(&self, before: &[u8]) -> WantedModel {
        // What it has become up to a place, which is never within a character.
        let place = |at: usize| String::from_utf8_lossy(&before[..at]).len();
        WantedModel {
            span: self.span.map(|span| ByteSpan {
                start: place(span.start),
                end: place(span.end),
            }),
            no_stream_options: self.no_stream_options.map(place),
            ..self.clone()
        }
    }
}

/// Returns the name of the model in an answer that the gateway writes: the one that the provider was asked for, as in the
/// provider's own answer, but in the client's spelling where that names the same.
pub(crate) fn answering<'a>(asked: &'a str, own: &'a str) -> &'a str {
    fn untagged(name: &str) -> &str {
        name.strip_suffix(":latest").unwrap_or(name)
    }
    if untagged(asked).eq_ignore_ascii_case(untagged(own)) {
        asked
    } else {
        own
    }
}
