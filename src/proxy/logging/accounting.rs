//! What an attempt is charged to: the account of its provider and model, with the price that holds there.

use std::sync::Arc;

use crate::fleet::Backend;
use crate::proxy::Gateway;
use crate::proxy::prepared::{ModelRequest, WantedModel};
use crate::settings::ProviderKind;
use crate::usage::{Account, Description, Pricing};

impl Gateway {
    /// Returns what an attempt at `backend` is charged to.
    pub(crate) fn account(
        &self,
        request: &ModelRequest,
        backend: &Backend,
    ) -> Option<Arc<Account>> {
        let ledger = self.record.ledger.as_ref()?;
        let ask = request.wanted.as_ref()?;
        let provider = backend.provider.id;
        Some(match ask.model {
            Some(model) => ledger.listed(provider, model, || self.description(ask, backend)),
            None => {
                let name = self.upstreams.own_name(ask, backend);
                ledger.unlisted(provider, &name, || self.description(ask, backend))
            }
        })
    }

    fn description(&self, ask: &WantedModel, backend: &Backend) -> Description {
        let provider = &backend.provider;
        let settings = &provider.settings;
        let own = self.upstreams.own_name(ask, backend);
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
