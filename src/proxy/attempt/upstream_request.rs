//! What one attempt sends to its backend, and how the answer will be read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use pingora::http::RequestHeader;

use crate::dialect::anthropic;
use crate::dialect::bedrock::path::one_segment;
use crate::dialect::bedrock::sign::Unsigned;
use crate::dialect::exchange::{Outgoing, Reply, Target};
use crate::dialect::ollama::{self, Operation};
use crate::dialect::openai::{elsewhere, unasked};
use crate::facts::ModelFacts;
use crate::fleet::Backend;
use crate::ir::{Dropped, Mend, Refused, Text};
use crate::proxy::Gateway;
use crate::proxy::attempt::passing::sound;
use crate::proxy::attempt::reader::Reader;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::told::Failure;
use crate::proxy::heads;
use crate::proxy::prepared::{Ask, Job};
use crate::settings::{self, ProviderKind};
use crate::translate::{self, Gathering, Passing, Question, Translating, Way};

/// What a model's whole answers usually take at most to be asked for as such.
const QUICK: Duration = Duration::from_secs(1);

/// One request to one backend.
pub(crate) struct Order {
    pub(crate) head: RequestHeader,
    pub(crate) body: Bytes,
    /// Further requests whose answers belong to the same.
    pub(crate) more: Vec<(RequestHeader, Bytes)>,
    pub(crate) reader: Reader,
    pub(crate) dropped: Dropped,
    /// The client sees an answer of another format than the backend's.
    pub(crate) across: bool,
    /// The backend is asked for a stream, or for what it is known to give at once.
    pub(crate) streamed: bool,
}

impl Gateway {
    /// What goes to `backend`, with the key that its provider's guard has picked, and without what `mend` says.
    ///
    /// # Errors
    /// What the client is told if this backend cannot be asked for it, or if there is nothing to be left out.
    pub(crate) fn order(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        job: &Job,
        backend: &Backend,
        key: usize,
        mend: Option<Mend>,
    ) -> Result<Order, Box<Failure>> {
        let kind = backend.provider.settings.kind;
        let Some(ask) = &job.ask else {
            return self.as_it_came(inbound, ctx, job, backend, key);
        };
        let own = self.own_name(ask, backend);
        let facts = match kind {
            ProviderKind::Ollama => &self.unknown_model,
            _ => self.facts_of(backend, &own),
        };
        let question = Question {
            operation: job.operation,
            provider: backend.provider.settings.profile(),
            facts,
            tools: ask.tools,
            raw: ask.raw,
        };
        match translate::way(&question).map_err(unsayable)? {
            // What it says of its own format is the client's to know.
            Way::Same if kind.is_fleet() && mend.is_some() => Err(unmendable()),
            Way::Same if kind.is_fleet() => {
                let body = respelled(job.operation, &job.body.bytes, ask, &own);
                let body = anthropic::without_billing(&body).map_or(body, Bytes::from);
                let gathering = Gathering::of(job.operation).filter(|_| self.is_gathered(job, ask));
                let Some((gathering, body)) = gathering.and_then(|gathering| {
                    // In another body, the same is elsewhere.
                    Some((gathering, ollama::streamed(job.operation, &body)?))
                }) else {
                    return self.untouched(inbound, ctx, job, backend, key, body);
                };
                let order = self.untouched(inbound, ctx, job, backend, key, body)?;
                Ok(Order {
                    reader: Reader::Gathered(Box::new(gathering)),
                    streamed: true,
                    ..order
                })
            }
            Way::Same => {
                let (body, ask) = sound(job, ask);
                let refined = (body, &*ask, &*own, facts);
                self.same_format(inbound, ctx, job, backend, key, refined, mend)
            }
            Way::Across(client, form) => {
                let refusals = &self.upstreams[backend.provider.id].refusals;
                let spare = refusals.of(&own, Instant::now());
                let (body, _) = sound(job, ask);
                let translating = Translating {
                    client,
                    form,
                    body: &body,
                    streams: job.streams,
                    gathered: kind.is_fleet() && self.is_gathered(job, ask),
                    fidelity: self.settings.routing.fidelity,
                    mend,
                    spare: &spare,
                };
                let target = Target {
                    model: &own,
                    facts,
                    provider: backend.provider.settings.profile(),
                    stream: job.streams,
                };
                let reply = self.reply_to(ctx, &ask.asked);
                let order = translate::order(&translating, target, reply).map_err(unsayable)?;
                let written = |outgoing: Outgoing| -> Result<_, Box<Failure>> {
                    let head = self.provider_head(inbound, ctx, backend, key, &outgoing)?;
                    Ok((head, Bytes::from(outgoing.body)))
                };
                let (head, body) = written(order.outgoing)?;
                Ok(Order {
                    head,
                    body,
                    more: order
                        .more
                        .into_iter()
                        .map(written)
                        .collect::<Result<_, _>>()?,
                    reader: Reader::Across(order.translation),
                    dropped: order.dropped,
                    across: true,
                    streamed: order.streamed || (kind.is_fleet() && !client.embeds()),
                })
            }
        }
    }

