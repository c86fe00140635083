//! The key of a provider: stated, in a file, or in the environment where the file leaves it open; and for Bedrock
//! what it signs with in place of one.

use std::path::PathBuf;

use super::address::BackendUrl;
use super::aws::{Aws, complete};
use super::environment::read_secret;
use super::field::Field;
use super::reader::Section;
use super::scalar::{MASK, Scalar};
use super::service::Service;
use crate::settings::{Provider, ProviderKind, Secret};

/// `api_key` and `api_key_file` as written.
pub(super) struct Written {
    pub(super) key: Field<Secret>,
    pub(super) file: Field<PathBuf>,
    /// `api_keys`: further ones, or all of them.
    pub(super) more: Vec<Field<Secret>>,
}

/// Fills in the credentials of `used`, whose addresses are known; `service` says which variables may hold them.
pub(super) fn used(
    at: &mut Section<'_, '_>,
    written: Written,
    aws: Aws,
    service: Option<&Service>,
    used: &mut Provider,
) {
    let signs = aws.signs();
    let variables = if signs {
        Vec::new()
    } else {
        variables(service, used)
    };
    let stated = written.key.is_stated() || written.file.is_stated() || !written.more.is_empty();
    let environment = &at.reader.environment;
    // A key that is there and wrong is reported once.
    let given = stated || variables.iter().any(|name| environment.has_secret(name));
    used.api_key = if stated {
        listed(at, written, used)
    } else {
        at.reader.secret_variable(&variables)
    };
    let aws = aws.stated(at);
    if used.kind == ProviderKind::Bedrock {
        used.aws = aws;
        complete(at, &mut used.aws, &used.backends, signs, given);
        if used.backends.is_empty() {
            let url = format!("https://bedrock-runtime.{}.amazonaws.com", used.aws.region);
            let url = BackendUrl::parse(&url).expect("a region is part of a host name");
            used.backends.push(url.into());
        }
    } else if !given {
        require(at, used.kind, service);
    }
}

/// Returns the variables that may hold the provider's key.
fn variables(service: Option<&Service>, used: &Provider) -> Vec<String> {
    let Some(service) = service.filter(|_| used.discover.is_none()) else {
        return Vec::new();
    };
    // A server of the operator's own that merely bears the name of a service does not get its key.
    let own = [ProviderKind::Ollama, ProviderKind::OpenAiCompatible].contains(&used.kind);
    if own && !used.backends.iter().all(|entry| service.is_at(&entry.host)) {
        Vec::new()
    } else {
        service.key_variables()
    }
}

/// Returns the first key that the file states; the others go to `used`.
fn listed(at: &mut Section<'_, '_>, mut written: Written, used: &mut Provider) -> Option<Secret> {
    let more = std::mem::take(&mut written.more);
    let one = written.key.is_stated() || written.file.is_stated();
    let first = one.then(|| from_file(at, written)).flatten();
    let mut list = at.section("api_keys");
    let mut keys: Vec<Secret> = first.into_iter().collect();
    for (index, key) in more.into_iter().enumerate() {
        match list.secret_item(index, key) {
            // Masks are what keys are printed as.
            Some(key) if keys.contains(&key) && key.expose() != MASK => {
                list.problem_here("holds a key twice; remove one");
            }
            key => keys.extend(key),
        }
    }
    used.api_keys = keys.split_off(keys.len().min(1));
    keys.pop()
}

fn from_file(at: &mut Section<'_, '_>, written: Written) -> Option<Secret> {
    if written.key.is_stated() && written.file.is_stated() {
        at.problem(
            "api_key_file",
            "is stated together with api_key; keep one of them",
        );
    }
    if !written.file.is_stated() {
        return at.secret("api_key", written.key);
    }
    let path = at.stated("api_key_file", written.file)?;
    let read = read_secret(&path);
    let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()));
    let bad = |expected| format!("{expected}; see {}", path.display());
    read.and_then(|text| Secret::read(&text.into()).map_err(bad))
        .inspect_err(|what| at.problem("api_key_file", what))
        .ok()
}

/// Reports a key that is missing where the kind cannot do without.
fn require(at: &mut Section<'_, '_>, kind: ProviderKind, service: Option<&Service>) {
    if [ProviderKind::Ollama, ProviderKind::OpenAiCompatible].contains(&kind) {
        return;
    }
    let variables = service.map(Service::key_variables).unwrap_or_default();
    at.problem_here(format!(
        "has no key, which the kind {} needs; add api_key or api_key_file, or set {}",
        kind.name(),
        variables.join(" or ")
    ));
}
