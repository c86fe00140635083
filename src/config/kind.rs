//! Which kind a provider is where it does not say, and what its addresses mean to that kind.

use super::address::{BackendUrl, OLLAMA_PORT};
use super::scalar::Choice;
use super::service::Service;
use crate::settings::ProviderKind;

impl Choice for ProviderKind {
    const NAMES: &'static [(&'static str, ProviderKind)] = ProviderKind::NAMES;
}

/// Returns the kind of a provider that states none. `base_url` is short for an address, `listed` are those of
/// `backends`.
pub(super) fn infer(
    name: &str,
    scans: bool,
    base_url: Option<&BackendUrl>,
    listed: &[&BackendUrl],
) -> ProviderKind {
    let named = || Service::named(name).map(|service| service.kind);
    let mut urls = base_url.into_iter().chain(listed.iter().copied());
    if scans || urls.clone().any(is_ollama) {
        return ProviderKind::Ollama;
    }
    if let Some(service) = urls
        .clone()
        .find_map(|url| Service::at(&url.host, &url.path))
    {
        return service.kind;
    }
    // The clients of OpenAI's format are given the path too, and those of Ollama never are.
    let has_path = urls.any(|url| !url.path.is_empty());
    match (base_url, has_path) {
        (_, true) => named().unwrap_or(ProviderKind::OpenAiCompatible),
        (None, false) if !listed.is_empty() => ProviderKind::Ollama,
        (_, false) => named().unwrap_or(ProviderKind::Ollama),
    }
}

fn is_ollama(url: &BackendUrl) -> bool {
    !url.has_scheme || url.port == OLLAMA_PORT
}

/// Returns the path that stands before the paths of the kind's dialect, given the path as operators write it: as they
/// would for the service's own clients, with the version or without.
///
/// # Errors
/// What should have been written, if the kind cannot do with it.
pub(super) fn base_path(kind: ProviderKind, url: &BackendUrl) -> Result<String, String> {
    const OPERATIONS: [&str; 4] = ["/chat/completions", "/responses", "/messages", "/models"];
    let path = url.path.as_str();
    if let Some(operation) = OPERATIONS.iter().find(|end| path.ends_with(**end)) {
        return Err(format!(
            "expected the address before the operation; leave {operation} off"
        ));
    }
    let without = |ends: &[&str]| {
        let end = ends.iter().find_map(|end| path.strip_suffix(end));
        end.unwrap_or(path).to_owned()
    };
    match kind {
        // Its own paths are better than those it has for the clients of others, so that these are not used.
        ProviderKind::Ollama => match without(&["/v1", "/api"]) {
            path if path.is_empty() => Ok(path),
            _ => Err(
                "expected an address without a path; those of Ollama's servers are fixed"
                    .to_owned(),
            ),
        },
        ProviderKind::Anthropic => Ok(without(&["/v1"])),
        ProviderKind::Google => {
            let versioned = ["/v1beta", "/v1", "/v1alpha"]
                .iter()
                .any(|end| path.ends_with(end));
            Ok(format!("{path}{}", if versioned { "" } else { "/v1beta" }))
        }
        ProviderKind::Azure => Ok(without(&["/openai/v1", "/openai"])),
        ProviderKind::Bedrock => Ok(path.to_owned()),
        ProviderKind::OpenAi
        | ProviderKind::OpenAiCompatible
        | ProviderKind::OpenRouter
        | ProviderKind::Perplexity => Ok(versioned(path, url)),
    }
}

