//! Places of one request in the queue, one for each step of its plan that it waits for; the first slot counts.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use tokio::time::sleep_until;

use crate::admission::{NoSlot, Permit};

pub(crate) type Slot<'a> = Pin<Box<dyn Future<Output = Result<Permit, NoSlot>> + Send + 'a>>;

/// Places in the queue for one request, of which the first slot counts. What is dropped leaves its place.
#[derive(Default)]
pub(crate) struct QueuePlaces<'a> {
    places: Vec<QueuePlace<'a>>,
}

/// One of those places.
pub(crate) struct QueuePlace<'a> {
    pub(crate) step: usize,
    /// Whether a healthy backend could take the step.
    pub(crate) well: bool,
    /// Whether the request has somewhere else to go, so that it waits for no backend to become healthy.
    pub(crate) elsewhere: bool,
    pub(crate) slot: Slot<'a>,
}

impl<'a> QueuePlaces<'a> {
    pub(crate) fn enter(&mut self, place: QueuePlace<'a>) {
        self.places.push(place);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns whether any of its steps could be taken by a healthy backend.
    pub(crate) fn is_well(&self) -> bool {
        self.places.iter().any(|place| place.well)
    }

    pub(crate) fn holds(&self, step: usize) -> bool {
        self.places.iter().any(|place| place.step == step)
    }

    /// Waits for the first place that is decided. Returns its step, whether the request had somewhere else to go, and the slot
    /// or the reason why there is none.
    pub(crate) async fn first(&mut self) -> (usize, bool, Result<Permit, NoSlot>) {
        std::future::poll_fn(|context| {
            for index in 0..self.places.len() {
                if let Poll::Ready(result) = self.places[index].slot.as_mut().poll(context) {
                    let QueuePlace {
                        step, elsewhere, ..
                    } = self.places.remove(index);
                    return Poll::Ready((step, elsewhere, result));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Returns whether the plan has to be looked at anew: its providers are closed, or down while there is somewhere `elsewhere`.
pub(crate) fn is_outdated(refusal: &NoSlot, elsewhere: bool) -> bool {
    match refusal {
        NoSlot::Closed => true,
        NoSlot::NoHealthyBackend { .. } => elsewhere,
        _ => false,
    }
}

/// Waits until the next step is due, if it ever is.
pub(crate) async fn until_due(next: Option<Instant>) {
    match next {
        Some(next) if next <= Instant::now() => {}
        Some(next) => sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}

/// Keeps the one of two refusals that tells the client more: a wait that may succeed goes before one that cannot.
pub(crate) fn keep_better(kept: &mut Option<NoSlot>, refused: NoSlot) {
    let rank = |refusal: &NoSlot| match refusal {
        NoSlot::UnknownModel | NoSlot::UnknownBackend => 0,
        NoSlot::Closed | NoSlot::Exhausted => 1,
        NoSlot::TooLong { .. } | NoSlot::CannotLoad { .. } | NoSlot::NoHealthyBackend { .. } => 2,
        NoSlot::QueueFull { .. } => 3,
        NoSlot::TimedOut { healthy, .. } => 4 + u8::from(*healthy),
    };
    if kept.as_ref().is_none_or(|kept| rank(kept) < rank(&refused)) {
        *kept = Some(refused);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn of_two_refusals_the_one_is_told_that_says_what_to_wait_for() {
        let timed_out = |healthy| NoSlot::TimedOut {
            healthy,
            retry_after: SECOND,
        };
        let ranked = [
            NoSlot::UnknownModel,
            NoSlot::Exhausted,
            NoSlot::NoHealthyBackend {
                retry_after: SECOND,
            },
            NoSlot::QueueFull {
                retry_after: SECOND,
            },
            timed_out(false),
            timed_out(true),
        ];
        for (place, better) in ranked.iter().enumerate() {
            for worse in &ranked[..=place] {
                for (first, second) in [(worse, better), (better, worse)] {
                    let mut kept = Some(*first);
                    keep_better(&mut kept, *second);
                    assert_eq!(kept.as_ref(), Some(better), "{first:?} {second:?}");
                }
            }
        }
    }

    #[test]
    fn a_plan_is_looked_at_anew_when_its_providers_are_closed_or_down() {
        let down = NoSlot::NoHealthyBackend {
            retry_after: SECOND,
        };
        for (refusal, elsewhere, outdated) in [
            (&NoSlot::Closed, false, true),
            (&NoSlot::Closed, true, true),
            (&down, true, true),
            // There is nowhere else to go, so that a backend is waited for or the client is told.
            (&down, false, false),
            (&NoSlot::Exhausted, true, false),
        ] {
            assert_eq!(is_outdated(refusal, elsewhere), outdated, "{refusal:?}");
        }
    }

    #[tokio::test]
    async fn the_first_place_that_is_decided_counts_and_leaves_the_others() {
        let mut places = QueuePlaces::default();
        let place = |step, slot: Slot<'static>| QueuePlace {
            step,
            well: step == 0,
            elsewhere: step > 0,
            slot,
        };
        places.enter(place(0, Box::pin(std::future::pending())));
        places.enter(place(1, Box::pin(async { Err(NoSlot::Exhausted) })));
        let (step, elsewhere, refused) = places.first().await;
        assert_eq!((step, elsewhere), (1, true));
        assert!(matches!(refused, Err(NoSlot::Exhausted)));
        assert!(places.holds(0) && !places.holds(1) && places.is_well());
    }
}
