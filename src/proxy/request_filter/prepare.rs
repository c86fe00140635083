//! A model request from its head to its plan, step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_proxy::Session;

use crate::admin::Page;
use crate::proxy::Gateway;
use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::local::without_model::answered;
use crate::proxy::logging::record::Record;
use crate::proxy::offload::Offload;
use crate::proxy::prepared::{Criteria, Prepared, WantedModel};
use crate::proxy::request_filter::await_plan::await_plan;
use crate::proxy::request_filter::body::closing_with_body;
use crate::proxy::request_filter::plan::Planner;
use crate::proxy::request_filter::preferences::Preferences;
use crate::proxy::request_filter::scan::{Scan, unreadable};
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::opening::Expected;
use crate::routing::Needs;
use remuda_formats::client::optillm;
use remuda_formats::client::{self, ErrorStyle, Operation};
use remuda_formats::dialect::ollama::LoadOrUnload;
use remuda_formats::translate::ClientForm;

/// Tells what becomes of a model request that may be served.
///
/// Its two larger cases are boxed: by value, their 448 bytes would lie in the future that answers the request for as long as the
/// stream lasts, which would grow by 704 bytes, or 6 %.
pub(crate) enum Next {
    /// This page is its answer.
    Page(Page),
    /// The request goes to a backend.
    Dispatch(Box<Prepared>),
    /// A model is loaded or unloaded, and nothing else is asked for.
    Load(Box<Prepared>, LoadOrUnload),
}

impl Gateway {
    /// Brings a model request to its plan: reads what its client prefers, counts it against its key's limits, reads and
    /// scans its body, and plans.
    ///
    /// # Errors
    /// The failure that the client is to be told instead, or why it cannot be told anything.
    #[allow(
        clippy::too_many_lines,
        reason = "the steps of a request in their order"
    )]
    pub(crate) async fn prepare(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<Next, Stop> {
        let preferences = prefer(&self.record, &self.planner, session, &mut ctx.inbound)?;
        if ctx.inbound.key.is_some() {
            let counted = Box::pin(self.admit.count_in(&mut ctx.inbound)).await;
            counted.map_err(|failure| closing_with_body(session, failure))?;
        }
        let body = self.admit.body(session).await?;
        let bytes = body.bytes.clone();
        let scan = Scan::of(operation, &bytes, &self.offload).await?;
        scan.check(&session.req_header().headers)?;
        let provider = preferences.provider.clone();
        let criteria = criteria(&self.record, &mut ctx.inbound, &scan, provider)?;
        let planned = self.planner.known(&self.admit, operation, &criteria)?;
        if let Some(plan) = &planned {
            ctx.inbound.model = plan.model;
            if let Some(page) = answered(self, session, ctx, &scan, plan).await? {
                return Ok(Next::Page(page));
            }
        }
        if ctx.inbound.grant.is_some() {
            let inbound = &mut ctx.inbound;
            Box::pin(self.admit.set_aside(inbound, operation, &scan.facts)).await?;
        }
        // What the name means is looked up for the few requests that have fields of OptiLLM's.
        let by_approach = !scan.facts.private
            || criteria.approach.is_some()
            || self.planner.router.names_approach(&criteria.model);
        let refuses_streams = self.settings.server.reject_streaming;
        let rewritten = rewritten(&scan, refuses_streams, by_approach)?;
        ctx.inbound.streams = scan.streams(refuses_streams);
        let load = scan.loads();
        let every = self.settings.timeouts.keep_alive;
        if let (true, Some(every)) = (ctx.inbound.streams && load.is_none(), every) {
            expect_stream(ctx, framing, operation, &criteria.model, every);
        }
        let plan = match planned {
            Some(plan) => plan,
            None => {
                let began = Instant::now();
                // Boxed, so that others do not carry the state of a wait that hardly ever is.
                let plan = await_plan(self, session, ctx, operation, &criteria, &preferences);
                let plan = Box::pin(plan).await;
                ctx.outcome.waited += began.elapsed();
                plan?
            }
        };
        ctx.inbound.model = plan.model;
        let ask = scan.ask(&criteria.model, plan.model);
        let (ask, body) = match rewritten {
            Some(bytes) => (
                moved(&self.offload, operation, &bytes, ask).await?,
                body.with(bytes),
            ),
            None => (ask, body),
        };
        let prepared = Box::new(Prepared {
            operation,
            body,
            wanted: ask,
            plan,
            criteria,
            priority: preferences.priority,
            pinned: preferences.pinned,
        });
        Ok(match load {
            Some(load) => Next::Load(prepared, load),
            None => Next::Dispatch(prepared),
        })
    }
}

