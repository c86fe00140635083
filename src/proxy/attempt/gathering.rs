//! From the first content to the end of an answer that is streamed to the gateway and whole for its client: every pause is
//! seen, by the same limits as those of a stream. Nothing has been sent of it, so a failure is answered by another backend.

use std::time::Instant;

use pingora::protocols::http::ServerSession;
use tokio::time::sleep_until;

use crate::fleet::Backend;
use crate::proxy::Gateway;
use crate::proxy::attempt::exchange::{Answer, end_gathered};
use crate::proxy::attempt::reader::LAST_END;
use crate::proxy::failure::attempt::Setback;
use crate::proxy::failure::deadline::Bound;
use crate::proxy::prepared::Job;
use crate::proxy::response_body::opening::Opening;

impl Gateway {
    /// Reads an answer that has begun to its end, unless the client leaves first.
    pub(crate) async fn gather(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        job: &Job,
        backend: &Backend,
        answer: &mut Answer,
        until: Option<Bound>,
    ) -> Result<(), Setback> {
        let side = &self.upstreams[backend.provider.id];
        let result = tokio::select! {
            biased;
            read = read_on(answer, backend, until) => read,
            () = Box::pin(backend.frozen()) => Err(Setback::silence()),
            () = opening.attend(client) => Err(Setback::ClientGone),
            () = self.drain.cut() => Err(Setback::Cut),
        };
        match result {
            Ok(()) => end_gathered(answer, side, job, backend).await,
            Err(setback) => {
                job.bill(answer.reader.usage());
                side.malformed.inc_by(answer.reader.malformed());
                Err(setback)
            }
        }
    }
}

/// Reads until the answer is over.
async fn read_on(
    answer: &mut Answer,
    backend: &Backend,
    until: Option<Bound>,
) -> Result<(), Setback> {
    let pause = backend.provider.timeouts.between_chunks;
    let due = |last: Instant, nearly: bool| {
        let end = last + if nearly { pause.min(LAST_END) } else { pause };
        until.map_or(end, |until| until.at.min(end))
    };
    let mut last = Instant::now();
    let mut nearly = answer.reader.nearly_over();
    let silence = sleep_until(due(last, nearly).into());
    tokio::pin!(silence);
    loop {
        let Answer {
            upstream,
            begun,
            reader,
            ..
        } = &mut *answer;
        tokio::select! {
            biased;
            piece = upstream.read_piece() => match piece {
                Ok(Some(piece)) => {
                    begun.extend_from_slice(reader.feed(piece));
                    last = Instant::now();
                    if reader.over() || reader.cut() {
                        answer.ended = reader.fault().is_none();
                        return Ok(());
                    }
                    // The timer is not moved with every piece, but where the end is near.
                    if reader.nearly_over() != nearly {
                        nearly = !nearly;
                        silence.as_mut().reset(due(last, nearly).into());
                    }
                }
                Ok(None) => {
                    answer.ended = true;
                    return Ok(());
                }
                Err(_) => return Err(Setback::reset()),
            },
            () = &mut silence => {
                let due = due(last, nearly);
                if due > Instant::now() {
                    silence.as_mut().reset(due.into());
                } else if reader.settle().is_some() {
                    answer.ended = reader.fault().is_none();
                    return Ok(());
                } else {
                    return Err(match until.filter(Bound::is_over) {
                        Some(bound) => Setback::Overdue(bound),
                        None => Setback::timed_out(),
                    });
                }
            }
        }
    }
}
