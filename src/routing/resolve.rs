//! Which providers a name means: an alias, a provider's prefix, `X-Provider`, a rule, what is listed, the default model.
//!
//! The order is that of `docs/routing.md`. What the client says of the provider goes before rules, and rules before lists.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::aliases;
use super::approach::PrefixedName;
use super::ask::NoPlan;
use super::at_provider::Name;
use super::candidate::Candidate;
use super::lookup::{ALSO, Held, Resolver, names, without_latest};
use super::pattern::folded;
use super::plan::StepModel;
use super::trace::Trace;
use crate::ids::{ModelId, ProviderId};
use crate::settings::{ModelRouting, ProviderKind};

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

impl Resolver<'_> {
    /// Returns who has what a name means.
    ///
    /// # Errors
    /// [`NoPlan::Contradiction`], [`NoPlan::NoApproach`], and [`NoPlan::Unknown`] if nobody has such a model.
    pub(super) fn resolve(
        &self,
        asked: &str,
        preferred: Option<&[ProviderId]>,
        trace: &mut Trace,
    ) -> Result<Resolution, NoPlan> {
        let asked = asked.trim();
        let form = PrefixedName::of(asked).filter(|_| self.is_free(asked));
        let plain = match form {
            Some(PrefixedName {
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

    /// Returns who has a model that the name means.
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

    /// Returns the candidates for an approach of OptiLLM's. `model` goes there as it is, and is `plain` without the
    /// approach.
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
        if first.is_empty() {
            Err(NoPlan::NoApproach {
                approach: approach.to_owned(),
            })
        } else {
            Ok(Resolution {
                tiers: [first, Vec::new()],
                by: By::Preference,
                ..Resolution::default()
            })
        }
    }

    /// Returns what [`super::Router::spellings`] does.
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

    /// Returns whether a name that this provider lists could mean something else: an alias of the operator's, or what
    /// stands before it is another provider.
    pub(super) fn means_another(&self, name: &str, provider: &str) -> bool {
        let prefix = self.prefix(name).map(|(index, _)| index);
        let other = prefix.filter(|index| *self.settings.providers[*index].name != *provider);
        other.is_some() || aliases::is_stated(self, name) || self.names_approach(name)
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

    /// Returns what the client's `X-Provider` comes to. Unless it is `insisted`, only providers count that list the
    /// model.
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

    fn only(&self, candidate: Option<Candidate>) -> Resolution {
        Resolution {
            tiers: [candidate.into_iter().collect(), Vec::new()],
            by: By::Prefix,
            ..Resolution::default()
        }
    }

    /// Reads `provider-model`, as older proxies list their models.
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

    /// Returns what the first rule says that applies.
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
            let targets = if rule.at_resource {
                self.at_resource(&rule.provider, &plain, !having.is_empty())?
            } else {
                self.called(&rule.provider)
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
                by: if rule.is_bundled {
                    By::BundledRule
                } else {
                    By::Preference
                },
                silent: if rule.is_bundled && !having.is_empty() {
                    self.silent(name, trace)
                } else {
                    Vec::new()
                },
                whole,
                ..Resolution::default()
            }));
        }
        Ok(None)
    }

    /// Returns those that are meant, and after them the others that list the model.
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

    /// Returns who may have a model that nobody lists: those that the configuration says have it, those that do not
    /// tell, those of the kind that stands before it.
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

    /// Returns the opt-in model for names that mean nothing.
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
        if found.is_empty() {
            Err(NoPlan::Unknown)
        } else {
            Ok(Resolution {
                by_default: true,
                ..found
            })
        }
    }
}

impl Resolution {
    pub(super) fn is_empty(&self) -> bool {
        self.tiers.iter().all(Vec::is_empty)
    }

    /// Joins another resolution: whoever has its model will do as well.
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

/// Returns the listed model, if `first` are all that have it.
fn whole(having: &[Held], first: &[Candidate]) -> Option<ModelId> {
    let model = having.first()?.model;
    let is_it = |one: &Held| one.model == model && !one.is_mapped;
    (having.len() == first.len() && having.iter().all(is_it)).then_some(model)
}
