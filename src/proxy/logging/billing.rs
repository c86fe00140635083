//! What a request has used, and what it costs: what its provider told, an estimate of what that did not live to tell, and
//! what is set aside for it until then. Whatever ends a request, it is accounted once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::access::{Aside, Consumption, Cost};
use crate::fleet::Backend;
use crate::proxy::ctx::{Attempt, Ctx, Inbound};
use crate::proxy::failure::attempt::Cause;
use crate::proxy::logging::record::Record;
use crate::proxy::prepared::ModelRequest;
use crate::usage::{Account, Charge, Ledger, Moment, Tokens, Usd};
use remuda_formats::client::{AnswerFraming, Operation};
use remuda_formats::ir::{self, FaultKind};

impl Record {
    /// Charges an attempt whose answer did not reach the client; another attempt may follow. That is what its provider told
    /// of it, or its prompt where a provider that charges for it has it and did not say what became of it.
    pub(crate) fn charge_attempt(
        &self,
        ctx: &mut Ctx,
        (request, backend): (&ModelRequest, &Backend),
        cause: Option<&Cause>,
        reported: Option<Box<ir::Usage>>,
    ) {
        let sent = ctx.attempt.sent.swap(false, Ordering::Relaxed);
        let silent = cause.is_some_and(|cause| {
            cause.status.is_none()
                && matches!(cause.kind, FaultKind::Timeout | FaultKind::Incomplete)
        });
        let fleet = backend.provider.settings.kind.is_fleet();
        let (usage, estimated) = match reported {
            Some(usage) => (*usage, false),
            None if sent && silent && !fleet && costs(request.operation) => {
                (prompt_alone(ctx), true)
            }
            None => return,
        };
        let account = ctx.attempt.account.clone();
        self.charge_lost(ctx, account.as_ref(), (&usage, estimated));
    }
}

impl Record {
    /// Charges an attempt whose answer broke off and goes on elsewhere, with what it `paid` for.
    pub(crate) fn charge_interrupted(
        &self,
        ctx: &mut Ctx,
        attempt: &Attempt,
        (usage, estimated): (Option<ir::Usage>, bool),
    ) {
        let Some(usage) = usage else { return };
        self.charge_lost(ctx, attempt.account.as_ref(), (&usage, estimated));
    }

    /// Counts and charges what an attempt has used of which the client gets no answer.
    fn charge_lost(
        &self,
        ctx: &mut Ctx,
        account: Option<&Arc<Account>>,
        (usage, estimated): (&ir::Usage, bool),
    ) {
        let tokens = Tokens::from(usage);
        let (input, output) = &mut ctx.outcome.lost;
        *input = input.saturating_add(tokens.input);
        *output = output.saturating_add(tokens.output);
        if let (Some(ledger), Some(account)) = (&self.ledger, account) {
            let charge = Charge {
                account,
                key: ctx.inbound.key.as_ref().map(|key| &*key.name),
                tag: ctx.inbound.tag.as_deref(),
                usage: Some(usage),
                request: false,
                failed: true,
                estimated,
            };
            ledger.record(&charge, Moment::now());
        }
    }
}

impl Ctx {
    /// Returns what the present attempt has used, with estimates where its provider told nothing, and whether there are any.
    pub(crate) fn paid(&self) -> (Option<ir::Usage>, bool) {
        let operation = self.inbound.operation;
        operation
            .map(|operation| used(self, operation))
            .unwrap_or_default()
    }
}

impl Inbound {
    /// Sets aside what the request may cost at a second backend that is asked at the same time, where there is a budget.
    /// `None`: the budget has no room for both.
    pub(crate) fn afford_too(&self, account: Option<&Arc<Account>>) -> Option<Option<Aside>> {
        let Some(grant) = &self.grant else {
            return Some(None);
        };
        let (Some(expected), Some(account)) = (grant.expected(), account) else {
            return Some(None);
        };
        let cost = cost_of(self.operation, expected, account);
        grant.afford_too(cost).map(Some)
    }
}

