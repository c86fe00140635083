//! Bodies: of responses, whole or as lines made while the connection reads them; and of requests, read to their end.
//!
//! A flowing body owns the work that makes its lines, so dropping it (the client is gone) ends the work at once.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// The largest body that is read: Ollama has no bound, but this process is one of many.
const MAX_BODY: usize = 1 << 30;

/// Where the work of a flowing body puts its lines.
pub(super) type Lines = mpsc::Sender<Bytes>;

pub(super) enum Body {
    Whole(Option<Bytes>),
    Flow(Flow),
}

pub(super) struct Flow {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lines: mpsc::Receiver<Bytes>,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// A body of the lines that `work` sends; it ends when `work` does.
    pub(super) fn flow<F>(work: impl FnOnce(Lines) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // One line ahead of the connection: enough to keep both busy, and bounded.
        let (sender, lines) = mpsc::channel(1);
        Self::Flow(Flow {
            work: Some(Box::pin(work(sender))),
            lines,
        })
    }
}

impl Flow {
    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(work) = self.work.as_mut()
            && work.as_mut().poll(context).is_ready()
        {
            self.work = None;
        }
        self.lines.poll_recv(context)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Flow(flow) => flow
                .poll_line(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Flow(_) => SizeHint::default(),
        }
    }
}

/// Reads a whole body; `None` if it breaks off or is too large.
pub(super) async fn collect(body: Incoming) -> Option<Bytes> {
    let collected = Limited::new(body, MAX_BODY).collect().await;
    collected.ok().map(|body| body.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn lines_arrive_in_order_and_the_body_ends() {
        let body = Body::flow(|lines| async move {
            for line in ["a\n", "b\n", "c\n"] {
                lines.send(Bytes::from(line)).await.unwrap();
            }
        });
        assert_eq!(body.collect().await.unwrap().to_bytes(), "a\nb\nc\n");
    }

    #[tokio::test]
    async fn dropping_the_body_drops_its_work() {
        let held = Arc::new(());
        let inside = held.clone();
        let mut body = Body::flow(|lines| async move {
            let _inside = inside;
            lines.send(Bytes::from("a\n")).await.unwrap();
            std::future::pending::<()>().await;
        });
        body.frame().await.unwrap().unwrap();
        assert_eq!(Arc::strong_count(&held), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
