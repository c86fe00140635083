//! From the first content to the end of an answer that is streamed to the gateway and whole for its client: every pause is
//! seen, by the same limits as those of a stream. Nothing has been sent of it, so a failure is answered by another backend.

use std::time::Instant;

use tokio::time::sleep_until;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::begin::{end_gathered, unanswered};
use crate::proxy::attempt::patience::Patience;
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
    let limit = until.map(|until| until.at);
    let nearly = answer.reader.nearly_over();
    let mut patience = Patience::new(pause, limit, nearly, Instant::now());
    let silence = sleep_until(patience.due().into());
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
                    patience.heard(Instant::now());
                    if reader.over() || reader.cut() {
                        answer.ended = reader.fault().is_none();
                        return Ok(());
                    }
                    // The timer is not moved with every piece, but where the end is near.
                    if patience.nears(reader.nearly_over()) {
                        silence.as_mut().reset(patience.due().into());
                    }
                }
                Ok(None) => {
                    answer.ended = true;
                    return Ok(());
                }
                Err(_) => return Err(AttemptError::reset()),
            },
            () = &mut silence => {
                let now = Instant::now();
                if patience.due() > now {
                    silence.as_mut().reset(patience.due().into());
                } else if reader.settle().is_some() {
                    answer.ended = reader.fault().is_none();
                    return Ok(());
                } else {
                    return Err(match until.filter(|limit| limit.is_over(now)) {
                        Some(limit) => AttemptError::Overdue(limit),
                        None => AttemptError::timed_out(),
                    });
                }
            }
        }
    }
}
