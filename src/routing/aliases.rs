//! What an alias stands for: the operator's, then the bundled ones, everywhere or at one provider.

use crate::ids::ProviderId;
use std::borrow::Cow;
use std::sync::Arc;

use super::lookup::{Resolver, names};
use super::pattern::folded;
use super::trace::Trace;

/// Aliases of aliases that are followed.
const DEEPEST: usize = 4;

/// Returns what `name` means: itself, or what an alias stands for. A meaning that is an alias again, and no model, is
/// looked up in turn.
pub(super) fn meanings<'n>(
    resolver: &'n Resolver<'_>,
    name: &'n str,
    trace: &mut Trace,
) -> Vec<Cow<'n, str>> {
    let mut seen = vec![folded(name)];
    let mut meanings = vec![Cow::Borrowed(name)];
    for depth in 0..DEEPEST {
        let mut next: Vec<Cow<'n, str>> = Vec::new();
        let mut changed = false;
        for means in meanings {
            let is_model = depth > 0 && is_model(resolver, &means);
            let targets = if is_model {
                None
            } else {
                targets(resolver, &means)
            };
            let fresh = |target: &&str| depth == 0 || !seen.contains(&folded(target));
            let targets: Vec<&str> = targets.iter().flatten().copied().filter(fresh).collect();
            if targets.is_empty() {
                next.push(means);
                continue;
            }
            trace.decided(|| format!("alias: {means} stands for {}", targets.join(" or ")));
            changed = true;
            for target in targets {
                seen.push(folded(target));
                next.push(Cow::Owned(target.to_owned()));
            }
        }
        meanings = next;
        if !changed {
            break;
        }
    }
    meanings
}

/// Returns whether somebody has a model of that very name, or the configuration says so.
fn is_model(resolver: &Resolver<'_>, name: &str) -> bool {
    let mut providers = resolver.settings.providers.iter();
    !resolver.having(name).is_empty() || providers.any(|provider| names(provider, name))
}

/// Returns what the operator says that `name` stands for, or else what it usually does.
fn targets<'r>(resolver: &'r Resolver<'_>, name: &str) -> Option<Vec<&'r str>> {
    if let Some(targets) = stated(resolver, name) {
        return Some(targets.iter().map(|target| &**target).collect());
    }
    let routing = &resolver.settings.routing;
    let is_listed = || resolver.view.lookup(name).is_some() || !resolver.having(name).is_empty();
    if !routing.bundled_aliases || is_listed() {
        // What a backend has under that very name is what is meant.
        return None;
    }
    let target = resolver.facts.alias(name)?;
    let (provider, _) = target.split_once('/')?;
    (!resolver.called(provider).is_empty()).then(|| vec![target])
}

/// Returns the operator's own alias.
fn stated<'r>(resolver: &'r Resolver<'_>, name: &str) -> Option<&'r [Arc<str>]> {
    let aliases = &resolver.settings.routing.aliases;
    if let Some(targets) = aliases.get(name) {
        return Some(targets);
    }
    let plain = folded(name);
    let mut all = aliases.iter();
    let found = all.find(|(alias, _)| folded(alias) == plain);
    found.map(|(_, targets)| &targets[..])
}

/// Returns whether the operator has an alias of that name.
pub(super) fn is_stated(resolver: &Resolver<'_>, name: &str) -> bool {
    stated(resolver, name).is_some()
}

/// Returns what an alias stands for at this provider, in its own names: `claude-sonnet` in `anthropic/claude-sonnet`.
pub(super) fn at(resolver: &Resolver<'_>, provider: ProviderId, alias: &str) -> Option<Arc<str>> {
    at_depth(resolver, provider, alias, DEEPEST)
}

fn at_depth(
    resolver: &Resolver<'_>,
    provider: ProviderId,
    alias: &str,
    depth: usize,
) -> Option<Arc<str>> {
    let depth = depth.checked_sub(1)?;
    let settings = &resolver.settings.providers[provider];
    let is_here = |target: &str| {
        if settings.kind.is_fleet() {
            resolver.on_servers(provider, target).is_some()
        } else {
            names(settings, target) || resolver.listed_at(provider, target).is_some()
        }
    };
    let meant = |target: &str| -> Option<Arc<str>> {
        if let Some((first, own)) = target.split_once('/')
            && resolver.called(first).contains(&provider)
        {
            return Some(own.into());
        }
        if is_here(target) {
            return Some(target.into());
        }
        at_depth(resolver, provider, target, depth)
    };
    if let Some(found) = stated(resolver, alias)
        .into_iter()
        .flatten()
        .find_map(|target| meant(target))
    {
        return Some(found);
    }
    let bundled = resolver.facts.alias(alias);
    bundled
        .filter(|_| resolver.settings.routing.bundled_aliases)
        .and_then(|target| {
            let (kind, own) = target.split_once('/')?;
            let is_meant = settings.name.eq_ignore_ascii_case(kind)
                || settings.kind.name().eq_ignore_ascii_case(kind);
            is_meant.then(|| own.into())
        })
}
