//! Which providers a name means: an alias, a provider's prefix, `X-Provider`, a rule, what is listed, the default model.
//!
//! The order is that of the README. What the client says of the provider goes before rules, and rules before lists.

use std::borrow::Cow;
use std::sync::Arc;

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
use crate::ids::ModelId;
use crate::settings::{ModelRouting, Provider, ProviderKind, Settings};

/// Other names by which older proxies put a service before its models, as in `gemini-gemini-2.5-flash`.
const ALSO: [(&str, ProviderKind); 5] = [
    ("gemini", ProviderKind::Google),
    ("claude", ProviderKind::Anthropic),
    ("pplx", ProviderKind::Perplexity),
    ("azure_openai", ProviderKind::Azure),
    ("aws_bedrock", ProviderKind::Bedrock),
];

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
        preferred: Option<&[usize]>,
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
        let means = self.unaliased(plain, trace);
        let name = Name {
            asked,
            means: &means,
        };
        let mut found = self.named(name, preferred, trace)?;
        if found.is_empty() {
            if found.by == By::Prefix {
                return Err(NoPlan::Unknown);
            }
            found = self.default_for(asked, trace)?;
        }
        found.settings = self.settings_of(&[asked, plain, &means]);
        Ok(found)
    }

    /// Candidates for an approach of OptiLLM's. `model` goes there as it is, and is `plain` without the approach.
    pub(super) fn approached(
        &self,
        model: &str,
        plain: &str,
        approach: &str,
        preferred: Option<&[usize]>,
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
    pub(super) fn called(&self, name: &str) -> Vec<usize> {
        let name = name.trim();
        if let Some(provider) = self.provider(name) {
            return vec![provider];
        }
        let kind = ProviderKind::NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((_, kind)) = kind else {
            return Vec::new();
        };
        let of_kind = |provider: &usize| self.settings.providers[*provider].kind == *kind;
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
    ) -> Result<Vec<usize>, NoPlan> {
        let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
        let all = self.called(provider);
        let there = |provider: &&usize| {
            let mut backends = self.settings.providers[**provider].backends.iter();
            backends.any(|backend| resource(&backend.host) == resource(host))
        };
        let found: Vec<usize> = all.iter().filter(there).copied().collect();
        match found.is_empty() && !all.is_empty() && !is_listed {
            true => Err(NoPlan::NoResource {
                host: host.to_owned(),
            }),
            false => Ok(found),
        }
    }

    fn indices(&self) -> std::ops::Range<usize> {
        0..self.settings.providers.len()
    }

    fn provider(&self, name: &str) -> Option<usize> {
        let mut providers = self.settings.providers.iter();
        providers.position(|provider| provider.name.eq_ignore_ascii_case(name))
    }

    /// Whether the name is one of an approach of OptiLLM's before a model.
    pub(super) fn names_approach(&self, name: &str) -> bool {
        let form = Form::of(name.trim());
        form.is_some_and(|form| form.approach.is_some()) && self.is_free(name.trim())
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

    fn unaliased<'n>(&'n self, name: &'n str, trace: &mut Trace) -> Cow<'n, str> {
        let Some(target) = self.alias(name) else {
            return Cow::Borrowed(name);
        };
        trace.decided(|| format!("alias: {name} stands for {target}"));
        Cow::Borrowed(target)
    }

    fn alias(&self, name: &str) -> Option<&str> {
        let routing = &self.settings.routing;
        if let Some(target) = routing.aliases.get(name) {
            return Some(target);
        }
        let plain = folded(name);
        let mut own = routing.aliases.iter();
        if let Some((_, target)) = own.find(|(alias, _)| folded(alias) == plain) {
            return Some(target);
        }
        if !routing.bundled_aliases || self.view.lookup(name).is_some() {
            // What a backend lists under that very name is what is meant.
            return None;
        }
        let target = self.facts.alias(name)?;
        let (provider, _) = target.split_once('/')?;
        self.provider(provider).map(|_| target)
    }

    fn named(
        &self,
        name: Name<'_>,
        preferred: Option<&[usize]>,
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
        if having.is_none()
            && let Some(candidate) = self.after_dash(name, trace)?
        {
            return Ok(self.only(Some(candidate)));
        }
        if let Some(found) = self.ruled(name, &having, trace)? {
            return Ok(found);
        }
        if having.is_some() {
            trace.decided(|| "lists: the providers that list the model".to_owned());
            let found = self.listed(name, &having, trace);
            return Ok(Resolution {
                silent: self.silent(name, trace),
                ..found
            });
        }
        Ok(self.unlisted(name, trace))
    }

    /// The providers that have a listed model; `None` if there are none.
    fn having(&self, name: &str) -> Option<(ModelId, Vec<Having>)> {
        let model = self.view.lookup(name)?;
        let having = self.view.having(model);
        (!having.is_empty()).then_some((model, having))
    }

    /// What the client's `X-Provider` comes to. Unless it is `insisted`, those count that list the model.
    fn preferred(
        &self,
        name: Name<'_>,
        preferred: &[usize],
        having: &Option<(ModelId, Vec<Having>)>,
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

    fn prefix<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        let (provider, own) = name.split_once('/')?;
        let provider = self.provider(provider)?;
        (!own.is_empty()).then_some((provider, own))
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
        let meant = self.indices().find_map(|provider| {
            let settings = &self.settings.providers[provider];
            if settings.kind.is_fleet() {
                return None;
            }
            let also = || {
                let of_kind = ALSO.iter().filter(|(_, kind)| *kind == settings.kind);
                let mut owns = of_kind.filter_map(|(prefix, _)| after(prefix));
                owns.find(|own| self.view.lookup(&full(settings, own)).is_some())
            };
            Some((provider, after(&settings.name).or_else(also)?))
        });
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

    /// What the first rule says that applies.
    fn ruled(
        &self,
        name: Name<'_>,
        having: &Option<(ModelId, Vec<Having>)>,
        trace: &mut Trace,
    ) -> Result<Option<Resolution>, NoPlan> {
        let plain = folded(name.means);
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.pattern.matches(&plain))
        {
            let targets = match rule.at_resource {
                true => self.at_resource(&rule.provider, &plain, having.is_some())?,
                false => self.called(&rule.provider),
            };
            let own = rule.own(without_latest(name.means));
            let means = own.as_deref().unwrap_or(name.means);
            // A bundled rule does not take a model away from those who list it.
            let insisted = !rule.is_bundled || having.is_none();
            let named = Name { means, ..name };
            let first: Vec<_> = targets
                .iter()
                .filter_map(|provider| self.at(*provider, named, insisted, trace))
                .collect();
            if first.is_empty() {
                let awaited = |provider: &usize| self.view.is_settling(*provider);
                if having.is_none() && targets.iter().any(awaited) {
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
                silent: match rule.is_bundled && having.is_some() {
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
        having: &Option<(ModelId, Vec<Having>)>,
        trace: &mut Trace,
    ) -> [Vec<Candidate>; 2] {
        let mut listed = self.candidates(name, having, trace);
        listed.retain(|other| first.iter().all(|one| one.provider != other.provider));
        [first, listed]
    }

    fn listed(
        &self,
        name: Name<'_>,
        having: &Option<(ModelId, Vec<Having>)>,
        trace: &mut Trace,
    ) -> Resolution {
        let first = self.candidates(name, having, trace);
        Resolution {
            whole: whole(having, &first),
            tiers: [first, Vec::new()],
            ..Resolution::default()
        }
    }

    fn candidates(
        &self,
        name: Name<'_>,
        having: &Option<(ModelId, Vec<Having>)>,
        trace: &mut Trace,
    ) -> Vec<Candidate> {
        let Some((model, having)) = having else {
            return Vec::new();
        };
        let candidates = having.iter().filter_map(|one| {
            let step = listed_as(*model, name);
            self.candidate(one.provider, step, name.means, one.own.as_deref(), trace)
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
        if let Some((kind, own)) = name.means.split_once('/') {
            let named = Name { means: own, ..name };
            let of_kind: Vec<_> = self
                .called(kind)
                .into_iter()
                .filter_map(|index| self.at(index, named, true, trace))
                .collect();
            if !of_kind.is_empty() && !own.is_empty() {
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
        let means = self.unaliased(default, trace);
        let name = Name {
            asked,
            means: &means,
        };
        let found = self.named(name, None, trace)?;
        match found.is_empty() {
            true => Err(NoPlan::Unknown),
            false => Ok(Resolution {
                by_default: true,
                ..found
            }),
        }
    }

    fn is_fleet(&self, provider: usize) -> bool {
        self.settings.providers[provider].kind.is_fleet()
    }

    /// A model at the provider that a prefix names: that is where it goes, listed or not, unless it is a fleet.
    fn pinned(&self, provider: usize, name: Name<'_>, trace: &mut Trace) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        if settings.kind.is_fleet() {
            return self.at_fleet(provider, name, trace);
        }
        let listed = self.view.lookup(&full(settings, name.means));
        match listed.and_then(|model| Some((model, self.at_one(provider, model)?))) {
            Some((model, one)) => {
                let step = StepModel::Listed(model);
                self.candidate(provider, step, name.means, one.own.as_deref(), trace)
            }
            None => self.unlisted_at(provider, name, trace),
        }
    }

    /// A model at a provider that is meant: listed there, or, of a service and if that is `insisted` on, by its name.
    fn at(
        &self,
        provider: usize,
        name: Name<'_>,
        insisted: bool,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        if self.is_fleet(provider) {
            return self.at_fleet(provider, name, trace);
        }
        let settings = &self.settings.providers[provider];
        let spellings = [name.means.to_owned(), full(settings, name.means)];
        let listed = spellings.iter().find_map(|spelling| {
            let model = self.view.lookup(spelling)?;
            Some((model, self.at_one(provider, model)?))
        });
        match listed {
            Some((model, one)) => {
                let step = listed_as(model, name);
                self.candidate(provider, step, name.means, one.own.as_deref(), trace)
            }
            None if insisted => self.unlisted_at(provider, name, trace),
            None => {
                trace.out(provider, || "it does not list the model".to_owned());
                None
            }
        }
    }

    fn at_fleet(&self, provider: usize, name: Name<'_>, trace: &mut Trace) -> Option<Candidate> {
        let model = self.view.lookup(name.means);
        let Some(model) = model.filter(|model| self.at_one(provider, *model).is_some()) else {
            trace.out(provider, || "none of its servers has the model".to_owned());
            return None;
        };
        let settings = &self.settings.providers[provider];
        // Where the operator has names for a server's models, the backend tells its own.
        let step = match settings.model_map.is_empty() {
            true => listed_as(model, name),
            false => StepModel::Listed(model),
        };
        self.candidate(provider, step, name.means, None, trace)
    }

    fn unlisted_at(&self, provider: usize, name: Name<'_>, trace: &mut Trace) -> Option<Candidate> {
        let own = own_name(&self.settings.providers[provider], name.means);
        let step = StepModel::Named(Arc::clone(&own));
        self.candidate(provider, step, name.means, Some(&own), trace)
    }

    fn at_one(&self, provider: usize, model: ModelId) -> Option<Having> {
        let having = self.view.having(model);
        having.into_iter().find(|one| one.provider == provider)
    }

    /// `None` if the operator's list leaves it out.
    fn candidate(
        &self,
        provider: usize,
        model: StepModel,
        name: &str,
        own: Option<&str>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
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
        Some(Candidate::new(provider, model, names, facts))
    }

    fn settings_of(&self, names: &[&str]) -> Option<ModelRouting> {
        let models = &self.settings.routing.models;
        if models.is_empty() {
            return None;
        }
        let names: Vec<_> = names.iter().map(|name| folded(name)).collect();
        let mut models = models.iter();
        let found = models.find(|(model, _)| names.contains(&folded(model)));
        found.map(|(_, settings)| settings.clone())
    }
}

impl Resolution {
    fn is_empty(&self) -> bool {
        self.tiers.iter().all(Vec::is_empty)
    }
}

/// The listed model, if `first` are all that have it.
/// The name of an Azure resource, or another host as it is.
fn resource(host: &str) -> &str {
    let mut names = OF_AZURE.iter().filter_map(|end| host.strip_suffix(end));
    names.next().unwrap_or(host)
}

fn whole(having: &Option<(ModelId, Vec<Having>)>, first: &[Candidate]) -> Option<ModelId> {
    let (model, all) = having.as_ref()?;
    (all.len() == first.len()).then_some(*model)
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
fn names(provider: &Provider, name: &str) -> bool {
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
