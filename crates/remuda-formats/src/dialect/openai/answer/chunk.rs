//! What an answer, or a piece of one, looks like. Fields that servers shape differently are kept as they were written.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::field::Field;
use super::super::usage::Counts;

/// A chunk of a stream, or a whole answer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) id: Field<'a>,
    pub(super) model: Field<'a>,
    pub(super) service_tier: Field<'a>,
    pub(super) system_fingerprint: Field<'a>,
    pub(super) choices: Option<Choices<'a>>,
    pub(super) usage: Option<Counts<'a>>,
    pub(super) timings: Option<Timings>,
    pub(super) error: Field<'a>,
    /// The error of a server that is made with FastAPI.
    pub(super) detail: Field<'a>,
    /// The errors as Cloudflare tells them.
    pub(super) errors: Field<'a>,
    /// What a gateway in front of the server says.
    pub(super) message: Field<'a>,
    /// `error` in errors of old versions of vLLM, whose message stands beside it.
    pub(super) object: Field<'a>,
    #[serde(rename = "type")]
    pub(super) kind: Field<'a>,
    /// The sources as Perplexity's resellers tell them.
    pub(super) search_results: Field<'a>,
    pub(super) citations: Field<'a>,
}

/// The choices of a chunk: the one that is numbered 0 is the answer.
#[derive(Default)]
pub(super) struct Choices<'a> {
    pub(super) answer: Option<Choice<'a>>,
    /// Nearly always none, for which nothing is allocated.
    pub(super) others: Vec<Choice<'a>>,
}

impl Choices<'_> {
    /// Takes the first choice for the answer where none is numbered 0: there is no chunk that could still bring it.
    pub(super) fn with_answer(mut self) -> Self {
        if self.answer.is_none() && !self.others.is_empty() {
            self.answer = Some(self.others.remove(0));
        }
        self
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = Choices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Choices<'de>, A::Error> {
                let mut choices = Choices::default();
                while let Some(choice) = items.next_element::<Choice<'de>>()? {
                    if choices.answer.is_none() && choice.number() == 0 {
                        choices.answer = Some(choice);
                    } else {
                        choices.others.push(choice);
                    }
                }
                Ok(choices)
            }
        }

        deserializer.deserialize_seq(Items)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    index: Field<'a>,
    pub(super) delta: Option<Delta<'a>>,
    /// The message of a whole answer.
    pub(super) message: Option<Delta<'a>>,
    /// The text of a completion.
    pub(super) text: Field<'a>,
    pub(super) finish_reason: Field<'a>,
    /// vLLM's: the stop string that was met, or the number of its token.
    pub(super) stop_reason: Field<'a>,
    pub(super) logprobs: Field<'a>,
    /// The error of the one choice, as OpenRouter tells it.
    pub(super) error: Field<'a>,
}

impl Choice<'_> {
    /// Returns its place among several; one alone need not have any.
    pub(super) fn number(&self) -> u64 {
        let number = self.index.and_then(|index| index.get().parse().ok());
        number.unwrap_or(0)
    }

    /// Returns whether it seems to say anything.
    pub(super) fn speaks(&self) -> bool {
        let says =
            |field: Field<'_>| field.is_some_and(|value| !matches!(value.get(), "\"\"" | "[]"));
        let delta = self.delta.as_ref().or(self.message.as_ref());
        let told = delta.is_some_and(|delta| {
            let texts = [
                delta.content,
                delta.refusal,
                delta.reasoning,
                delta.reasoning_content,
            ];
            texts.into_iter().chain([delta.tool_calls]).any(says) || delta.function_call.is_some()
        });
        says(self.text) || told
    }
}

/// A message, or what is added to it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) content: Field<'a>,
    pub(super) refusal: Field<'a>,
    pub(super) reasoning: Field<'a>,
    pub(super) reasoning_content: Field<'a>,
    pub(super) reasoning_text: Field<'a>,
    pub(super) reasoning_details: Field<'a>,
    /// A list of [`CallDelta`]. Most deltas have none, and what has it in place is larger to move.
    pub(super) tool_calls: Field<'a>,
    /// The form of 2023.
    pub(super) function_call: Option<FunctionDelta<'a>>,
    pub(super) annotations: Field<'a>,
    pub(super) audio: Field<'a>,
    /// The pictures that OpenRouter has in an answer.
    pub(super) images: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CallDelta<'a> {
    #[serde(borrow)]
    pub(super) index: Field<'a>,
    pub(super) id: Field<'a>,
    pub(super) function: Option<FunctionDelta<'a>>,
    pub(super) custom: Option<CustomDelta<'a>>,
}

/// A call of a custom tool.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CustomDelta<'a> {
    #[serde(borrow)]
    pub(super) name: Field<'a>,
    pub(super) input: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionDelta<'a> {
    #[serde(borrow)]
    pub(super) name: Field<'a>,
    /// A text, or from some servers the object.
    pub(super) arguments: Field<'a>,
}

/// A part of `content` where it is a list.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'a> {
    #[serde(borrow)]
    pub(super) text: Field<'a>,
    /// Mistral's: a text or a list of texts.
    pub(super) thinking: Field<'a>,
}

/// llama.cpp's, in milliseconds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    pub(super) prompt_ms: Option<f64>,
    pub(super) predicted_ms: Option<f64>,
}
