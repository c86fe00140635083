//! Embeddings: what is asked for, and the vectors.

use super::{Dropped, Local, Text, Usage};

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
