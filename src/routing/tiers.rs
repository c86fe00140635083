//! Who takes part in a request: the candidates that its name resolves to, without those that may not or cannot serve it.

use super::ask::{NoPlan, PlanRequest};
use super::candidate::Candidate;
use super::resolve::{By, Resolution};
use super::strategy;
use super::trace::Trace;
use crate::settings::{Provider, Strategy};

/// The candidates in two tiers, those that are meant first.
pub(super) struct Tiers<'f> {
    tiers: [Vec<&'f Candidate>; 2],
    providers: &'f [Provider],
}

impl<'f> Tiers<'f> {
    /// Returns those of a resolution that take part under the strategy.
    ///
    /// # Errors
    /// If the client has to say which of several providers it means.
    pub(super) fn of(
        found: &'f Resolution,
        providers: &'f [Provider],
        strategy: Strategy,
        ask: &PlanRequest<'_>,
        trace: &mut Trace,
    ) -> Result<Tiers<'f>, NoPlan> {
        let mut all = Tiers {
            tiers: found.tiers.each_ref().map(|tier| tier.iter().collect()),
            providers,
        };
        let [first, others] = &mut all.tiers;
        if found.by == By::BundledRule && strategy::spreads(strategy) {
            trace.decided(|| format!("the strategy {}, among all that list it", strategy.name()));
            first.append(others);
            first.sort_by_key(|one| one.provider);
        }
        let listed = matches!(found.by, By::BundledRule | By::List);
        if listed && strategy::asks_the_silent(strategy) {
            let known: Vec<_> = first.iter().map(|one| one.provider).collect();
            let silent = found.silent.iter();
            first.extend(silent.filter(|one| !known.contains(&one.provider)));
            first.sort_by_key(|one| one.provider);
        }
        if strategy == Strategy::Manual {
            all.only_the_named(found.by, ask, trace)?;
        }
        Ok(all)
    }

    /// Returns the candidates of an overflow's resolution that are meant.
    pub(super) fn of_overflow(found: &'f Resolution, providers: &'f [Provider]) -> Tiers<'f> {
        Tiers {
            tiers: [found.tiers[0].iter().collect(), Vec::new()],
            providers,
        }
    }

    /// Keeps the provider that is named, which has to be one where only lists say who has the model.
    fn only_the_named(
        &mut self,
        by: By,
        ask: &PlanRequest<'_>,
        trace: &mut Trace,
    ) -> Result<(), NoPlan> {
        let [first, others] = &mut self.tiers;
        if by == By::List {
            let names = first.iter().map(|one| &self.providers[one.provider].name);
            let may = names.filter(|name| ask.permission.is_none_or(|key| key.may_ask(name)));
            let names: Vec<_> = may.cloned().collect();
            if names.len() > 1 {
                return Err(NoPlan::Ambiguous { names });
            }
        }
        for one in others.drain(..) {
            trace.out(one.provider, || {
                "the strategy is manual, and another is named".to_owned()
            });
        }
        Ok(())
    }

    /// Leaves out what the client's key may not use, which calls the model `called`, and what has failed this request.
    ///
    /// # Errors
    /// If none is left.
    pub(super) fn permit(
        &mut self,
        ask: &PlanRequest<'_>,
        called: &str,
        trace: &mut Trace,
    ) -> Result<(), NoPlan> {
        if ask.permission.is_none() && ask.without.is_empty() {
            return Ok(());
        }
        let providers = self.providers;
        let may = |one: &Candidate| {
            let Some(key) = ask.permission else {
                return true;
            };
            let provider = &providers[one.provider].name;
            let full = one.names.iter().map(|own| format!("{provider}/{own}"));
            let full: Vec<String> = full.collect();
            let names = one.names.iter().chain(&full).map(String::as_str);
            let names: Vec<&str> = names.chain([called]).collect();
            key.may_ask(provider) && key.may_use(&names)
        };
        let mut forbidden = true;
        for tier in &mut self.tiers {
            tier.retain(|one| {
                let may = may(one);
                forbidden &= !may;
                let failed = ask.without.contains(&one.provider);
                if !may {
                    trace.out(one.provider, || "the key may not use it".to_owned());
                }
                if failed {
                    trace.out(one.provider, || "it has failed this request".to_owned());
                }
                may && !failed
            });
        }
        if !self.is_empty() {
            Ok(())
        } else if forbidden {
            Err(NoPlan::Forbidden)
        } else {
            Err(NoPlan::Exhausted)
        }
    }

    /// Leaves out those whose model cannot do what is needed, unless none can.
    pub(super) fn keep_able(&mut self, ask: &PlanRequest<'_>, trace: &mut Trace) {
        if self.len() < 2 {
            return;
        }
        let providers = self.providers;
        let lacks = |one: &Candidate| one.lacks(&ask.needs, &providers[one.provider]);
        if self.iter().all(|one| lacks(one).is_some()) {
            return;
        }
        for tier in &mut self.tiers {
            tier.retain(|one| match lacks(one) {
                None => true,
                Some(why) => {
                    trace.out(one.provider, || why.to_owned());
                    false
                }
            });
        }
    }

    pub(super) fn providers(&self) -> &'f [Provider] {
        self.providers
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'f Candidate> {
        self.tiers.iter().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.tiers.iter().map(Vec::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tiers.iter().all(Vec::is_empty)
    }

    /// Returns the candidates that `fits` says yes to, still in their tiers.
    pub(super) fn those(&self, fits: impl Fn(&Candidate) -> bool) -> [Vec<&'f Candidate>; 2] {
        let those = |tier: &Vec<&'f Candidate>| {
            let tier = tier.iter().copied();
            tier.filter(|one| fits(one)).collect()
        };
        self.tiers.each_ref().map(those)
    }
}
