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
    pub(super) choices: Option<Few<Choice<'a>>>,
    pub(super) usage: Option<Counts<'a>>,
    pub(super) timings: Option<Timings>,
    pub(super) error: Field<'a>,
    /// FastAPI's error.
    pub(super) detail: Field<'a>,
    /// `error` in errors of old versions of vLLM, whose message stands beside it.
    pub(super) object: Field<'a>,
    /// Of Perplexity's resellers.
    pub(super) search_results: Field<'a>,
    pub(super) citations: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    /// In a whole answer.
    pub(super) message: Option<Delta<'a>>,
    /// In a completion.
    pub(super) text: Field<'a>,
    pub(super) finish_reason: Field<'a>,
    /// vLLM's: the stop string that was met, or the number of its token.
    pub(super) stop_reason: Field<'a>,
    pub(super) logprobs: Field<'a>,
    /// OpenRouter's.
    pub(super) error: Field<'a>,
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
    pub(super) reasoning_details: Field<'a>,
    pub(super) tool_calls: Option<Few<CallDelta<'a>>>,
    /// The form of 2023.
    pub(super) function_call: Option<FunctionDelta<'a>>,
    pub(super) annotations: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CallDelta<'a> {
    #[serde(borrow)]
    pub(super) index: Field<'a>,
    pub(super) id: Field<'a>,
    pub(super) function: Option<FunctionDelta<'a>>,
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

/// A list that mostly has one element, which then needs no allocation.
pub(super) struct Few<T> {
    first: Option<T>,
    rest: Vec<T>,
}

impl<T> Few<T> {
    pub(super) fn into_first(self) -> Option<T> {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = T> {
        self.first.into_iter().chain(self.rest)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut few = Few {
                    first: list.next_element()?,
                    rest: Vec::new(),
                };
                while let Some(element) = list.next_element()? {
                    few.rest.push(element);
                }
                Ok(few)
            }
        }

        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}
