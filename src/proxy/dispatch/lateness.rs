//! Which candidates are late by the measure of their own copy, which is told to the scheduler, and which are called back as
//! their copy answers nobody.

use std::time::{Duration, Instant};

use crate::proxy::attempt::begin::NoAnswer;
use crate::proxy::attempt::exchange::{Came, UpstreamExchange};
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::dispatch::hedge::{LateInput, Shows, is_late_beside, late_after};
use crate::proxy::dispatch::silence::{Silence, embeds};
use crate::proxy::failure::attempt::AttemptError;

/// What an image of a prompt takes, as bytes of text.
const IMAGE_BYTES: usize = 3_000;

impl Dispatch<'_> {
    /// Looks at a candidate that has kept silent until `now`. Returns whether it has become late, which the scheduler is told.
    pub(super) fn has_become_late(&self, candidate: &mut SlotCandidate<'_>, now: Instant) -> bool {
        if let Silence::Fresh(at) = candidate.silence
            && at <= now
        {
            let after = late_after(&self.measure(candidate));
            let late = candidate.started.checked_add(after);
            // A time that no clock can show never comes, but that its copy is given up may.
            let never = || now + Duration::from_secs(u32::MAX.into());
            candidate.silence = Silence::Early(late.unwrap_or_else(never));
        }
        match candidate.silence {
            Silence::Early(at) if at <= now => {
                self.tell_late(candidate);
                candidate.silence = Silence::Late;
                true
            }
            _ => false,
        }
    }

    /// Notes that `other` has been quicker than `first`, which is late if it was so much quicker with the same model.
    pub(super) fn was_outrun(&self, first: &SlotCandidate<'_>, other: &SlotCandidate<'_>) {
        let [of_first, of_other] = [first, other].map(|candidate| &candidate.exchange);
        let alike = of_other.backend.provider.settings.kind.is_fleet()
            && of_first.request.model() == of_other.request.model();
        let silent = first.silence.is_long()
            && alike
            && is_late_beside(first.started.elapsed(), other.started.elapsed());
        if silent && !first.silence.is_late() && shows(of_first) == Shows::Words {
            self.tell_late(first);
        }
    }

    fn tell_late(&self, candidate: &SlotCandidate<'_>) {
        candidate.permit.late();
        let backend = &candidate.exchange.backend;
        let gateway = self.gateway;
        gateway.upstreams.count_late(backend);
        log::info!(
            "no content from {} after {:.1} s, which is longer than its copy was expected to need: request {:?}",
            backend.name,
            candidate.started.elapsed().as_secs_f64(),
            self.ctx.inbound.request_id
        );
    }

    fn measure(&self, candidate: &SlotCandidate<'_>) -> LateInput {
        let UpstreamExchange {
            backend, request, ..
        } = &candidate.exchange;
        let all = request.body.bytes.len();
        let copy = request.wanted.as_ref().map(|wanted| &wanted.copy);
        let bytes = copy.map_or(all, |copy| {
            copy.text_bytes(all) + copy.images as usize * IMAGE_BYTES
        });
        let dispatcher = &self.gateway.queue.dispatcher;
        LateInput {
            shows: shows(&candidate.exchange),
            expected: candidate.permit.expected(),
            first: backend.response_time(candidate.started),
            whole: request.model().and_then(|model| dispatcher.usual(model)),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }
}

/// Returns how the try of a candidate ended. It ends, too, when its copy is found to answer nobody.
pub(super) async fn came(candidate: &mut SlotCandidate<'_>) -> Came {
    let SlotCandidate {
        exchange,
        permit,
        silence,
        ..
    } = candidate;
    tokio::select! {
        biased;
        came = exchange.came() => came,
        () = permit.recalled(), if silence.is_long() => {
            Err(NoAnswer::Failed(AttemptError::recalled().into()))
        }
    }
}

/// Returns what shows first of the answer that is waited for.
fn shows(exchange: &UpstreamExchange<'_>) -> Shows {
    let wanted = exchange.request.wanted.as_ref();
    if embeds(exchange.request.operation) {
        Shows::Vectors
    } else if !exchange.visible {
        Shows::Whole
    } else if wanted.is_some_and(|wanted| wanted.tools) {
        Shows::WordsOrCall
    } else {
        Shows::Words
    }
}
