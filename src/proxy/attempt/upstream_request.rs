//! What one attempt sends to its backend, and how the answer will be read.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use pingora::http::RequestHeader;

use crate::fleet::Backend;
use crate::proxy::attempt::continuation::Continuation;
use crate::proxy::attempt::copy_contract::fitted;
use crate::proxy::attempt::passing::{respelled, sound};
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::attempt::upstream_head::openai_path;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::heads;
use crate::proxy::prepared::{ModelRequest, WantedModel, answering};
use crate::settings::{self, ProviderKind};
use remuda_formats::client::{self, Operation};
use remuda_formats::dialect::anthropic;
use remuda_formats::dialect::exchange::{ProviderRequest, Reply, Target};
use remuda_formats::dialect::openai::{elsewhere, unasked};
use remuda_formats::facts::ModelFacts;
use remuda_formats::ir::{Dropped, Mend, Text};
use remuda_formats::provider::ProviderProfile;
use remuda_formats::translate::{
    self, ClientForm, Gathering, Passing, ProviderForm, Question, Translating, Way,
};

/// A whole answer that usually takes no longer than this is asked for as one body rather than as a stream.
const QUICK: Duration = Duration::from_secs(1);

/// One request to one backend.
pub(crate) struct UpstreamRequest {
    pub(crate) head: RequestHeader,
    pub(crate) body: Bytes,
    /// Further requests whose answers make up one with the first.
    pub(crate) more: Vec<(RequestHeader, Bytes)>,
    pub(crate) reader: AnswerReader,
    pub(crate) dropped: Dropped,
    /// How the answer is written on rather than told again, where the server tells its prompt.
    pub(crate) continuation: Option<Box<Continuation>>,
    /// The client sees an answer of another format than the backend's.
    pub(crate) across: bool,
    /// The backend is asked for a stream, or for what it is known to give at once.
    pub(crate) streamed: bool,
}

/// What an upstream request is written from.
#[derive(Clone, Copy)]
pub(crate) struct RequestSource<'a> {
    /// The head that the client sent.
    pub(crate) head: &'a RequestHeader,
    pub(crate) inbound: &'a Inbound,
    pub(crate) request: &'a ModelRequest,
    pub(crate) backend: &'a Backend,
    /// Which of the provider's keys it is sent with.
    pub(crate) key: usize,
}

impl Upstreams {
    /// Writes what goes to the backend, without what `mend` names.
    ///
    /// # Errors
    /// The failure that the client is told if the request cannot be written for this backend, or holds nothing that `mend`
    /// names.
    pub(crate) fn write(
        &self,
        from: &RequestSource<'_>,
        mend: Option<Mend>,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        let request = from.request;
        match &request.wanted {
            Some(wanted) => self.watched(from, self.for_model(from, wanted, mend)?),
            None => self.untouched(from, request.body.bytes.clone()),
        }
    }

    /// Writes what asks the backend for `wanted`.
    fn for_model(
        &self,
        from: &RequestSource<'_>,
        wanted: &WantedModel,
        mend: Option<Mend>,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        let RequestSource {
            request, backend, ..
        } = *from;
        let kind = backend.provider.settings.kind;
        let own = self.own_name(wanted, backend);
        let facts = match kind {
            ProviderKind::Ollama => &self.unknown_model,
            _ => self.facts_of(backend, &own),
        };
        let question = Question {
            operation: request.operation,
            provider: backend.provider.settings.profile(),
            facts,
            tools: wanted.tools,
            raw: wanted.raw,
        };
        match translate::way(&question).map_err(Failure::inexpressible)? {
            // What it says of its own format is the client's to know.
            Way::Same if kind.is_fleet() && mend.is_some() => Err(Failure::unmendable()),
            Way::Same if kind.is_fleet() => self.to_server(from, wanted, &own),
            Way::Same => {
                let (body, wanted) = sound(request, wanted);
                self.same_format(from, body, (&wanted, &own, facts), mend)
            }
            Way::Across(client, form) => {
                self.translated(from, (client, form), (wanted, &own, facts), mend)
            }
        }
    }

    /// Writes a request to an Ollama server whose format the client speaks. It passes as it came but for the model's name, and
    /// asks for a stream where the answer's beginning is to be seen although the client wants it whole.
    fn to_server(
        &self,
        from: &RequestSource<'_>,
        wanted: &WantedModel,
        own: &str,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        let operation = from.request.operation;
        let edits = self.copy_edits(from.request, from.backend);
        let body = fitted(from.request, wanted, own, edits);
        let body = anthropic::without_billing(&body).map_or(body, Bytes::from);
        let gathering = Gathering::of(operation).filter(|_| self.is_gathered(from.request, wanted));
        let Some((gathering, body)) = gathering.and_then(|gathering| {
            // In another body, the same is elsewhere.
            Some((gathering, client::streamed(operation, &body)?))
        }) else {
            return self.untouched(from, body);
        };
        Ok(UpstreamRequest {
            reader: AnswerReader::Gathered(Box::new(gathering)),
            streamed: true,
            ..self.untouched(from, body)?
        })
    }

