//! From the first content to the end of an answer that is streamed to the gateway and whole for its client: every pause is
//! seen, by the same limits as those of a stream. Nothing has been sent of it, so a failure is answered by another backend.

use std::time::Instant;

use tokio::time::sleep_until;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::begin::{end_gathered, unanswered};
use crate::proxy::attempt::reader::LAST_END;
use crate::proxy::attempt::upstreams::ProviderSide;
use crate::proxy::failure::attempt::{AttemptError, Unanswered};
use crate::proxy::failure::deadline::TimeLimit;
use crate::proxy::prepared::ModelRequest;
use crate::proxy::response_body::downstream::Downstream;

/// Reads an answer that has begun to its end, unless the client leaves or the process ends first.
pub(crate) async fn gather(
    client: &mut Downstream<'_>,
    side: &ProviderSide,
    (request, backend): (&ModelRequest, &Backend),
    answer: &mut UpstreamAnswer,
    until: Option<TimeLimit>,
) -> Result<(), Unanswered> {
    let read = tokio::select! {
        biased;
        read = read_on(answer, backend, until) => read,
        () = Box::pin(backend.frozen()) => Err(AttemptError::silence()),
        error = client.ends() => Err(error),
    };
    let read = match read {
        Ok(()) => end_gathered(answer, side, request, backend).await,
        Err(error) => Err(error),
    };
    read.map_err(|error| unanswered(error, answer, side))
}

/// Reads until the answer is over.
async fn read_on(
    answer: &mut UpstreamAnswer,
    backend: &Backend,
    until: Option<TimeLimit>,
) -> Result<(), AttemptError> {
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
        let UpstreamAnswer {
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
                Err(_) => return Err(AttemptError::reset()),
            },
            () = &mut silence => {
                let due = due(last, nearly);
                if due > Instant::now() {
                    silence.as_mut().reset(due.into());
                } else if reader.settle().is_some() {
                    answer.ended = reader.fault().is_none();
                    return Ok(());
                } else {
                    return Err(match until.filter(|limit| limit.is_over(Instant::now())) {
                        Some(limit) => AttemptError::Overdue(limit),
                        None => AttemptError::timed_out(),
                    });
                }
            }
        }
    }
}