impl Ctx {
    /// Accounts the request and tells its key's limits, once, when it has ended.
    pub(crate) fn settle(&mut self) {
        if std::mem::replace(&mut self.outcome.settled, true) {
            return;
        }
        let used = self
            .inbound
            .operation
            .map(|operation| used(self, operation));
        let (usage, estimated) = used.unwrap_or_default();
        if let Some(ledger) = &self.inbound.ledger {
            self.outcome.cost = charge(ledger, self, usage.as_ref(), estimated);
        }
        // After it was accounted, so that nobody finds neither what it has cost nor what was set aside.
        if let Some(grant) = self.inbound.grant.take() {
            let whole = self.outcome.said && !estimated;
            grant.settle(spent(self, usage.as_ref()), whole);
        }
    }

    /// Returns whether the client has got any of an answer.
    fn answered(&self) -> bool {
        self.outcome.first_content.is_some() && self.outcome.status < 400
    }
}

fn charge(ledger: &Ledger, ctx: &Ctx, usage: Option<&ir::Usage>, estimated: bool) -> Option<Usd> {
    let account = ctx.attempt.account.as_ref()?;
    if !costs(ctx.inbound.operation?) {
        return None;
    }
    let charge = Charge {
        account,
        key: ctx.inbound.key.as_ref().map(|key| &*key.name),
        tag: ctx.inbound.tag.as_deref(),
        usage,
        request: true,
        failed: !ctx.answered() || !ctx.outcome.whole,
        estimated,
    };
    ledger.record(&charge, Moment::now())
}

/// Returns the consumption that the limits of the client's key are told.
fn spent(ctx: &Ctx, usage: Option<&ir::Usage>) -> Consumption {
    let (input, output) = ctx.outcome.lost;
    let told = usage.filter(|usage| usage.total() > 0).map(Tokens::from);
    match told {
        Some(tokens) => Consumption::Tokens {
            input: tokens.input.saturating_add(input),
            output: tokens.output.saturating_add(output),
        },
        None if input > 0 || output > 0 => Consumption::Tokens { input, output },
        None if ctx.answered() && ctx.inbound.operation.is_some_and(costs) => Consumption::Unknown,
        None => Consumption::Nothing,
    }
}

/// Returns what a request of so many tokens in and out may cost.
pub(crate) fn cost_of(
    operation: Option<Operation>,
    (input, output): (u64, u64),
    account: &Account,
) -> Cost {
    let price = |input, output| {
        let tokens = Tokens {
            input,
            output,
            ..Tokens::default()
        };
        account.expected(&tokens).as_nanos()
    };
    match operation {
        Some(Operation::AnthropicCountTokens) => Cost::default(),
        _ => Cost {
            surely: price(input, 0),
            at_most: price(input, output),
        },
    }
}

/// Returns whether providers charge for the operation.
fn costs(operation: Operation) -> bool {
    operation.is_inference() && operation != Operation::AnthropicCountTokens
}

fn prompt_alone(ctx: &Ctx) -> ir::Usage {
    ir::Usage {
        prompt: Some(ctx.inbound.prompt_tokens),
        ..ir::Usage::default()
    }
}

/// Returns what a request has used, with estimates where its provider told nothing, and whether there are any.
fn used(ctx: &Ctx, operation: Operation) -> (Option<ir::Usage>, bool) {
    let Attempt { sent, .. } = &ctx.attempt;
    if ctx.answered() {
        completed(ctx, operation)
    } else if sent.load(Ordering::Relaxed) && costs(operation) {
        // The client has left before the answer, and the backend has the request.
        (Some(prompt_alone(ctx)), true)
    } else {
        (ctx.outcome.usage, false)
    }
}

