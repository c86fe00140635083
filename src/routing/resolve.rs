//! Which providers a name means: an alias, a provider's prefix, `X-Provider`, a rule, what is listed, the default model.
//!
//! The order is that of `docs/routing.md`. What the client says of the provider goes before rules, and rules before lists.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use super::aliases;
use super::approach::Form;
use super::ask::NoPlan;
use super::candidate::Candidate;
use super::explain::Trace;
use super::filter::Filter;
use super::pattern::folded;
use super::plan::StepModel;
use super::rules::Rule;
use super::view::{Having, View};
use crate::facts::Facts;
use crate::ids::{ModelId, ProviderId};
use crate::settings::{ModelRouting, Provider, ProviderKind, Settings};

/// Other names of kinds, by which other proxies put a service before its models, as in `gemini/gemini-2.5-flash` and
/// `gemini-gemini-2.5-flash`.
const ALSO: [(&str, ProviderKind); 9] = [
    ("gemini", ProviderKind::Google),
    ("claude", ProviderKind::Anthropic),
    ("pplx", ProviderKind::Perplexity),
    ("azure_openai", ProviderKind::Azure),
    ("azure-openai", ProviderKind::Azure),
    ("aws_bedrock", ProviderKind::Bedrock),
    ("aws-bedrock", ProviderKind::Bedrock),
    ("ollama_chat", ProviderKind::Ollama),
    ("hosted_vllm", ProviderKind::OpenAiCompatible),
];

/// The kind of that name.
fn kind_called(name: &str) -> Option<ProviderKind> {
    let mut names = ProviderKind::NAMES.iter().chain(&ALSO);
    let found = names.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, kind)| *kind)
}

/// Hosts of an Azure resource, after its name: the same deployments are at each.
const OF_AZURE: [&str; 3] = [
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
];

/// What a name was found to mean.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    /// Those that are meant, and then those that have the model too. The first is empty if nobody has it.
    pub(super) tiers: [Vec<Candidate>; 2],
    /// Services that have told of no models: they may have this one. For strategies that go through all providers.
    pub(super) silent: Vec<Candidate>,
    pub(super) by: By,
    /// The listed model that exactly the first tier has.
    pub(super) whole: Option<ModelId>,
    /// What the configuration says of the model.
    pub(super) settings: Option<ModelRouting>,
    /// The name means nothing, and the default model stands in for it.
    pub(super) by_default: bool,
}

/// How it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum By {
    /// The client or an alias named the provider in the model's name: none other will do.
    Prefix,
    /// The client prefers a provider, or the operator's rule names one.
    Preference,
    /// A bundled rule names the provider.
    BundledRule,
    /// The providers themselves list it.
    #[default]
    List,
}

/// What names are looked up in.
pub(super) struct Resolver<'a> {
    pub(super) settings: &'a Settings,
    pub(super) view: &'a dyn View,
    pub(super) facts: &'a Facts,
    pub(super) rules: &'a [Rule],
    pub(super) filter: &'a Filter,
}

/// A listed model at a provider that has it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) model: ModelId,
    pub(super) having: Having,
    /// By the operator's `model_map`, so that its servers know it by another name than the client's.
    is_mapped: bool,
}

impl Held {
    fn step(&self, name: Name<'_>) -> StepModel {
        match &self.having.own {
            Some(own) if self.is_mapped => StepModel::ListedAs(self.model, Arc::clone(own)),
            _ => listed_as(self.model, name),
        }
    }
}

/// A name on its way.
#[derive(Clone, Copy)]
struct Name<'a> {
    /// As the client wrote it.
    asked: &'a str,
    /// What it stands for.
    means: &'a str,
}

