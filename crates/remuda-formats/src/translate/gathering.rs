//! An answer that passes to a client who wants it whole, from a server that was asked to stream it: so its first token and
//! every pause are seen. It is read as any stream that passes, and put together as its server would have said it.

use super::answer::Ending;
use super::passing::Passing;
use crate::client::Operation;
use crate::dialect::ollama::Joined;
use crate::ir::{Class, Fault, FaultKind};

/// Bytes of an answer that is put together, as many as of one that is translated.
const MAX_WHOLE: usize = 96 << 20;

/// The reader of one such answer.
pub struct Gathering {
    passing: Passing,
    joined: Option<Joined>,
    too_large: Option<Fault>,
    out: Vec<u8>,
}

impl Gathering {
    /// Creates a gatherer; `None` for an operation whose answers do not come as lines that can be put together.
    pub fn of(operation: Operation) -> Option<Self> {
        let joined = match operation {
            Operation::Chat => Joined::chat(),
            Operation::Generate => Joined::generate(),
            _ => return None,
        };
        Some(Gathering {
            passing: Passing::new(operation, true),
            joined: Some(joined),
            too_large: None,
            out: Vec::new(),
        })
    }

    /// Returns the reader of the stream itself.
    pub fn stream(&self) -> &Passing {
        &self.passing
    }

    /// Returns the same.
    pub fn stream_mut(&mut self) -> &mut Passing {
        &mut self.passing
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, piece: &[u8]) {
        let Some(joined) = &mut self.joined else {
            return;
        };
        joined.feed(self.passing.feed(piece));
        if joined.size() > MAX_WHOLE {
            let what = "the provider's answer is larger than this gateway reads";
            self.too_large = Some(Fault::new(Class::Transient, FaultKind::Garbled, what));
            self.joined = None;
        }
    }

    /// Returns why there is no answer.
    pub fn fault(&self) -> Option<&Fault> {
        self.too_large.as_ref().or(self.passing.fault())
    }

    /// Settles a stream of which nothing comes any more although the body is open. Returns whether the answer is over
    /// for all that.
    pub fn settle(&mut self) -> bool {
        let rest = self.passing.settle();
        match (rest, &mut self.joined) {
            (Some(rest), Some(joined)) => {
                joined.feed(rest);
                true
            }
            _ => false,
        }
    }

    /// Ends the stream, and returns the whole answer.
    pub fn finish(&mut self) -> (Ending, &[u8]) {
        let (ending, rest) = self.passing.finish();
        if let Some(mut joined) = self.joined.take()
            && ending == Ending::Complete
        {
            joined.feed(rest);
            self.out = joined.finish();
            return (ending, &self.out);
        }
        (Ending::Failed, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"one\"},\"done\":false}\n{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\" two\"},\"done\":true,\"done_reason\":\"stop\",\"eval_count\":2}\n";

    fn gathered(stream: &str, at: usize) -> (Gathering, Ending, String) {
        let mut gathering = Gathering::of(Operation::Chat).unwrap();
        gathering.stream_mut().begin(true, None);
        for piece in stream.as_bytes().chunks(at) {
            gathering.feed(piece);
        }
        let (ending, whole) = gathering.finish();
        let whole = String::from_utf8(whole.to_vec()).unwrap();
        (gathering, ending, whole)
    }

    #[test]
    fn a_stream_is_put_together_and_what_it_cost_is_known() {
        for at in 1..80 {
            let (gathering, ending, whole) = gathered(LINES, at);
            assert_eq!(ending, Ending::Complete);
            assert_eq!(
                whole,
                r#"{"model":"m","message":{"role":"assistant","content":"one two"},"done":true,"done_reason":"stop","eval_count":2}"#
            );
            let usage = gathering.stream().usage().unwrap();
            assert_eq!(usage.output, Some(2));
        }
    }

    #[test]
    fn what_breaks_off_or_fails_is_none() {
        let cut = &LINES[..LINES.len() - 30];
        let error = format!(
            "{}{{\"error\":\"out of memory\"}}\n",
            LINES.split_inclusive('\n').next().unwrap()
        );
        for stream in [cut, &error, ""] {
            let (gathering, ending, whole) = gathered(stream, 7);
            assert_eq!((ending, &*whole), (Ending::Failed, ""), "{stream}");
            assert!(gathering.fault().is_some(), "{stream}");
        }
    }

    #[test]
    fn only_lines_of_texts_are_put_together() {
        assert!(Gathering::of(Operation::Generate).is_some());
        for operation in [
            Operation::Embed,
            Operation::OpenAiImages,
            Operation::OpenAiChat,
        ] {
            assert!(Gathering::of(operation).is_none());
        }
    }
}
