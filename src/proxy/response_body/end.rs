//! How an answer ends: by its body's end, by its terminator, by what the gateway wants of it, or because it broke off; and
//! what its client is still told then.

use std::borrow::Cow;

use http::HeaderMap;

use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::ctx::Ctx;
use crate::proxy::response_body::outgoing::Outgoing;
use remuda_formats::dialect::blame::is_about_request;
use remuda_formats::translate::Ending;

/// How reading an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its body has come to its proper end.
    Whole,
    /// Its terminator has come; its body may go on.
    Over,
    /// The backend broke it off; the text says how.
    Broken(&'static str),
    /// The gateway ended it; the text says why.
    Cut(&'static str),
    /// The gateway has all that the client wants of it.
    Enough,
    /// It broke off, and the client's stream already says so.
    Told { cut: bool },
}

impl End {
    /// Returns whether it was the gateway that broke the answer off.
    pub(super) fn is_cut(self) -> bool {
        matches!(self, End::Cut(_) | End::Told { cut: true })
    }

    /// Returns whether the answer broke off in a way that cannot be told within its body.
    pub(super) fn is_untold(self) -> bool {
        matches!(self, End::Broken(_) | End::Cut(_))
    }
}

/// Returns the end of an answer whose body may go on; `None` if more of it is wanted.
pub(super) fn early(reader: &AnswerReader) -> Option<End> {
    if reader.fault().is_some() {
        Some(End::Told { cut: false })
    } else if reader.cut() {
        Some(End::Enough)
    } else {
        reader.over().then_some(End::Over)
    }
}

/// Returns how an answer ends of which nothing has come for too long. `overdue` says that its time as a whole is up.
pub(super) fn silent(reader: &mut AnswerReader, outgoing: &mut Outgoing, overdue: bool) -> End {
    if settled(reader, outgoing) {
        early(reader).unwrap_or(End::Over)
    } else if overdue {
        End::Cut("the answer took longer than the setting timeouts.total")
    } else {
        End::Broken("the backend paused for longer than the setting timeouts.between_chunks")
    }
}

/// Returns whether the answer is over although its body is not, of which nothing comes any more.
fn settled(reader: &mut AnswerReader, outgoing: &mut Outgoing) -> bool {
    let rest = reader.settle();
    rest.inspect(|rest| outgoing.push(rest)).is_some()
}

/// Adds what the reader has to say at the end. Returns how the answer stands then, and how it ended as its client knows it.
/// `headers` are asked for only where the body has come to its end.
pub(super) fn last_words<'h>(
    reader: &mut AnswerReader,
    headers: impl FnOnce() -> Cow<'h, HeaderMap>,
    end: End,
    outgoing: &mut Outgoing,
) -> (Ending, End) {
    match end {
        End::Enough | End::Over => (Ending::Complete, end),
        End::Told { .. } => (Ending::Failed, end),
        End::Broken(_) | End::Cut(_) if !reader.streams() => (Ending::Failed, end),
        // Only the transport's own end was missing.
        End::Broken(_) | End::Cut(_) if reader.over() => (Ending::Complete, End::Over),
        // What its client is told waits until it is known whether the answer goes on.
        End::Broken(_) if reader.may_go_on() => (Ending::Failed, end),
        End::Broken(text) | End::Cut(text) => {
            outgoing.push(reader.break_off(text));
            let cut = end.is_cut();
            (Ending::Failed, End::Told { cut })
        }
        End::Whole => {
            let (ending, last) = reader.finish(&headers());
            outgoing.push(last);
            (ending, end)
        }
    }
}

/// Notes what the reader knows by now: what the answer cost, how much of it there is, and whose fault its error is.
pub(super) fn note(ctx: &mut Ctx, reader: &AnswerReader) {
    ctx.outcome.usage = reader.usage();
    ctx.outcome.output_so_far = reader.output_so_far();
    ctx.outcome.content_lines = reader.content_units();
    ctx.outcome.blameless = reader.differs()
        || reader
            .fault()
            .is_some_and(|fault| is_about_request(&fault.message));
}

/// Notes in the context how an answer stands that its server has said all of.
pub(super) fn note_end(ctx: &mut Ctx, reader: &AnswerReader, (ending, end): (Ending, End)) {
    note(ctx, reader);
    ctx.outcome.said = ending == Ending::Complete;
    ctx.outcome.stopped = reader.cut();
    if ending == Ending::Failed && is_success(ctx.outcome.status) {
        ctx.outcome.broken = true;
        ctx.outcome.cut = end.is_cut();
        ctx.outcome.code = Some("broken_stream");
    }
}

