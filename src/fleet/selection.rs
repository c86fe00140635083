//! Which of the models that an Ollama server lists are there for clients, and how many it may list.

use ahash::AHashSet;

use super::endpoint::Endpoint;
use crate::settings::Provider;
use remuda_formats::dialect::ollama::{ModelEntry, canonical};

/// Models of a server that the operator names.
const MOST: usize = 10_000;
/// Models of all servers together that are found on a range of ports, where anybody may listen.
const MOST_FOUND: usize = 1 << 17;
/// Of one such server, at most and at least.
const FOUND: (usize, usize) = (16, 1_000);

/// Returns how many models a server may list, so that one that lists without end takes no place from others.
pub(super) fn most(provider: &Provider, endpoint: &Endpoint) -> usize {
    let port = endpoint.addr.port();
    let range = provider.discover.as_ref().map(|range| &range.ports);
    let is_named = |host: &str| {
        let mut named = provider.backends.iter();
        named.any(|one| one.port == port && one.host == host)
    };
    match range.filter(|range| range.contains(&port)) {
        Some(range) if !is_named(&endpoint.addr.ip().to_string()) => {
            let (least, most) = FOUND;
            (MOST_FOUND / range.len().max(1)).clamp(least, most)
        }
        _ => MOST,
    }
}

/// Returns those of `listed` that the operator offers: all, or the provider's `models` and what its `model_map` stands
/// for.
pub(super) fn offered(provider: &Provider, listed: Vec<ModelEntry>) -> Vec<ModelEntry> {
    if provider.models.is_empty() {
        return listed;
    }
    let stated = provider.models.iter().chain(provider.model_map.values());
    let stated: AHashSet<String> = stated.map(|name| canonical(name).into_owned()).collect();
    let mut offered = listed;
    offered.retain(|entry| stated.contains(&*entry.canonical));
    offered
}

#[cfg(test)]
mod tests {
    use super::*;
    use remuda_formats::dialect::ollama::parse_tags;

    fn names(entries: &[ModelEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn the_operator_s_models_are_all_that_is_offered() {
        let listed = || {
            parse_tags(
                br#"{"models":[{"name":"llama3.2:latest"},{"name":"Qwen3:8b"},{"name":"phi4:latest"},{"name":"big:70b"}]}"#,
            )
            .unwrap()
        };
        let mut provider = Provider::named("gpus");
        assert_eq!(offered(&provider, listed()).len(), 4);
        provider.models = vec!["LLAMA3.2".into(), "qwen3:8B".into(), "absent".into()];
        provider.model_map = [("large".into(), "big:70b".into())].into();
        let kept = offered(&provider, listed());
        assert_eq!(names(&kept), ["llama3.2:latest", "Qwen3:8b", "big:70b"]);
    }
}
