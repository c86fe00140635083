//! The rates of one key: all of its limits of requests and tokens, taken together or not at all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::bell::Bell;
use super::clock::{Clock, Millis};
use super::meter::{Meter, Short};
use super::pool::{Ask, Told};
use super::rate::{RatePeriod, RateUnit};
use super::refusal::Refusal;
use super::window::Slice;
use crate::settings;
use remuda_formats::dialect::rate_limits::{Allowance, RateLimits};

/// How long a request waits to hear from the server at which gateways count together; longer than it takes to find out
/// that the server is away.
const HEARING: Duration = Duration::from_millis(600);

/// What a request has taken of the limits of one unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) amount: u64,
    /// The slice of each of the unit's meters, in their order.
    pub(super) slices: [Option<Slice>; 2],
}

/// The rates of one key.
pub(super) struct Limits {
    meters: Mutex<Vec<Meter>>,
    counts_requests: bool,
    counts_tokens: bool,
    /// Where this gateway asks for a part of what is left, where several count together.
    bell: Option<Arc<Bell>>,
    clock: Arc<Clock>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}

impl Limits {
    pub(super) fn new(
        limits: &settings::Limits,
        bell: Option<Arc<Bell>>,
        clock: Arc<Clock>,
    ) -> Limits {
        let meters: Vec<Meter> = [
            (
                RateUnit::Requests,
                RatePeriod::Minute,
                limits.requests_per_minute,
            ),
            (RateUnit::Requests, RatePeriod::Day, limits.requests_per_day),
            (
                RateUnit::Tokens,
                RatePeriod::Minute,
                limits.tokens_per_minute,
            ),
            (RateUnit::Tokens, RatePeriod::Day, limits.tokens_per_day),
        ]
        .into_iter()
        .filter_map(|(unit, span, limit)| Some(Meter::new(unit, span, limit?, bell.is_some())))
        .collect();
        let counts = |unit| meters.iter().any(|meter| meter.unit == unit);
        Limits {
            counts_requests: counts(RateUnit::Requests),
            counts_tokens: counts(RateUnit::Tokens),
            meters: Mutex::new(meters),
            bell,
            clock,
        }
    }

    pub(super) fn count(&self, unit: RateUnit) -> bool {
        match unit {
            RateUnit::Requests => self.counts_requests,
            RateUnit::Tokens => self.counts_tokens,
        }
    }

    /// Checks that there are tokens left, as far as is known.
    ///
    /// # Errors
    /// [`Refusal::Rate`].
    pub(super) fn has_tokens(&self) -> Result<(), Refusal> {
        if !self.counts_tokens {
            return Ok(());
        }
        let now = self.clock.now();
        let mut meters = self.meters();
        let exhausted = of(&mut meters, RateUnit::Tokens).filter_map(|meter| meter.exhausted(now));
        let longest = exhausted.max_by_key(|refusal| refusal.retry_after());
        longest.map_or(Ok(()), Err)
    }