    /// Whether an answer of a fleet's server is asked for as a stream although its client wants it whole: where the
    /// model's answers take long, as far as is known, or one of its servers has kept silent.
    fn is_gathered(&self, job: &Job, ask: &Ask) -> bool {
        let usual = || ask.model.and_then(|model| self.dispatcher.usual(model));
        !job.streams && (job.wary || usual().is_none_or(|usual| usual >= QUICK))
    }

    /// The head of a request that this gateway has written.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub(crate) fn provider_head(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        backend: &Backend,
        key: usize,
        outgoing: &Outgoing,
    ) -> Result<RequestHeader, Box<Failure>> {
        let path = format!("{}{}", backend.base_path(), outgoing.path);
        let mut head = heads::provider_request(
            inbound,
            &path,
            backend,
            outgoing.body.len(),
            &ctx.request_id,
        )
        .map_err(|_| unwritable())?;
        for (name, value) in &outgoing.headers {
            head.insert_header(name, value).map_err(|_| unwritable())?;
        }
        self.authorize(&mut head, backend, key, &path, &outgoing.body)?;
        Ok(head)
    }

    fn authorize(
        &self,
        head: &mut RequestHeader,
        backend: &Backend,
        key: usize,
        path: &str,
        body: &[u8],
    ) -> Result<(), Box<Failure>> {
        for (name, value) in backend.provider.fields_with(key) {
            // A client of the same format may need a newer version.
            if *name != heads::ANTHROPIC_VERSION || !head.headers.contains_key(name) {
                head.insert_header(name, value).map_err(|_| unwritable())?;
            }
        }
        let Some(signer) = backend.provider.signer() else {
            return Ok(());
        };
        let host = backend.host.to_str().unwrap_or_default();
        let signed = signer
            .sign(
                &Unsigned {
                    method: "POST",
                    host,
                    path,
                    content_type: Some("application/json"),
                    body,
                },
                SystemTime::now(),
            )
            .map_err(|error| {
                log::error!(
                    "cannot sign a request to {}: {error}",
                    backend.provider.name
                );
                Box::new(Failure::new(
                    502,
                    "credentials",
                    format!(
                        "the gateway cannot sign requests to provider {}; see its log",
                        backend.provider.name
                    ),
                ))
            })?;
        for (name, value) in signed {
            head.insert_header(name, value).map_err(|_| unwritable())?;
        }
        Ok(())
    }

    /// What is known of a model, by the provider's own name for it.
    pub(crate) fn facts_of(&self, backend: &Backend, own: &str) -> &ModelFacts {
        let settings = &backend.provider.settings;
        let base = settings.azure.deployments.get(own);
        self.facts
            .find(settings.kind, base.map_or(own, |base| base))
    }

    /// The provider's own name for the wanted model.
    pub(crate) fn own_name<'a>(&self, ask: &'a Ask, backend: &Backend) -> Cow<'a, str> {
        let given = || Cow::Borrowed(ask.own.as_deref().unwrap_or(ask.name()));
        if backend.provider.settings.kind.is_fleet() && self.plain_names {
            return given();
        }
        match ask.model.and_then(|model| backend.own_name(model)) {
            Some(own) => Cow::Owned(String::from(&*own)),
            None => given(),
        }
    }

    fn as_it_came(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        job: &Job,
        backend: &Backend,
        key: usize,
    ) -> Result<Order, Box<Failure>> {
        self.untouched(inbound, ctx, job, backend, key, job.body.bytes.clone())
    }

    fn untouched(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        job: &Job,
        backend: &Backend,
        key: usize,
        body: Bytes,
    ) -> Result<Order, Box<Failure>> {
        let head = self
            .upstream_head(
                inbound,
                ctx,
                job.has_body.then_some(body.len()),
                backend,
                key,
            )
            .map_err(|_| unwritable())?;
        let passing = Passing::new(job.operation, job.streams).answering(&body);
        Ok(Order {
            head,
            body,
            more: Vec::new(),
            reader: Reader::same(passing),
            dropped: Dropped::default(),
            across: false,
            // What runs no model answers at once, or has failed; and so does a chat that is not gathered.
            streamed: job.streams
                || !job.operation.is_inference()
                || matches!(job.operation, Operation::Chat | Operation::Generate),
        })
    }

    /// That a body which passes is about no other models than the client's key and the operator's list allow.
    fn stays(&self, ctx: &Inbound, backend: &Backend, body: &[u8]) -> Result<(), Box<Failure>> {
        let key = ctx.key.as_ref().filter(|key| !key.any_model());
        let filter = self.planner.router.filter();
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

    /// To a provider that speaks the client's format: its own path and credentials, the model's name in its place.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one attempt; a struct would be made once and taken apart at once"
    )]
    fn same_format(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        job: &Job,
        backend: &Backend,
        key: usize,
        (body, ask, own, facts): (Bytes, &Ask, &str, &ModelFacts),
        mend: Option<Mend>,
    ) -> Result<Order, Box<Failure>> {
        let settings = &backend.provider.settings;
        if !ollama::is_form(job.operation, &body) {
            self.stays(ctx, backend, &body)?;
        }
        let path = match settings.kind {
            ProviderKind::Anthropic => job.operation.name().to_owned(),
            _ => openai_path(settings, job.operation.name(), own),
        };
        let outgoing = Outgoing {
            path,
            ..Outgoing::default()
        };
        let mut body = respelled(job.operation, &body, ask, own);
        let mut passing = Passing::new(job.operation, job.streams).answering(&body);
        if let Some(at) = ask.no_stream_options
            && job.streams
            && matches!(
                job.operation,
                Operation::OpenAiChat | Operation::OpenAiCompletions
            )
            // It tells them always.
            && settings.kind != ProviderKind::OpenRouter
        {
            // Before the model's name, so that its place is the same in both bodies.
            body = [&body[..at], unasked::ASK, &body[at..]].concat().into();
            passing = passing.uncounted();
        }
        if settings.kind != ProviderKind::Anthropic
            && let Some(without) = anthropic::without_billing(&body)
        {
            body = without.into();
        }
        let target = Target {
            model: own,
            facts,
            provider: settings.profile(),
            stream: job.streams,
        };
        let mut mend = mend;
        let mut reader = Reader::same(passing);
        if job.operation == Operation::OpenAiEmbeddings
            && let Some(encoded) = self.encoded(ctx, &body, backend, (ask, own), &mut mend)
        {
            reader = encoded.reader;
            body = encoded.body.unwrap_or(body);
        }
        if let Some(refitted) = translate::refitted(job.operation, target.provider, &body) {
            body = refitted.into();
        }
        let (body, dropped) =
            self.refined(job.operation, body, (backend, &target), ask.schemas, mend)?;
        let path = format!("{}{}", backend.base_path(), outgoing.path);
        let mut head =
            heads::provider_request(inbound, &path, backend, body.len(), &ctx.request_id)
                .map_err(|_| unwritable())?;
        heads::same_format(inbound, &mut head).map_err(|_| unwritable())?;
        self.authorize(&mut head, backend, key, &path, &body)?;
        Ok(Order {
            head,
            body,
            more: Vec::new(),
            reader,
            dropped,
            across: false,
            streamed: job.streams,
        })
    }

    pub(crate) fn reply_to(&self, ctx: &Inbound, asked: &str) -> Reply {
        Reply {
            model: Text::plain(asked).into_owned(),
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

/// The body with the provider's own name for the model.
pub(crate) fn respelled(operation: Operation, body: &Bytes, ask: &Ask, own: &str) -> Bytes {
    match ask.span {
        Some(span) if *own != *ask.asked => ollama::replace_model(operation, body, span, own),
        _ => body.clone(),
    }
}

/// Where a provider of OpenAI's family has `route`, after its base path.
fn openai_path(provider: &settings::Provider, route: &str, own: &str) -> String {
    let route = route.strip_prefix("/v1").unwrap_or(route);
    if provider.kind != ProviderKind::Azure {
        return route.to_owned();
    }
    match &provider.azure.api_version {
        None => format!("/openai/v1{route}"),
        Some(version) if route == "/responses" => format!("/openai{route}?api-version={version}"),
        Some(version) => {
            let deployment = one_segment(own);
            format!("/openai/deployments/{deployment}{route}?api-version={version}")
        }
    }
}

pub(crate) fn unsayable(refused: Refused) -> Box<Failure> {
    Box::new(Failure {
        param: refused.param.map(Into::into),
        ..Failure::bad_request(refused.text)
    })
}

fn unwritable() -> Box<Failure> {
    Box::new(Failure::bad_request(
        "the request's path or a header field cannot be written for the backend",
    ))
}

/// Whoever asked for it has the provider's own error to tell.
pub(crate) fn unmendable() -> Box<Failure> {
    Box::new(Failure::bad_request("there is nothing to be left out"))
}

/// The value of `X-Remuda-Dropped`; `None` if nothing was.
pub(crate) fn dropped_field(dropped: &Dropped) -> Option<HeaderValue> {
    if dropped.is_empty() {
        return None;
    }
    HeaderValue::try_from(dropped.fields().join(", ")).ok()
}
