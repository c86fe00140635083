//! An answer that broke off is written on by the model itself where an Ollama server tells how it renders a chat: the prompt
//! is asked for, and the model is given it with the words that its client has.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora::http::RequestHeader;

use crate::proxy::attempt::reader::AnswerReader;
use remuda_formats::dialect::ollama;

/// What it takes to have an answer written on.
pub(crate) struct Continuation {
    /// Asks for the prompt.
    pub(super) question: Option<(RequestHeader, Bytes)>,
    /// The head of the request for the rest.
    pub(super) head: RequestHeader,
    /// The request for the whole answer.
    pub(super) body: Bytes,
    pub(super) said: String,
    pub(super) tokens: u64,
    pub(super) reader: AnswerReader,
}

impl Continuation {
    /// Returns the request for the rest and what reads its answer, by what the server has answered to the question; `None` if it
    /// has not told the prompt.
    pub(super) fn request(self, answer: &[u8]) -> Option<(RequestHeader, Bytes, AnswerReader)> {
        let body = ollama::going_on(&self.body, answer, &self.said, self.tokens)?;
        let mut head = self.head;
        head.insert_header(CONTENT_LENGTH, body.len()).ok()?;
        Some((head, body.into(), self.reader))
    }
}
