//! A request from its body to its plan, and what the client is told in place of an answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pingora::proxy::Session;

use crate::access;
use crate::admission::{Refusal, Want, Wanted};
use crate::dialect::ollama::{self, BadRequest, ErrorStyle, Operation, RequestFacts};
use crate::dialect::openai::optillm;
use crate::ids::{BackendId, ProviderId};
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::progress::Trip;
use crate::proxy::failure::attempt::Word;
use crate::proxy::failure::error_answer::ErrorAnswer;
use crate::proxy::failure::told::{Failure, Stop, refused};
use crate::proxy::heads;
use crate::proxy::offload::LONG;
use crate::proxy::prepared::{Ask, Billed, Job};
use crate::proxy::request_filter::admit::{prompt_tokens, state_limits};
use crate::proxy::request_filter::cors::Page;
use crate::proxy::request_filter::plan::{self, NoPlanYet};
use crate::proxy::request_filter::scan;
use crate::proxy::response_body::client::{self, Framing};
use crate::routing::{self, Form, Needs, NoPlan};
use crate::translate;

impl Gateway {
    /// Answers one request.
    ///
    /// # Errors
    /// What the client is to be told instead, or why it cannot be told anything.
    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
    ) -> Result<(), Stop> {
        self.arrive(session, ctx);
        ctx.inbound.page = self.page_of(session);
        let operation = scan::operation(session);
        ctx.inbound.operation = operation.as_ref().ok().copied();
        self.for_here(session)?;
        self.let_near(session, ctx)?;
        scan::head_fits(session, self.settings.server.max_header)?;
        // Boxed, as hardly any request is one.
        if ctx.inbound.page != Page::Own
            && Box::pin(self.answer_page(session, ctx, framing)).await?
        {
            return Ok(());
        }
        self.let_in(session, ctx)?;
        let _share = self.share_of(ctx)?;
        let place = self
            .place(session, ctx)
            .map_err(|failure| closing_with_body(session, failure))?;
        if let Some((route, answer)) = place {
            ctx.inbound.route = route;
            return self.reply(session, ctx, framing, answer).await;
        }
        let operation = operation.map_err(|miss| self.missed(session, ctx, miss))?;
        ctx.inbound.route = operation.name();
        if operation.is_inference() {
            return self.infer(session, ctx, framing, operation).await;
        }
        // Boxed, so that no stream carries the state of what it is not.
        if operation.is_management() {
            return Box::pin(self.manage(session, ctx, framing, operation)).await;
        }
        if matches!(
            operation,
            Operation::Tags | Operation::OpenAiModels | Operation::Ps
        ) {
            client::has_room(&session.downstream_session)?;
        }
        match self.local_answer(session, ctx, operation) {
            Some(answer) => self.reply(session, ctx, framing, answer).await,
            None => Box::pin(self.look_up(session, ctx, framing, operation)).await,
        }
    }

    /// The client's share of the requests in flight.
    fn share_of(&self, ctx: &Ctx) -> Result<Option<pingora_limits::inflight::Guard>, Failure> {
        let limit = self.settings.server.max_in_flight_per_client;
        let (Some(client), true) = (ctx.inbound.client, limit > 0) else {
            return Ok(None);
        };
        let (guard, count) = self.clients.incr(client, 1);
        if count > limit as isize {
            let text = format!(
                "more than {limit} requests in flight from this address; the limit is the setting server.max_in_flight_per_client"
            );
            return Err(Failure::new(429, "too_many_in_flight", text)
                .retry_after(1)
                .closing());
        }
        Ok(Some(guard))
    }

    /// A request that runs a model: it waits for a slot.
    async fn infer(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        let priority =
            scan::priority(session).map_err(|failure| closing_with_body(session, failure))?;
        let priority = match &ctx.inbound.key {
            Some(key) => key.priority(priority),
            None => access::unentitled(priority),
        };
        let pinned = self
            .pinned(session, ctx)
            .map_err(|failure| closing_with_body(session, failure))?;
        if let Some(tag) = session.req_header().headers.get("x-proxy-tag") {
            let tag = self.tag_of(tag);
            ctx.inbound.tag = tag.map_err(|failure| closing_with_body(session, failure))?;
        }
        if ctx.inbound.key.is_some() {
            Box::pin(self.count_in(session, ctx)).await?;
        }
        let provider = plan::provider_header(session)
            .map_err(|failure| closing_with_body(session, failure))?;
        let body = self.read_body(session).await?;
        let facts = match body.bytes.len() < LONG {
            true => ollama::scan_request(operation, &body.bytes),
            false => Box::pin(self.scan_aside(operation, &body.bytes)).await,
        };
        let facts = facts.map_err(unreadable)?;
        scan::unambiguous(session, operation, &facts, &body.bytes)?;
        let whole = &*facts.model;
        if whole.is_empty() {
            return Err(nameless(operation).into());
        }
        let (untagged, tag) = self.untagged(whole);
        self.take_tag(ctx, tag);
        ctx.inbound.prompt_tokens = prompt_tokens(operation, &body.bytes);
        let name: Arc<str> = untagged.into();
        ctx.inbound.asked = Some(Arc::clone(&name));
        let key = ctx.inbound.key.clone();
        let approach = match facts.private {
            true => named_approach(&body.bytes)?,
            false => None,
        };
        let asking = routing::Ask {
            provider: provider.as_deref(),
            approach: approach.as_deref(),
            needs: Needs::of(operation, &facts, body.bytes.len()),
            // A question before the request that it is about.
            looks_only: operation == Operation::AnthropicCountTokens,
            ..plan::asking(&name, key.as_deref())
        };
        let planned = self.router.plan(&asking, Instant::now());
        match &planned {
            Ok(plan) => {
                ctx.inbound.model = plan.model;
                if operation == Operation::AnthropicCountTokens {
                    let counted = Box::pin(self.counted(session, ctx, plan, &body.bytes));
                    if let Some(page) = counted.await? {
                        return self.reply(session, ctx, framing, page).await;
                    }
                }
                if let Some(page) =
                    self.answered_for_service(&ctx.inbound, operation, &facts, plan, &body.bytes)
                {
                    return self.reply(session, ctx, framing, page).await;
                }
            }
            Err(NoPlan::Unknown) if !ollama::is_valid(&name) => {
                return Err(Failure::bad_request(ollama::INVALID_MODEL_NAME).into());
            }
            Err(NoPlan::Unknown) => {}
            Err(why) => return Err(self.unplanned(why, operation, &name, key.as_deref()).into()),
        }
        if ctx.inbound.grant.is_some() {
            Box::pin(self.set_aside(ctx, operation, &facts)).await?;
        }
        ctx.inbound.streams = facts.streams(operation);
        let mut spliced = self.apply_streaming_rule(operation, &facts, &body.bytes)?;
        if facts.private && approach.is_none() && !self.router.names_approach(&name) {
            let whole = spliced.as_ref().unwrap_or(&body.bytes);
            spliced = Some(optillm::without(whole).map_err(unreadable)?.into());
        }
        if self.settings.server.reject_streaming && facts.stream.is_none() {
            ctx.inbound.streams = false;
        }
        let not_found = || self.absent(operation, &name);
        if ctx.inbound.streams {
            ctx.opening.expect(
                operation,
                &name,
                framing,
                &ctx.inbound,
                self.settings.timeouts.keep_alive,
            );
        }
        let client = &mut session.downstream_session;
        let plan = match planned {
            Ok(plan) => plan,
            Err(_) => {
                let want = Want {
                    wanted: Wanted::Unlisted,
                    priority,
                    pinned,
                };
                // Boxed, so that others do not carry the state of a wait that hardly ever is.
                let known = Box::pin(self.await_plan(client, &mut ctx.opening, &asking, want));
                let began = Instant::now();
                let known = known.await;
                ctx.outcome.waited += began.elapsed();
                let plan = known?.map_err(|why| match why {
                    NoPlanYet::Refused(refusal) => {
                        self.in_words_for(refused(&refusal, not_found), &[])
                    }
                    NoPlanYet::Never(why) => self.unplanned(&why, operation, &name, key.as_deref()),
                })?;
                ctx.inbound.model = plan.model;
                plan
            }
        };
        let planner = |without: &[ProviderId]| {
            let ask = routing::Ask {
                without,
                looks_only: true,
                ..asking
            };
            self.router.plan(&ask, Instant::now()).ok()
        };
        let mut trip = Trip::new(plan, &planner, priority, pinned);
        let began = Instant::now();
        let admitted = self.board(client, &mut ctx.opening, &mut trip, None).await;
        if !matches!(admitted, Ok(Ok(_))) {
            // Of others their slot tells.
            ctx.outcome.waited += began.elapsed();
        }
        let admitted = admitted?;
        let permit = match admitted {
            Ok(permit) => permit,
            Err(Refusal::Exhausted) if !trip.reasons.is_empty() => {
                return self.tell_last(session, ctx, framing, trip).await;
            }
            // Nothing has been tried yet: there is no backend of that provider.
            Err(Refusal::Exhausted) => return Err(not_found().into()),
            Err(refusal) => return Err(self.turned_away(&trip, &refusal, not_found).into()),
        };
        let not_found = not_found();
        let ask = Ask {
            asked: match name.len() < facts.model.len() {
                true => Arc::from(&*facts.model),
                false => Arc::clone(&name),
            },
            untagged: (name.len() < facts.model.len()).then(|| Arc::clone(&name)),
            span: None,
            model: ctx.inbound.model,
            own: None,
            tools: facts.tools,
            raw: facts.raw,
            no_stream_options: None,
            schemas: facts.tools || facts.format || operation == Operation::OpenAiResponses,
        };
        // In another body, the same is elsewhere.
        let ask = match &spliced {
            Some(bytes) if bytes.len() < LONG => placed(
                ask,
                &ollama::scan_request(operation, bytes).map_err(unreadable)?,
            ),
            Some(bytes) => {
                let facts = Box::pin(self.scan_aside(operation, bytes)).await;
                placed(ask, &facts.map_err(unreadable)?)
            }
            None => placed(ask, &facts),
        };
        drop(facts);
        let job = Job {
            ask: Some(ask),
            operation,
            body: match spliced {
                Some(bytes) => body.with(bytes),
                None => body,
            },
            has_body: true,
            streams: ctx.inbound.streams,
            billed: Billed::default(),
            wary: false,
        };
        self.travel(session, ctx, framing, job, trip, permit, not_found)
            .await
    }

    /// What a body that is long says, read on another thread.
    async fn scan_aside(
        &self,
        operation: Operation,
        body: &Bytes,
    ) -> Result<RequestFacts<'static>, BadRequest> {
        let body = body.clone();
        let scan = move || ollama::scan_request(operation, &body).map(RequestFacts::into_owned);
        self.turns.run(scan).await
    }

    /// Tells the client why there is no answer.
    pub(crate) async fn tell(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        word: Word,
    ) -> Result<(), Stop> {
        match word {
            Word::Answer(answer) => self.relay_error(session, ctx, framing, *answer).await,
            Word::Failure(failure) => Err((*failure).into()),
        }
    }

    /// The backend's own error, when no other candidate is left.
    async fn relay_error(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        answer: ErrorAnswer,
    ) -> Result<(), Stop> {
        if ctx.opening.head_is_sent()? {
            return Err(self.in_own_words(ctx, &answer).into());
        }
        let mut head = heads::downstream_response(
            &answer.head,
            self.is_service(ctx),
            framing.version,
            &framing.method,
            &ctx.inbound.request_id,
        );
        ctx.outcome.status = head.status.as_u16();
        ctx.outcome.code = Some("backend_error");
        let style = ctx
            .inbound
            .operation
            .map_or(ErrorStyle::Ollama, ErrorStyle::of);
        state_limits(ctx.inbound.key.as_ref(), style, &mut head);
        ctx.outcome.bytes = client::respond(
            &mut session.downstream_session,
            framing,
            head,
            answer.body,
            &ctx.inbound.page,
        )
        .await?;
        Ok(())
    }

    /// A backend's own error for a client whose answer has begun.
    fn in_own_words(&self, ctx: &Ctx, answer: &ErrorAnswer) -> Failure {
        let (status, headers) = (answer.head.status.as_u16(), &answer.head.headers);
        let provider = ctx.attempt.provider;
        let provider = provider.map(|id| &self.settings.providers[id]);
        let Some(provider) = provider else {
            return Failure::new(status, "backend_error", ollama::ALL_ATTEMPTS_FAILED);
        };
        let fault = translate::fault(provider.kind, status, headers, &answer.body);
        Failure {
            status,
            code: "backend_error",
            text: fault.message.clone(),
            ..Failure::of_fault(&fault, &provider.name)
        }
    }

    /// The backend that `X-Backend` names.
    pub(crate) fn pinned(
        &self,
        session: &Session,
        ctx: &Ctx,
    ) -> Result<Option<BackendId>, Failure> {
        let Some(value) = session.req_header().headers.get("x-backend") else {
            return Ok(None);
        };
        let name = value.to_str().unwrap_or_default();
        let key = ctx.inbound.key.as_ref();
        self.fleet
            .snapshot()
            .iter()
            .filter(|backend| key.is_none_or(|key| key.may_ask(&backend.provider.name)))
            .find(|backend| *backend.name == *name)
            .map(|backend| Some(backend.id))
            .ok_or_else(|| {
                let prefix = self.prefix(&session.req_header().headers, &ctx.inbound.target);
                Failure::bad_request(format!(
                    "X-Backend names no known backend; GET {prefix}/__proxy/backends lists them"
                ))
            })
    }
}

/// Where the fields are that an attempt may write anew.
fn placed(ask: Ask, facts: &RequestFacts<'_>) -> Ask {
    Ask {
        span: facts.model_span,
        no_stream_options: facts
            .object_start
            .filter(|_| facts.has_fields && !facts.stream_options),
        ..ask
    }
}

/// The approach of OptiLLM's that a body asks for.
fn named_approach(body: &[u8]) -> Result<Option<String>, Failure> {
    let texts = optillm::approaches(body).map_err(unreadable)?;
    let mut named = texts.iter().filter_map(|text| Form::named(text));
    Ok(named.next().map(str::to_owned))
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::bad_request(error.to_string())
}

/// An error that comes before the body was read ends the connection if there is a body.
pub(crate) fn closing_with_body(session: &mut Session, failure: Failure) -> Failure {
    if session.downstream_session.is_body_empty() {
        failure
    } else {
        failure.closing()
    }
}

/// What Ollama says to a request that names no model.
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
