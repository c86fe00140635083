//! Which of OpenAI's two older APIs an answer is read for.

/// Which of the two an answer is for; they differ in where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect::openai) enum Api {
    /// `message`, or `delta` in a stream.
    Chat,
    /// `text`
    Completions,
}
