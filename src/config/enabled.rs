//! Providers that the environment alone makes: each key, and each `…_ENABLED`, turns its service on.

use super::provider::Provider;
use super::reader::Reader;
use super::service::{SERVICES, Service};
use crate::settings::ProviderKind;

/// Returns a provider for each service that the environment turns on, where no file lists any.
pub(super) fn providers(reader: &mut Reader<'_>) -> Vec<Provider> {
    let on = SERVICES.iter().filter(|service| is_on(service, reader));
    on.map(|service| Provider::known(service.name)).collect()
}

fn is_on(service: &Service, reader: &mut Reader<'_>) -> bool {
    let names = service.variables("ENABLED");
    let stated = names.iter().find_map(|name| reader.variable(name));
    stated.unwrap_or_else(|| turned_on_by(service).any(|name| reader.environment.has_secret(&name)))
}

/// Returns the variables each of which turns the service on by being set.
fn turned_on_by(service: &Service) -> impl Iterator<Item = String> {
    let (keys, other) = match service.kind {
        // The key is also that of Ollama's own command line.
        ProviderKind::Ollama => (Vec::new(), service.variables("BASE_URL")),
        ProviderKind::Bedrock => (service.key_variables(), service.variables("ACCESS_KEY")),
        _ => (service.key_variables(), Vec::new()),
    };
    keys.into_iter().chain(other)
}
