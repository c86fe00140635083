//! How long to leave alone what has failed: twice as long each time, within bounds, and never all at once.

use std::time::Duration;

/// Returns the pause before the `attempt`-th further attempt, counted from 0: `base · 2^attempt`, at most `max`, and of
/// that at least half: `random`, from 0 to 1, says how much of the other half ("equal jitter", so that those who failed
/// together do not come back together, and nobody comes back at once).
pub fn backoff(base: Duration, max: Duration, attempt: u32, random: f64) -> Duration {
    let whole = base.saturating_mul(1 << attempt.min(20)).min(max);
    whole / 2 + (whole / 2).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound() {
        let pause = |attempt| {
            backoff(
                Duration::from_secs(1),
                Duration::from_secs(60),
                attempt,
                1.0,
            )
        };
        let seconds: Vec<u64> = (0..8).map(|attempt| pause(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX).as_secs(), 60);
    }

    proptest! {
        #[test]
        fn it_is_between_half_and_all(attempt in 0u32..40, random in 0.0f64..=1.0, base in 0u64..5_000) {
            let (base, max) = (Duration::from_millis(base), Duration::from_secs(60));
            let most = backoff(base, max, attempt, 1.0);
            let pause = backoff(base, max, attempt, random);
            prop_assert!(pause <= most && pause >= most / 2, "{pause:?}");
            prop_assert!(most <= max);
        }
    }
}