impl Resolver<'_> {
    /// # Errors
    /// [`NoPlan::Contradiction`], [`NoPlan::NoApproach`], and [`NoPlan::Unknown`] if nobody has such a model.
    pub(super) fn resolve(
        &self,
        asked: &str,
        preferred: Option<&[ProviderId]>,
        trace: &mut Trace,
    ) -> Result<Resolution, NoPlan> {
        let asked = asked.trim();
        let form = Form::of(asked).filter(|_| self.is_free(asked));
        let plain = match form {
            Some(Form {
                approach: Some(approach),
                model,
            }) => return self.approached(asked, model, approach, preferred, trace),
            Some(form) => {
                trace.decided(|| format!("the prefix proxy- stands for nothing: {}", form.model));
                form.model
            }
            None => asked,
        };
        let meanings = aliases::meanings(self, plain, trace);
        let mut found = self.meant(asked, &meanings, preferred, trace)?;
        if found.is_empty() {
            if found.by == By::Prefix {
                return Err(NoPlan::Unknown);
            }
            found = self.default_for(asked, trace)?;
        }
        let names = [asked, plain].into_iter();
        found.settings = self.settings_of(names.chain(meanings.iter().map(|one| &**one)));
        Ok(found)
    }

    /// Who has any of what a name means.
    fn meant(
        &self,
        asked: &str,
        meanings: &[Cow<'_, str>],
        preferred: Option<&[ProviderId]>,
        trace: &mut Trace,
    ) -> Result<Resolution, NoPlan> {
        if let [means] = meanings {
            return self.named(Name { asked, means }, preferred, trace);
        }
        let (mut any, mut refused) = (Resolution::default(), None);
        for means in meanings {
            match self.named(Name { asked, means }, preferred, trace) {
                Ok(found) => any.join(found),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        match refused {
            Some(why) if any.is_empty() => Err(why),
            // The operator has named all of them.
            _ => Ok(Resolution {
                by: By::Preference,
                ..any
            }),
        }
    }

    /// Candidates for an approach of OptiLLM's. `model` goes there as it is, and is `plain` without the approach.
    pub(super) fn approached(
        &self,
        model: &str,
        plain: &str,
        approach: &str,
        preferred: Option<&[ProviderId]>,
        trace: &mut Trace,
    ) -> Result<Resolution, NoPlan> {
        trace.decided(|| format!("the approach {approach} wants a provider with approaches: true"));
        let able = self.indices().filter(|provider| {
            let one = &self.settings.providers[*provider];
            one.approaches && preferred.is_none_or(|names| names.contains(provider))
        });
        let first: Vec<_> = able
            .filter_map(|provider| {
                let named = StepModel::Named(model.into());
                self.candidate(provider, named, plain, None, trace)
            })
            .collect();
        match first.is_empty() {
            true => Err(NoPlan::NoApproach {
                approach: approach.to_owned(),
            }),
            false => Ok(Resolution {
                tiers: [first, Vec::new()],
                by: By::Preference,
                ..Resolution::default()
            }),
        }
    }

    /// Providers of that name, or else of that kind.
    pub(super) fn called(&self, name: &str) -> Vec<ProviderId> {
        let name = name.trim();
        if let Some(provider) = self.provider(name) {
            return vec![provider];
        }
        let Some(kind) = kind_called(name) else {
            return Vec::new();
        };
        let of_kind = |provider: &ProviderId| self.settings.providers[*provider].kind == kind;
        self.indices().filter(of_kind).collect()
    }

    /// Of the providers of that name or kind, those at the Azure resource that stands after the name's `@`.
    ///
    /// # Errors
    /// [`NoPlan::NoResource`] if there are such providers, none of them is there, and the model is not listed as it is.
    fn at_resource(
        &self,
        provider: &str,
        name: &str,
        is_listed: bool,
    ) -> Result<Vec<ProviderId>, NoPlan> {
        let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
        let all = self.called(provider);
        let there = |provider: &&ProviderId| {
            let mut backends = self.settings.providers[**provider].backends.iter();
            backends.any(|backend| resource(&backend.host) == resource(host))
        };
        let found: Vec<ProviderId> = all.iter().filter(there).copied().collect();
        match found.is_empty() && !all.is_empty() && !is_listed {
            true => Err(NoPlan::NoResource {
                host: host.to_owned(),
            }),
            false => Ok(found),
        }
    }

    fn indices(&self) -> impl Iterator<Item = ProviderId> + Clone + use<> {
        ProviderId::first(self.settings.providers.len())
    }

    pub(super) fn provider(&self, name: &str) -> Option<ProviderId> {
        let mut providers = self.settings.providers.iter();
        let position = providers.position(|provider| provider.name.eq_ignore_ascii_case(name));
        position.map(ProviderId::at)
    }

    /// Whether the name is one of an approach of OptiLLM's before a model.
    pub(super) fn names_approach(&self, name: &str) -> bool {
        let form = Form::of(name.trim());
        form.is_some_and(|form| form.approach.is_some()) && self.is_free(name.trim())
    }

    /// See [`super::Router::spellings`].
    pub(super) fn spellings(&self, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        for means in aliases::meanings(self, name.trim(), &mut Trace::default()) {
            let after = self.prefix(&means).map(|(_, own)| own);
            for plain in [Some(&*means), after].into_iter().flatten() {
                let mapped = self.indices().filter_map(|index| self.mapped(index, plain));
                all.extend([plain].into_iter().chain(mapped).map(str::to_owned));
            }
        }
        all
    }

    /// Whether a name that this provider lists could mean something else: an alias of the operator's, or what stands before
    /// it is another provider.
    pub(super) fn means_another(&self, name: &str, provider: &str) -> bool {
        let prefix = self.prefix(name).map(|(index, _)| index);
        let other = prefix.filter(|index| *self.settings.providers[*index].name != *provider);
        other.is_some() || aliases::is_stated(self, name) || self.names_approach(name)
    }

    /// Whether no model and no provider claims what looks like OptiLLM's prefix.
    fn is_free(&self, name: &str) -> bool {
        let prefix = name.split('-').next().unwrap_or_default();
        self.provider(prefix).is_none()
            && self
                .view
                .lookup(name)
                .is_none_or(|model| self.view.having(model).is_empty())
    }

    fn named(
        &self,
        name: Name<'_>,
        preferred: Option<&[ProviderId]>,
        trace: &mut Trace,
    ) -> Result<Resolution, NoPlan> {
        let having = self.having(name.means);
        if let Some(preferred) = preferred
            && let Some(found) = self.preferred(name, preferred, &having, false, trace)
        {
            return Ok(found);
        }
        if let Some((provider, own)) = self.prefix(name.means) {
            if preferred.is_some_and(|preferred| !preferred.contains(&provider)) {
                return Err(NoPlan::Contradiction);
            }
            let known = &self.settings.providers[provider].name;
            trace.decided(|| format!("prefix: {own} of provider {known}"));
            let named = Name { means: own, ..name };
            return Ok(self.only(self.pinned(provider, named, trace)));
        }
        if let Some(preferred) = preferred {
            let found = self.preferred(name, preferred, &having, true, trace);
            return Ok(found.unwrap_or_else(|| self.listed(name, &having, trace)));
        }
        if having.is_empty()
            && self.after_kind(name.means).is_none()
            && let Some(candidate) = self.after_dash(name, trace)?
        {
            return Ok(self.only(Some(candidate)));
        }
        if let Some(found) = self.ruled(name, &having, trace)? {
            return Ok(found);
        }
        if !having.is_empty() {
            trace.decided(|| "lists: the providers that list the model".to_owned());
            let found = self.listed(name, &having, trace);
            return Ok(Resolution {
                silent: self.silent(name, trace),
                ..found
            });
        }
        Ok(self.unlisted(name, trace))
    }

    /// The providers that list the name, or list what their `model_map` says that it stands for.
    pub(super) fn having(&self, name: &str) -> Vec<Held> {
        let listed = self.view.lookup(name).into_iter().flat_map(|model| {
            let having = self.view.having(model).into_iter();
            having.map(move |having| Held {
                model,
                having,
                is_mapped: false,
            })
        });
        let mut held: Vec<Held> = listed
            .filter(|one| self.mapped(one.having.provider, name).is_none())
            .collect();
        held.extend(self.indices().filter_map(|index| {
            let own = self.mapped(index, name)?;
            self.held_by(index, own).map(|held| Held {
                is_mapped: true,
                ..held
            })
        }));
        held.sort_by_key(|one| one.having.provider);
        held
    }

    /// What the operator says that a fleet's servers call the model of that name. A service lists such names itself.
    fn mapped(&self, provider: ProviderId, name: &str) -> Option<&str> {
        let settings = &self.settings.providers[provider];
        if !settings.kind.is_fleet() || settings.model_map.is_empty() {
            return None;
        }
        let plain = folded(name);
        let mut map = settings.model_map.iter();
        let (_, own) = map.find(|(known, _)| folded(known) == plain)?;
        Some(own)
    }

    /// A listed model at one provider, by the very name that is listed.
    pub(super) fn held_by(&self, provider: ProviderId, name: &str) -> Option<Held> {
        let model = self.view.lookup(name)?;
        let having = self.view.having(model).into_iter();
        let mut here = having.filter(|one| one.provider == provider);
        here.next().map(|having| Held {
            model,
            having,
            is_mapped: false,
        })
    }

    /// What the client's `X-Provider` comes to. Unless it is `insisted`, those count that list the model.
    fn preferred(
        &self,
        name: Name<'_>,
        preferred: &[ProviderId],
        having: &[Held],
        insisted: bool,
        trace: &mut Trace,
    ) -> Option<Resolution> {
        let first: Vec<_> = preferred
            .iter()
            .filter_map(|provider| self.at(*provider, name, insisted, trace))
            .collect();
        if first.is_empty() {
            return None;
        }
        trace.decided(|| "X-Provider: the client names the provider".to_owned());
        Some(Resolution {
            whole: whole(having, &first),
            tiers: self.and_others(first, name, having, trace),
            by: By::Preference,
            ..Resolution::default()
        })
    }

    fn prefix<'n>(&self, name: &'n str) -> Option<(ProviderId, &'n str)> {
        let (provider, own) = name.split_once('/')?;
        let provider = self.provider(provider)?;
        (!own.is_empty()).then_some((provider, own))
    }

    /// The kind that stands before a name, its providers, and what stands after it; `None` if there are none.
    fn after_kind<'n>(&self, name: &'n str) -> Option<(&'n str, Vec<ProviderId>, &'n str)> {
        let (kind, own) = name.split_once('/').filter(|(_, own)| !own.is_empty())?;
        let providers = self.called(kind);
        (!providers.is_empty()).then_some((kind, providers, own))
    }

    fn only(&self, candidate: Option<Candidate>) -> Resolution {
        Resolution {
            tiers: [candidate.into_iter().collect(), Vec::new()],
            by: By::Prefix,
            ..Resolution::default()
        }
    }

    /// `provider-model`, as older proxies list their models.
    ///
    /// # Errors
    /// [`NoPlan::Unknown`] while it may turn out that the provider has a model of that very name.
    fn after_dash(&self, name: Name<'_>, trace: &mut Trace) -> Result<Option<Candidate>, NoPlan> {
        let after = |prefix: &str| {
            let (first, rest) = name.means.split_at_checked(prefix.len())?;
            let own = rest.strip_prefix('-').filter(|own| !own.is_empty())?;
            first.eq_ignore_ascii_case(prefix).then_some(own)
        };
        // Of several, one that is known to have it; else the longest prefix, so that `my-own-m` is not one of `my`.
        let claims = self.indices().filter_map(|provider| {
            let settings = &self.settings.providers[provider];
            if settings.kind.is_fleet() {
                return None;
            }
            let also = || {
                let names = ALSO.iter().chain(ProviderKind::NAMES);
                let of_kind = names.filter(|(_, kind)| *kind == settings.kind);
                let mut owns = of_kind.filter_map(|(prefix, _)| after(prefix));
                let own = owns.find(|own| self.is_known_at(provider, own))?;
                Some((true, own))
            };
            let by_name = after(&settings.name).and_then(|own| {
                let known = self.is_known_at(provider, own);
                let whole = || {
                    self.facts.knows(settings.kind, name.means)
                        || (self.is_usual(name.means) && !self.is_usual(own))
                };
                (known || !whole()).then_some((known, own))
            });
            let is_name = by_name.is_some();
            let (known, own) = by_name.or_else(also)?;
            Some(((known, is_name, Reverse(own.len()), Reverse(provider)), own))
        });
        let meant = claims.max_by_key(|(rank, _)| *rank);
        let meant = meant.map(|((.., Reverse(provider)), own)| (provider, own));
        let Some((provider, own)) = meant else {
            return Ok(None);
        };
        let settings = &self.settings.providers[provider];
        if self.view.is_settling(provider) && !names(settings, own) {
            return Err(NoPlan::Unknown);
        }
        trace.decided(|| format!("prefix: {own} of provider {}", settings.name));
        Ok(self.pinned(provider, Name { means: own, ..name }, trace))
    }

    /// Whether models are usually called like that, by a bundled rule: `gemini-9-flash` is one, and no `9-flash` of a
    /// provider that is called gemini.
    fn is_usual(&self, name: &str) -> bool {
        let plain = folded(name);
        let mut bundled = self.rules.iter().filter(|rule| rule.is_bundled);
        bundled.any(|rule| rule.pattern.matches(&plain))
    }

    /// Whether a service is known to have a model of that name, or an alias of it.
    fn is_known_at(&self, provider: ProviderId, name: &str) -> bool {
        let settings = &self.settings.providers[provider];
        names(settings, name)
            || self.facts.knows(settings.kind, name)
            || self.held_by(provider, &full(settings, name)).is_some()
            || aliases::at(self, provider, name).is_some()
    }

    /// What the first rule says that applies.
    fn ruled(
        &self,
        name: Name<'_>,
        having: &[Held],
        trace: &mut Trace,
    ) -> Result<Option<Resolution>, NoPlan> {
        let plain = folded(name.means);
        // The name of a kind is no part of a model's: `gemini/…` is not what a bundled rule for `gemini*` means.
        let of_kind = having.is_empty() && self.after_kind(name.means).is_some();
        for rule in self
            .rules
            .iter()
            .filter(|rule| !(rule.is_bundled && of_kind) && rule.pattern.matches(&plain))
        {
            let targets = match rule.at_resource {
                true => self.at_resource(&rule.provider, &plain, !having.is_empty())?,
                false => self.called(&rule.provider),
            };
            let own = rule.own(without_latest(name.means));
            let means = own.as_deref().unwrap_or(name.means);
            // A bundled rule does not take a model away from those who list it.
            let insisted = !rule.is_bundled || having.is_empty();
            let named = Name { means, ..name };
            let first: Vec<_> = targets
                .iter()
                .filter_map(|provider| self.at(*provider, named, insisted, trace))
                .collect();
            if first.is_empty() {
                let awaited = |provider: &ProviderId| self.view.is_settling(*provider);
                if having.is_empty() && targets.iter().any(awaited) {
                    // It will be known at once whether its servers have the model.
                    return Err(NoPlan::Unknown);
                }
                continue;
            }
            let bundled = if rule.is_bundled { "bundled " } else { "" };
            trace.decided(|| format!("{bundled}rule: {} to {}", rule.written, rule.provider));
            let whole = whole(having, &first);
            let tiers = match &own {
                Some(_) => [first, Vec::new()],
                None => self.and_others(first, name, having, trace),
            };
            return Ok(Some(Resolution {
                tiers,
                by: match rule.is_bundled {
                    true => By::BundledRule,
                    false => By::Preference,
                },
                silent: match rule.is_bundled && !having.is_empty() {
                    true => self.silent(name, trace),
                    false => Vec::new(),
                },
                whole,
                ..Resolution::default()
            }));
        }
        Ok(None)
    }

    /// After those that are meant, the others that list the model.
    fn and_others(
        &self,
        first: Vec<Candidate>,
        name: Name<'_>,
        having: &[Held],
        trace: &mut Trace,
    ) -> [Vec<Candidate>; 2] {
        let mut listed = self.candidates(name, having, trace);
        listed.retain(|other| first.iter().all(|one| one.provider != other.provider));
        [first, listed]
    }

    fn listed(&self, name: Name<'_>, having: &[Held], trace: &mut Trace) -> Resolution {
        let first = self.candidates(name, having, trace);
        Resolution {
            whole: whole(having, &first),
            tiers: [first, Vec::new()],
            ..Resolution::default()
        }
    }

    fn candidates(&self, name: Name<'_>, having: &[Held], trace: &mut Trace) -> Vec<Candidate> {
        let candidates = having.iter().filter_map(|one| {
            let step = one.step(name);
            self.candidate(
                one.having.provider,
                step,
                name.means,
                Some(&one.having),
                trace,
            )
        });
        candidates.collect()
    }

    /// Nobody lists it: those that the configuration says have it, those that do not tell, those of the kind that
    /// stands before it.
    fn unlisted(&self, name: Name<'_>, trace: &mut Trace) -> Resolution {
        let services = || self.indices().filter(|index| !self.is_fleet(*index));
        let stated: Vec<_> = services()
            .filter(|index| names(&self.settings.providers[*index], name.means))
            .filter_map(|index| self.at(index, name, true, trace))
            .collect();
        if !stated.is_empty() {
            trace.decided(|| "the configuration: a provider's models and names".to_owned());
            return Resolution {
                tiers: [stated, Vec::new()],
                ..Resolution::default()
            };
        }
        if let Some((kind, of_kind, own)) = self.after_kind(name.means) {
            let named = Name { means: own, ..name };
            let of_kind: Vec<_> = of_kind
                .into_iter()
                .filter_map(|index| self.at(index, named, true, trace))
                .collect();
            if !of_kind.is_empty() {
                trace.decided(|| format!("prefix: {own} of providers of kind {kind}"));
                return Resolution {
                    tiers: [of_kind, Vec::new()],
                    by: By::Prefix,
                    ..Resolution::default()
                };
            }
        }
        if self.indices().any(|index| self.view.is_settling(index)) {
            return Resolution::default();
        }
        let silent = self.silent(name, trace);
        if !silent.is_empty() {
            trace.decided(|| "nobody lists it; these providers list nothing at all".to_owned());
        }
        Resolution {
            tiers: [silent, Vec::new()],
            ..Resolution::default()
        }
    }

    fn silent(&self, name: Name<'_>, trace: &mut Trace) -> Vec<Candidate> {
        self.indices()
            .filter(|index| self.view.tells_no_models(*index))
            .filter_map(|index| self.at(index, name, true, trace))
            .collect()
    }

    /// The opt-in model for names that mean nothing.
    fn default_for(&self, asked: &str, trace: &mut Trace) -> Result<Resolution, NoPlan> {
        let settling = || self.indices().any(|index| self.view.is_settling(index));
        let Some(default) = self.settings.routing.default_model.as_deref() else {
            return Err(NoPlan::Unknown);
        };
        if settling() {
            return Err(NoPlan::Unknown);
        }
        trace.decided(|| format!("routing.default_model: {default}"));
        let meanings = aliases::meanings(self, default, trace);
        let found = self.meant(asked, &meanings, None, trace)?;
        match found.is_empty() {
            true => Err(NoPlan::Unknown),
            false => Ok(Resolution {
                by_default: true,
                ..found
            }),
        }
    }

    fn is_fleet(&self, provider: ProviderId) -> bool {
        self.settings.providers[provider].kind.is_fleet()
    }

    /// A model at the provider that a prefix names: that is where it goes, listed or not, unless it is a fleet.
    fn pinned(&self, provider: ProviderId, name: Name<'_>, trace: &mut Trace) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        if settings.kind.is_fleet() {
            return self.at_fleet(provider, name, trace);
        }
        match self.held_by(provider, &full(settings, name.means)) {
            Some(held) => {
                let step = StepModel::Listed(held.model);
                self.candidate(provider, step, name.means, Some(&held.having), trace)
            }
            None => self.unlisted_at(provider, name, trace),
        }
    }

    /// A model at a provider that is meant: listed there, or, of a service and if that is `insisted` on, by its name.
    fn at(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        insisted: bool,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        if self.is_fleet(provider) {
            return self.at_fleet(provider, name, trace);
        }
        match self.listed_at(provider, name.means) {
            Some(held) => {
                let step = held.step(name);
                self.candidate(provider, step, name.means, Some(&held.having), trace)
            }
            None if insisted => self.unlisted_at(provider, name, trace),
            None => {
                trace.out(provider, || "it does not list the model".to_owned());
                None
            }
        }
    }

    /// A model that a service lists, with its name before it or without.
    pub(super) fn listed_at(&self, provider: ProviderId, name: &str) -> Option<Held> {
        let full = full(&self.settings.providers[provider], name);
        let spellings = [name, &*full].into_iter();
        let mut held = spellings.filter_map(|spelling| self.held_by(provider, spelling));
        held.next()
    }

    fn at_fleet(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        if let Some(held) = self.on_servers(provider, name.means) {
            let step = held.step(name);
            return self.candidate(provider, step, name.means, Some(&held.having), trace);
        }
        let alias = aliases::at(self, provider, name.means);
        if let Some(held) = alias.and_then(|own| self.on_servers(provider, &own)) {
            let own: Arc<str> = held.having.own.clone()?;
            let step = StepModel::ListedAs(held.model, Arc::clone(&own));
            let found = self.candidate(provider, step, &own, Some(&held.having), trace);
            return found.map(|one| one.also_called(name.means));
        }
        trace.out(provider, || "none of its servers has the model".to_owned());
        None
    }

    /// What a fleet's servers have under a name, as its `model_map` has it.
    pub(super) fn on_servers(&self, provider: ProviderId, name: &str) -> Option<Held> {
        match self.mapped(provider, name) {
            Some(own) => self.held_by(provider, own).map(|held| Held {
                is_mapped: true,
                ..held
            }),
            None => self.held_by(provider, name),
        }
    }

    /// A service that does not list the model is asked for it as the configuration says, by what an alias stands for
    /// there, or by the name as it is.
    fn unlisted_at(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        let alias = match names(settings, name.means) {
            true => None,
            false => aliases::at(self, provider, name.means),
        };
        let Some(means) = alias else {
            let own = own_name(settings, name.means);
            let step = StepModel::Named(Arc::clone(&own));
            return self.asked_as(provider, step, name.means, own, trace);
        };
        trace.decided(|| format!("alias: {} stands for {means} there", name.means));
        let found = match self.held_by(provider, &full(settings, &means)) {
            Some(held) => {
                let step = StepModel::Listed(held.model);
                self.candidate(provider, step, &means, Some(&held.having), trace)
            }
            None => {
                let own = own_name(settings, &means);
                let step = StepModel::Named(Arc::clone(&own));
                self.asked_as(provider, step, &means, own, trace)
            }
        };
        found.map(|one| one.also_called(name.means))
    }

    /// A candidate that is asked for a model by a name that nobody lists.
    fn asked_as(
        &self,
        provider: ProviderId,
        step: StepModel,
        name: &str,
        own: Arc<str>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let having = Having {
            provider,
            own: Some(own),
            context: None,
        };
        self.candidate(provider, step, name, Some(&having), trace)
    }

    /// `None` if the operator's list leaves it out.
    fn candidate(
        &self,
        provider: ProviderId,
        model: StepModel,
        name: &str,
        having: Option<&Having>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        let own = having.and_then(|having| having.own.as_deref());
        let own = own.unwrap_or(name);
        let runs = settings.azure.deployments.get(own);
        let runs = runs.map_or(own, |runs| &**runs);
        let mut names = vec![name.to_owned()];
        for other in [own, runs] {
            if names.iter().all(|known| known != other) {
                names.push(other.to_owned());
            }
        }
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        if !self.filter.admits(&settings.name, &borrowed) {
            trace.out(provider, || {
                "routing.models_filter leaves the model out".to_owned()
            });
            return None;
        }
        let facts = self.facts.find(settings.kind, runs);
        let context = having.and_then(|having| having.context);
        Some(Candidate::new(provider, model, names, facts).with_context(context))
    }

    /// What the configuration says of the first of these names of which it says anything.
    fn settings_of<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Option<ModelRouting> {
        let models = &self.settings.routing.models;
        if models.is_empty() {
            return None;
        }
        names.find_map(|name| {
            let name = folded(name);
            let mut models = models.iter();
            let found = models.find(|(model, _)| folded(model) == name);
            found.map(|(_, settings)| settings.clone())
        })
    }
}

