//! What a request is charged to: its tag, and the account of its provider and model with the price that holds there.

use std::sync::Arc;

use crate::fleet::Backend;
use crate::proxy::Gateway;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::told::Failure;
use crate::proxy::prepared::{Ask, Job};
use crate::settings::ProviderKind;
use crate::usage::{Account, Description, Pricing, Tag};

impl Gateway {
    /// Returns the tag that a header field gives the request.
    ///
    /// # Errors
    /// 400 if it is none.
    pub(crate) fn tag_of(&self, value: &http::HeaderValue) -> Result<Option<Arc<str>>, Failure> {
        let tag = Tag::parse(value.to_str().unwrap_or_default().trim())
            .map_err(|error| Failure::bad_request(format!("X-Proxy-Tag: {error}")))?;
        Ok(self.ledger.as_ref().map(|ledger| ledger.tag(tag)))
    }

    /// Returns the model's name without a tag, and the tag behind it, if there is one. A name that is known as it is has
    /// none.
    pub(crate) fn untagged<'a>(&self, name: &'a str) -> (&'a str, Option<Arc<str>>) {
        let is_listed = |name: &str| self.fleet.models().lookup(name).is_some();
        let (model, tag) = Tag::behind(name, &self.settings, is_listed);
        let ledger = self.ledger.as_ref();
        (model, tag.and_then(|tag| Some(ledger?.tag(tag))))
    }

    /// Gives the request the first tag that there is: that of the header field, of the name, of the key, or the default.
    pub(crate) fn take_tag(&self, inbound: &mut Inbound, of_name: Option<Arc<str>>) {
        let stated = inbound.tag.take().or(of_name);
        let of_key = || inbound.key.as_ref().and_then(|key| key.tag.clone());
        let tag = stated.or_else(of_key);
        inbound.tag = tag.or_else(|| self.settings.usage.default_tag.clone());
    }

    /// Returns what an attempt at `backend` is charged to.
    pub(crate) fn account(&self, job: &Job, backend: &Backend) -> Option<Arc<Account>> {
        let ledger = self.ledger.as_ref()?;
        let ask = job.ask.as_ref()?;
        let provider = backend.provider.id;
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
        let listed = ask.model.and_then(|model| {
            if settings.kind.is_fleet() {
                self.fleet.models().name(model)
            } else {
                backend.own_name(model)
            }
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
}
