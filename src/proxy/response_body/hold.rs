//! What a request holds at its server: a slot, and its place among those that are served. Both go back as soon as the server
//! has said everything, whether or not its client has read that.

use std::time::Duration;

use crate::admission::{Permit, RunOutcome};
use crate::fleet::InFlightRequest;
use remuda_formats::ir::Usage;

/// Both, until they are given back or dropped.
pub(crate) struct Hold {
    // Before the slot: whoever is given that finds the backend idle.
    serving: Option<InFlightRequest>,
    permit: Option<Permit>,
    /// How long the first content took.
    pub(crate) ttft: Duration,
}

impl Hold {
    pub(crate) fn new(
        serving: Option<InFlightRequest>,
        permit: Option<Permit>,
        ttft: Duration,
    ) -> Self {
        Hold {
            serving,
            permit,
            ttft,
        }
    }

    /// Gives everything back, as the server has said everything. `whole`: that was a whole answer, of which it has told
    /// `usage`.
    pub(crate) fn give_back(&mut self, whole: bool, usage: Option<&Usage>) {
        self.serving = None;
        if let Some(permit) = self.permit.take() {
            permit.finish(RunOutcome {
                ttft: Some(self.ttft),
                ..outcome(whole, usage)
            });
        }
    }
}

/// Returns what the server has told of the times that a request took there.
fn outcome(whole: bool, usage: Option<&Usage>) -> RunOutcome {
    let Some(usage) = usage else {
        return RunOutcome {
            ok: whole,
            ..RunOutcome::default()
        };
    };
    let time = |nanoseconds: Option<u64>| nanoseconds.map(Duration::from_nanos);
    let count = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
    let prompt_time = time(usage.prompt_duration);
    let output_time = time(usage.output_duration);
    // What was remembered was not computed.
    let computed = usage.prompt.map(|all| {
        let remembered = usage.cache_read.unwrap_or(0);
        count(all.saturating_sub(remembered))
    });
    let inside = time(usage.total_duration)
        .zip(prompt_time)
        .map(|(total, prompt)| {
            let worked = [time(usage.load_duration), Some(prompt), output_time];
            let worked: Duration = worked.into_iter().flatten().sum();
            total.saturating_sub(worked)
        });
    RunOutcome {
        ok: whole,
        load: Some(time(usage.load_duration).unwrap_or_default()),
        inside,
        prompt: computed.zip(prompt_time),
        told_cached: usage.cache_read.is_some(),
        output: usage.output.map(count).zip(output_time),
        ..RunOutcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_whole_time_was_a_wait_inside_the_server() {
        let usage = Usage {
            prompt: Some(1_000),
            cache_read: Some(400),
            output: Some(50),
            load_duration: Some(1_000_000_000),
            prompt_duration: Some(2_000_000_000),
            output_duration: Some(3_000_000_000),
            total_duration: Some(10_000_000_000),
            ..Usage::default()
        };
        let second = Duration::from_secs;
        let told = outcome(true, Some(&usage));
        assert_eq!(told.inside, Some(second(4)));
        assert_eq!(told.load, Some(second(1)));
        assert_eq!(told.prompt, Some((600, second(2))));
        assert_eq!(told.output, Some((50, second(3))));
        // Another server's answer has no such times.
        let silent = outcome(true, Some(&Usage::default()));
        assert_eq!((silent.inside, silent.prompt), (None, None));
        assert!(silent.ok && !outcome(false, None).ok);
    }

    #[test]
    fn times_that_contradict_each_other_come_to_nothing_rather_than_to_much() {
        let usage = Usage {
            prompt: Some(100),
            // More was remembered than there was.
            cache_read: Some(400),
            output: Some(u64::MAX),
            prompt_duration: Some(5),
            output_duration: Some(6),
            // Less than its parts.
            total_duration: Some(7),
            ..Usage::default()
        };
        let told = outcome(false, Some(&usage));
        let nanoseconds = Duration::from_nanos;
        assert_eq!(told.inside, Some(Duration::ZERO));
        assert_eq!(told.prompt, Some((0, nanoseconds(5))));
        assert_eq!(told.output, Some((u32::MAX, nanoseconds(6))));
        assert!(!told.ok);
    }

    #[test]
    fn counts_without_their_times_teach_nothing() {
        let second = Some(1_000_000_000);
        for (usage, prompt, output, inside) in [
            (
                Usage {
                    prompt: Some(9),
                    output: Some(9),
                    total_duration: second,
                    ..Usage::default()
                },
                false,
                false,
                false,
            ),
            (
                Usage {
                    output: Some(9),
                    output_duration: second,
                    total_duration: second,
                    ..Usage::default()
                },
                false,
                true,
                // Without the prompt's time it is not known how long the rest was.
                false,
            ),
            (
                Usage {
                    prompt_duration: second,
                    total_duration: second,
                    ..Usage::default()
                },
                false,
                false,
                true,
            ),
        ] {
            let told = outcome(true, Some(&usage));
            let found = (
                told.prompt.is_some(),
                told.output.is_some(),
                told.inside.is_some(),
            );
            assert_eq!(found, (prompt, output, inside), "{usage:?}");
        }
    }

    #[test]
    fn a_place_at_the_server_is_given_back_once_whether_said_or_dropped() {
        let backend = crate::fleet::Backend::alone(&crate::settings::Provider::named("gpus"));
        let ttft = Duration::from_secs(1);
        let mut hold = Hold::new(Some(backend.begin()), None, ttft);
        assert_eq!(backend.in_flight(), 1);
        for _ in 0..2 {
            hold.give_back(true, None);
            assert_eq!(backend.in_flight(), 0);
        }
        drop(hold);
        assert_eq!(backend.in_flight(), 0);
        drop(Hold::new(Some(backend.begin()), None, ttft));
        assert_eq!(backend.in_flight(), 0);
    }
}
