//! What answers cost: whether it is counted, and where it is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What answers cost: whether it is counted, and where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Whether tokens and cost are counted at all (default true).
    pub enabled: bool,
    /// The SQLite file; `None`: memory, which ends with the process (default: `usage.db` in the directory that systemd
    /// gives the service as its state, else none).
    pub path: Option<PathBuf>,
    /// Rows that are older are removed (default 400 days); `None`: never.
    pub retention: Option<Duration>,
    /// The tag of requests that have none of their own.
    pub default_tag: Option<Arc<str>>,
}

impl Default for Usage {
    fn default() -> Usage {
        Usage {
            enabled: true,
            path: None,
            retention: Some(Duration::from_secs(400 * 24 * 3600)),
            default_tag: None,
        }
    }
}
