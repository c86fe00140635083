//! An answer as it comes: the same events for every provider, streamed or whole.

use std::borrow::Cow;

use super::{Fault, Json, Text};

/// One step of an answer. Texts are increments and belong to the piece that is being read.
///
/// Order: at most one [`Event::Start`]; then content; then one [`Event::Finish`], told only when nothing more of the
/// answer can come; usage at any time, later values replacing earlier ones; then one [`Event::End`]. Or, at any time
/// and as the last, [`Event::Failed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The provider's id of the answer and the model that answers, where it says so.
    Start {
        id: Option<Text<'a>>,
        model: Option<Text<'a>>,
    },
    /// How the provider serves it: OpenAI's `service_tier` and `system_fingerprint`. At any time; what a later one
    /// states replaces what an earlier one did.
    Served {
        tier: Option<Text<'a>>,
        fingerprint: Option<Text<'a>>,
    },
    Thinking(Text<'a>),
    /// Ends the thought that came before, with what the provider needs to believe it on replay. `redacted`: a thought
    /// of its own without text (Anthropic's `redacted_thinking`). `id`: OpenAI's id of the `reasoning` item.
    Signature {
        data: Text<'a>,
        redacted: bool,
        id: Option<Text<'a>>,
    },
    /// What the provider needs to believe the text that it stands before or after, not a thought (Gemini's
    /// `thoughtSignature` of a text).
    TextSignature(Text<'a>),
    Text(Text<'a>),
    /// The model declines; shown as text where a format has no place for it.
    Refusal(Text<'a>),
    /// A call begins. Indexes count calls from 0 and are dense; several calls may be open at once.
    ToolStart {
        index: usize,
        /// `None` where the format gives none; the encoder makes one.
        id: Option<Text<'a>>,
        name: Text<'a>,
        /// Gemini's `thoughtSignature` of this call.
        signature: Option<Text<'a>>,
    },
    /// A piece of the arguments' JSON text, as the inside of a string literal (so twice escaped).
    ToolArguments {
        index: usize,
        fragment: Text<'a>,
    },
    /// The call is whole. Without any arguments it has none: `{}`.
    ToolEnd {
        index: usize,
    },
    /// A call that comes whole, in place of the three above.
    ToolCall {
        index: usize,
        id: Option<Text<'a>>,
        name: Text<'a>,
        arguments: Json<'a>,
        signature: Option<Text<'a>>,
    },
    /// A JSON array of `{"token","logprob","bytes","top_logprobs"}`, as Ollama and OpenAI both write them.
    Logprobs(Json<'a>),
    /// What a search found: a JSON array of `{"url","title",…}`.
    Sources(Json<'a>),
    /// Content that only the provider's own format can tell: sound, an image, what a tool of the provider's does. The
    /// answer has begun with it, but no other format is told.
    Foreign,
    Usage(Usage),
    Finish {
        reason: Finish,
        /// The stop string that was met, where the provider tells.
        stop: Option<Text<'a>>,
    },
    /// The provider's own terminator has come, or the body ended properly after [`Event::Finish`]. It is told as soon
    /// as the terminator has been read, whether or not the body goes on.
    End,
    /// The provider failed, or the body ended before its proper end.
    Failed(Cow<'a, Fault>),
    /// Nothing new; the provider shows that it lives.
    Ping,
    /// An event or a line of the stream could not be read and was passed over; what follows may still be read. The
    /// answer is broken only if nothing that can be read follows.
    Malformed,
    /// The answer comes whole though a stream was asked for, or in pieces though it should be whole; told before the
    /// rest. A translation can use it; bytes that pass as they came are not what the client waits for.
    Reframed,
}

/// What an event tells of a call besides its arguments.
#[derive(Clone, Copy, Debug)]
pub struct CallHead<'e> {
    pub index: usize,
    /// `None` where the format gives none; the encoder makes one.
    pub id: Option<&'e Text<'e>>,
    pub name: &'e Text<'e>,
    /// Gemini's `thoughtSignature` of this call.
    pub signature: Option<&'e Text<'e>>,
}

impl Event<'_> {
    /// Returns the head of the call that begins with this event or is told by it as a whole.
    pub fn call_head(&self) -> Option<CallHead<'_>> {
        match self {
            Event::ToolStart {
                index,
                id,
                name,
                signature,
            }
            | Event::ToolCall {
                index,
                id,
                name,
                signature,
                ..
            } => Some(CallHead {
                index: *index,
                id: id.as_ref(),
                name,
                signature: signature.as_ref(),
            }),
            _ => None,
        }
    }

    /// Returns whether the client's answer has begun with it: until then another backend may be tried.
    pub fn is_content(&self) -> bool {
        match self {
            Event::Thinking(text) | Event::Text(text) | Event::Refusal(text) => !text.is_empty(),
            Event::ToolStart { .. }
            | Event::ToolCall { .. }
            | Event::Signature { .. }
            | Event::Foreign
            | Event::Finish { .. }
            | Event::End => true,
            _ => false,
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done, or met a stop string.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// The context was full.
    ContextFull,
    ToolCalls,
    /// Filtered by the provider, or refused by the model.
    Filtered,
    /// Ollama loaded or unloaded a model; there is no text.
    Load,
    Unload,
}

/// Tokens and times, as far as a provider tells. A later value replaces an earlier one; absent ones do not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// All tokens of the prompt, cached ones included.
    pub prompt: Option<u64>,
    /// Those of `prompt` that were read from a cache.
    pub cache_read: Option<u64>,
    /// Those of `prompt` that were written to a cache.
    pub cache_write: Option<u64>,
    /// Those of `cache_write` that are kept for an hour, which costs more.
    pub cache_write_hour: Option<u64>,
    /// All tokens of the answer, reasoning included.
    pub output: Option<u64>,
    /// Those of `output` that were reasoning.
    pub reasoning: Option<u64>,
    /// US dollars, where the provider tells.
    pub cost: Option<f64>,
    /// Nanoseconds, from Ollama or llama.cpp.
    pub load_duration: Option<u64>,
    pub prompt_duration: Option<u64>,
    pub output_duration: Option<u64>,
    pub total_duration: Option<u64>,
}

/// The largest count of tokens that is believed, some thousand times the largest context of any model.
const MOST_TOKENS: u64 = 1 << 32;

impl Usage {
    /// Takes over what `later` states. A count that no answer can have, or a cost below nothing, is not believed: it
    /// would use up the limits and the budget of the key that asked.
    pub fn update(&mut self, later: &Usage) {
        fn take<T: Copy>(into: &mut Option<T>, from: Option<T>) {
            if from.is_some() {
                *into = from;
            }
        }
        let count = |told: Option<u64>| told.filter(|tokens| *tokens <= MOST_TOKENS);
        take(&mut self.prompt, count(later.prompt));
        take(&mut self.cache_read, count(later.cache_read));
        take(&mut self.cache_write, count(later.cache_write));
        take(&mut self.cache_write_hour, count(later.cache_write_hour));
        take(&mut self.output, count(later.output));
        take(&mut self.reasoning, count(later.reasoning));
        let cost = later
            .cost
            .filter(|dollars| dollars.is_finite() && *dollars >= 0.0);
        take(&mut self.cost, cost);
        take(&mut self.load_duration, later.load_duration);
        take(&mut self.prompt_duration, later.prompt_duration);
        take(&mut self.output_duration, later.output_duration);
        take(&mut self.total_duration, later.total_duration);
    }

    /// Returns the tokens of prompt and answer together.
    pub fn total(&self) -> u64 {
        self.prompt
            .unwrap_or(0)
            .saturating_add(self.output.unwrap_or(0))
    }
}

/// Reads one provider's streamed answer.
///
/// Pieces are split anywhere. An event or line that cannot be read becomes [`Event::Malformed`], and the next is read;
/// after [`Event::Failed`] and [`Event::End`] nothing more is emitted.
pub trait Decode: Send {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>));

    /// The body has come to its end: [`Event::End`] if it was proper and has not been emitted, else [`Event::Failed`].
    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>));

    /// Returns whether all of the answer has come, its reason to end and its usage included, so that nothing is missing
    /// but a terminator that not every server sends. Asked between two events.
    fn lacks_nothing(&self) -> bool {
        false
    }

    /// Returns whether an answer whose bytes have passed to a client of the same format has told it of nothing but words that
    /// may go on: no part of it was closed, no call has begun, and nothing has been numbered that another answer would number
    /// anew. Asked between two events.
    fn is_amid_words(&self) -> bool {
        true
    }
}

/// Writes one client's streamed answer.
pub trait Encode: Send {
    /// Appends what `event` makes the client's stream say: nothing, one line or event, or several.
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_costs_that_cannot_be_are_not_believed() {
        let mut usage = Usage {
            prompt: Some(5),
            cost: Some(0.5),
            ..Usage::default()
        };
        usage.update(&Usage {
            prompt: Some(u64::MAX),
            output: Some(MOST_TOKENS + 1),
            cost: Some(-1.0),
            ..Usage::default()
        });
        assert_eq!(
            (usage.prompt, usage.output, usage.cost),
            (Some(5), None, Some(0.5))
        );
        usage.update(&Usage {
            output: Some(7),
            cost: Some(f64::NAN),
            ..Usage::default()
        });
        assert_eq!((usage.output, usage.cost), (Some(7), Some(0.5)));
    }
}
