//! What a request is charged to, and how much: the account of its provider and model, its tag, what it used, and an
//! estimate of what its provider did not live to tell.

use std::sync::Arc;

use super::Gateway;
use super::attempt::Job;
use super::ctx::Ctx;
use super::failure::Failure;
use super::order::Ask;
use crate::dialect::ollama::{Framing, Operation};
use crate::fleet::Backend;
use crate::ir;
use crate::routing::BYTES_PER_TOKEN;
use crate::settings::ProviderKind;
use crate::usage::{Account, Charge, Description, Moment, Pricing, Tag, Usd};

/// Larger bodies may be images, of which a token has far more bytes: they are estimated as if they were as large.
const TEXT: u64 = 64 * 1024;

impl Gateway {
    /// The tag that a header field gives the request.
    ///
    /// # Errors
    /// 400 if it is none.
    pub(super) fn tag_of(&self, value: &http::HeaderValue) -> Result<Option<Arc<str>>, Failure> {
        let tag = Tag::parse(value.to_str().unwrap_or_default().trim())
            .map_err(|error| Failure::bad_request(format!("X-Proxy-Tag: {error}")))?;
        Ok(self.ledger.as_ref().map(|ledger| ledger.tag(tag)))
    }

    /// The model's name without a tag, and the tag behind it, if there is one. A name that is known as it is has none.
    pub(super) fn untagged<'a>(&self, name: &'a str) -> (&'a str, Option<Arc<str>>) {
        if !name.contains('@') {
            return (name, None);
        }
        let known = self.fleet.models().lookup(name).is_some()
            || self.settings.routing.aliases.contains_key(name);
        match Tag::split(name).filter(|_| !known) {
            Some((model, tag)) => (model, self.ledger.as_ref().map(|ledger| ledger.tag(tag))),
            None => (name, None),
        }
    }

    /// Of the header field's tag, the name's, the key's and the default, the first that there is.
    pub(super) fn take_tag(&self, ctx: &mut Ctx, of_name: Option<Arc<str>>) {
        let stated = ctx.inbound.tag.take().or(of_name);
        let of_key = || ctx.inbound.key.as_ref().and_then(|key| key.tag.clone());
        let tag = stated.or_else(of_key);
        ctx.inbound.tag = tag.or_else(|| self.settings.usage.default_tag.clone());
    }

    /// What an attempt at `backend` is charged to.
    pub(super) fn account(&self, job: &Job, backend: &Backend) -> Option<Arc<Account>> {
        let ledger = self.ledger.as_ref()?;
        let ask = job.ask.as_ref()?;
        let provider = backend.provider.index;
        Some(match ask.model {
            Some(model) => ledger.listed(provider, model, || self.description(ask, backend)),
            None => {
                let name = self.own_name(ask, backend);
                ledger.unlisted(provider, &name, || self.description(ask, backend))
            }
        })
    }

    fn description(&self, ask: &Ask, backend: &Backend) -> Description {
        let provider = &backend.provider;
        let settings = &provider.settings;
        let own = self.own_name(ask, backend);
        // A client's spelling of a model that is listed is not its name.
        let listed = ask.model.and_then(|model| match settings.kind.is_fleet() {
            true => self.fleet.models().name(model),
            false => backend.own_name(model),
        });
        let model = listed.unwrap_or_else(|| (&*own).into());
        // A deployment of Azure's costs what its model does.
        let base = settings.azure.deployments.get(&*own);
        let priced = base.map_or(&*model, |base| base);
        let price = self.facts.find(settings.kind, priced).price.clone();
        Description {
            provider: Arc::clone(&provider.name),
            pricing: match price {
                Some(price) => Pricing::List(price),
                None if settings.kind == ProviderKind::Ollama => Pricing::Free,
                None => Pricing::Unknown,
            },
            model,
        }
    }

    /// Charges a request when it has ended. Returns what it cost, if that is known.
    pub(super) fn charge(&self, ctx: &Ctx) -> Option<Usd> {
        let (ledger, account) = (self.ledger.as_ref()?, ctx.attempt.account.as_ref()?);
        let operation = ctx.inbound.operation?;
        if operation == Operation::AnthropicCountTokens {
            // Providers do not charge for it.
            return None;
        }
        let answered = ctx.outcome.first_content.is_some() && ctx.outcome.status < 400;
        let (usage, estimated) = match answered {
            true => completed(ctx, operation),
            false => (ctx.outcome.usage, false),
        };
        let charge = Charge {
            account,
            key: ctx.inbound.key.as_ref().map(|key| &*key.name),
            tag: ctx.inbound.tag.as_deref(),
            usage: usage.as_ref(),
            request: true,
            failed: !answered || !ctx.outcome.whole,
            estimated,
        };
        ledger.record(&charge, Moment::now())
    }

    /// Charges what a provider told of an attempt whose answer did not reach the client; another attempt may follow.
    pub(super) fn charge_attempt(&self, ctx: &Ctx, job: &Job) {
        let Some(usage) = job.billed() else { return };
        if let (Some(ledger), Some(account)) = (&self.ledger, &ctx.attempt.account) {
            let charge = Charge {
                account,
                key: ctx.inbound.key.as_ref().map(|key| &*key.name),
                tag: ctx.inbound.tag.as_deref(),
                usage: Some(&usage),
                request: false,
                failed: true,
                estimated: false,
            };
            ledger.record(&charge, Moment::now());
        }
    }
}

/// What an answer used, with estimates where its provider told nothing, and whether there are any.
pub(super) fn completed(ctx: &Ctx, operation: Operation) -> (Option<ir::Usage>, bool) {
    let told = ctx.outcome.usage;
    let mut usage = told.unwrap_or_default();
    let embeds = matches!(
        operation,
        Operation::Embed | Operation::Embeddings | Operation::OpenAiEmbeddings
    );
    let talks = !embeds
        && operation.framing() != Framing::Whole
        && operation != Operation::AudioTranscriptions;
    let mut estimated = false;
    let told_all = ctx.outcome.whole && !ctx.outcome.stopped;
    if talks && (!told_all || usage.output.is_none()) {
        // Providers that tell early tell what was so then: Anthropic's streams begin with one token of output.
        let so_far = ctx.outcome.output_so_far;
        if so_far > usage.output.unwrap_or(0) {
            usage.output = Some(so_far);
            estimated = true;
        }
    }
    let has_output = usage.output.is_some_and(|tokens| tokens > 0);
    if usage.prompt.is_none() && ((talks && has_output) || (embeds && ctx.outcome.whole)) {
        usage.prompt = Some(ctx.inbound.request_bytes.min(TEXT) / BYTES_PER_TOKEN);
        estimated = true;
    }
    ((told.is_some() || estimated).then_some(usage), estimated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(whole: bool, so_far: u64, usage: Option<ir::Usage>) -> Ctx {
        let mut ctx = Ctx::default();
        ctx.inbound.request_bytes = 400;
        ctx.outcome.whole = whole;
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
    fn what_has_no_tokens_is_not_estimated() {
        let image = ended(true, 1, None);
        assert_eq!(completed(&image, Operation::OpenAiImages), (None, false));
        let load = ended(true, 0, None);
        assert_eq!(completed(&load, Operation::Generate), (None, false));
    }

    #[test]
    fn a_body_that_may_hold_images_is_not_taken_for_text() {
        let mut ctx = ended(false, 1, None);
        ctx.inbound.request_bytes = 50 << 20;
        let (usage, _) = completed(&ctx, Operation::Chat);
        assert_eq!(usage.unwrap().prompt, Some(16_384));
    }
}
