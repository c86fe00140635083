//! A model request from its head to its plan, step by step.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pingora::proxy::Session;

use crate::admin::Page;
use crate::dialect::ollama::{self, ErrorStyle, Operation};
use crate::dialect::openai::optillm;
use crate::proxy::Gateway;
use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::told::{Failure, Stop};
use crate::proxy::prepared::{Ask, Criteria, Prepared};
use crate::proxy::request_filter::body::closing_with_body;
use crate::proxy::request_filter::preferences::Preferences;
use crate::proxy::request_filter::scan::{Scan, unreadable};
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::opening::Expected;
use crate::routing::{Needs, NoPlan, Plan};
use crate::translate::ClientForm;

/// Tells what becomes of a model request that may be served.
pub(crate) enum Next {
    /// This page is its answer.
    Page(Page),
    /// The request goes to a backend.
    Dispatch(Box<Prepared>),
}

impl Gateway {
    /// Brings a model request to its plan: reads what its client prefers, counts it against its key's limits, reads and
    /// scans its body, and plans.
    ///
    /// # Errors
    /// The failure that the client is to be told instead, or why it cannot be told anything.
    pub(crate) async fn prepare(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<Next, Stop> {
        let preferences = self.prefer(session, &mut ctx.inbound)?;
        if ctx.inbound.key.is_some() {
            let counted = Box::pin(self.admit.count_in(&mut ctx.inbound)).await;
            counted.map_err(|failure| closing_with_body(session, failure))?;
        }
        let body = self.admit.body(session).await?;
        let bytes = body.bytes.clone();
        let scan = Scan::of(operation, &bytes, &self.turns).await?;
        scan.check(&session.req_header().headers)?;
        let criteria = self.criteria(&mut ctx.inbound, &scan, preferences.provider.clone())?;
        let planned = self.planned(&mut ctx.inbound, operation, &criteria)?;
        if let Some(plan) = &planned
            && let Some(page) = self.answered(session, ctx, &scan, plan).await?
        {
            return Ok(Next::Page(page));
        }
        if ctx.inbound.grant.is_some() {
            let inbound = &mut ctx.inbound;
            Box::pin(self.admit.set_aside(inbound, operation, &scan.facts)).await?;
        }
        let rewritten = self.rewritten(&scan, &criteria)?;
        self.expect_stream(ctx, framing, &scan, &criteria.model);
        let plan = match planned {
            Some(plan) => plan,
            None => {
                let began = Instant::now();
                // Boxed, so that others do not carry the state of a wait that hardly ever is.
                let plan = self.await_plan(session, ctx, operation, &criteria, &preferences);
                let plan = Box::pin(plan).await;
                ctx.outcome.waited += began.elapsed();
                plan?
            }
        };
        ctx.inbound.model = plan.model;
        let ask = scan.ask(&criteria.model, plan.model);
        let (ask, body) = match rewritten {
            Some(bytes) => (self.moved(operation, &bytes, ask).await?, body.with(bytes)),
            None => (ask, body),
        };
        Ok(Next::Dispatch(Box::new(Prepared {
            operation,
            body,
            ask,
            plan,
            criteria,
            priority: preferences.priority,
            pinned: preferences.pinned,
        })))
    }

    /// Reads what the header fields of a model request ask for. Its tag for accounting is noted.
    ///
    /// # Errors
    /// 400.
    fn prefer(&self, session: &mut Session, inbound: &mut Inbound) -> Result<Preferences, Failure> {
        let head = session.req_header();
        let tag = head.headers.get("x-proxy-tag");
        let tag = tag.map(|tag| self.tag_of(tag)).transpose();
        let preferences = Preferences::of(head, inbound, &self.planner);
        match (preferences, tag) {
            (Ok(preferences), Ok(tag)) => {
                inbound.tag = tag.flatten();
                Ok(preferences)
            }
            (Err(failure), _) | (_, Err(failure)) => Err(closing_with_body(session, failure)),
        }
    }

    /// Returns what the plan of a request is made by. The model's name, the tag and the length of the prompt are noted.
    ///
    /// # Errors
    /// 400.
    fn criteria(
        &self,
        inbound: &mut Inbound,
        scan: &Scan<'_>,
        provider: Option<String>,
    ) -> Result<Criteria, Failure> {
        let (untagged, tag) = self.untagged(&scan.facts.model);
        self.take_tag(inbound, tag);
        inbound.prompt_tokens = scan.prompt_tokens();
        let model: Arc<str> = untagged.into();
        inbound.asked = Some(Arc::clone(&model));
        Ok(Criteria {
            model,
            provider,
            approach: scan.approach()?,
            needs: Needs::of(scan.operation, &scan.facts, scan.bytes.len()),
            key: inbound.key.clone(),
            // A question before the request that it is about.
            looks_only: scan.operation == Operation::AnthropicCountTokens,
        })
    }

    /// Makes the plan; `None` where a provider that has not told its models yet may have this one.
    ///
    /// # Errors
    /// The failure that the client is told if there is no plan, and will be none.
    fn planned(
        &self,
        inbound: &mut Inbound,
        operation: Operation,
        criteria: &Criteria,
    ) -> Result<Option<Plan>, Failure> {
        match self.planner.plan(criteria) {
            Ok(plan) => {
                inbound.model = plan.model;
                Ok(Some(plan))
            }
            Err(NoPlan::Unknown) if !ollama::is_valid(&criteria.model) => {
                Err(Failure::bad_request(ollama::INVALID_MODEL_NAME))
            }
            Err(NoPlan::Unknown) => Ok(None),
            Err(why) => Err(self
                .planner
                .unplanned(&self.admit, &why, operation, criteria)),
        }
    }

    /// Returns the body that goes upstream in place of the one that came, if it has to be another: with `stream` as the
    /// operator wants it, and without the fields of OptiLLM's where nobody is asked for an approach.
    ///
    /// # Errors
    /// 400, also for a streamed answer where the operator allows none.
    fn rewritten(&self, scan: &Scan<'_>, criteria: &Criteria) -> Result<Option<Bytes>, Failure> {
        let mut rewritten = None;
        if self.settings.server.reject_streaming && scan.operation.is_inference() {
            match scan.facts.stream {
                Some(true) => return Err(Failure::streaming_refused()),
                None if scan.operation.streams_by_default() => {
                    rewritten = Some(ollama::set_stream(scan.bytes, &scan.facts, false));
                }
                Some(false) | None => {}
            }
        }
        let model = &criteria.model;
        if scan.facts.private
            && criteria.approach.is_none()
            && !self.planner.router.names_approach(model)
        {
            let whole = rewritten.as_ref().unwrap_or(scan.bytes);
            rewritten = Some(optillm::without(whole).map_err(unreadable)?.into());
        }
        Ok(rewritten)
    }

    /// Notes whether the answer is streamed, and what its client hears until it begins.
    fn expect_stream(&self, ctx: &mut Ctx, framing: &Framing, scan: &Scan<'_>, model: &Arc<str>) {
        let decided = self.settings.server.reject_streaming && scan.facts.stream.is_none();
        ctx.inbound.streams = scan.facts.streams(scan.operation) && !decided;
        let form = ClientForm::of(scan.operation).filter(|form| !form.embeds());
        let (true, Some(form), Some(every)) =
            (ctx.inbound.streams, form, self.settings.timeouts.keep_alive)
        else {
            return;
        };
        ctx.opening.expect(Expected {
            form,
            model: Arc::clone(model),
            framing: framing.clone(),
            request_id: ctx.inbound.request_id.clone(),
            allow_origin: ctx.inbound.allow_origin.clone(),
            key: ctx.inbound.key.clone(),
            style: ErrorStyle::of(scan.operation),
            every,
        });
    }

    /// Returns the names that stand elsewhere in a body that was written anew.
    ///
    /// # Errors
    /// 400 for a body that cannot be read.
    async fn moved(&self, operation: Operation, body: &Bytes, ask: Ask) -> Result<Ask, Failure> {
        let scan = Scan::of(operation, body, &self.turns).await?;
        let there = scan.ask(&ask.asked, ask.model);
        Ok(Ask {
            span: there.span,
            no_stream_options: there.no_stream_options,
            ..ask
        })
    }
}
