//! What a service offers: the models that it lists and those that the operator names, under every name by which a
//! client may ask for them.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use super::Models;
use super::listed_model::Model;
use crate::ids::ModelId;
use crate::settings;

/// Models of one provider at most; a longer list is cut.
const MOST: usize = 10_000;

/// One model of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The name that clients are shown: the provider's own, or one of `model_map`.
    pub name: Arc<str>,
    /// The name by which the provider calls it in requests.
    pub own: Arc<str>,
    /// Seconds since 1970, where the provider tells.
    pub created: Option<u64>,
    /// Tokens that it holds, where the provider tells.
    pub context: Option<u64>,
    /// The id of `provider/name`; `None` if there are more names than can be kept.
    pub full: Option<ModelId>,
    /// The id of `name` alone; `None` also if it would mean another provider's model.
    pub bare: Option<ModelId>,
}

/// All models of one service.
#[derive(Debug, Default)]
pub(super) struct Offers {
    all: Vec<Offer>,
    /// The place in `all` by each id under which a model may be wanted, sorted by id.
    places: Vec<(ModelId, usize)>,
}

impl Offers {
    /// Makes the offers of a service that has told `listed` itself; `names` are those of all providers.
    pub(super) fn new(
        models: &Models,
        provider: &settings::Provider,
        names: &[Arc<str>],
        listed: Vec<Model>,
    ) -> Self {
        let mut all = gather(provider, listed);
        let spellings: Vec<String> = all
            .iter()
            .flat_map(|offer| {
                let (name, provider) = (&offer.name, &provider.name);
                [
                    format!("{provider}/{name}"),
                    if means_another(name, provider, names) {
                        String::new()
                    } else {
                        name.to_string()
                    },
                ]
            })
            .collect();
        let ids = models.intern_any(&spellings);
        let mut places = Vec::with_capacity(ids.len());
        for (place, (offer, ids)) in all.iter_mut().zip(ids.chunks_exact(2)).enumerate() {
            [offer.full, offer.bare] = [ids[0], ids[1]];
            places.extend(ids.iter().flatten().map(|id| (*id, place)));
        }
        // Stable: of two names that are the same to clients, the first is meant.
        places.sort_by_key(|(id, _)| *id);
        places.dedup_by_key(|(id, _)| *id);
        Self { all, places }
    }

    pub(super) fn all(&self) -> &[Offer] {
        &self.all
    }

    pub(super) fn own_name(&self, model: ModelId) -> Option<&Arc<str>> {
        self.offer(model).map(|offer| &offer.own)
    }

    /// Returns the tokens that the model holds, where the service tells.
    pub(super) fn context(&self, model: ModelId) -> Option<u64> {
        self.offer(model)?.context
    }

    fn offer(&self, model: ModelId) -> Option<&Offer> {
        let mine = self.places.binary_search_by_key(&model, |(id, _)| *id);
        mine.ok().map(|index| &self.all[self.places[index].1])
    }

    /// Returns every id under which a model of this service may be wanted.
    pub(super) fn ids(&self) -> impl Iterator<Item = ModelId> {
        self.places.iter().map(|(id, _)| *id)
    }
}

/// Returns the offers with the operator's names before the provider's own, so that they mean what the operator says.
fn gather(provider: &settings::Provider, listed: Vec<Model>) -> Vec<Offer> {
    let told: AHashMap<&str, &Model> = listed.iter().rev().map(|one| (&*one.name, one)).collect();
    let offer = |name: &Arc<str>, own: &Arc<str>| {
        let told = told.get(&**own);
        Offer {
            name: Arc::clone(name),
            own: Arc::clone(own),
            created: told.and_then(|model| model.created),
            context: told.and_then(|model| model.context),
            full: None,
            bare: None,
        }
    };
    let mapped = provider.model_map.iter();
    let mapped = mapped.map(|(name, own)| offer(name, own));
    let deployments = &provider.azure.deployments;
    let deployed = deployments.keys().map(|name| offer(name, name));
    let stated = provider.models.iter().map(|name| offer(name, name));
    let listed = listed.iter().map(|model| offer(&model.name, &model.name));
    // A model is found by the name of what a deployment runs, too.
    let run = deployments.iter().map(|(name, model)| offer(model, name));
    let mut seen = AHashSet::new();
    mapped
        .chain(deployed)
        .chain(stated)
        .chain(listed)
        .chain(run)
        .filter(|offer| seen.insert(offer.name.to_ascii_lowercase()))
        .take(MOST)
        .collect()
}

