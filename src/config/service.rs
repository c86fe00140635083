//! Services that are known by their name or host: which kind they are, where they are, and which variables of the
//! environment hold their credentials.

use crate::settings::ProviderKind;

/// One service of the table.
pub(super) struct Service {
    /// The name of the provider that the environment makes of it.
    pub(super) name: &'static str,
    /// Further names by which files know it.
    also: &'static [&'static str],
    pub(super) kind: ProviderKind,
    /// Where it is for everybody; empty where each customer has an address of their own.
    pub(super) base_url: &'static str,
    /// Variables of the environment begin so, as in `OPENAI_API_KEY`; the first goes before the others.
    pub(super) prefixes: &'static [&'static str],
}

const fn service(
    name: &'static str,
    kind: ProviderKind,
    base_url: &'static str,
    prefixes: &'static [&'static str],
) -> Service {
    Service {
        name,
        also: &[],
        kind,
        base_url,
        prefixes,
    }
}

const fn compatible(
    name: &'static str,
    base_url: &'static str,
    prefixes: &'static [&'static str],
) -> Service {
    service(name, ProviderKind::OpenAiCompatible, base_url, prefixes)
}

pub(super) const SERVICES: &[Service] = &[
    service(
        "openai",
        ProviderKind::OpenAi,
        "https://api.openai.com/v1",
        &["OPENAI"],
    ),
    Service {
        also: &["claude"],
        ..service(
            "anthropic",
            ProviderKind::Anthropic,
            "https://api.anthropic.com",
            &["ANTHROPIC"],
        )
    },
    Service {
        also: &["gemini"],
        ..service(
            "google",
            ProviderKind::Google,
            "https://generativelanguage.googleapis.com",
            &["GOOGLE", "GEMINI"],
        )
    },
    Service {
        also: &["azure_openai", "azure-openai"],
        ..service("azure", ProviderKind::Azure, "", &["AZURE"])
    },
    Service {
        also: &["aws_bedrock", "aws-bedrock"],
        ..service("bedrock", ProviderKind::Bedrock, "", &["AWS_BEDROCK"])
    },
    service(
        "openrouter",
        ProviderKind::OpenRouter,
        "https://openrouter.ai/api/v1",
        &["OPENROUTER"],
    ),
    service(
        "perplexity",
        ProviderKind::Perplexity,
        "https://api.perplexity.ai/v1",
        &["PERPLEXITY"],
    ),
    service(
        "ollama",
        ProviderKind::Ollama,
        "http://localhost:11434",
        &["OLLAMA"],
    ),
    compatible("groq", "https://api.groq.com/openai/v1", &["GROQ"]),
    compatible("deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK"]),
    compatible("mistral", "https://api.mistral.ai/v1", &["MISTRAL"]),
    compatible("xai", "https://api.x.ai/v1", &["XAI"]),
    compatible("together", "https://api.together.xyz/v1", &[]),
    compatible("fireworks", "https://api.fireworks.ai/inference/v1", &[]),
    compatible("cerebras", "https://api.cerebras.ai/v1", &[]),
    compatible("deepinfra", "https://api.deepinfra.com/v1/openai", &[]),
];

impl Service {
    /// Returns the service of that name.
    pub(super) fn named(name: &str) -> Option<&'static Service> {
        let is = |known: &&str| known.eq_ignore_ascii_case(name);
        SERVICES
            .iter()
            .find(|service| is(&service.name) || service.also.iter().any(is))
    }

    /// Returns the only service of that kind; `None` for the many compatible ones, and for fleets, which have no key in
    /// common.
    pub(super) fn of_kind(kind: ProviderKind) -> Option<&'static Service> {
        let many = [ProviderKind::OpenAiCompatible, ProviderKind::Ollama];
        SERVICES
            .iter()
            .find(|service| service.kind == kind && !many.contains(&kind))
    }

    /// Returns the service at that host (in lower case) and path.
    pub(super) fn at(host: &str, path: &str) -> Option<&'static Service> {
        let customer = |suffix: &str| host.ends_with(suffix);
        let name = match () {
            // These two have OpenAI's format as well, under paths of their own.
            () if host == "generativelanguage.googleapis.com" && path.ends_with("/openai") => {
                return None;
            }
            () if host.starts_with("bedrock-runtime.") && path.starts_with("/openai") => {
                return None;
            }
            () if customer(".openai.azure.com")
                || customer(".services.ai.azure.com")
                || customer(".cognitiveservices.azure.com") =>
            {
                "azure"
            }
            () if host.starts_with("bedrock-runtime.") && host.contains(".amazonaws.com") => {
                "bedrock"
            }
            () if host == "ollama.com" => "ollama",
            () => {
                return SERVICES
                    .iter()
                    .find(|service| !host.is_empty() && service.host() == host);
            }
        };
        Service::named(name)
    }

    /// Returns the host of [`Service::base_url`], unless that is on this machine.
    fn host(&self) -> &'static str {
        self.split().0
    }

    /// Returns the path of [`Service::base_url`].
    pub(super) fn path(&self) -> &'static str {
        self.split().1
    }

    fn split(&self) -> (&'static str, &'static str) {
        let rest = self.base_url.strip_prefix("https://").unwrap_or_default();
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }

    /// Returns whether that host (in lower case) is the service's, so that its keys may be sent there.
    pub(super) fn is_at(&self, host: &str) -> bool {
        Service::at(host, "").is_some_and(|service| service.name == self.name)
    }

    /// Returns the variables that may hold the service's key.
    pub(super) fn key_variables(&self) -> Vec<String> {
        match self.kind {
            ProviderKind::Bedrock => vec!["AWS_BEARER_TOKEN_BEDROCK".to_owned()],
            _ => self.variables("API_KEY"),
        }
    }

    /// Returns the service's variables that end so.
    pub(super) fn variables(&self, end: &str) -> Vec<String> {
        let named = |prefix: &&str| format!("{prefix}_{end}");
        self.prefixes.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_found_by_its_names_and_its_address() {
        for known in SERVICES {
            for name in known.also.iter().chain([&known.name]) {
                let found = Service::named(&name.to_uppercase()).unwrap();
                assert_eq!(found.name, known.name);
            }
            if !known.host().is_empty() {
                let found = Service::at(known.host(), known.path()).unwrap();
                assert_eq!(found.name, known.name);
            }
        }
        assert!(Service::named("gpus").is_none());
    }

    #[test]
    fn customers_of_azure_and_bedrock_have_hosts_of_their_own() {
        for (host, path, name) in [
            ("res.openai.azure.com", "/openai/v1", Some("azure")),
            ("res.services.ai.azure.com", "", Some("azure")),
            (
                "bedrock-runtime.eu-west-1.amazonaws.com",
                "",
                Some("bedrock"),
            ),
            (
                "bedrock-runtime.us-east-1.amazonaws.com",
                "/openai/v1",
                None,
            ),
            ("generativelanguage.googleapis.com", "/v1beta/openai", None),
            ("ollama.com", "", Some("ollama")),
            ("localhost", "", None),
            ("", "", None),
        ] {
            let found = Service::at(host, path).map(|service| service.name);
            assert_eq!(found, name, "{host}{path}");
        }
    }
}
