//! What has been said of a streamed answer: its words so far, and whether anything stands in the way of its going on
//! elsewhere.

use crate::ir::{Event, Text};

/// Bytes of an answer, as they stand in JSON, that are kept for its going on elsewhere.
const MAX_SENT: usize = 256 << 10;

/// Why an answer cannot go on elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A call has begun: whoever reads it may have acted on it.
    Call,
    /// The answer has more than words: a proof, probabilities, sources, a refusal, or content of the provider's own.
    Extras,
    /// A thought has followed on words.
    Order,
    /// The answer is longer than what is kept of one.
    Length,
    /// The answer has told why it ends, so that nothing of it is missing.
    Finished,
}

/// What has been said of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    thought: Said,
    words: Said,
    /// The id that the provider gave the answer, as it stands in JSON.
    id: Option<Box<str>>,
    obstacle: Option<Obstacle>,
}

/// One of the two texts of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    /// The text as it stands in JSON.
    inside: String,
    /// In how many pieces it was said.
    pieces: u32,
}

/// How much had been said at some moment.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Mark {
    thought: (usize, u32),
    words: (usize, u32),
}

impl Sent {
    /// Notes what `event` says.
    pub(in super::super) fn note(&mut self, event: &Event<'_>) {
        if self.obstacle.is_some() {
            return;
        }
        match event {
            Event::Text(text) => self.words.push(text),
            Event::Thinking(text) if text.is_empty() => {}
            Event::Thinking(_) if !self.words.inside.is_empty() => {
                return self.bar(Obstacle::Order);
            }
            Event::Thinking(text) => self.thought.push(text),
            Event::Start { id: Some(id), .. } if self.id.is_none() => {
                self.id = Some(id.as_escaped().into());
            }
            Event::ToolStart { .. } | Event::ToolArguments { .. } | Event::ToolCall { .. } => {
                return self.bar(Obstacle::Call);
            }
            Event::Signature { .. }
            | Event::TextSignature(_)
            | Event::Refusal(_)
            | Event::Logprobs(_)
            | Event::Sources(_)
            | Event::Foreign => return self.bar(Obstacle::Extras),
            Event::Finish { .. } => return self.bar(Obstacle::Finished),
            _ => return,
        }
        if self.thought.inside.len() + self.words.inside.len() > MAX_SENT {
            self.bar(Obstacle::Length);
        }
    }

    /// Notes that the answer cannot go on elsewhere, and forgets what was said.
    pub(in super::super) fn bar(&mut self, obstacle: Obstacle) {
        *self = Sent {
            obstacle: Some(obstacle),
            ..Sent::default()
        };
    }

    /// Returns why the answer cannot go on elsewhere; `None` if it may.
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }

    /// Returns how much has been said by now.
    pub(in super::super) fn mark(&self) -> Mark {
        Mark {
            thought: (self.thought.inside.len(), self.thought.pieces),
            words: (self.words.inside.len(), self.words.pieces),
        }
    }

    /// Takes back what was said after `mark`: its client does not get it.
    pub(in super::super) fn rewind(&mut self, mark: Mark) {
        if self.obstacle.is_none() {
            self.thought.cut(mark.thought);
            self.words.cut(mark.words);
        }
    }

    /// Returns the answer's id without the prefix that its format has for it.
    pub(super) fn id(&self) -> Option<&str> {
        const PREFIXES: [&str; 4] = ["chatcmpl-", "cmpl-", "msg_", "resp_"];
        let id = self.id.as_deref()?;
        PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix))
    }

    /// Returns the thought that was said, itself.
    pub(super) fn thought(&self) -> String {
        self.thought.decoded()
    }

    /// Returns the words that were said, themselves.
    pub fn words(&self) -> String {
        self.words.decoded()
    }

    /// Returns in how many pieces it was said, which are about as many tokens.
    pub fn pieces(&self) -> u64 {
        u64::from(self.thought.pieces) + u64::from(self.words.pieces)
    }

    /// Returns whether nothing but words was said, so that the next word is all that is missing.
    pub(super) fn is_words_alone(&self) -> bool {
        self.thought.inside.is_empty() && !self.words.inside.is_empty()
    }

    /// Tells all of it again, in as many pieces as before: some formats number their events.
    pub(super) fn retell(&self, tell: &mut dyn FnMut(&Event<'_>)) {
        self.thought.each(|text| tell(&Event::Thinking(text)));
        self.words.each(|text| tell(&Event::Text(text)));
    }
}

