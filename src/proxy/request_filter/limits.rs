//! What a client's key allows a request: its rates and tokens, its budget, and the models that it may change.

use pingora_proxy::Session;

use crate::access::{ClientKey, Demand, Output, Refusal};
use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::{Failure, words};
use crate::proxy::logging::billing::cost_of;
use crate::proxy::request_filter::admit::Admit;
use crate::proxy::request_filter::body::closing_with_body;
use crate::proxy::request_filter::pace::seconds;
use remuda_formats::client::{Operation, RequestFacts};

impl Admit {
    /// Counts a request against its key's limits, before its body is read.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn count_in(&self, inbound: &mut Inbound) -> Result<(), Failure> {
        let Some(key) = &inbound.key else {
            return Ok(());
        };
        let begun = key.begin().await;
        let grant = begun.map_err(|refusal| self.refused(key, &refusal))?;
        inbound.grant = Some(grant);
        Ok(())
    }

    /// Sets aside the tokens that a request may take.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn set_aside(
        &self,
        inbound: &mut Inbound,
        operation: Operation,
        facts: &RequestFacts<'_>,
    ) -> Result<(), Failure> {
        let (Some(key), Some(grant)) = (&inbound.key, &mut inbound.grant) else {
            return Ok(());
        };
        if operation == Operation::AnthropicCountTokens {
            return Ok(());
        }
        let reserved = grant.reserve(Demand {
            prompt: inbound.prompt_tokens,
            output: output(operation, facts),
        });
        reserved
            .await
            .map_err(|refusal| self.refused(key, &refusal))
    }

    /// Sets aside what the request may cost at the backend that it is about to be sent to.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn afford(&self, ctx: &mut Ctx) -> Result<(), Failure> {
        let (Some(key), Some(grant)) = (&ctx.inbound.key, &mut ctx.inbound.grant) else {
            return Ok(());
        };
        let (Some(expected), Some(account)) = (grant.expected(), &ctx.attempt.account) else {
            return Ok(());
        };
        let cost = cost_of(ctx.inbound.operation, expected, account);
        let afforded = grant.afford(cost).await;
        afforded.map_err(|refusal| self.refused(key, &refusal))
    }

    /// Counts the further calls of its provider that a request takes against its key's limits.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn count_calls(&self, ctx: &mut Ctx, more: usize) -> Result<(), Failure> {
        let (Some(key), Some(grant)) = (&ctx.inbound.key, &mut ctx.inbound.grant) else {
            return Ok(());
        };
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let counted = grant.count_calls(more).await;
        counted.map_err(|refusal| self.refused(key, &refusal))
    }

    /// Checks whether the operator allows that models are changed.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn may_manage(&self, session: &mut Session) -> Result<(), Failure> {
        if self.allows_changes() {
            return Ok(());
        }
        let failure = Failure::new(403, "management_off", words::MANAGE_REFUSED);
        Err(closing_with_body(session, failure))
    }

    /// Checks whether a key may change these models on servers.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn may_change<'a>(
        &self,
        inbound: &Inbound,
        models: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let Some(key) = &inbound.key else {
            return Ok(());
        };
        let mut models = models.into_iter();
        let Some(model) = models.find(|model| !key.may_use([*model])) else {
            return Ok(());
        };
        let model = model.to_owned();
        Err(self.refused(key, &Refusal::Model { model }))
    }

    /// Counts a request that its key does not allow, and returns what the client is told.
    pub(crate) fn refused(&self, key: &ClientKey, refusal: &Refusal) -> Failure {
        self.count_rejected(refusal.reason(), &key.name);
        failure(refusal)
    }
}

/// Returns what the client is told of a refusal.
fn failure(refusal: &Refusal) -> Failure {
    let (status, code, api_code) = match refusal {
        Refusal::Model { .. } | Refusal::Provider { .. } => {
            (403, "not_allowed", "model_not_allowed")
        }
        Refusal::Budget { .. } | Refusal::TooDear { .. } => {
            (429, "over_budget", "insufficient_quota")
        }
        // The budget is not used up: another request may be let through a moment later.
        Refusal::SetAside { .. } => (429, "over_budget", "rate_limit_exceeded"),
        Refusal::Rate { .. }
        | Refusal::TooLarge { .. }
        | Refusal::TooManyCalls { .. }
        | Refusal::Concurrency { .. } => (429, "over_limit", "rate_limit_exceeded"),
    };
    Failure {
        api_code: Some(api_code.into()),
        retry_after: refusal.retry_after().map(seconds),
        final_word: refusal.is_final(),
        ..Failure::new(status, code, refusal.to_string())
    }
}

/// Returns what a request may be answered with, as far as its key's limits are concerned.
fn output(operation: Operation, facts: &RequestFacts<'_>) -> Output {
    use Operation::{Embed, Embeddings, OpenAiEmbeddings};
    match operation {
        Embed | Embeddings | OpenAiEmbeddings => Output::None,
        // Text, whose length nobody knows beforehand.
        _ => Output::Texts {
            answers: facts
                .answers
                .unwrap_or(1)
                .saturating_mul(facts.prompts.max(1)),
            most: facts.most_output,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_is_told_whether_it_may_come_back() {
        let model = failure(&Refusal::Model { model: "m".into() });
        assert_eq!((model.status, model.code), (403, "not_allowed"));
        assert_eq!(model.api_code.as_deref(), Some("model_not_allowed"));
        let spent = failure(&Refusal::Budget {
            micro_usd: 1,
            anew: None,
        });
        assert_eq!((spent.status, spent.code), (429, "over_budget"));
        assert_eq!(spent.api_code.as_deref(), Some("insufficient_quota"));
        assert!(spent.final_word);
        // Another request ends, and there is room again.
        let aside = failure(&Refusal::SetAside { left: 1 });
        assert_eq!((aside.status, aside.code), (429, "over_budget"));
        assert_eq!(aside.api_code.as_deref(), Some("rate_limit_exceeded"));
        assert!(!aside.final_word);
        let busy = failure(&Refusal::Concurrency { limit: 2 });
        assert_eq!((busy.status, busy.code), (429, "over_limit"));
    }

    #[test]
    fn whoever_waits_as_told_is_not_early() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1_000)), 1);
        assert_eq!(seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn each_prompt_has_as_many_answers_as_are_asked_for() {
        let facts = RequestFacts {
            answers: Some(3),
            prompts: 2,
            most_output: Some(10),
            ..RequestFacts::default()
        };
        let texts = Output::Texts {
            answers: 6,
            most: Some(10),
        };
        assert_eq!(output(Operation::OpenAiCompletions, &facts), texts);
        assert_eq!(output(Operation::OpenAiEmbeddings, &facts), Output::None);
        let one = Output::Texts {
            answers: 1,
            most: None,
        };
        assert_eq!(output(Operation::Chat, &RequestFacts::default()), one);
    }
}
