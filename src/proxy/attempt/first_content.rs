//! Reads an answer until its first content: until then the client has seen nothing, and a failure may be answered with the
//! next candidate.

use bytes::BytesMut;
use http::header;
use pingora::http::ResponseHeader;
use tokio::time::timeout;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::error_status::judge_error;
use crate::proxy::attempt::reader::{AnswerReader, LAST_END};
use crate::proxy::failure::attempt::AttemptError;
use crate::proxy::prepared::ModelRequest;
use remuda_formats::client::Operation;
use remuda_formats::ir::{Class, Fault, FaultKind};

/// Bytes of an answer that may come without content: what Ollama's own client accepts as a line.
const MAX_BEGINNING: usize = 8 * 1024 * 1024;

/// Reads the answer until its first content, its end, or a fault, which its reader knows then.
///
/// # Errors
/// The reason why there is no answer, if its head or its connection tells it.
pub(super) async fn first_content(
    answer: &mut UpstreamAnswer,
    request: &ModelRequest,
    backend: &Backend,
) -> Result<(), AttemptError> {
    let upstream = &mut answer.upstream;
    let head = upstream.head().ok_or_else(AttemptError::reset)?;
    answer.reader.begin(head);
    if !head.status.is_success() {
        return Err(judge_error(answer, backend, request.operation).await);
    }
    if let Some(fault) = unusable(head, upstream.is_unreadable(), request.operation) {
        return Err(AttemptError::of_fault(&fault, backend));
    }
    read_beginning(answer, request.operation).await
}

/// Returns why an answer of status 200 is none, whatever its body holds; `is_packed` if it is compressed in a way that cannot be
/// undone.
fn unusable(head: &ResponseHeader, is_packed: bool, operation: Operation) -> Option<Fault> {
    if is_packed {
        let what = "the provider's answer is compressed in a way that was not asked for (Content-Encoding) and is neither gzip nor deflate nor zstd";
        return Some(Fault::garbled(what));
    }
    if operation.is_inference() && is_page(head) {
        let what = "the provider answered with a web page: its address is not that of an API";
        return Some(Fault::new(Class::Route, FaultKind::Garbled, what));
    }
    None
}

/// Returns whether an answer is HTML, which no API answers with, but a login page or a portal in between does.
fn is_page(head: &ResponseHeader) -> bool {
    const PAGE: &[u8] = b"text/html";
    head.headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().get(..PAGE.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(PAGE))
}

/// Reads until the answer has begun: its first content in a whole line or event, its end, or a fault.
async fn read_beginning(
    answer: &mut UpstreamAnswer,
    operation: Operation,
) -> Result<(), AttemptError> {
    let UpstreamAnswer {
        upstream,
        begun,
        reader,
        ended,
        ..
    } = answer;
    // A look-up is held as well: another server may know better than one that answers with nonsense.
    let waits = operation.is_inference() || operation == Operation::Show;
    *ended = loop {
        if reader.gathers() && upstream.done() {
            break true;
        }
        let piece = if reader.nearly_over() {
            match timeout(LAST_END, upstream.read_piece()).await {
                Ok(piece) => piece,
                Err(_) => break after_silence(reader, begun)?,
            }
        } else {
            upstream.read_piece().await
        };
        match piece {
            Ok(Some(piece)) => begun.extend_from_slice(reader.feed(piece)),
            Ok(None) => break true,
            Err(_) => return Err(AttemptError::reset()),
        }
        match after_piece(reader, begun.len(), upstream.done(), waits) {
            AfterPiece::Piece => {}
            AfterPiece::Client { ended } => break ended,
            AfterPiece::TooLong => return Err(AttemptError::reset()),
        }
    };
    Ok(())
}

/// What follows a piece that was read before the client has seen anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterPiece {
    /// The next piece is read.
    Piece,
    /// The client gets what there is; `ended` if that is the whole answer.
    Client { ended: bool },
    /// More has come without content than any answer has.
    TooLong,
}

/// Decides what follows a piece that the reader has taken. `begun` is how many bytes there are for the client, `done` says whether
/// the body has come to its end, and `waits` whether the answer is held until its first content.
fn after_piece(reader: &AnswerReader, begun: usize, done: bool, waits: bool) -> AfterPiece {
    // What is composed ends when its reader is told so.
    let done = done && !reader.composes();
    if reader.over() || reader.cut() {
        // What is gathered is written when its reader is told that this was all.
        let gathered = reader.composes() && !reader.streams() && reader.fault().is_none();
        let ended = gathered || done;
        return AfterPiece::Client { ended };
    }
    // Of what is gathered nothing is for the client yet, and what is translated whole begins at its end.
    let gathered = reader.gathers() && (reader.begun() || reader.content_units() > 0);
    let begins = if reader.gathers() {
        gathered
    } else {
        reader.begun() && (begun > 0 || reader.is_withheld())
    };
    if begins || !waits {
        AfterPiece::Client { ended: done }
    } else if begun > MAX_BEGINNING && !reader.gathers() {
        AfterPiece::TooLong
    } else {
        AfterPiece::Piece
    }
}

