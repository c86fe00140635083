//! One client key: what whoever has it may use, and what is left of its limits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wildmatch::WildMatch;

use super::bell::Bell;
use super::clock::Clock;
use super::limits::Limits;
use super::purse::Purse;
use super::refusal::Refusal;
use super::spending::Spending;
use crate::ids::KeyId;
use crate::routing::Permission;
use crate::settings::{self, Strategy};
use remuda_formats::dialect::rate_limits::RateLimits;

/// How long a request waits for one of its key's to end. A client that sends its next request when it has read the last
/// byte of an answer may be faster than the gateway, which still has that answer's end to note.
const MOMENT: Duration = Duration::from_millis(100);
/// Tokens of output that are expected of a key's first requests.
const FIRST_OUTPUT: u64 = 256;

/// What `X-Priority: high` stands for.
pub const HIGH: i32 = 10;

/// A key, shared by all requests that show it.
pub struct ClientKey {
    pub id: KeyId,
    /// The name that appears in logs and metrics.
    pub name: Arc<str>,
    /// The tag that usage is accounted under where a request has none.
    pub tag: Option<Arc<str>>,
    /// How providers are ordered for its requests, where that is not as for all others.
    pub strategy: Option<Strategy>,
    priority: Option<i32>,
    models: Vec<WildMatch>,
    providers: Vec<Arc<str>>,
    limits: Limits,
    slots: Option<(usize, Arc<Semaphore>)>,
    purse: Purse,
    /// Moving average of the tokens of output, for requests that do not say how many they want at most.
    output: AtomicU64,
}

/// Returns the priority of a request whose key says nothing of priorities, or that has none: no higher than `high`.
pub fn unentitled(asked: Option<i32>) -> i32 {
    asked.unwrap_or(0).min(HIGH)
}

impl Permission for ClientKey {
    fn may_ask(&self, provider: &str) -> bool {
        ClientKey::may_ask(self, provider)
    }

    fn may_use(&self, names: &[&str]) -> bool {
        ClientKey::may_use(self, names.iter().copied())
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientKey").field(&self.name).finish()
    }
}

impl ClientKey {
    pub(super) fn new(
        index: usize,
        settings: &settings::ClientKey,
        bell: Option<Arc<Bell>>,
        clock: Arc<Clock>,
        spending: Arc<dyn Spending>,
    ) -> ClientKey {
        let limits = &settings.limits;
        let id = KeyId::at(index);
        ClientKey {
            id,
            name: Arc::clone(&settings.name),
            tag: settings.tag.clone(),
            strategy: settings.strategy,
            priority: settings.priority,
            models: settings
                .models
                .iter()
                .map(|pattern| WildMatch::new(pattern))
                .collect(),
            providers: settings.providers.clone(),
            limits: Limits::new(limits, bell, Arc::clone(&clock)),
            slots: limits.max_concurrent.map(|slots| {
                let slots = slots.min(Semaphore::MAX_PERMITS);
                (slots, Arc::new(Semaphore::new(slots)))
            }),
            purse: Purse::new(id, limits.budget, clock, spending),
            output: AtomicU64::new(FIRST_OUTPUT),
        }
    }

    /// Returns the priority of a request that asks for `asked`: no higher than the key's.
    pub fn priority(&self, asked: Option<i32>) -> i32 {
        match (self.priority, asked) {
            (Some(own), Some(asked)) => own.min(asked),
            (Some(own), None) => own,
            (None, asked) => unentitled(asked),
        }
    }

    /// Returns whether all models are allowed.
    pub fn any_model(&self) -> bool {
        self.models.is_empty()
    }

    /// Returns whether the model may be used that has these names: any of them will do.
    pub fn may_use<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        self.models.is_empty()
            || names.into_iter().any(|name| {
                let name = name.trim().to_ascii_lowercase();
                let plain = name.strip_suffix(":latest").unwrap_or(&name);
                self.models
                    .iter()
                    .any(|pattern| pattern.matches(plain) || pattern.matches(&name))
            })
    }

    /// Returns whether all providers are allowed.
    pub fn any_provider(&self) -> bool {
        self.providers.is_empty()
    }

    /// Returns whether the provider of that name may be used.
    pub fn may_ask(&self, provider: &str) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|allowed| **allowed == *provider)
    }

    /// Returns the providers that are allowed; an empty list stands for all.
    pub fn providers(&self) -> &[Arc<str>] {
        &self.providers
    }

    /// Takes a place among the key's requests in flight; `None` for a key without such a limit.
    ///
    /// # Errors
    /// [`Refusal::Concurrency`] if none is free.
    pub(super) async fn slot(&self) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let Some((limit, slots)) = &self.slots else {
            return Ok(None);
        };
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return Ok(Some(slot));
        }
        match tokio::time::timeout(MOMENT, Arc::clone(slots).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(Some(slot)),
            _ => Err(Refusal::Concurrency { limit: *limit }),
        }
    }

    /// Returns how many tokens of output the key's answers had lately.
    pub(super) fn usual_output(&self) -> u64 {
        self.output.load(Ordering::Relaxed)
    }

    /// Learns that an answer had so many tokens of output.
    pub(super) fn learn_output(&self, tokens: u64) {
        let before = self.output.load(Ordering::Relaxed);
        let now = (7 * before.min(u64::MAX / 8)).saturating_add(tokens) / 8;
        // Two answers at once: one of them is not learned from.
        self.output.store(now, Ordering::Relaxed);
    }

    /// Returns how much is left, and as of when; `None` for a key without limits of requests or tokens.
    pub fn standing(&self) -> Option<(RateLimits, SystemTime)> {
        self.limits.standing()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn purse(&self) -> &Purse {
        &self.purse
    }
}
