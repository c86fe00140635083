//! Embeddings: what is asked for, and the vectors.

use serde::de::IgnoredAny;

use super::{Dropped, Fault, Local, Refused, Text, Usage};

#[derive(Clone, Debug, PartialEq)]
pub struct EmbedRequest<'a> {
    pub input: EmbedInput<'a>,
    /// Length of the vectors; a provider that cannot cut them refuses.
    pub dimensions: Option<u32>,
    /// Ollama's `truncate`: whether a text that is too long is cut (default) or refused.
    pub truncate: Option<bool>,
    pub user: Option<Text<'a>>,
    /// What only an Ollama server can do.
    pub local: Local<'a>,
    pub dropped: Dropped,
}

/// Inputs of one request that are translated, OpenAI's own limit; a provider may get them in several calls.
pub const MOST_INPUTS: usize = 2048;

/// Numbers of all vectors of one answer: [`MOST_INPUTS`] of the longest that models make.
const MOST_NUMBERS: usize = MOST_INPUTS * 4096;

impl EmbedRequest<'_> {
    /// # Errors
    /// If there are more inputs than [`MOST_INPUTS`].
    pub fn bounded(&self) -> Result<(), Refused> {
        let count = match &self.input {
            EmbedInput::Texts(texts) => texts.len(),
            EmbedInput::Tokens(tokens) => {
                serde_json::from_str::<Vec<IgnoredAny>>(tokens.as_str()).map_or(0, |all| all.len())
            }
        };
        if count <= MOST_INPUTS {
            Ok(())
        } else {
            Err(Refused::field(
                "input",
                format!(
                    "`input` has {count} entries; this model's provider can be sent {MOST_INPUTS} at most, so send them in several requests"
                ),
            ))
        }
    }
}

/// What is to be embedded.
#[derive(Clone, Debug, PartialEq)]
pub enum EmbedInput<'a> {
    /// One text or several; empty asks Ollama to load the model.
    Texts(Vec<Text<'a>>),
    /// OpenAI's token numbers; only OpenAI and vLLM take them. Kept as a JSON array of arrays.
    Tokens(super::Json<'a>),
}

/// Vectors in the order of the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    pub vectors: Vec<Vec<f32>>,
    pub usage: Usage,
}

impl Embeddings {
    /// Takes over the vectors of a further call.
    ///
    /// # Errors
    /// If they and those of the calls before are more than an answer may hold.
    pub fn extend(&mut self, more: Vec<Vec<f32>>) -> Result<(), Fault> {
        let count = |vectors: &[Vec<f32>]| vectors.iter().map(Vec::len).sum::<usize>();
        let further = !self.vectors.is_empty();
        let vectors = self.vectors.len() + more.len();
        if further && (vectors > MOST_INPUTS || count(&self.vectors) + count(&more) > MOST_NUMBERS)
        {
            return Err(Fault::garbled(
                "the provider's answer has more vectors than were asked for",
            ));
        }
        self.vectors.extend(more);
        Ok(())
    }

    /// Scales every vector to length 1, as Ollama's `/api/embed` gives them.
    pub fn normalise(&mut self) {
        for vector in &mut self.vectors {
            to_unit_length(vector);
        }
    }
}

/// Scales a vector to length 1; one of length 0 stays.
pub fn to_unit_length(vector: &mut [f32]) {
    let length = vector
        .iter()
        .map(|value| f64::from(*value).powi(2))
        .sum::<f64>()
        .sqrt();
    // Vectors that have length 1 already stay bit for bit.
    if length > 0.0 && (length - 1.0).abs() > 1e-6 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_calls_give_is_bounded_together() {
        let of = |vectors: usize, length: usize| vec![vec![0.0; length]; vectors];
        let mut all = Embeddings::default();
        assert!(all.extend(of(1, 0)).is_ok());
        // However short the first one was.
        assert!(all.extend(of(1, MOST_NUMBERS + 1)).is_err());
        assert!(all.extend(of(MOST_INPUTS, 1)).is_err());
        assert!(all.extend(of(MOST_INPUTS - 1, 16)).is_ok());
        assert!(all.extend(of(1, 1)).is_err());
        // The bound of a single answer is that of its bytes.
        let mut one = Embeddings::default();
        assert!(one.extend(of(MOST_INPUTS + 1, 1)).is_ok());
    }

    #[test]
    fn vectors_get_length_one() {
        let mut embeddings = Embeddings {
            vectors: vec![vec![3.0, 4.0], vec![0.0, 0.0], vec![0.6, 0.8]],
            usage: Usage::default(),
        };
        embeddings.normalise();
        assert_eq!(
            embeddings.vectors,
            [vec![0.6, 0.8], vec![0.0, 0.0], vec![0.6, 0.8]]
        );
    }
}