impl Said {
    fn push(&mut self, text: &Text<'_>) {
        if !text.is_empty() {
            self.inside.push_str(text.as_escaped());
            self.pieces += 1;
        }
    }

    fn cut(&mut self, (length, pieces): (usize, u32)) {
        self.inside.truncate(length);
        self.pieces = pieces;
    }

    fn decoded(&self) -> String {
        Text::escaped(&*self.inside).decoded().into_owned()
    }

    fn each(&self, mut tell: impl FnMut(Text<'_>)) {
        let mut rest = Text::escaped(&*self.inside);
        for _ in 1..self.pieces {
            let (piece, left) = rest.split_at_char(1);
            tell(piece);
            rest = left;
        }
        if !rest.is_empty() {
            tell(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Finish, Json, Usage};

    fn text(inside: &str) -> Event<'_> {
        Event::Text(Text::escaped(inside))
    }

    fn thinking(inside: &str) -> Event<'_> {
        Event::Thinking(Text::escaped(inside))
    }

    fn noted(events: &[Event<'_>]) -> Sent {
        let mut sent = Sent::default();
        events.iter().for_each(|event| sent.note(event));
        sent
    }

    #[test]
    fn words_and_thoughts_are_kept_as_they_are_meant() {
        let start = Event::Start {
            id: Some(Text::escaped("chatcmpl-7")),
            model: None,
        };
        let sent = noted(&[
            start,
            thinking("h"),
            thinking("m"),
            text(r"caf\u00"),
            text(r"e9 \ud83d"),
            Event::Usage(Usage::default()),
            Event::Ping,
            text(r"\udc0e"),
            text(""),
        ]);
        assert_eq!(sent.obstacle(), None);
        assert_eq!((&*sent.thought(), &*sent.words()), ("hm", "café 🐎"));
        assert_eq!(sent.id(), Some("7"));
        let mut told = (0, String::new());
        sent.retell(&mut |event| {
            if let Event::Text(text) | Event::Thinking(text) = event {
                told.0 += 1;
                told.1 += text.as_escaped();
            }
        });
        assert_eq!(told, (5, r"hmcaf\u00e9 \ud83d\udc0e".to_owned()));
    }

    #[test]
    fn what_cannot_be_said_twice_bars_the_answer_from_going_on() {
        let call = Event::ToolCall {
            index: 0,
            id: None,
            name: Text::escaped("f"),
            arguments: Json::empty_object(),
            signature: None,
        };
        let finish = Event::Finish {
            reason: Finish::Stop,
            stop: None,
        };
        let long = "x".repeat(MAX_SENT);
        for (event, obstacle) in [
            (call, Some(Obstacle::Call)),
            (Event::Foreign, Some(Obstacle::Extras)),
            (Event::Refusal(Text::escaped("no")), Some(Obstacle::Extras)),
            (Event::Logprobs(Json::trusted("[]")), Some(Obstacle::Extras)),
            (finish, Some(Obstacle::Finished)),
            (thinking("hm"), Some(Obstacle::Order)),
            (thinking(""), None),
            (text(&long), Some(Obstacle::Length)),
            (text(&long[2..]), None),
            (Event::Malformed, None),
        ] {
            let mut sent = noted(&[text("a")]);
            sent.note(&event);
            assert_eq!(sent.obstacle(), obstacle, "{event:?}");
            sent.note(&text("b"));
            assert_eq!(sent.words().is_empty(), obstacle.is_some(), "{event:?}");
        }
    }

    #[test]
    fn what_its_client_does_not_get_is_taken_back() {
        let mut sent = noted(&[thinking("hm"), text("one")]);
        let before = sent.clone();
        let mark = sent.mark();
        sent.note(&text(" two"));
        sent.rewind(mark);
        assert_eq!(sent, before);
    }
}
