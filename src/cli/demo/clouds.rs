//! The cloud providers of the demo: one simulated service of each kind, and how the gateway reaches it.

use std::io;
use std::net::SocketAddr;

use crate::settings::{Provider, ProviderKind, Secret, StaticBackend};
use remuda_sim::{Dialect, Options, Running, Setup};

/// One simulated service.
pub(super) struct Cloud {
    pub(super) name: &'static str,
    kind: ProviderKind,
    dialect: Dialect,
    /// What stands before the paths that the gateway writes.
    path: &'static str,
    /// One of its models that chat.
    pub(super) model: &'static str,
}

pub(super) const CLOUDS: [Cloud; 8] = [
    Cloud {
        name: "openai",
        kind: ProviderKind::OpenAi,
        dialect: Dialect::Openai,
        path: "/v1",
        model: "gpt-5.5",
    },
    Cloud {
        name: "anthropic",
        kind: ProviderKind::Anthropic,
        dialect: Dialect::Anthropic,
        path: "",
        model: "claude-opus-5",
    },
    Cloud {
        name: "google",
        kind: ProviderKind::Google,
        dialect: Dialect::Google,
        path: "/v1beta",
        model: "gemini-3.5-flash",
    },
    Cloud {
        name: "bedrock",
        kind: ProviderKind::Bedrock,
        dialect: Dialect::Bedrock,
        path: "",
        model: "amazon.nova-lite-v1:0",
    },
    Cloud {
        name: "azure",
        kind: ProviderKind::Azure,
        dialect: Dialect::Azure,
        path: "",
        model: "gpt-5.4",
    },
    Cloud {
        name: "openrouter",
        kind: ProviderKind::OpenRouter,
        dialect: Dialect::Openrouter,
        path: "/api/v1",
        model: "deepseek/deepseek-v4-flash",
    },
    Cloud {
        name: "perplexity",
        kind: ProviderKind::Perplexity,
        dialect: Dialect::Perplexity,
        path: "/v1",
        model: "perplexity/sonar",
    },
    // One of the many that speak OpenAI's format.
    Cloud {
        name: "groq",
        kind: ProviderKind::OpenAiCompatible,
        dialect: Dialect::Openai,
        path: "/v1",
        model: "llama-3.3-70b-versatile",
    },
];

/// A service that runs; it dies when this is dropped.
pub(super) struct Served {
    cloud: &'static Cloud,
    setup: Setup,
    running: Running,
}

/// Starts all of them on ports that the system hands out.
///
/// # Errors
/// If an address cannot be had.
pub(super) async fn start() -> io::Result<Vec<Served>> {
    let mut served = Vec::with_capacity(CLOUDS.len());
    for cloud in &CLOUDS {
        let mut setup = Setup::new(cloud.dialect);
        if cloud.kind == ProviderKind::OpenAiCompatible {
            setup.models = vec![cloud.model.to_owned()];
        }
        let options = Options {
            provider: Some(setup.clone()),
            ..Options::default()
        };
        let running = remuda_sim::start(options).await?;
        served.push(Served {
            cloud,
            setup,
            running,
        });
    }
    Ok(served)
}

impl Served {
    /// Returns the provider as which the gateway is told of the service.
    pub(super) fn provider(&self) -> Provider {
        let mut provider = Provider::of_kind(self.cloud.name, self.cloud.kind);
        for address in self.running.addresses() {
            provider.backends.push(backend(address, self.cloud.path));
            if self.cloud.kind == ProviderKind::Bedrock {
                // In the place of a region's control plane.
                provider.aws.control_url = Some(format!("http://{address}").into());
            }
        }
        match self.cloud.kind {
            ProviderKind::Bedrock => {
                provider.aws.region = self.setup.region.as_str().into();
                provider.aws.access_key = Some(Secret::new(&self.setup.access_key));
                provider.aws.secret_key = Some(Secret::new(&self.setup.secret_key));
            }
            _ => provider.api_key = Some(Secret::new(&self.setup.api_key)),
        }
        if self.cloud.kind == ProviderKind::Azure {
            let model = self.cloud.model;
            provider.azure.deployments = [(model.into(), model.into())].into();
        }
        provider
    }
}

/// Returns a server of this machine, without TLS.
pub(super) fn backend(address: SocketAddr, path: &str) -> StaticBackend {
    StaticBackend {
        tls: false,
        host: address.ip().to_string(),
        port: address.port(),
        path: path.into(),
        weight: None,
        cost: None,
        max_concurrent: None,
        vram: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there() {
        for (name, kind) in ProviderKind::NAMES {
            let found = CLOUDS.iter().any(|cloud| cloud.kind == *kind);
            assert_eq!(found, !kind.is_fleet(), "{name}");
        }
    }
}