    /// Writes a request to a provider of another format.
    fn translated(
        &self,
        from: &RequestSource<'_>,
        (client, form): (ClientForm, ProviderForm),
        (wanted, own, facts): (&WantedModel, &str, &ModelFacts),
        mend: Option<Mend>,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        let RequestSource {
            request, backend, ..
        } = *from;
        let settings = &backend.provider.settings;
        let fleet = settings.kind.is_fleet();
        let refusals = &self.side(backend.provider.id).refusals;
        let spare = refusals.of(own, Instant::now());
        let (body, _) = sound(request, wanted);
        let translating = Translating {
            client,
            form,
            body: &body,
            streams: request.streams,
            gathered: fleet && self.is_gathered(request, wanted),
            fidelity: self.settings.routing.fidelity,
            mend,
            spare: &spare,
        };
        let target = Target {
            model: own,
            facts,
            provider: ProviderProfile {
                copy: self.copy_edits(request, backend),
                ..settings.profile()
            },
            stream: request.streams,
        };
        let reply = self.reply_to(from.inbound, answering(&wanted.asked, own));
        let written =
            translate::order(&translating, target, reply).map_err(Failure::inexpressible)?;
        let with_head = |outgoing: ProviderRequest| -> Result<_, Box<Failure>> {
            let head = self.provider_head(from, &outgoing)?;
            Ok((head, Bytes::from(outgoing.body)))
        };
        let (head, body) = with_head(written.outgoing)?;
        let more = written.more.into_iter().map(with_head);
        Ok(UpstreamRequest {
            head,
            body,
            more: more.collect::<Result<_, _>>()?,
            continuation: None,
            reader: AnswerReader::Across(written.translation),
            dropped: written.dropped,
            across: true,
            streamed: written.streamed || (fleet && !client.embeds()),
        })
    }

    /// Returns whether an Ollama server is asked for a stream although the client wants the answer whole: where the model's
    /// answers usually take long, where nothing is known of them, or where a server has kept silent.
    fn is_gathered(&self, request: &ModelRequest, wanted: &WantedModel) -> bool {
        let usual = || wanted.model.and_then(|model| self.dispatcher.usual(model));
        !request.streams && (request.wary || usual().is_none_or(|usual| usual >= QUICK))
    }