/// Returns whether a name means another provider: a reseller's `openai/gpt-5.4` is for those who ask openai, if there is a
/// provider of that name.
fn means_another(name: &str, provider: &str, names: &[Arc<str>]) -> bool {
    let Some((first, _)) = name.split_once('/') else {
        return false;
    };
    !first.eq_ignore_ascii_case(provider)
        && names.iter().any(|other| first.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Provider, ProviderKind};

    fn listed(names: &[&str]) -> Vec<Model> {
        let model = |name: &&str| Model {
            name: (*name).into(),
            created: Some(7),
            context: None,
        };
        names.iter().map(model).collect()
    }

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn a_model_is_wanted_with_its_provider_or_without() {
        let models = Models::default();
        let provider = Provider::of_kind("openai", ProviderKind::OpenAi);
        let offers = Offers::new(
            &models,
            &provider,
            &names(&["openai"]),
            listed(&["GPT-5.4"]),
        );
        for name in [
            "gpt-5.4",
            "GPT-5.4:latest",
            "openai/gpt-5.4",
            "OpenAI/GPT-5.4",
        ] {
            let id = models.lookup(name).unwrap();
            assert_eq!(
                offers.own_name(id).map(|own| &**own),
                Some("GPT-5.4"),
                "{name}"
            );
        }
        assert_eq!(offers.all().len(), 1);
        assert_eq!(offers.all()[0].created, Some(7));
        assert_eq!(offers.all()[0].bare, models.lookup("gpt-5.4"));
        assert_eq!(offers.ids().count(), 2);
    }

    #[test]
    fn a_provider_s_prefix_means_that_provider() {
        let models = Models::default();
        let all = names(&["openai", "openrouter", "perplexity"]);
        let router = Provider::of_kind("openrouter", ProviderKind::OpenRouter);
        let list = listed(&["openai/gpt-5.4", "qwen/qwen3:free"]);
        let offers = Offers::new(&models, &router, &all, list);
        assert_eq!(models.lookup("openai/gpt-5.4"), None);
        assert_eq!(offers.all()[0].bare, None);
        let id = models.lookup("openrouter/openai/gpt-5.4").unwrap();
        assert_eq!(&**offers.own_name(id).unwrap(), "openai/gpt-5.4");
        assert!(models.lookup("Qwen/qwen3:free").is_some());

        let perplexity = Provider::of_kind("perplexity", ProviderKind::Perplexity);
        let list = listed(&["perplexity/sonar"]);
        let offers = Offers::new(&models, &perplexity, &all, list);
        for name in ["perplexity/sonar", "perplexity/perplexity/sonar"] {
            let id = models.lookup(name).unwrap();
            assert_eq!(
                &**offers.own_name(id).unwrap(),
                "perplexity/sonar",
                "{name}"
            );
        }
    }

    #[test]
    fn the_operator_s_names_go_before_the_provider_s() {
        let models = Models::default();
        let mut provider = Provider::of_kind("azure", ProviderKind::Azure);
        provider.model_map = [("gpt-4".into(), "gpt-4.1".into())].into();
        provider.azure.deployments = [("my-gpt".into(), "gpt-5.4".into())].into();
        provider.models = vec!["extra".into(), "EXTRA".into()];
        let list = listed(&["gpt-4", "other"]);
        let offers = Offers::new(&models, &provider, &names(&["azure"]), list);
        let own = |name: &str| {
            offers
                .own_name(models.lookup(name)?)
                .map(|own| own.to_string())
        };
        assert_eq!(own("gpt-4").as_deref(), Some("gpt-4.1"));
        assert_eq!(own("azure/gpt-4").as_deref(), Some("gpt-4.1"));
        assert_eq!(own("my-gpt").as_deref(), Some("my-gpt"));
        assert_eq!(own("gpt-5.4").as_deref(), Some("my-gpt"));
        assert_eq!(own("extra").as_deref(), Some("extra"));
        let shown: Vec<&str> = offers.all().iter().map(|offer| &*offer.name).collect();
        assert_eq!(shown, ["gpt-4", "my-gpt", "extra", "other", "gpt-5.4"]);
    }
}
