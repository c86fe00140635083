//! Who asks, and how much that client may: its address and its key before anything else is read, its limits before a
//! slot is asked for, and how it is told of them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pingora::proxy::Session;

use crate::access::{self, BadCredential, ClientKey, Output, Refusal, Wanted};
use crate::admin::Place;
use crate::dialect::ollama::{self, ErrorStyle, Operation, RequestFacts};
use crate::dialect::rate_limits::{Names, is_of_limits};
use crate::metrics::Metrics;
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::told::Failure;
use crate::proxy::request_filter::prepare::closing_with_body;
use crate::proxy::response_body::head::Head;

/// The label of requests without a known key.
const NO_KEY: &str = "none";

impl Gateway {
    /// Lets a client come near by its address.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn let_near(&self, session: &mut Session, ctx: &Ctx) -> Result<(), Failure> {
        let allow = &self.settings.server.allow;
        let client = ctx.inbound.client;
        if allow.is_empty()
            || client.is_some_and(|client| allow.iter().any(|network| network.contains(client)))
        {
            return Ok(());
        }
        self.count_rejected("address", NO_KEY);
        let text = "requests from this address are not served; see the setting server.allow";
        let failure = Failure::new(403, "address_refused", text);
        Err(closing_with_body(session, failure))
    }

    /// Lets a client in by its key, which is noted.
    ///
    /// # Errors
    /// 401.
    pub(crate) fn let_in(&self, session: &mut Session, ctx: &mut Ctx) -> Result<(), Failure> {
        if !self.access.closed() {
            return Ok(());
        }
        let fields = &session.req_header().headers;
        let known = access::presented(fields)
            .and_then(|shown| self.access.key(&shown).ok_or(BadCredential::Unknown));
        match known {
            Ok(key) => {
                ctx.inbound.key = Some(Arc::clone(key));
                Ok(())
            }
            Err(_) if is_open(session) => Ok(()),
            Err(bad) => {
                self.count_rejected("credential", NO_KEY);
                let failure = Failure {
                    api_code: Some("invalid_api_key".into()),
                    ..Failure::new(401, "bad_key", bad.to_string())
                };
                Err(closing_with_body(session, failure))
            }
        }
    }

    /// Counts a request against its key's limits, before its body is read.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn count_in(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
    ) -> Result<(), Failure> {
        let Some(key) = &ctx.inbound.key else {
            return Ok(());
        };
        match key.begin().await {
            Ok(grant) => {
                ctx.inbound.grant = Some(grant);
                Ok(())
            }
            Err(refusal) => Err(closing_with_body(session, self.refused(key, &refusal))),
        }
    }

    /// Sets aside the tokens that a request may take.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn set_aside(
        &self,
        ctx: &mut Ctx,
        operation: Operation,
        facts: &RequestFacts<'_>,
    ) -> Result<(), Failure> {
        let (Some(key), Some(grant)) = (&ctx.inbound.key, &mut ctx.inbound.grant) else {
            return Ok(());
        };
        if operation == Operation::AnthropicCountTokens {
            return Ok(());
        }
        let reserved = grant.reserve(Wanted {
            prompt: ctx.inbound.prompt_tokens,
            output: match generates(operation) {
                true => Output::Texts {
                    answers: facts
                        .answers
                        .unwrap_or(1)
                        .saturating_mul(facts.prompts.max(1)),
                    most: facts.most_output,
                },
                false => Output::None,
            },
        });
        reserved
            .await
            .map_err(|refusal| self.refused(key, &refusal))
    }

    /// Whether a key may change these models on servers.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn may_change<'a>(
        &self,
        ctx: &Ctx,
        models: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let Some(key) = &ctx.inbound.key else {
            return Ok(());
        };
        let mut models = models.into_iter();
        match models.find(|model| !key.may_use([*model])) {
            None => Ok(()),
            Some(model) => Err(self.refused(
                key,
                &Refusal::Model {
                    model: model.to_owned(),
                },
            )),
        }
    }

    pub(crate) fn refused(&self, key: &ClientKey, refusal: &Refusal) -> Failure {
        self.count_rejected(refusal.reason(), &key.name);
        let text = refusal.to_string();
        let failure = match refusal {
            Refusal::Model { .. } | Refusal::Provider { .. } => Failure {
                api_code: Some("model_not_allowed".into()),
                ..Failure::new(403, "not_allowed", text)
            },
            Refusal::Budget { .. } | Refusal::TooDear { .. } => Failure {
                api_code: Some("insufficient_quota".into()),
                ..Failure::new(429, "over_budget", text)
            },
            // The budget is not used up: another request may be let through a moment later.
            Refusal::SetAside { .. } => Failure {
                api_code: Some("rate_limit_exceeded".into()),
                ..Failure::new(429, "over_budget", text)
            },
            Refusal::Rate { .. }
            | Refusal::TooLarge { .. }
            | Refusal::TooManyCalls { .. }
            | Refusal::Concurrency { .. } => Failure {
                api_code: Some("rate_limit_exceeded".into()),
                ..Failure::new(429, "over_limit", text)
            },
        };
        Failure {
            retry_after: refusal.retry_after().map(seconds),
            final_word: refusal.is_final(),
            ..failure
        }
    }

    pub(crate) fn count_rejected(&self, reason: &str, key: &str) {
        self.metrics
            .rejected_requests
            .with_label_values(&[reason, key])
            .inc();
    }
}

/// Makes the series that every gateway has, so that they can be watched from the start.
pub(crate) fn announce(metrics: &Metrics) {
    for reason in ["address", "credential", "host", "origin"] {
        metrics
            .rejected_requests
            .with_label_values(&[reason, NO_KEY]);
    }
}

/// Whole seconds, so that whoever waits as told is not early.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Whether a request needs no key: what probes ask for.
fn is_open(session: &Session) -> bool {
    let head = session.req_header();
    let path = head.uri.path();
    matches!(head.method, Method::GET | Method::HEAD)
        && (path == "/" || Place::find(path).is_some_and(Place::is_open))
}

/// Tokens of the prompt in a body, by an estimate that grows with it.
pub(crate) fn prompt_tokens(operation: Operation, body: &[u8]) -> u64 {
    match ollama::is_form(operation, body) {
        true => access::tokens_of_form(body),
        false => access::tokens_of_body(body),
    }
}

/// Whether the answer is text, whose length nobody knows beforehand.
fn generates(operation: Operation) -> bool {
    use Operation::*;
    !matches!(operation, Embed | Embeddings | OpenAiEmbeddings)
}

/// Tells a client how much of its key's limits is left, in place of what a provider says of its own.
pub(crate) fn state_limits(key: Option<&Arc<ClientKey>>, style: ErrorStyle, head: &mut Head) {
    let Some((standing, now)) = key.and_then(|key| key.standing()) else {
        return;
    };
    let of_provider = head.fields().keys().filter(|name| is_of_limits(name));
    let of_provider: Vec<_> = of_provider.cloned().collect();
    for name in of_provider {
        head.remove(&name);
    }
    let names = match style {
        ErrorStyle::Anthropic => Names::Anthropic,
        ErrorStyle::Ollama | ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => Names::OpenAi,
    };
    standing.write(names, now, |name, value| head.set(name, value));
}
