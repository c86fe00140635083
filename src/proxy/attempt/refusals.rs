//! Remembers which parameters models have refused of late and can do without, so that they are not sent with every request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;

use remuda_formats::ir::Mend;

/// How long a refusal is believed: the model may have been replaced by one that takes the parameter.
const KEPT: Duration = Duration::from_secs(600);
/// The models of one provider whose refusals are remembered at most.
const MOST: usize = 1024;

/// The parameter that is refused for one of its values as well as for itself.
const EFFORT: &str = "reasoning_effort";

/// The parameters that a model refuses, and until when each refusal is believed.
type Known = Vec<(Mend, Instant)>;

/// The refusals of one provider's models.
#[derive(Debug, Default)]
pub(crate) struct RefusedParameters {
    /// Whether there are any: usually there are none, and nobody needs to look.
    any: AtomicBool,
    models: Mutex<AHashMap<Arc<str>, Known>>,
}

impl RefusedParameters {
    /// Notes that the model, by the provider's own name for it, has served a request without `mend` that it had refused with
    /// it.
    pub(crate) fn note(&self, model: &str, mend: Mend, now: Instant) {
        match mend {
            // That was about one conversation, about one effort, or about what stood beside it: another's next may be taken.
            Mend::Signatures | Mend::Reasoning | Mend::Parameter(EFFORT) => return,
            Mend::Thinking | Mend::Encoding | Mend::Parameter(_) => {}
        }
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + KEPT;
        if let Some(known) = models.get_mut(model) {
            known.retain(|(other, until)| *other != mend && *until > now);
            known.push((mend, until));
            return;
        }
        models.retain(|_, known| known.iter().any(|(_, until)| *until > now));
        if models.len() < MOST {
            models.insert(Arc::from(model), vec![(mend, until)]);
            self.any.store(true, Ordering::Release);
        }
    }

    /// Returns the parameters that the model is known to refuse.
    pub(crate) fn of(&self, model: &str, now: Instant) -> Vec<Mend> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let known = models.get(model).into_iter().flatten();
        known
            .filter(|(_, until)| *until > now)
            .map(|(mend, _)| *mend)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_known_for_a_while() {
        let (refusals, now) = (RefusedParameters::default(), Instant::now());
        assert_eq!(refusals.of("m", now), []);
        let temperature = Mend::Parameter("temperature");
        refusals.note("m", Mend::Thinking, now);
        refusals.note("m", temperature, now + KEPT / 2);
        refusals.note("m", Mend::Signatures, now);
        refusals.note("m", Mend::Parameter(EFFORT), now);
        assert_eq!(refusals.of("m", now), [Mend::Thinking, temperature]);
        assert_eq!(refusals.of("other", now), []);
        assert_eq!(refusals.of("m", now + KEPT), [temperature]);
        assert_eq!(refusals.of("m", now + 2 * KEPT), []);
    }

    #[test]
    fn it_stays_bounded_and_forgets_the_old_for_the_new() {
        let (refusals, now) = (RefusedParameters::default(), Instant::now());
        for number in 0..2 * MOST {
            refusals.note(&format!("m{number}"), Mend::Thinking, now);
        }
        assert_eq!(refusals.models.lock().unwrap().len(), MOST);
        refusals.note("new", Mend::Thinking, now + KEPT);
        assert_eq!(refusals.of("new", now + KEPT), [Mend::Thinking]);
        assert_eq!(refusals.models.lock().unwrap().len(), 1);
    }
}
