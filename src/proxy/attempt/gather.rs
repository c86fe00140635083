//! Reads an answer that is streamed to the gateway and whole for its client, from its first content to its end. Every pause is
//! seen and bounded as that of a stream. The client has been sent nothing, so another backend may answer after a failure.

use std::time::Instant;

use tokio::time::sleep_until;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::begin::{end_gathered, unanswered};
use crate::proxy::attempt::patience::Patience;
use crate::proxy::attempt::reader::AnswerReader;
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
                match after_silence(&patience, reader, until, Instant::now()) {
                    AfterSilence::Wait(due) => silence.as_mut().reset(due.into()),
                    AfterSilence::Over { ended } => {
                        answer.ended = ended;
                        return Ok(());
                    }
                    AfterSilence::Failed(error) => return Err(error),
                }
            }
        }
    }
}

/// What follows when the timer of a silence has run out.
enum AfterSilence {
    /// Something has come meanwhile, so that the silence may last until then.
    Wait(Instant),
    /// Nothing was missing but the end of the framing; `ended` if the answer has no fault.
    Over { ended: bool },
    /// The answer has stopped before its end.
    Failed(AttemptError),
}

/// Decides what follows when the timer of a silence has run out. `until` limits the whole answer.
fn after_silence(
    patience: &Patience,
    reader: &mut AnswerReader,
    until: Option<TimeLimit>,
    now: Instant,
) -> AfterSilence {
    let due = patience.due();
    if due > now {
        AfterSilence::Wait(due)
    } else if reader.settle().is_some() {
        let ended = reader.fault().is_none();
        AfterSilence::Over { ended }
    } else {
        AfterSilence::Failed(match until.filter(|limit| limit.is_over(now)) {
            Some(limit) => AttemptError::Overdue(limit),
            None => AttemptError::timed_out(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::failure::deadline::TOTAL;
    use remuda_formats::client::Operation;
    use remuda_formats::translate::Gathering;

    const SECOND: Duration = Duration::from_secs(1);

    /// Makes the reader of a chat that is streamed to the gateway, after these pieces.
    fn after(pieces: &[&str]) -> AnswerReader {
        let gathering = Gathering::of(Operation::Chat).expect("chats are gathered");
        let mut reader = AnswerReader::Gathered(Box::new(gathering));
        reader.begin(&pingora::http::ResponseHeader::build(200, None).unwrap());
        for piece in pieces {
            let _ = reader.feed(piece.as_bytes());
        }
        reader
    }

    const WORD: &str =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n";
    /// The last line, whose end is missing.
    const LAST: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}";

    #[test]
    fn a_piece_that_has_come_meanwhile_moves_the_end_of_the_silence() {
        let began = Instant::now();
        let mut patience = Patience::new(30 * SECOND, None, false, began);
        patience.heard(began + 10 * SECOND);
        let now = began + 30 * SECOND;
        assert!(matches!(
            after_silence(&patience, &mut after(&[WORD]), None, now),
            AfterSilence::Wait(due) if due == began + 40 * SECOND
        ));
    }

    #[test]
    fn an_answer_that_lacks_the_end_of_its_last_line_alone_is_whole() {
        let began = Instant::now();
        let patience = Patience::new(30 * SECOND, None, true, began);
        assert!(matches!(
            after_silence(&patience, &mut after(&[WORD, LAST]), None, began + SECOND),
            AfterSilence::Over { ended: true }
        ));
    }

    #[test]
    fn an_answer_that_stops_has_failed_by_its_server_s_pause_or_by_the_request_s_limit() {
        let began = Instant::now();
        let limit = TimeLimit::after(began, TOTAL, Some(20 * SECOND));
        for (until, pause, overdue) in [
            (None, 30 * SECOND, false),
            // The pause was over before the limit.
            (limit, 10 * SECOND, false),
            (limit, 30 * SECOND, true),
        ] {
            let patience = Patience::new(pause, until.map(|limit| limit.at), false, began);
            let now = patience.due();
            let error = match after_silence(&patience, &mut after(&[WORD]), until, now) {
                AfterSilence::Failed(error) => error,
                AfterSilence::Wait(_) | AfterSilence::Over { .. } => panic!("it has stopped"),
            };
            let is_overdue = matches!(error, AttemptError::Overdue(_));
            assert_eq!(is_overdue, overdue, "{until:?} {pause:?}");
            assert_eq!(error.stop().is_some(), overdue);
        }
    }
}
