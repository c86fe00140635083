//! Why a fleet cannot be made of a configuration.

use std::path::PathBuf;
use std::sync::Arc;

/// Why a fleet cannot be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(
        "provider {provider}: the certificate of https://{host} cannot be checked against a bare \
         address; use the server's name, or set pool.verify to false"
    )]
    BareAddress { provider: Arc<str>, host: String },
    #[error(
        "provider {provider}: api_key or headers hold a character that no header field can carry"
    )]
    BadKey { provider: Arc<str> },
    #[error("provider {provider}: pool.ca_file {}: {cause}", path.display())]
    BadAuthorities {
        provider: Arc<str>,
        path: PathBuf,
        cause: String,
    },
    #[error("provider {provider}: {host:?} is no host name")]
    BadHost { provider: Arc<str>, host: String },
}
