//! Why a backend takes no requests, for people.

use std::time::SystemTime;

/// Why a backend takes no requests, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Holds no address, prompt or credential.
    pub text: String,
    pub since: SystemTime,
}