fn versioned(path: &str, url: &BackendUrl) -> String {
    match Service::at(&url.host, path) {
        _ if !path.is_empty() => path.to_owned(),
        Some(service) => service.path().to_owned(),
        None => "/v1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BackendUrl {
        BackendUrl::parse(text).unwrap()
    }

    #[test]
    fn a_kind_is_told_by_address_then_name_then_path() {
        use ProviderKind::*;
        for (name, base_url, kind) in [
            ("a", "https://api.openai.com/v1", OpenAi),
            ("a", "https://api.anthropic.com", Anthropic),
            (
                "a",
                "https://generativelanguage.googleapis.com/v1beta",
                Google,
            ),
            (
                "a",
                "https://generativelanguage.googleapis.com/v1beta/openai/",
                OpenAiCompatible,
            ),
            ("a", "https://res.openai.azure.com/", Azure),
            (
                "a",
                "https://bedrock-runtime.eu-west-1.amazonaws.com",
                Bedrock,
            ),
            ("a", "https://openrouter.ai/api/v1", OpenRouter),
            ("a", "https://api.perplexity.ai", Perplexity),
            ("a", "https://api.deepseek.com", OpenAiCompatible),
            ("openai", "https://api.groq.com/openai/v1", OpenAiCompatible),
            ("openai", "http://127.0.0.1:9/v1", OpenAi),
            ("Claude", "http://127.0.0.1:9", Anthropic),
            ("vllm", "http://gpu1:8000/v1", OpenAiCompatible),
            ("a", "http://gpu1", Ollama),
            ("a", "gpu1", Ollama),
            ("mistral", "gpu1:8000", Ollama),
            ("mistral", "http://gpu1:11434", Ollama),
            ("a", "http://gpu1:11434/v1", Ollama),
            ("a", "https://ollama.com", Ollama),
        ] {
            assert_eq!(
                infer(name, false, Some(&parse(base_url)), &[]),
                kind,
                "{name} {base_url}"
            );
        }
        assert_eq!(infer("groq", false, None, &[]), OpenAiCompatible);
        assert_eq!(infer("gpus", false, None, &[]), Ollama);
        assert_eq!(infer("openai", true, None, &[]), Ollama);
        let gpu = parse("http://gpu1:8000");
        assert_eq!(infer("openai", false, None, &[&gpu]), Ollama);
        let vllm = parse("http://gpu1:8000/v1");
        assert_eq!(infer("a", false, None, &[&vllm]), OpenAiCompatible);
    }

    #[test]
    fn versions_are_where_each_kind_wants_them() {
        use ProviderKind::*;
        for (kind, url, path) in [
            (OpenAi, "https://api.openai.com", "/v1"),
            (OpenAi, "http://127.0.0.1:9/v1/", "/v1"),
            (OpenAiCompatible, "https://api.groq.com", "/openai/v1"),
            (OpenAiCompatible, "http://gpu1:8000", "/v1"),
            (
                OpenAiCompatible,
                "https://api.deepinfra.com/v1/openai",
                "/v1/openai",
            ),
            (OpenRouter, "https://openrouter.ai", "/api/v1"),
            (Perplexity, "https://api.perplexity.ai", "/v1"),
            (Anthropic, "https://api.anthropic.com/v1", ""),
            (Anthropic, "https://api.anthropic.com", ""),
            (Anthropic, "http://private/anthropic/v1", "/anthropic"),
            (
                Google,
                "https://generativelanguage.googleapis.com/v1beta",
                "/v1beta",
            ),
            (
                Google,
                "https://generativelanguage.googleapis.com",
                "/v1beta",
            ),
            (Google, "http://private/gemini/v1", "/gemini/v1"),
            (Azure, "https://res.openai.azure.com/openai/v1/", ""),
            (Azure, "https://res.openai.azure.com/openai", ""),
            (Azure, "https://private/res/openai", "/res"),
            (
                Bedrock,
                "https://bedrock-runtime.eu-west-1.amazonaws.com/",
                "",
            ),
            (Ollama, "http://gpu1:11434/v1", ""),
        ] {
            assert_eq!(base_path(kind, &parse(url)).as_deref(), Ok(path), "{url}");
            // What is printed for it comes to the same.
            let mut again = parse(url);
            again.path = path.to_owned();
            assert_eq!(base_path(kind, &again).as_deref(), Ok(path), "{url}");
        }
        assert!(base_path(Ollama, &parse("http://gpu1/ollama")).is_err());
        let pasted = base_path(OpenAi, &parse("https://api.openai.com/v1/chat/completions"));
        assert!(pasted.unwrap_err().ends_with("leave /chat/completions off"));
    }
}
