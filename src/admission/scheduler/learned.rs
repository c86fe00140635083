//! What the scheduler learns from the traffic: rates, means and peaks that forget.

use std::time::Duration;

/// Events per second with exponentially fading memory: `Σ e^(-age/τ) / (τ · (1 - e^(-lifetime/τ)))`, where the divisor
/// is the memory that has had time to fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    sum: f64,
    at: Duration,
    born: Duration,
}

impl Rate {
    /// τ: long enough to tell a model that is asked for twice a minute from one that is not.
    const MEMORY: Duration = Duration::from_secs(300);

    pub(super) fn new(now: Duration) -> Self {
        Self {
            sum: 0.0,
            at: now,
            born: now,
        }
    }

    pub(super) fn add(&mut self, now: Duration) {
        self.sum = self.sum * fade(now.saturating_sub(self.at), Self::MEMORY) + 1.0;
        self.at = now;
    }

    /// Events per second.
    pub(super) fn per_second(&self, now: Duration) -> f64 {
        let lifetime = now.saturating_sub(self.born).max(Duration::from_secs(1));
        let filled = Self::MEMORY.as_secs_f64() * (1.0 - fade(lifetime, Self::MEMORY));
        self.sum * fade(now.saturating_sub(self.at), Self::MEMORY) / filled
    }
}

/// A mean that weighs its n-th observation 1/n at first and a fixed share later.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    value: f64,
    count: u32,
}

impl Mean {
    /// The weight of an observation never falls below one in this many.
    const WINDOW: u32 = 20;

    pub(super) fn add(&mut self, observed: f64) {
        self.add_within(observed, Self::WINDOW);
    }

    /// Does what [`Self::add`] does, with a memory of so many observations.
    pub(super) fn add_within(&mut self, observed: f64, window: u32) {
        self.count = (self.count + 1).min(window);
        self.value += (observed - self.value) / f64::from(self.count);
    }

    /// How many observations it is made of, up to its memory.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn get(&self) -> Option<f64> {
        (self.count > 0).then_some(self.value)
    }
}

/// How fast a copy reads and writes, in tokens per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) prefill: Mean,
    pub(super) decode: Mean,
}

impl Rates {
    /// Fewer tokens say more of the rest of the work than of the rate.
    const ENOUGH: u32 = 16;

    pub(super) fn add(&mut self, prompt: Option<(u32, Duration)>, output: Option<(u32, Duration)>) {
        for (rate, seen) in [(&mut self.prefill, prompt), (&mut self.decode, output)] {
            let seen = seen.filter(|(tokens, took)| *tokens >= Self::ENOUGH && !took.is_zero());
            if let Some((tokens, took)) = seen {
                rate.add(f64::from(tokens) / took.as_secs_f64());
            }
        }
    }
}

/// A peak EWMA, as [`crate::fleet::PeakEwma`] defines it, for one owner and on the scheduler's time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    micros: f64,
    at: Duration,
}

impl Peak {
    const MEMORY: Duration = Duration::from_secs(60);

    pub(super) fn add(&mut self, now: Duration, observed: Duration) {
        let observed = observed.as_secs_f64() * 1e6;
        let weight = fade(now.saturating_sub(self.at), Self::MEMORY);
        let average = self.micros * weight + observed * (1.0 - weight);
        self.micros = if observed > self.micros {
            observed
        } else {
            average
        };
        self.at = now;
    }

    /// Microseconds, faded to `now`; 0 if nothing was observed.
    pub(super) fn micros(&self, now: Duration) -> f64 {
        self.micros * fade(now.saturating_sub(self.at), Self::MEMORY)
    }
}

fn fade(age: Duration, memory: Duration) -> f64 {
    (-age.as_secs_f64() / memory.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_rate_is_right_from_early_on_and_forgets() {
        let mut rate = Rate::new(at(100.0));
        for second in 1..=60 {
            rate.add(at(100.0 + f64::from(second)));
        }
        let early = rate.per_second(at(160.0));
        assert!((early - 1.0).abs() < 0.15, "{early}");
        for second in 61..=3600 {
            rate.add(at(100.0 + f64::from(second)));
        }
        let late = rate.per_second(at(3700.0));
        assert!((late - 1.0).abs() < 0.01, "{late}");
        let silent = rate.per_second(at(3700.0 + 1500.0));
        assert!(silent < 0.01, "{silent}");
    }

    #[test]
    fn a_mean_starts_with_what_it_sees_and_follows() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(), None);
        mean.add(4.0);
        assert_eq!(mean.get(), Some(4.0));
        mean.add(2.0);
        assert_eq!(mean.get(), Some(3.0));
        for _ in 0..200 {
            mean.add(10.0);
        }
        assert!((mean.get().unwrap() - 10.0).abs() < 0.01);
    }

    #[test]
    fn a_peak_jumps_up_and_fades() {
        let mut peak = Peak::default();
        assert_eq!(peak.micros(at(1.0)), 0.0);
        peak.add(at(1.0), at(0.1));
        peak.add(at(2.0), at(3.0));
        assert_eq!(peak.micros(at(2.0)), 3e6);
        peak.add(at(62.0), at(0.1));
        let faded = peak.micros(at(62.0));
        assert!(
            (faded - (3e6 / 1f64.exp() + 1e5 * (1.0 - (-1f64).exp()))).abs() < 1.0,
            "{faded}"
        );
    }
}
