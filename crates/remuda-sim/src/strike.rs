//! Which of a server's faults hit one request, counted down as they do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chance::Dice;
use super::fault::{At, Failure, Fault, Harm};
use super::names::Name;
use super::runner::Mishap;

/// The faults of one server.
pub(super) struct Faults {
    state: Mutex<State>,
}

struct State {
    active: Vec<Fault>,
    dice: Dice,
}

/// Everything that is to go wrong with one request.
#[derive(Debug, Default)]
pub(super) struct Strike {
    pub(super) silent: bool,
    /// Every byte by itself, with this pause between two.
    pub(super) one_byte: Option<Duration>,
    pub(super) status: Option<Status>,
    /// At this place, an error line.
    pub(super) error: Option<(At, Failure)>,
    /// Where the answer ends as if it were complete.
    pub(super) end: Option<At>,
    /// Where the connection ends, and whether by RST.
    pub(super) cut: Option<(At, bool)>,
    pub(super) stalls: Vec<(At, Duration)>,
}

/// What is wrong with a copy from now on, and how much slower than it should it is for this request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ailment {
    pub(super) hangs: bool,
    pub(super) freezes: bool,
    pub(super) slowness: f64,
}

impl Default for Ailment {
    fn default() -> Self {
        Self {
            hangs: false,
            freezes: false,
            slowness: 1.0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Status {
    pub(super) status: u16,
    pub(super) body: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) failure: Failure,
}

impl Strike {
    /// How long to stall at `at`.
    pub(super) fn stall(&self, at: At) -> Option<Duration> {
        self.stalls
            .iter()
            .find_map(|(place, time)| (*place == at).then_some(*time))
    }
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                active: Vec::new(),
                dice: Dice::new(seed),
            }),
        }
    }

    pub(super) fn add(&self, fault: Fault) {
        self.state().active.push(fault);
    }

    pub(super) fn clear(&self) {
        self.state().active.clear();
    }

    /// How many faults are not spent yet.
    pub(super) fn count(&self) -> usize {
        self.state().active.len()
    }

    /// What hits a request for `path`.
    pub(super) fn strike(&self, path: &str) -> Strike {
        let mut strike = Strike::default();
        self.state().take(
            |fault| fault.is_for_route(path) && !fault.is_about_models(),
            |harm| match harm {
                Harm::Silent => strike.silent = true,
                Harm::OneByte { pause } => strike.one_byte = Some(*pause),
                Harm::Status {
                    status,
                    body,
                    retry_after,
                    failure,
                } => {
                    strike.status = Some(Status {
                        status: *status,
                        body: body.clone(),
                        retry_after: retry_after.clone(),
                        failure: failure.clone(),
                    });
                }
                Harm::Error { at, failure } => strike.error = Some((*at, failure.clone())),
                Harm::End { at } => strike.end = Some(*at),
                Harm::Cut { at, reset } => strike.cut = Some((*at, *reset)),
                Harm::Stall { at, time } => strike.stalls.push((*at, *time)),
                // What is about models is asked for by `load` and `run`; the rest happened when it was injected.
                Harm::SlowLoad { .. }
                | Harm::StuckLoad
                | Harm::FailLoad { .. }
                | Harm::SlowGpu { .. }
                | Harm::Hang
                | Harm::Freeze
                | Harm::Refuse { .. }
                | Harm::Die { .. } => {}
            },
        );
        strike
    }

    /// What goes wrong with the load of `model` that begins now.
    pub(super) fn load(&self, model: &Name) -> Mishap {
        let mut mishap = Mishap::default();
        self.state().take(
            |fault| fault.is_about_loads() && fault.is_for_model(model),
            |harm| match harm {
                Harm::SlowLoad { extra } => mishap.extra += *extra,
                Harm::StuckLoad => mishap.stuck = true,
                Harm::FailLoad { message } => mishap.failure = Some(message.clone()),
                _ => {}
            },
        );
        mishap
    }

    /// What is wrong with the copy of `model` that a request for `path` has come to.
    pub(super) fn run(&self, path: &str, model: &Name) -> Ailment {
        let mut ailment = Ailment::default();
        self.state().take(
            |fault| {
                fault.is_about_copies() && fault.is_for_model(model) && fault.is_for_route(path)
            },
            |harm| match harm {
                Harm::SlowGpu { factor } => ailment.slowness *= factor,
                Harm::Hang => ailment.hangs = true,
                Harm::Freeze => ailment.freezes = true,
                _ => {}
            },
        );
        ailment
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands the harm of every fault that is `due` to `hit`, and drops those that are spent.
    fn take(&mut self, due: impl Fn(&Fault) -> bool, mut hit: impl FnMut(&Harm)) {
        let dice = &mut self.dice;
        self.active.retain_mut(|fault| {
            let hits = due(fault) && fault.chance.is_none_or(|chance| dice.unit() < chance);
            if !hits {
                return true;
            }
            match fault.times.as_mut() {
                Some(0) => return false,
                Some(times) => *times -= 1,
                None => {}
            }
            hit(&fault.harm);
            fault.times != Some(0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_spent_after_its_times() {
        let faults = Faults::new(0);
        faults.add("503:times=2,route=/api/chat".parse().unwrap());
        assert!(faults.strike("/api/tags").status.is_none());
        assert!(faults.strike("/api/chat").status.is_some());
        assert_eq!(faults.count(), 1);
        assert!(faults.strike("/api/chat").status.is_some());
        assert_eq!(faults.count(), 0);
        assert!(faults.strike("/api/chat").status.is_none());
    }

    #[test]
    fn a_slow_load_hits_loads_only() {
        let faults = Faults::new(0);
        let name = Name::parse("m").unwrap();
        faults.add("slow_load:seconds=3,times=1".parse().unwrap());
        faults.strike("/api/chat");
        faults.run("/api/chat", &name);
        assert_eq!(faults.load(&name).extra.as_secs(), 3);
        assert_eq!(faults.load(&name), Mishap::default());
    }

    #[test]
    fn what_ails_a_copy_goes_by_model_and_route() {
        let faults = Faults::new(0);
        let (name, other) = (Name::parse("m").unwrap(), Name::parse("n").unwrap());
        for text in [
            "hang:model=m,route=/api/embed",
            "slow_gpu:factor=2",
            "slow_gpu:factor=3,model=m",
            "fail_load:model=m",
        ] {
            faults.add(text.parse().unwrap());
        }
        let ailment = faults.run("/api/chat", &name);
        assert_eq!((ailment.hangs, ailment.slowness), (false, 6.0));
        assert_eq!(faults.run("/api/chat", &other).slowness, 2.0);
        assert!(faults.run("/api/embed", &name).hangs);
        assert_eq!(faults.load(&other).failure, None);
        assert!(faults.load(&name).failure.is_some());
    }

    #[test]
    fn chance_hits_about_its_share() {
        let faults = Faults::new(5);
        faults.add("silent:chance=0.25".parse().unwrap());
        let hits = (0..1000).filter(|_| faults.strike("/").silent).count();
        assert!((200..300).contains(&hits), "{hits}");
    }
}