/// Returns whether the status is that of an answer and not of an error.
pub(super) fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::http::ResponseHeader;
    use remuda_formats::client::Operation;
    use remuda_formats::translate::Passing;

    const PIECE: &[u8] =
        b"{\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n";
    const LAST: &[u8] = b"{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\
        \"prompt_eval_count\":3,\"eval_count\":5}\n";
    const ERROR: &[u8] = b"{\"error\":\"the runner has died\"}\n";
    const BROKE: End = End::Broken("it broke");
    const SHUT: End = End::Cut("it was shut");

    /// A reader of a chat, and what it gave of these bytes.
    fn fed(streams: bool, bytes: &[u8]) -> (AnswerReader, Outgoing) {
        let mut reader = AnswerReader::same(Passing::new(Operation::Chat, streams));
        let mut head = ResponseHeader::build(200, None).unwrap();
        let kind = if streams {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        head.insert_header("Content-Type", kind).unwrap();
        reader.begin(&head);
        let mut outgoing = Outgoing::default();
        outgoing.push(reader.feed(bytes));
        (reader, outgoing)
    }

    fn both(one: &[u8], other: &[u8]) -> Vec<u8> {
        [one, other].concat()
    }

    #[test]
    fn an_answer_is_over_by_its_terminator_or_by_its_error() {
        for (bytes, expected) in [
            (PIECE.to_vec(), None),
            (both(PIECE, LAST), Some(End::Over)),
            (both(PIECE, ERROR), Some(End::Told { cut: false })),
        ] {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(early(&fed(true, &bytes).0), expected, "{text}");
        }
    }

    #[test]
    fn silence_ends_an_answer_by_what_of_it_has_come_and_by_whose_time_is_up() {
        let of = |bytes: &[u8], overdue| {
            let (mut reader, mut outgoing) = fed(true, bytes);
            silent(&mut reader, &mut outgoing, overdue)
        };
        let unterminated = &both(PIECE, LAST)[..PIECE.len() + LAST.len() - 1];
        for overdue in [false, true] {
            // The last line lacks nothing but its end.
            assert_eq!(of(unterminated, overdue), End::Over, "{overdue}");
        }
        assert!(matches!(of(PIECE, false), End::Broken(text) if text.contains("between_chunks")));
        assert!(matches!(of(PIECE, true), End::Cut(text) if text.contains("timeouts.total")));
    }

    #[test]
    fn what_broke_off_is_told_in_a_stream_and_nowhere_else() {
        use Ending::{Complete, Failed};
        let told = |cut| End::Told { cut };
        let whole = b"{\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":true}";
        for (streams, bytes, end, expected, tells) in [
            (true, PIECE, BROKE, (Failed, told(false)), true),
            (true, PIECE, SHUT, (Failed, told(true)), true),
            (true, LAST, BROKE, (Complete, End::Over), false),
            (true, LAST, End::Whole, (Complete, End::Whole), false),
            (true, LAST, End::Over, (Complete, End::Over), false),
            (true, PIECE, End::Enough, (Complete, End::Enough), false),
            (true, ERROR, told(false), (Failed, told(false)), false),
            (false, &whole[..], End::Whole, (Complete, End::Whole), false),
            (false, &whole[..9], BROKE, (Failed, BROKE), false),
            (false, &whole[..9], SHUT, (Failed, SHUT), false),
        ] {
            let (mut reader, _) = fed(streams, bytes);
            let mut outgoing = Outgoing::default();
            let headers = || Cow::Owned(HeaderMap::new());
            let ended = last_words(&mut reader, headers, end, &mut outgoing);
            assert_eq!(ended, expected, "{end:?} {streams}");
            let text = String::from_utf8_lossy(outgoing.ready()).into_owned();
            assert_eq!(
                text.contains("\"error\""),
                tells,
                "{end:?} {streams}: {text}"
            );
        }
    }

    #[test]
    fn a_stream_without_its_terminator_is_broken_and_says_so() {
        let (mut reader, mut outgoing) = fed(true, PIECE);
        let headers = || Cow::Owned(HeaderMap::new());
        let (ending, end) = last_words(&mut reader, headers, End::Whole, &mut outgoing);
        assert_eq!((ending, end), (Ending::Failed, End::Whole));
        let text = String::from_utf8_lossy(outgoing.ready()).into_owned();
        assert!(text.contains("\"error\""), "{text}");
    }

    #[test]
    fn the_context_tells_who_broke_an_answer_and_whether_it_was_an_answer() {
        use Ending::{Complete, Failed};
        for (status, ended, broken, cut, said) in [
            (200, (Complete, End::Whole), false, false, true),
            (200, (Failed, End::Told { cut: false }), true, false, false),
            (200, (Failed, End::Told { cut: true }), true, true, false),
            (200, (Failed, SHUT), true, true, false),
            // A backend's own refusal that broke off is no broken stream.
            (400, (Failed, BROKE), false, false, false),
        ] {
            let mut ctx = Ctx::default();
            ctx.outcome.status = status;
            note_end(&mut ctx, &fed(true, PIECE).0, ended);
            let outcome = &ctx.outcome;
            let told = (outcome.broken, outcome.cut, outcome.said);
            assert_eq!(told, (broken, cut, said), "{status} {ended:?}");
            assert_eq!(outcome.code, broken.then_some("broken_stream"));
        }
    }
}
