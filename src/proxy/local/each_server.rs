//! One request to several servers at once, and one answer made of theirs.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pingora::http::RequestHeader;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin::Page;
use crate::fleet::Backend;
use crate::proxy::attempt::error_status::refuses_key;
use crate::proxy::failure::credentials_refused;
use crate::proxy::upstream::{Connections, Upstream};

/// How many bytes of a whole answer are kept, per backend.
const MAX_ANSWER: usize = 64 * 1024;

/// A message from the exchange with one backend.
pub(super) enum Event {
    Piece(usize, Bytes),
    /// The answer has ended; with the reason, if it has not ended well.
    End(usize, Option<String>),
}

/// The exchange with one of the backends.
pub(super) struct Work {
    pub(super) backend: Arc<Backend>,
    pub(super) head: RequestHeader,
    pub(super) body: Bytes,
}

/// The answer of one of the backends, where it is not streamed.
pub(super) struct Answer {
    index: usize,
    /// HTTP status and body, or why there is none.
    result: Result<(u16, Bytes), String>,
}

impl Work {
    pub(super) async fn run(
        self,
        connections: Connections,
        index: usize,
        events: mpsc::Sender<Event>,
    ) -> Answer {
        let _serving = self.backend.begin();
        let result = tokio::select! {
            biased;
            result = self.exchange(&connections, index, &events) => result,
            () = self.backend.silenced() => Err("the server does not answer any more".to_owned()),
        };
        let result = match result {
            Ok((status, body)) if refuses_key(&self.backend, status, &body) => {
                Err(credentials_refused(&self.backend.provider.name))
            }
            result => result,
        };
        let failure = match &result {
            Ok((200..=299, _)) => None,
            Ok((status, body)) => Some(reason(*status, body)),
            Err(text) => Some(text.clone()),
        };
        // The receiver is gone when the client is, or when nobody streams.
        let _ = events.send(Event::End(index, failure)).await;
        Answer { index, result }
    }

    async fn exchange(
        &self,
        connections: &Connections,
        index: usize,
        events: &mpsc::Sender<Event>,
    ) -> Result<(u16, Bytes), String> {
        let broken = |_| "the connection broke".to_owned();
        let mut upstream = connections
            .open_new(&self.backend)
            .await
            .map_err(|_| "no connection".to_owned())?;
        upstream
            .send(self.head.clone(), &self.body)
            .await
            .map_err(broken)?;
        let status = upstream.read_head().await.map_err(broken)?.status.as_u16();
        let mut kept = BytesMut::new();
        while let Some(piece) = read(&mut upstream).await? {
            let room = MAX_ANSWER - kept.len();
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
            if (200..300).contains(&status) && !events.is_closed() {
                let _ = events.send(Event::Piece(index, piece)).await;
            }
        }
        upstream.release().await;
        Ok((status, kept.freeze()))
    }
}

async fn read(upstream: &mut Upstream) -> Result<Option<Bytes>, String> {
    match upstream.read_piece().await {
        Ok(piece) => Ok(piece.map(Bytes::copy_from_slice)),
        Err(_) => Err("the answer broke off".to_owned()),
    }
}

/// Returns what a backend's error answer says.
fn reason(status: u16, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => format!("status {status}"),
    }
}

pub(super) async fn collect(working: &mut JoinSet<Answer>) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(answer) = working.join_next().await {
        answers.extend(answer.ok());
    }
    answers.sort_by_key(|answer| answer.index);
    answers
}

/// Makes one answer for all: the first where all went well, otherwise an error that names who failed and why.
pub(super) fn summary(targets: &[Arc<Backend>], answers: Vec<Answer>) -> Page {
    let failed: Vec<(usize, u16, String)> = answers
        .iter()
        .filter_map(|answer| match &answer.result {
            Ok((200..=299, _)) => None,
            Ok((status, body)) => Some((answer.index, *status, reason(*status, body))),
            Err(text) => Some((answer.index, 502, text.clone())),
        })
        .collect();
    let Some((_, status, _)) = failed.first() else {
        let body = answers.into_iter().find_map(|answer| answer.result.ok());
        let (status, body) = body.unwrap_or((200, Bytes::new()));
        return Page::new(status, "application/json; charset=utf-8", body);
    };
    let told: Vec<String> = failed
        .iter()
        .map(|(index, _, text)| match targets.len() {
            1 => text.clone(),
            _ => format!("{}: {text}", targets[*index].name),
        })
        .collect();
    Page::error(*status, &told.join("; "))
}
