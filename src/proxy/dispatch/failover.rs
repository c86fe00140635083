//! What follows an attempt that has failed: a pure function of why it failed and of what else could be asked.

use std::time::Duration;

use crate::fleet::backoff;
use crate::ir::{Class, FaultKind};
use crate::proxy::failure::attempt::Cause;
use crate::settings::{Fallback, Routing};

/// A failure that came within this time is worth another try at the same place; one that took longer has cost the client
/// as much as an answer.
const QUICK: Duration = Duration::from_secs(5);

/// What is known at the moment of the failure, besides its cause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) routing: &'a Routing,
    /// The provider is a fleet of Ollama servers.
    pub(crate) fleet: bool,
    /// The backend still counts as healthy.
    pub(crate) healthy: bool,
    /// The provider has other addresses.
    pub(crate) addresses: bool,
    /// The provider has a key that was not tried.
    pub(crate) key: bool,
    /// Another healthy backend of the same provider was not tried.
    pub(crate) another: bool,
    /// Another backend serves the same model that could be asked now, or was asked before.
    pub(crate) sibling: bool,
    /// Further attempts in a row at this provider so far.
    pub(crate) again: u32,
    /// How long the attempt took.
    pub(crate) took: Duration,
    /// A server has found fault with the request itself before, or could not load its model.
    pub(crate) doubted: bool,
    /// The time for all attempts is over.
    pub(crate) out_of_time: bool,
    /// From 0 to 1, at random.
    pub(crate) chance: f64,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    /// The same provider at once, with another key.
    OtherKey,
    /// The same provider once more, after a pause.
    Again(Duration),
    /// Another backend of the same provider.
    OtherBackend,
    /// Another backend, of whichever provider of the plan.
    AnyBackend,
    /// The provider is left, for whatever the plan still has.
    NextProvider,
    /// The provider is left, for whomever the strategy names now.
    Replan,
    /// The client is told.
    Nowhere,
}

/// What follows a failure for `cause`.
pub(crate) fn onward(cause: &Cause, view: &View<'_>) -> Onward {
    let fallback = view.routing.fallback;
    if view.out_of_time {
        return Onward::Nowhere;
    }
    let of_key =
        matches!(cause.kind, FaultKind::RateLimit | FaultKind::Billing) || is_of_key(cause);
    if of_key && !view.fleet && view.key {
        return Onward::OtherKey;
    }
    // One that could not be reached is unhealthy now, and would have to be waited for.
    if !view.fleet
        && view.healthy
        && let Some(pause) = pause_before_again(cause, view)
    {
        return Onward::Again(pause);
    }
    if is_about_request(cause) && view.doubted {
        return Onward::Nowhere;
    }
    // Another server of the same provider may be well, but has the same credentials, limits and models.
    let common = !view.fleet && cause.class != Class::Transient;
    let single = !view.fleet && !view.addresses;
    let alone = fallback == Fallback::BestAlternative && !view.another;
    // Breakers per model see to the next request; what stands in for the model may do better.
    let unloadable = view.fleet && cause.of_model && view.doubted;
    if common || single || alone || unloadable || view.again >= view.routing.max_retries {
        return match fallback {
            Fallback::None => Onward::Nowhere,
            Fallback::NextAvailable | Fallback::RetrySame => Onward::NextProvider,
            Fallback::BestAlternative => Onward::Replan,
        };
    }
    match fallback {
        Fallback::None | Fallback::BestAlternative => Onward::OtherBackend,
        Fallback::NextAvailable | Fallback::RetrySame => Onward::AnyBackend,
    }
}

/// How long to wait before the same service is asked again; `None` if that makes no sense.
fn pause_before_again(cause: &Cause, view: &View<'_>) -> Option<Duration> {
    let retry = &view.routing.retry;
    let passing = matches!(cause.class, Class::Transient | Class::Capacity);
    // Who has said nothing is not asked again: another would have answered meanwhile.
    let silent = cause.kind == FaultKind::Timeout && cause.status.is_none();
    if !passing || silent || cause.again == Some(false) {
        return None;
    }
    let most = match view.routing.fallback {
        Fallback::None => 0,
        Fallback::RetrySame => retry.attempts,
        // Whoever serves the same model does better than a second try.
        _ if view.sibling || !is_quick(cause, view) => 0,
        Fallback::NextAvailable | Fallback::BestAlternative => 1.min(view.routing.max_retries),
    };
    if view.again >= most {
        return None;
    }
    let own = || backoff(retry.base, retry.max, view.again, view.chance);
    let pause = cause.retry_after.unwrap_or_else(own);
    (pause <= retry.max_wait).then_some(pause)
}