/// Returns what an answer used.
fn completed(ctx: &Ctx, operation: Operation) -> (Option<ir::Usage>, bool) {
    let told = ctx.outcome.usage;
    let mut usage = told.unwrap_or_default();
    let embeds = matches!(
        operation,
        Operation::Embed | Operation::Embeddings | Operation::OpenAiEmbeddings
    );
    let talks = !embeds
        && operation.framing() != AnswerFraming::Whole
        && operation != Operation::AudioTranscriptions;
    let mut estimated = false;
    let told_all = ctx.outcome.said && !ctx.outcome.stopped;
    if talks && (!told_all || usage.output.is_none()) {
        // Providers that tell early tell what was so then: Anthropic's streams begin with one token of output.
        let so_far = ctx.outcome.output_so_far;
        if so_far > usage.output.unwrap_or(0) {
            usage.output = Some(so_far);
            estimated = true;
        }
    }
    // What came whole without output has loaded a model, or made what has no tokens.
    let has_output = talks && usage.output.is_some_and(|tokens| tokens > 0);
    if usage.prompt.is_none() && costs(operation) && (has_output || embeds || !ctx.outcome.said) {
        usage.prompt = Some(ctx.inbound.prompt_tokens);
        estimated = true;
    }
    ((told.is_some() || estimated).then_some(usage), estimated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(whole: bool, so_far: u64, usage: Option<ir::Usage>) -> Ctx {
        let mut ctx = Ctx::default();
        ctx.inbound.prompt_tokens = 100;
        ctx.outcome.said = whole;
        ctx.outcome.output_so_far = so_far;
        ctx.outcome.usage = usage;
        ctx
    }

    fn told(prompt: Option<u64>, output: Option<u64>) -> Option<ir::Usage> {
        Some(ir::Usage {
            prompt,
            output,
            ..ir::Usage::default()
        })
    }

    #[test]
    fn what_is_told_at_the_end_is_taken_as_it_is() {
        let ctx = ended(true, 90, told(Some(10), Some(5)));
        assert_eq!(
            completed(&ctx, Operation::Chat),
            (told(Some(10), Some(5)), false)
        );
    }

    #[test]
    fn a_stream_that_was_cut_has_used_what_was_sent() {
        let silent = ended(false, 90, None);
        assert_eq!(
            completed(&silent, Operation::OpenAiChat),
            (told(Some(100), Some(90)), true)
        );
        // What Anthropic tells first.
        let early = ended(false, 90, told(Some(10), Some(1)));
        assert_eq!(
            completed(&early, Operation::AnthropicMessages),
            (told(Some(10), Some(90)), true)
        );
        // Gemini tells with every piece.
        let often = ended(false, 80, told(Some(10), Some(85)));
        assert_eq!(
            completed(&often, Operation::OpenAiChat),
            (told(Some(10), Some(85)), false)
        );
    }

    #[test]
    fn a_server_that_tells_nothing_is_estimated_too() {
        let ctx = ended(true, 12, None);
        assert_eq!(
            completed(&ctx, Operation::OpenAiChat),
            (told(Some(100), Some(12)), true)
        );
        let vectors = ended(true, 0, None);
        assert_eq!(
            completed(&vectors, Operation::Embeddings),
            (told(Some(100), None), true)
        );
    }

    #[test]
    fn what_came_whole_without_tokens_is_not_estimated() {
        let image = ended(true, 1, None);
        assert_eq!(completed(&image, Operation::OpenAiImages), (None, false));
        let load = ended(true, 0, None);
        assert_eq!(completed(&load, Operation::Generate), (None, false));
    }

    #[test]
    fn whatever_broke_off_has_cost_its_prompt() {
        for operation in [
            Operation::Chat,
            Operation::Generate,
            Operation::Embed,
            Operation::OpenAiEmbeddings,
            Operation::OpenAiImages,
            Operation::AudioTranscriptions,
            Operation::AnthropicMessages,
        ] {
            let mut ctx = ended(false, 0, None);
            ctx.inbound.prompt_tokens = 500_021;
            let charged = (told(Some(500_021), None), true);
            assert_eq!(completed(&ctx, operation), charged, "{operation:?}");
            // Before the answer began: once its provider has all of the request.
            assert_eq!(used(&ctx, operation), (None, false), "{operation:?}");
            ctx.attempt.sent.store(true, Ordering::Relaxed);
            assert_eq!(used(&ctx, operation), charged, "{operation:?}");
        }
        let counted = ended(false, 0, None);
        counted.attempt.sent.store(true, Ordering::Relaxed);
        let operation = Operation::AnthropicCountTokens;
        assert_eq!(used(&counted, operation), (None, false));
    }
}
