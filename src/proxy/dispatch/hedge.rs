//! When a second candidate is asked while the first keeps silent, and when the first is late: pure functions of what it is
//! expected to need.

use std::time::Duration;

use crate::admission::ExpectedStart;

/// Where no candidate has a free slot when a second is due, they are looked at again after so long.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);
/// Nobody is late before, however quick the copy is expected to be.
const FLOOR: Duration = Duration::from_secs(5);
/// A copy of which nothing has been learned is given so long for its first content, besides the time for the prompt's bytes.
const UNLEARNED: Duration = Duration::from_secs(30);
/// A model whose whole answers have not been seen yet is given so long for one.
const UNLEARNED_WHOLE: Duration = Duration::from_secs(120);
/// Bytes of a prompt for each second that it is given, however fast the copy has been: what it remembered of other prompts it
/// need not remember of this one.
const QUICK_BYTES: u32 = 8_000;
/// Bytes for each second of copies of which nothing has been learned, and of texts to embed.
const SLOW_BYTES: u32 = 1_000;
const EMBEDDED_BYTES: u32 = 4_000;

/// What is known of the candidate that is being asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HedgeInput {
    /// `routing.retry.hedge_after`.
    pub(crate) setting: Option<Duration>,
    /// Its first content will be seen before its answer is whole: else silence says nothing.
    pub(crate) visible: bool,
    /// How long it usually takes to its first content; zero if that is not known.
    pub(crate) usual: Duration,
    /// How long it is expected to load the model before.
    pub(crate) load: Duration,
}

/// Returns after how long without content another is asked too; `None`: never.
pub(crate) fn hedge_after(asked: &HedgeInput) -> Option<Duration> {
    let setting = asked.setting.filter(|_| asked.visible)?;
    Some(setting.max(2 * asked.usual + asked.load))
}

/// What is known of a request that runs on a copy of its model and has shown no content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LateInput {
    pub(crate) shows: Shows,
    /// What the copy is expected to need until the first content; a prompt that takes no time is one whose rate has not been
    /// learned.
    pub(crate) expected: ExpectedStart,
    /// How long its server usually takes to the first content of an answer; zero if that is not known.
    pub(crate) first: Duration,
    /// How long a request for the model usually holds its slot, if that has been seen.
    pub(crate) whole: Option<Duration>,
    /// Bytes of the request.
    pub(crate) bytes: u32,
}

/// What shows first of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Its first words.
    Words,
    /// Its first words, or nothing before a whole call of a tool has been written.
    WordsOrCall,
    /// Nothing before all of it has been written.
    Whole,
    /// Nothing before all texts have been embedded.
    Vectors,
}

/// Returns after how long without content a copy is late by its own measure: it has taken more than twice the time that it
/// was expected to need, with a margin for what is not known of it.
pub(crate) fn late_after(asked: &LateInput) -> Duration {
    let LateInput {
        expected,
        first,
        whole,
        bytes,
        ..
    } = *asked;
    let before = expected.queue.saturating_add(expected.load);
    if asked.shows == Shows::Vectors {
        let usual = whole.map_or(UNLEARNED, |usual| usual.saturating_mul(10));
        return sum([
            FLOOR,
            double(before),
            usual,
            time_for(bytes, EMBEDDED_BYTES),
        ]);
    }
    let prefill = expected.prefill.max(time_for(bytes, QUICK_BYTES));
    let start = double(before.saturating_add(prefill).max(first));
    let start = if expected.prefill.is_zero() {
        // The first content never comes after the whole answer.
        let usual = whole.map_or(UNLEARNED, |usual| usual.saturating_mul(4).min(UNLEARNED));
        start.max(usual).saturating_add(time_for(bytes, SLOW_BYTES))
    } else {
        start
    };
    let writing = match asked.shows {
        Shows::Words | Shows::Vectors => Duration::ZERO,
        Shows::WordsOrCall | Shows::Whole => whole.map_or(UNLEARNED_WHOLE, |usual| {
            FLOOR.saturating_add(usual.saturating_mul(4))
        }),
    };
    sum([FLOOR, start, writing, Duration::ZERO])
}

/// Returns whether a copy that has been silent for so long is late beside another copy of the model, which has shown the first
/// content of the same request after `other`.
pub(crate) fn is_late_beside(silent: Duration, other: Duration) -> bool {
    silent >= FLOOR.saturating_add(other.saturating_mul(4))
}

fn double(time: Duration) -> Duration {
    time.saturating_mul(2)
}

fn time_for(bytes: u32, per_second: u32) -> Duration {
    Duration::from_secs(bytes.into()) / per_second
}

