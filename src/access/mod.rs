//! Who may ask, for what, and how much: client keys, the rates and budgets that each has, and what a request holds of
//! them until it ends.
//!
//! Digests, amounts and times come in as values; only `exchange.rs` has a socket, to the server at which several gateways
//! count together.

mod bell;
mod clock;
mod credential;
mod exchange;
mod grant;
mod key;
mod keyring;
mod limits;
mod meter;
mod pool;
mod protocol;
mod purse;
mod rate;
mod refusal;
mod spending;
mod stated;
mod view;
mod window;

use std::sync::Arc;

use prometheus::IntGauge;

use crate::settings;

use self::bell::Bell;

pub use self::clock::{Clock, Millis};
pub use self::credential::{BadCredential, presented};
pub use self::exchange::Exchange;
pub use self::grant::{Aside, Consumption, Demand, Grant, Output};
pub use self::key::{ClientKey, HIGH, unentitled};
pub use self::keyring::Keyring;
pub use self::purse::Cost;
pub use self::rate::{RatePeriod, RateUnit};
pub use self::refusal::Refusal;
pub use self::spending::{Nothing, Spending, begins_anew};
pub use self::stated::{input as tokens_of_body, of_form as tokens_of_form};
pub use self::view::Visibility;

/// An address that is none of a Redis or Valkey server.
#[derive(Debug, thiserror::Error)]
#[error("shared.url: {0}")]
pub struct AddressError(String);

/// The client keys of a running gateway.
pub struct Access {
    keyring: Keyring,
    keys: Vec<Arc<ClientKey>>,
}

impl Access {
    /// Makes the keys. `spending` tells what keys with a budget have spent. Where gateways count together, the exchange
    /// is to be run, and `away` tells whether it has its server.
    ///
    /// # Errors
    /// When the server's address cannot be understood.
    pub fn new(
        settings: &settings::Access,
        spending: Arc<dyn Spending>,
        away: &IntGauge,
    ) -> Result<(Arc<Access>, Option<Exchange>), AddressError> {
        let clock = Arc::new(Clock::new());
        let bell = settings.shared.as_ref().map(|_| Arc::new(Bell::default()));
        let keys: Vec<Arc<ClientKey>> = settings
            .keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                ClientKey::new(
                    index,
                    key,
                    bell.clone(),
                    Arc::clone(&clock),
                    Arc::clone(&spending),
                )
                .into()
            })
            .collect();
        let exchange = settings.shared.as_ref().zip(bell).map(|(shared, bell)| {
            let books = spending.books();
            Exchange::new(shared, books, keys.clone(), bell, clock, away.clone())
        });
        let exchange = exchange
            .transpose()
            .map_err(|error| AddressError(error.to_string()))?;
        let access = Access {
            keyring: Keyring::new(settings.keys.iter().map(|key| key.digest)),
            keys,
        };
        Ok((Arc::new(access), exchange))
    }

    /// Returns whether a request needs a key.
    pub fn closed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Returns the key whose credential this is.
    pub fn key(&self, credential: &[u8]) -> Option<&Arc<ClientKey>> {
        self.keyring.find(credential).map(|index| &self.keys[index])
    }

    /// Returns all keys, as configured.
    pub fn keys(&self) -> &[Arc<ClientKey>] {
        &self.keys
    }
}
