//! Tells observers how many requests a provider may be sent at once, whenever its guard says something else: after
//! attempts, and as time passes. Its backends' own limits rise with the time, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::guard::{AttemptResult, Attempted, Change, ModelStatus};
use super::members::Members;
use super::provider::Provider;
use super::refusal::Asked;

/// Stands for no limit.
const NONE: usize = usize::MAX;

/// Keeps observers up to date with one provider's guard.
pub(super) struct Keeper {
    provider: Arc<Provider>,
    members: Arc<Members>,
    /// What observers were told last.
    told: AtomicUsize,
    /// Held while they are told, so that they are told in order.
    telling: Mutex<()>,
}

impl Keeper {
    pub(super) fn new(provider: Arc<Provider>, members: Arc<Members>) -> Self {
        Self {
            provider,
            members,
            told: AtomicUsize::new(NONE),
            telling: Mutex::new(()),
        }
    }

    /// Takes note of an attempt while `in_flight` requests were on their way.
    pub(super) fn note(&self, attempted: &Attempted<'_>, in_flight: usize) {
        let now = Instant::now();
        let random = rand::random();
        if let AttemptResult::Served { .. } = attempted.result {
            self.provider.settle_refusal(Asked::Request);
        }
        let guard = self.provider.guard();
        let limit = guard.note(attempted, in_flight, random, now, |change| {
            self.changed(change, now);
        });
        self.settle(limit);
    }

    /// Takes note of an answer that broke off.
    pub(super) fn broke(&self, model: Option<&str>, started: Instant) {
        let now = Instant::now();
        let guard = self.provider.guard();
        let limit = guard.broke(model, started, now, |change| self.changed(change, now));
        self.settle(limit);
    }

    /// Takes note of the time, for as long as it is not dropped.
    pub(super) async fn run(&self) {
        loop {
            let now = Instant::now();
            let guard = self.provider.guard();
            let next = guard.tick(now, |change| self.log(change, now));
            self.settle(guard.limit(now));
            let raised = self.members.raise_limits(&self.provider, now);
            let next = next.into_iter().chain(raised).min();
            let alarm = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = alarm => {}
                () = self.provider.stirred.notified() => {}
            }
        }
    }

    fn settle(&self, limit: Option<usize>) {
        if self.told.load(Ordering::Acquire) == limit.unwrap_or(NONE) {
            return;
        }
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have told something newer meanwhile.
        let limit = self.provider.guard().limit(Instant::now());
        if self.told.swap(limit.unwrap_or(NONE), Ordering::AcqRel) != limit.unwrap_or(NONE) {
            self.members
                .tell(|observer| observer.limited(self.provider.id, limit));
            self.provider.stirred.notify_one();
        }
    }

    /// Logs a change that a request has made, and has its end awaited: a breaker that opens for one model changes no limit.
    fn changed(&self, change: Change, now: Instant) {
        if matches!(change, Change::Opened { .. }) {
            self.provider.stirred.notify_one();
        }
        self.log(change, now);
    }

    fn log(&self, change: Change, now: Instant) {
        let name = &self.provider.name;
        match change {
            Change::Opened { cause, until, sole } => {
                let rest = until.saturating_duration_since(now);
                match sole {
                    None => log::warn!("provider {name} is left alone for {rest:.0?}: {cause}"),
                    Some(model) => log::warn!(
                        "provider {name} is left alone for {rest:.0?}: {cause}, all for model {model:?}; its other \
                         models are still asked"
                    ),
                }
            }
            Change::Model(ModelStatus {
                name: model, open, ..
            }) => match open {
                Some((until, cause)) => {
                    let rest = until.saturating_duration_since(now);
                    log::warn!(
                        "model {model:?} of provider {name} is left alone for {rest:.0?}: {cause}"
                    );
                }
                None => log::info!("model {model:?} of provider {name} is well again"),
            },
            Change::HalfOpen => log::info!("provider {name} is tried again"),
            Change::Closed => log::info!("provider {name} is well again"),
            Change::KeyRests { key, pause, cause } => {
                log::info!(
                    "key {} of provider {name} rests for {pause:.1?}: {cause}",
                    key + 1
                );
            }
            Change::KeySetAside { key, cause } => {
                log::warn!("key {} of provider {name} is set aside: {cause}", key + 1);
            }
        }
    }
}