impl Resolution {
    pub(super) fn is_empty(&self) -> bool {
        self.tiers.iter().all(Vec::is_empty)
    }

    /// Whoever has another model will do as well.
    fn join(&mut self, other: Resolution) {
        for (tier, more) in self.tiers.iter_mut().zip(other.tiers) {
            for one in more {
                let same =
                    |known: &Candidate| known.provider == one.provider && known.model == one.model;
                if !tier.iter().any(same) {
                    tier.push(one);
                }
            }
        }
    }
}

/// The name of an Azure resource, or another host as it is.
fn resource(host: &str) -> &str {
    let mut names = OF_AZURE.iter().filter_map(|end| host.strip_suffix(end));
    names.next().unwrap_or(host)
}

/// The listed model, if `first` are all that have it.
fn whole(having: &[Held], first: &[Candidate]) -> Option<ModelId> {
    let model = having.first()?.model;
    let is_it = |one: &Held| one.model == model && !one.is_mapped;
    (having.len() == first.len() && having.iter().all(is_it)).then_some(model)
}

/// Backends know their own names for a listed model; one that was written otherwise is given along.
fn listed_as(model: ModelId, name: Name<'_>) -> StepModel {
    match name.asked == name.means {
        true => StepModel::Listed(model),
        false => StepModel::ListedAs(model, name.means.into()),
    }
}

fn full(provider: &Provider, name: &str) -> String {
    format!("{}/{name}", provider.name)
}

fn without_latest(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

/// Whether the configuration names such a model of the provider.
pub(crate) fn names(provider: &Provider, name: &str) -> bool {
    let name = folded(name);
    let deployments = &provider.azure.deployments;
    let mut known = provider
        .models
        .iter()
        .chain(provider.model_map.keys())
        .chain(deployments.keys())
        .chain(deployments.values());
    known.any(|known| folded(known) == name)
}

/// What a service calls a model that it does not list: as the configuration says, else as it is.
fn own_name(provider: &Provider, name: &str) -> Arc<str> {
    let plain = folded(name);
    let mut mapped = provider.model_map.iter();
    if let Some((_, own)) = mapped.find(|(known, _)| folded(known) == plain) {
        return Arc::clone(own);
    }
    let mut deployments = provider.azure.deployments.iter();
    if let Some((own, _)) =
        deployments.find(|(own, model)| folded(own) == plain || folded(model) == plain)
    {
        return Arc::clone(own);
    }
    without_latest(name).into()
}
