//! Who may ask, for what, and how much: client keys, the rates and budgets that each has, and what a request holds of
//! them until it ends.
//!
//! Sockets, header fields and clocks stay outside: digests, amounts and times come in as values.

mod clock;
mod credential;
mod grant;
mod key;
mod keyring;
mod meter;
mod refusal;
mod spending;
mod standing;
mod stated;
mod view;
mod window;

use std::sync::Arc;

use crate::settings;

pub use self::clock::{Clock, Millis};
pub use self::credential::{BadCredential, presented};
pub use self::grant::{Grant, Spent};
pub use self::key::ClientKey;
pub use self::keyring::Keyring;
pub use self::meter::{Span, Unit};
pub use self::refusal::Refusal;
pub use self::spending::{Nothing, Spending, begins_anew};
pub use self::standing::{Level, Standing, is_of_limits};
pub use self::stated::most_output;
pub use self::view::View;

/// The client keys of a running gateway.
pub struct Access {
    keyring: Keyring,
    keys: Vec<Arc<ClientKey>>,
}

impl Access {
    /// `spending` tells what keys with a budget have spent.
    pub fn new(settings: &settings::Access, spending: Arc<dyn Spending>) -> Arc<Access> {
        let clock = Arc::new(Clock::new());
        let keys: Vec<Arc<ClientKey>> = settings
            .keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                ClientKey::new(index, key, Arc::clone(&clock), Arc::clone(&spending)).into()
            })
            .collect();
        Arc::new(Access {
            keyring: Keyring::new(settings.keys.iter().map(|key| key.digest)),
            keys,
        })
    }

    /// Whether a request needs a key.
    pub fn closed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The key whose credential this is.
    pub fn key(&self, credential: &[u8]) -> Option<&Arc<ClientKey>> {
        self.keyring.find(credential).map(|index| &self.keys[index])
    }

    /// All keys, as configured.
    pub fn keys(&self) -> &[Arc<ClientKey>] {
        &self.keys
    }
}
