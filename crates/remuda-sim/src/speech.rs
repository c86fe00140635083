//! Brings an answer to the client, streamed or whole, in the voice of the route that asked.

use hyper::StatusCode;

use super::answer::Call;
use super::body::Body;
use super::generation::{Done, Event, Generation};
use super::reply::{Refusal, Reply, with_type};

/// How one route words what happens in an answer.
pub(super) trait Voice: Send + 'static {
    /// Content types of a streamed and of a whole answer.
    const STREAM_TYPE: &'static str;

    /// The bytes that tell of one event; may be empty.
    fn stream(&mut self, event: Event) -> Vec<u8>;

    /// The answer in one piece.
    fn whole(&mut self, whole: Whole) -> Reply;
}

/// An answer that has been collected.
pub(super) struct Whole {
    pub(super) thinking: String,
    pub(super) content: String,
    /// Content as it came, token by token.
    pub(super) tokens: Vec<String>,
    pub(super) calls: Vec<Call>,
    pub(super) done: Done,
}

/// Answers with a stream of what `generation` makes.
pub(super) fn stream<V: Voice>(mut generation: Box<Generation>, mut voice: V) -> Reply {
    let body = Body::flow(|lines| async move {
        loop {
            let event = generation.next().await;
            let last = matches!(event, Event::Done(_) | Event::Error(_));
            let bytes = voice.stream(event);
            if last {
                // The slot is free before the client can know that the answer is complete.
                drop(generation);
                // No receiver, no client: there is nobody to tell.
                let _ = lines.send(bytes.into()).await;
                return;
            }
            if !bytes.is_empty() && lines.send(bytes.into()).await.is_err() {
                return;
            }
        }
    });
    with_type(StatusCode::OK, V::STREAM_TYPE, body)
}

/// Answers with all that `generation` makes at once.
pub(super) async fn whole<V: Voice>(
    mut generation: Box<Generation>,
    mut voice: V,
) -> Result<Reply, Refusal> {
    let (mut thinking, mut tokens, mut calls) = (String::new(), Vec::new(), Vec::new());
    let done = loop {
        match generation.next().await {
            Event::Thinking(text) => thinking.push_str(&text),
            Event::Content(text) => tokens.push(text.into_owned()),
            Event::Calls(more) => calls.extend(more),
            Event::Error(message) => return Err(Refusal::internal(message)),
            Event::Done(done) => break done,
        }
    };
    drop(generation);
    Ok(voice.whole(Whole {
        thinking,
        content: tokens.concat(),
        tokens,
        calls,
        done,
    }))
}
