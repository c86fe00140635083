//! What an attempt is charged to: the account of its provider and model, with the price that holds there.

use std::sync::Arc;

use crate::fleet::Backend;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::logging::record::Record;
use crate::proxy::prepared::{ModelRequest, WantedModel};
use crate::settings::ProviderKind;
use crate::usage::{Account, Description, Pricing};

impl Record {
    /// Returns the account to which an attempt at `backend` is charged.
    pub(crate) fn account(
        &self,
        upstreams: &Upstreams,
        request: &ModelRequest,
        backend: &Backend,
    ) -> Option<Arc<Account>> {
        let ledger = self.ledger.as_ref()?;
        let wanted = request.wanted.as_ref()?;
        let provider = backend.provider.id;
        let description =
            || self.description(wanted, &upstreams.own_name(wanted, backend), backend);
        Some(match wanted.model {
            Some(model) => ledger.listed(provider, model, description),
            None => {
                let name = upstreams.own_name(wanted, backend);
                ledger.unlisted(provider, &name, description)
            }
        })
    }

    /// Returns the labels of an account, and the price that holds there. `own` is the provider's own name for the model.
    fn description(&self, wanted: &WantedModel, own: &str, backend: &Backend) -> Description {
        let provider = &backend.provider;
        let settings = &provider.settings;
        // A client's spelling of a model that is listed is not its name.
        let listed = wanted.model.and_then(|model| {
            if settings.kind.is_fleet() {
                self.fleet.models().name(model)
            } else {
                backend.own_name(model)
            }
        });
        let model = listed.unwrap_or_else(|| own.into());
        // A deployment of Azure's costs what its model does.
        let base = settings.azure.deployments.get(own);
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