/// Whether a failure came at once and may be gone in a moment. A limit is only waited for as long as its provider says.
fn is_quick(cause: &Cause, view: &View<'_>) -> bool {
    let of_moment = match cause.kind {
        FaultKind::Timeout => false,
        FaultKind::RateLimit => cause.retry_after.is_some(),
        _ => true,
    };
    of_moment && view.took <= QUICK
}

/// Whether the key is of no use for anything, whatever status says so. With 403 it may be of use for other models.
pub(crate) fn is_of_key(cause: &Cause) -> bool {
    let status = cause.status.filter(|status| *status != 403);
    status == Some(401) || (status.is_some() && cause.kind == FaultKind::Credentials)
}

/// Whether the server was well and its own error is about the request, or about what its model made of it.
pub(crate) fn is_about_request(cause: &Cause) -> bool {
    let of_server = cause.status.is_none_or(|status| status >= 500);
    match (cause.class, cause.kind) {
        (Class::Route, FaultKind::InvalidRequest) => true,
        // 501, or 500 with words that mean the same; what cannot be written for a provider has no status.
        (Class::Route, FaultKind::Unsupported) => of_server && cause.status.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Onward::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cause(class: Class, kind: FaultKind, status: Option<u16>) -> Cause {
        Cause {
            status,
            ..Cause::new(class, kind)
        }
    }

    fn asks_for(seconds: u64) -> Cause {
        Cause {
            retry_after: Some(Duration::from_secs(seconds)),
            ..cause(Class::Capacity, FaultKind::RateLimit, Some(429))
        }
    }

    /// A service with one address and one key.
    fn service(routing: &Routing) -> View<'_> {
        View {
            routing,
            fleet: false,
            healthy: true,
            addresses: false,
            key: false,
            another: false,
            sibling: false,
            again: 0,
            took: SECOND,
            doubted: false,
            out_of_time: false,
            chance: 1.0,
        }
    }

    fn with(fallback: Fallback) -> Routing {
        Routing {
            fallback,
            ..Routing::default()
        }
    }

    /// By default: once more at the same place, if nobody else has the model and the failure was quick.
    #[test]
    fn a_quick_failure_is_tried_once_more_where_nobody_else_has_the_model() {
        let routing = with(Fallback::NextAvailable);
        let view = service(&routing);
        use {Class::*, FaultKind::*};
        for (cause, alone) in [
            (cause(Transient, Server, Some(500)), Again(SECOND)),
            (cause(Transient, Server, Some(502)), Again(SECOND)),
            (cause(Capacity, Overloaded, Some(503)), Again(SECOND)),
            (cause(Capacity, Overloaded, Some(529)), Again(SECOND)),
            (cause(Transient, Incomplete, None), Again(SECOND)),
            // A limit is waited for as long as it was said, if that is not long.
            (asks_for(3), Again(3 * SECOND)),
            (asks_for(10), Again(10 * SECOND)),
            (asks_for(11), NextProvider),
            (cause(Capacity, RateLimit, Some(429)), NextProvider),
            // Silence is not tried again, its own or that of whoever stands behind it.
            (cause(Transient, Timeout, None), NextProvider),
            (cause(Transient, Timeout, Some(504)), NextProvider),
            // What will not pass.
            (cause(Route, Credentials, Some(401)), NextProvider),
            (cause(Route, ContextLength, Some(400)), NextProvider),
            (cause(Route, ModelNotFound, Some(404)), NextProvider),
        ] {
            assert_eq!(onward(&cause, &view), alone, "{cause:?}");
            let sibling = View {
                sibling: true,
                ..view
            };
            assert_eq!(onward(&cause, &sibling), NextProvider, "{cause:?}");
            let second = View { again: 1, ..view };
            assert_eq!(onward(&cause, &second), NextProvider, "{cause:?}");
            let late = View {
                out_of_time: true,
                ..view
            };
            assert_eq!(onward(&cause, &late), Nowhere, "{cause:?}");
        }
        let failed = cause(Transient, Server, Some(500));
        for view in [
            View {
                took: 6 * SECOND,
                ..view
            },
            View {
                healthy: false,
                ..view
            },
        ] {
            assert_eq!(onward(&failed, &view), NextProvider);
        }
        let unwilling = Cause {
            again: Some(false),
            ..failed
        };
        assert_eq!(onward(&unwilling, &view), NextProvider);
        let no_retries = Routing {
            max_retries: 0,
            ..routing.clone()
        };
        assert_eq!(onward(&failed, &service(&no_retries)), NextProvider);
    }

    #[test]
    fn strategies_differ_in_who_is_next() {
        let failed = cause(Class::Transient, FaultKind::Server, Some(500));
        let stalled = cause(Class::Transient, FaultKind::Timeout, None);
        for (fallback, after_failures, after_silence) in [
            (Fallback::None, [Nowhere; 4], Nowhere),
            (Fallback::NextAvailable, [NextProvider; 4], NextProvider),
            (
                Fallback::RetrySame,
                [
                    Again(SECOND),
                    Again(2 * SECOND),
                    Again(4 * SECOND),
                    NextProvider,
                ],
                NextProvider,
            ),
            (Fallback::BestAlternative, [Replan; 4], Replan),
        ] {
            let routing = with(fallback);
            let view = View {
                sibling: true,
                ..service(&routing)
            };
            for (again, next) in (0..).zip(after_failures) {
                let view = View { again, ..view };
                assert_eq!(onward(&failed, &view), next, "{fallback:?} {again}");
            }
            assert_eq!(onward(&stalled, &view), after_silence, "{fallback:?}");
        }
    }

    #[test]
    fn within_a_provider_another_address_is_asked_first_and_only_so_often() {
        let failed = cause(Class::Transient, FaultKind::Server, Some(500));
        let refused = cause(Class::Route, FaultKind::Credentials, Some(401));
        for (fallback, first) in [
            (Fallback::None, OtherBackend),
            (Fallback::NextAvailable, AnyBackend),
            (Fallback::RetrySame, AnyBackend),
            (Fallback::BestAlternative, OtherBackend),
        ] {
            let routing = with(fallback);
            for fleet in [true, false] {
                let view = View {
                    fleet,
                    healthy: false,
                    addresses: true,
                    another: true,
                    sibling: true,
                    ..service(&routing)
                };
                let last = match fallback {
                    Fallback::None => Nowhere,
                    Fallback::BestAlternative => Replan,
                    _ => NextProvider,
                };
                for (again, next) in [(0, first), (1, first), (2, last)] {
                    let view = View { again, ..view };
                    assert_eq!(onward(&failed, &view), next, "{fallback:?} {fleet} {again}");
                }
                // Its addresses share their credentials, servers of a fleet need not.
                let shared = if fleet { first } else { last };
                assert_eq!(onward(&refused, &view), shared, "{fallback:?} {fleet}");
                let keyed = View { key: true, ..view };
                let with_key = if fleet { first } else { OtherKey };
                assert_eq!(onward(&refused, &keyed), with_key, "{fallback:?} {fleet}");
            }
        }
    }

    #[test]
    fn a_request_at_fault_is_tried_once_more_and_no_further() {
        let routing = with(Fallback::NextAvailable);
        let cause = cause(Class::Route, FaultKind::InvalidRequest, Some(500));
        let view = View {
            fleet: true,
            another: true,
            ..service(&routing)
        };
        assert_eq!(onward(&cause, &view), AnyBackend);
        let again = View {
            doubted: true,
            ..view
        };
        assert_eq!(onward(&cause, &again), Nowhere);
    }

    #[test]
    fn a_model_that_cannot_be_loaded_is_tried_on_one_more_server() {
        let unloadable = Cause {
            of_model: true,
            ..cause(Class::Transient, FaultKind::Server, Some(500))
        };
        for (fallback, last) in [
            (Fallback::None, Nowhere),
            (Fallback::NextAvailable, NextProvider),
            (Fallback::BestAlternative, Replan),
        ] {
            let routing = with(fallback);
            let view = View {
                fleet: true,
                another: true,
                sibling: true,
                ..service(&routing)
            };
            let first = onward(&unloadable, &view);
            assert!(matches!(first, OtherBackend | AnyBackend), "{first:?}");
            let again = View {
                doubted: true,
                again: 1,
                ..view
            };
            assert_eq!(onward(&unloadable, &again), last, "{fallback:?}");
        }
    }

    #[test]
    fn a_key_is_refused_by_whatever_status() {
        use {Class::Route, FaultKind::Credentials};
        for status in [200, 400, 401] {
            assert!(is_of_key(&cause(Route, Credentials, Some(status))));
        }
        for status in [None, Some(403)] {
            assert!(!is_of_key(&cause(Route, Credentials, status)));
        }
    }
}