/// Reads what the header fields of a model request ask for. Its tag for accounting is noted.
///
/// # Errors
/// 400.
fn prefer(
    record: &Record,
    planner: &Planner,
    session: &mut Session,
    inbound: &mut Inbound,
) -> Result<Preferences, Failure> {
    let head = session.req_header();
    let tag = head.headers.get("x-proxy-tag");
    let tag = tag.map(|tag| record.tag_of(tag)).transpose();
    let preferences = Preferences::of(head, inbound, planner);
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
    record: &Record,
    inbound: &mut Inbound,
    scan: &Scan<'_>,
    provider: Option<String>,
) -> Result<Criteria, Failure> {
    let (untagged, tag) = record.untagged(&scan.facts.model);
    record.take_tag(inbound, tag);
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

/// Returns the body that goes upstream in place of the one that came, if it has to be another: with `stream` as an operator
/// wants it who `refuses_streams`, and without the fields of OptiLLM's unless it is answered `by_approach`.
///
/// # Errors
/// 400, also for a streamed answer where the operator refuses them.
fn rewritten(
    scan: &Scan<'_>,
    refuses_streams: bool,
    by_approach: bool,
) -> Result<Option<Bytes>, Failure> {
    let mut rewritten = None;
    if refuses_streams {
        match scan.facts.stream {
            Some(true) => return Err(Failure::streaming_refused()),
            None if scan.operation.streams_by_default() => {
                rewritten = Some(client::set_stream(scan.bytes, &scan.facts, false));
            }
            Some(false) | None => {}
        }
    }
    if scan.facts.private && !by_approach {
        let whole = rewritten.as_ref().unwrap_or(scan.bytes);
        rewritten = Some(optillm::without(whole).map_err(unreadable)?.into());
    }
    Ok(rewritten)
}

/// Notes what the client of a streamed answer hears until it begins, as often as `every` says.
fn expect_stream(
    ctx: &mut Ctx,
    framing: &Framing,
    operation: Operation,
    model: &Arc<str>,
    every: Duration,
) {
    let Some(form) = ClientForm::of(operation).filter(|form| !form.embeds()) else {
        return;
    };
    ctx.opening.expect(Expected {
        form,
        model: Arc::clone(model),
        framing: framing.clone(),
        request_id: ctx.inbound.request_id.clone(),
        allow_origin: ctx.inbound.allow_origin.clone(),
        key: ctx.inbound.key.clone(),
        style: ErrorStyle::of(operation),
        every,
    });
}

/// Returns the names that stand elsewhere in a body that was written anew.
///
/// # Errors
/// 400 for a body that cannot be read.
async fn moved(
    offload: &Offload,
    operation: Operation,
    body: &Bytes,
    ask: WantedModel,
) -> Result<WantedModel, Failure> {
    let scan = Scan::of(operation, body, offload).await?;
    let there = scan.ask(&ask.asked, ask.model);
    Ok(WantedModel {
        span: there.span,
        no_stream_options: there.no_stream_options,
        members: there.members,
        copy: there.copy,
        ..ask
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(operation: Operation, body: &'static str, refuses: bool) -> Result<String, u16> {
        let bytes = Bytes::from_static(body.as_bytes());
        let scan = Scan::of(operation, &bytes, &Offload::new(1)).await;
        let scan = scan.unwrap_or_else(|failure| panic!("{failure}"));
        let sent = rewritten(&scan, refuses, false).map_err(|failure| failure.status)?;
        Ok(String::from_utf8(sent.unwrap_or(bytes.clone()).to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_operator_may_refuse_streams() {
        use Operation::{Chat, OpenAiChat};
        let silent = r#"{"model":"m"}"#;
        let stated = r#"{"model":"m","stream":true}"#;
        let whole = r#"{"model":"m","stream":false}"#;
        assert_eq!(sent(Chat, stated, false).await.as_deref(), Ok(stated));
        assert_eq!(sent(Chat, stated, true).await, Err(400));
        assert_eq!(sent(OpenAiChat, stated, true).await, Err(400));
        assert_eq!(sent(Chat, whole, true).await.as_deref(), Ok(whole));
        // Ollama's clients get a stream unless they say otherwise, OpenAI's do not.
        let said = sent(Chat, silent, true).await.unwrap();
        assert!(said.contains(r#""stream":false"#), "{said}");
        assert_eq!(sent(OpenAiChat, silent, true).await.as_deref(), Ok(silent));
    }

    #[tokio::test]
    async fn names_are_found_where_they_stand_in_a_body_that_was_written_anew() {
        let offload = Offload::new(1);
        let came = Bytes::from_static(br#"{"model":"m"}"#);
        let scan = Scan::of(Operation::Chat, &came, &offload).await;
        let scan = scan.unwrap_or_else(|failure| panic!("{failure}"));
        let ask = scan.ask(&"m".into(), None);
        let anew = Bytes::from_static(br#"{"stream":false,"model":"m"}"#);
        let there = moved(&offload, Operation::Chat, &anew, ask).await;
        let span = there.unwrap_or_else(|failure| panic!("{failure}")).span;
        let span = span.map(|span| &anew[span.start..span.end]);
        assert_eq!(span, Some(&b"\"m\""[..]));
    }
}