    /// Takes from every limit of that unit, or from none.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) async fn take(&self, unit: RateUnit, amount: u64) -> Result<Taken, Refusal> {
        let mut waited = Duration::ZERO;
        loop {
            // From before the look, so that no answer is missed.
            let heard = self.bell.as_ref().map(|bell| bell.heard());
            let short = match self.try_take(unit, amount) {
                Ok(taken) => return Ok(taken),
                Err(short) => short,
            };
            let (Short::OfLease(_), Some(heard), Some(bell)) = (&short, heard, &self.bell) else {
                return Err(short.refusal());
            };
            if waited >= HEARING {
                return Err(short.refusal());
            }
            bell.ring();
            let began = Instant::now();
            // Heard or not: it is looked again.
            let _ = tokio::time::timeout(HEARING - waited, heard).await;
            waited += began.elapsed();
        }
    }

    fn try_take(&self, unit: RateUnit, amount: u64) -> Result<Taken, Short> {
        let now = self.clock.now();
        let mut meters = self.meters();
        let shorts = of(&mut meters, unit).filter_map(|meter| meter.check(now, amount).err());
        if let Some(short) = shorts.max_by_key(Short::patience) {
            return Err(short);
        }
        let mut slices = [None; 2];
        for (slice, meter) in slices.iter_mut().zip(of(&mut meters, unit)) {
            *slice = Some(meter.take(now, amount));
        }
        Ok(Taken { amount, slices })
    }

    /// Corrects what was taken and turned out to be another amount.
    pub(super) fn correct(&self, unit: RateUnit, taken: &Taken, real: u64) {
        let mut meters = self.meters();
        for (meter, slice) in of(&mut meters, unit).zip(taken.slices) {
            if let Some(slice) = slice {
                meter.correct(slice, taken.amount, real);
            }
        }
    }

    /// Returns how much of the tightest limits is left, and as of when; `None` without limits.
    pub(super) fn standing(&self) -> Option<(RateLimits, SystemTime)> {
        if !self.counts_requests && !self.counts_tokens {
            return None;
        }
        let now = self.clock.now();
        let mut meters = self.meters();
        let mut tightest = |unit| -> Allowance {
            let remaining = of(&mut meters, unit).map(|meter| (meter.remaining(now), meter));
            let tightest = remaining.min_by_key(|(remaining, _)| *remaining);
            tightest.map_or_else(Allowance::default, |(_, meter)| meter.left(now))
        };
        let standing = RateLimits {
            requests: tightest(RateUnit::Requests),
            tokens: tightest(RateUnit::Tokens),
            ..RateLimits::default()
        };
        Some((standing, UNIX_EPOCH + Duration::from_millis(now)))
    }

    /// Returns what is to be told to the server and asked of it, with the position of each limit. `all` includes idle
    /// limits; `acts` says that the answers are acted on.
    pub(super) fn asks(&self, now: Millis, all: bool, acts: bool) -> Vec<(usize, Question)> {
        let mut meters = self.meters();
        let stirring = meters.iter_mut().enumerate().filter_map(|(place, meter)| {
            let pool = meter.pool.as_mut().filter(|pool| pool.stirs(all))?;
            let question = Question {
                unit: meter.unit,
                span: meter.span,
                limit: meter.limit,
                ask: pool.ask(now, meter.limit, &mut meter.window, acts),
            };
            Some((place, question))
        });
        stirring.collect()
    }

    /// Takes in the server's answer for one of the limits.
    pub(super) fn told(&self, now: Millis, place: usize, told: &Told) {
        let mut meters = self.meters();
        if let Some(meter) = meters.get_mut(place)
            && let Some(pool) = &mut meter.pool
        {
            pool.told(now, meter.limit, &mut meter.window, told);
        }
    }

    /// Notes that the clock was set by `ahead` milliseconds.
    pub(super) fn shift(&self, ahead: i64) {
        self.meters()
            .iter_mut()
            .for_each(|meter| meter.shift(ahead));
    }

    /// Notes that others use the key too, so that it is worth asking how it stands.
    pub(super) fn stir(&self) {
        self.pools(|pool| pool.stir());
    }

    /// Notes that the server does not answer.
    pub(super) fn lost(&self) {
        let now = self.clock.now();
        self.pools(|pool| pool.lost(now));
    }

    fn pools(&self, act: impl FnMut(&mut super::pool::Pool)) {
        let mut meters = self.meters();
        meters
            .iter_mut()
            .filter_map(|meter| meter.pool.as_mut())
            .for_each(act);
    }

    fn meters(&self) -> MutexGuard<'_, Vec<Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked of the server for one limit.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) unit: RateUnit,
    pub(super) span: RatePeriod,
    pub(super) limit: u64,
    pub(super) ask: Ask,
}

fn of(meters: &mut [Meter], unit: RateUnit) -> impl Iterator<Item = &mut Meter> {
    meters.iter_mut().filter(move |meter| meter.unit == unit)
}