fn sum(times: [Duration; 4]) -> Duration {
    let mut times = times.into_iter();
    times
        .try_fold(Duration::ZERO, Duration::checked_add)
        .unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_asked_when_the_first_takes_longer_than_expected() {
        let seconds = Duration::from_secs;
        for (setting, visible, usual, load, after) in [
            (Some(10), true, 0, 0, Some(10)),
            (Some(10), true, 1, 0, Some(10)),
            // Who always takes long is not late.
            (Some(10), true, 8, 0, Some(16)),
            // A load that takes 40 s is not a server that has stalled.
            (Some(10), true, 0, 40, Some(40)),
            (Some(10), true, 2, 40, Some(44)),
            (Some(10), true, 1, 5, Some(10)),
            (Some(1), true, 0, 0, Some(1)),
            // Embeddings and whole answers of services are silent until they are done.
            (Some(10), false, 0, 0, None),
            (Some(10), false, 30, 40, None),
            (None, true, 0, 0, None),
        ] {
            let asked = HedgeInput {
                setting: setting.map(seconds),
                visible,
                usual: seconds(usual),
                load: seconds(load),
            };
            assert_eq!(hedge_after(&asked), after.map(seconds), "{asked:?}");
        }
    }

    /// A copy that has shown how fast it is: 0.1 s for a prompt.
    fn quick(shows: Shows) -> LateInput {
        LateInput {
            shows,
            expected: ExpectedStart {
                prefill: Duration::from_millis(100),
                ..ExpectedStart::default()
            },
            first: Duration::ZERO,
            whole: Some(Duration::from_secs(2)),
            bytes: 0,
        }
    }

    fn unlearned(shows: Shows) -> LateInput {
        LateInput {
            expected: ExpectedStart::default(),
            whole: None,
            ..quick(shows)
        }
    }

    fn start(queue: u64, load: u64, prefill: u64) -> ExpectedStart {
        let seconds = Duration::from_secs;
        ExpectedStart {
            queue: seconds(queue),
            load: seconds(load),
            prefill: seconds(prefill),
        }
    }

    #[test]
    fn a_copy_is_late_by_its_own_measure() {
        use Shows::{Vectors, Whole, Words, WordsOrCall};
        let seconds = Duration::from_secs;
        for (asked, after) in [
            (quick(Words), 5.2),
            // What it is expected to need counts twice: the wait inside the server, a load, the prompt.
            (
                LateInput {
                    expected: start(3, 20, 7),
                    ..quick(Words)
                },
                65.0,
            ),
            // A server that always takes long is not late.
            (
                LateInput {
                    first: seconds(8),
                    ..quick(Words)
                },
                21.0,
            ),
            // A prompt of which nothing is remembered takes its time, however fast the one before was.
            (
                LateInput {
                    bytes: 120_000,
                    ..quick(Words)
                },
                35.0,
            ),
            // Nothing is known.
            (unlearned(Words), 35.0),
            (
                LateInput {
                    bytes: 120_000,
                    ..unlearned(Words)
                },
                155.0,
            ),
            // How long whole answers take is known, but not how fast prompts are read.
            (
                LateInput {
                    whole: Some(seconds(2)),
                    ..unlearned(Words)
                },
                13.0,
            ),
            (
                LateInput {
                    whole: Some(seconds(20)),
                    ..unlearned(Words)
                },
                35.0,
            ),
            // A call of a tool does not show before it is whole, and nothing of a whole answer does.
            (quick(WordsOrCall), 18.2),
            (quick(Whole), 18.2),
            (
                LateInput {
                    whole: None,
                    ..quick(Whole)
                },
                125.2,
            ),
            (unlearned(Whole), 155.0),
            // Texts to embed are judged by what those before took, and by their length.
            (quick(Vectors), 25.0),
            (
                LateInput {
                    bytes: 400_000,
                    ..quick(Vectors)
                },
                125.0,
            ),
            (unlearned(Vectors), 35.0),
            (
                LateInput {
                    expected: start(1, 9, 0),
                    ..quick(Vectors)
                },
                45.0,
            ),
        ] {
            let late = late_after(&asked).as_secs_f64();
            assert!((late - after).abs() < 1e-9, "{late} {asked:?}");
        }
        let endless = LateInput {
            expected: ExpectedStart {
                load: Duration::MAX,
                ..ExpectedStart::default()
            },
            ..quick(Words)
        };
        assert_eq!(late_after(&endless), Duration::MAX);
    }

    #[test]
    fn a_copy_is_late_beside_another_that_was_much_quicker() {
        for (silent, other, late) in [
            (10.3, 0.3, true),
            (6.0, 0.25, true),
            (5.9, 0.25, false),
            // The other took its time, too.
            (12.0, 2.0, false),
            (4.9, 0.0, false),
        ] {
            let [silent, took] = [silent, other].map(Duration::from_secs_f64);
            assert_eq!(is_late_beside(silent, took), late, "{silent:?} {took:?}");
        }
    }
}