    /// Makes the head of a request that this gateway has written.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub(crate) fn provider_head(
        &self,
        from: &RequestSource<'_>,
        outgoing: &ProviderRequest,
    ) -> Result<RequestHeader, Box<Failure>> {
        self.head_to(from.head, from.inbound, (from.backend, from.key), outgoing)
    }

    fn untouched(
        &self,
        from: &RequestSource<'_>,
        body: Bytes,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        let request = from.request;
        let length = request.has_body.then_some(body.len());
        let head = self
            .upstream_head(from.head, from.inbound, (from.backend, from.key), length)
            .map_err(|_| Failure::unwritable())?;
        let passing = Passing::new(request.operation, request.streams).answering(&body);
        Ok(UpstreamRequest {
            head,
            body,
            more: Vec::new(),
            continuation: None,
            reader: AnswerReader::same(passing),
            dropped: Dropped::default(),
            across: false,
            // What runs no model answers at once, or has failed; and so does a chat that is not gathered.
            streamed: request.streams
                || !request.operation.is_inference()
                || matches!(request.operation, Operation::Chat | Operation::Generate),
        })
    }

    /// Checks that a body which passes is about no other models than the client's key and the operator's list allow.
    fn stays(&self, ctx: &Inbound, backend: &Backend, body: &[u8]) -> Result<(), Box<Failure>> {
        let key = ctx.key.as_ref().filter(|key| !key.any_model());
        let filter = self.router.filter();
        if key.is_none() && filter.is_empty() {
            return Ok(());
        }
        let provider = &backend.provider.name;
        let may = |name: &str| {
            filter.admits(provider, &[name])
                && key.is_none_or(|key| key.may_use([name, &*format!("{provider}/{name}")]))
        };
        let Some(field) = elsewhere::beyond(body, may) else {
            return Ok(());
        };
        let text =
            format!("`{field}` may take the request to models that are not allowed; leave it out");
        Err(Box::new(Failure {
            api_code: Some("model_not_allowed".into()),
            param: Some(field.into()),
            ..Failure::new(403, "not_allowed", text)
        }))
    }

    /// Writes a request to a provider that speaks the client's format: with the provider's own path and credentials, and with
    /// its name for the model.
    fn same_format(
        &self,
        from: &RequestSource<'_>,
        body: Bytes,
        (wanted, own, facts): (&WantedModel, &str, &ModelFacts),
        mend: Option<Mend>,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        let RequestSource {
            inbound: ctx,
            request,
            backend,
            ..
        } = *from;
        let settings = &backend.provider.settings;
        if !client::is_form(request.operation, &body) {
            self.stays(ctx, backend, &body)?;
        }
        let body = respelled(request.operation, &body, wanted, own);
        let passing = Passing::new(request.operation, request.streams).answering(&body);
        let (mut body, passing) = counted(request, wanted, settings, (body, passing));
        if settings.kind != ProviderKind::Anthropic
            && let Some(without) = anthropic::without_billing(&body)
        {
            body = without.into();
        }
        let target = Target {
            model: own,
            facts,
            provider: settings.profile(),
            stream: request.streams,
        };
        let mut mend = mend;
        let mut reader = AnswerReader::same(passing);
        if request.operation == Operation::OpenAiEmbeddings
            && let Some(encoded) = self.encoded(ctx, &body, backend, (wanted, own), &mut mend)
        {
            reader = encoded.reader;
            body = encoded.body.unwrap_or(body);
        }
        if let Some(refitted) = translate::refitted(request.operation, target.provider, &body) {
            body = refitted.into();
        }
        let (body, dropped) = self.refined(
            request.operation,
            body,
            (backend, &target),
            wanted.schemas,
            mend,
        )?;
        let head = self.same_head(from, own, &body)?;
        Ok(UpstreamRequest {
            head,
            body,
            more: Vec::new(),
            continuation: None,
            reader,
            dropped,
            across: false,
            streamed: request.streams,
        })
    }

    /// Makes the head of a request in the client's own format: with what such a client may say to the provider.
    fn same_head(
        &self,
        from: &RequestSource<'_>,
        own: &str,
        body: &[u8],
    ) -> Result<RequestHeader, Box<Failure>> {
        let (inbound, backend) = (from.head, from.backend);
        let settings = &backend.provider.settings;
        let route = from.request.operation.name();
        let path = match settings.kind {
            ProviderKind::Anthropic => format!("{}{route}", backend.base_path()),
            _ => format!(
                "{}{}",
                backend.base_path(),
                openai_path(settings, route, own)
            ),
        };
        let id = &from.inbound.request_id;
        let mut head = heads::provider_request(inbound, &path, backend, body.len(), id)
            .map_err(|_| Failure::unwritable())?;
        heads::same_format(inbound, &mut head).map_err(|_| Failure::unwritable())?;
        self.authorize(&mut head, backend, from.key, &path, body)?;
        Ok(head)
    }

    /// Returns what an answer that the gateway writes says of itself: its id, its model and its time.
    pub(crate) fn reply_to(&self, ctx: &Inbound, model: &str) -> Reply {
        Reply {
            model: Text::plain(model).into_owned(),
            id: self.request_ids.answer(),
            created: SystemTime::now(),
            started: ctx.started,
            include_usage: false,
            reasoning_field: self.settings.routing.reasoning_field,
            base64: false,
            functions: false,
            prompt_estimate: 0,
            tools: Arc::default(),
        }
    }
}

/// Returns the body with a question for the stream's usage, where the client has not asked and the provider does not tell it by
/// itself. The reader keeps from the client what it has not asked for.
fn counted(
    request: &ModelRequest,
    wanted: &WantedModel,
    settings: &settings::Provider,
    (body, passing): (Bytes, Passing),
) -> (Bytes, Passing) {
    let has_option = matches!(
        request.operation,
        Operation::OpenAiChat | Operation::OpenAiCompletions
    );
    let tells_always = settings.kind == ProviderKind::OpenRouter;
    match wanted.no_stream_options {
        Some(at) if request.streams && has_option && !tells_always => {
            // Before the model's name, so that its place is the same in both bodies.
            let body = [&body[..at], unasked::ASK, &body[at..]].concat();
            (body.into(), passing.uncounted())
        }
        _ => (body, passing),
    }
}

/// Returns the value of `X-Remuda-Dropped`; `None` if nothing was dropped.
pub(crate) fn dropped_field(dropped: &Dropped) -> Option<HeaderValue> {
    if dropped.is_empty() {
        return None;
    }
    HeaderValue::try_from(dropped.fields().join(", ")).ok()
}