/// Decides what a silence means at the end of an answer of which nothing is missing but the end of its framing. Returns whether the
/// answer is whole.
///
/// # Errors
/// A timeout, if the answer is not over after all.
fn after_silence(reader: &mut AnswerReader, begun: &mut BytesMut) -> Result<bool, AttemptError> {
    if reader.is_one_body() {
        return Ok(true);
    }
    // A terminator whose own end does not come is one.
    let rest = reader.settle().ok_or_else(AttemptError::timed_out)?;
    begun.extend_from_slice(rest);
    Ok(reader.gathers() && reader.fault().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::AttemptOutcome;
    use remuda_formats::translate::{Gathering, Passing};

    const EMPTY: &str =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":false}\n";
    const WORD: &str =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n";
    const LAST: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n";
    const ERROR: &str = "{\"error\":\"it has stopped\"}\n";
    const WHOLE: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":true,\"done_reason\":\"stop\"}";

    fn head(kind: &str) -> ResponseHeader {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header(header::CONTENT_TYPE, kind).unwrap();
        head
    }

    fn passing(streams: bool) -> AnswerReader {
        AnswerReader::same(Passing::new(Operation::Chat, streams))
    }

    fn gathering() -> AnswerReader {
        let gathering = Gathering::of(Operation::Chat).expect("chats are gathered");
        AnswerReader::Gathered(Box::new(gathering))
    }

    /// Feeds these pieces to a reader, and returns how many bytes there are for the client.
    fn fed(reader: &mut AnswerReader, pieces: &[&str]) -> usize {
        let kind = if reader.is_one_body() {
            "application/json"
        } else {
            "application/x-ndjson"
        };
        reader.begin(&head(kind));
        let pieces = pieces.iter();
        pieces
            .map(|piece| reader.feed(piece.as_bytes()).len())
            .sum()
    }

    #[test]
    fn a_page_and_a_body_that_cannot_be_unpacked_are_no_answers() {
        use Operation::{Chat, Tags};
        for (kind, is_packed, operation, expected) in [
            ("application/json", false, Chat, None),
            ("text/html; charset=utf-8", false, Chat, Some(Class::Route)),
            ("TEXT/HTML", false, Chat, Some(Class::Route)),
            ("text/plain", false, Chat, None),
            // Nobody but a model has to answer in JSON.
            ("text/html", false, Tags, None),
            ("application/json", true, Chat, Some(Class::Transient)),
            ("application/json", true, Tags, Some(Class::Transient)),
        ] {
            let fault = unusable(&head(kind), is_packed, operation);
            let class = fault.map(|fault| fault.class);
            assert_eq!(class, expected, "{kind} {is_packed} {operation:?}");
        }
        let bare = ResponseHeader::build(200, None).unwrap();
        assert!(unusable(&bare, false, Chat).is_none());
    }

    #[test]
    fn a_stream_is_shown_from_its_first_content_and_a_whole_answer_from_its_end() {
        let shown = |ended| AfterPiece::Client { ended };
        for (name, mut reader, pieces, done, expected) in [
            (
                "no content yet",
                passing(true),
                &[EMPTY][..],
                false,
                AfterPiece::Piece,
            ),
            (
                "half a line",
                passing(true),
                &["{\"model\":"],
                false,
                AfterPiece::Piece,
            ),
            (
                "first content",
                passing(true),
                &[EMPTY, WORD],
                false,
                shown(false),
            ),
            ("all of it", passing(true), &[WORD, LAST], true, shown(true)),
            (
                "all but the body's end",
                passing(true),
                &[WORD, LAST],
                false,
                shown(false),
            ),
            ("an error", passing(true), &[ERROR], false, shown(false)),
            (
                "half a body",
                passing(false),
                &["{\"model\":"],
                false,
                AfterPiece::Piece,
            ),
            (
                "nothing of what is gathered",
                gathering(),
                &[EMPTY],
                false,
                AfterPiece::Piece,
            ),
            (
                "the first of what is gathered",
                gathering(),
                &[WORD],
                false,
                shown(false),
            ),
            (
                "all of what is gathered",
                gathering(),
                &[WORD, LAST],
                false,
                shown(true),
            ),
            (
                "an error in what is gathered",
                gathering(),
                &[ERROR],
                true,
                shown(false),
            ),
        ] {
            let begun = fed(&mut reader, pieces);
            let decided = after_piece(&reader, begun, done, true);
            assert_eq!(decided, expected, "{name}");
        }
    }

    #[test]
    fn what_nobody_waits_for_is_shown_at_once() {
        let mut reader = passing(true);
        let begun = fed(&mut reader, &[EMPTY]);
        for done in [false, true] {
            let shown = AfterPiece::Client { ended: done };
            assert_eq!(after_piece(&reader, begun, done, false), shown);
        }
    }

    #[test]
    fn an_answer_without_content_is_bounded() {
        let mut reader = passing(true);
        let _ = fed(&mut reader, &[EMPTY]);
        let decided = |begun| after_piece(&reader, begun, false, true);
        assert_eq!(decided(MAX_BEGINNING), AfterPiece::Piece);
        assert_eq!(decided(MAX_BEGINNING + 1), AfterPiece::TooLong);
    }

    #[test]
    fn a_silence_ends_what_lacks_nothing_but_the_end_of_its_framing() {
        let unended = LAST.trim_end();
        for (name, mut reader, pieces, whole) in [
            ("a body", passing(false), &[WHOLE][..], Some(true)),
            ("a stream", passing(true), &[unended], Some(false)),
            (
                "what is gathered",
                gathering(),
                &[WORD, unended],
                Some(true),
            ),
            ("a stream amid a line", passing(true), &["{\"mod"], None),
            ("what is gathered amid it", gathering(), &[WORD], None),
        ] {
            let _ = fed(&mut reader, pieces);
            let mut begun = BytesMut::new();
            match (after_silence(&mut reader, &mut begun), whole) {
                (Ok(ended), Some(whole)) => assert_eq!(ended, whole, "{name}"),
                (Err(AttemptError::Retryable { outcome, .. }), None) => {
                    assert_eq!(outcome, AttemptOutcome::Timeout, "{name}");
                }
                _ => panic!("{name}"),
            }
            let passes = name == "a stream";
            assert_eq!(begun.is_empty(), !passes, "the client gets the last line");
        }
    }
}
