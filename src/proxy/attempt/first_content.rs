//! Reads an answer until its first content: until then the client has seen nothing, and a failure may be answered with the
//! next candidate.

use tokio::time::timeout;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::judge::{error_body, is_page, objection, provider_refused, refused};
use crate::proxy::attempt::reader::LAST_END;
use crate::proxy::failure::attempt::AttemptError;
use crate::proxy::prepared::ModelRequest;
use remuda_formats::client::Operation;
use remuda_formats::ir::{Class, Fault, FaultKind};

/// Bytes of an answer that may come without content: what Ollama's own client accepts as a line.
const MAX_BEGINNING: usize = 8 * 1024 * 1024;

pub(super) async fn first_content(
    answer: &mut UpstreamAnswer,
    request: &ModelRequest,
    backend: &Backend,
) -> Result<(), AttemptError> {
    let upstream = &mut answer.upstream;
    let head = upstream.head().ok_or_else(AttemptError::reset)?;
    let status = head.status;
    let fleet = backend.provider.settings.kind.is_fleet();
    answer.reader.begin(head);
    if status.is_success() && upstream.is_unreadable() {
        let what = "the provider's answer is packed in a way that was not asked for (Content-Encoding), and is neither gzip nor deflate nor zstd";
        return Err(AttemptError::of_fault(&Fault::garbled(what), backend));
    }
    if status.is_success() && request.operation.is_inference() && is_page(head) {
        let what = "the provider answered with a page for people: its address is wrong";
        let fault = Fault::new(Class::Route, FaultKind::Garbled, what);
        return Err(AttemptError::of_fault(&fault, backend));
    }
    if fleet && !answer.across {
        if let Some(error) = refused(upstream, request, backend, status).await {
            return Err(error);
        }
        if status.is_client_error() {
            let body = error_body(upstream).await;
            let error = objection(upstream, body, backend, status, request.operation);
            return Err(AttemptError::Final(error, None));
        }
        if !status.is_success() {
            return Err(provider_refused(answer, backend, status, request.operation).await);
        }
    } else if !status.is_success() {
        return Err(provider_refused(answer, backend, status, request.operation).await);
    }
    read_beginning(answer, request).await
}

/// Reads until the answer has begun: its first content in a whole line or event, its end, or a fault.
async fn read_beginning(
    answer: &mut UpstreamAnswer,
    request: &ModelRequest,
) -> Result<(), AttemptError> {
    let UpstreamAnswer {
        upstream,
        begun,
        reader,
        ended,
        ..
    } = answer;
    // A look-up is held as well: another server may know better than one that answers with nonsense.
    let waits = request.operation.is_inference() || request.operation == Operation::Show;
    *ended = loop {
        if reader.gathers() && upstream.done() {
            break true;
        }
        let piece = if reader.nearly_over() {
            match timeout(LAST_END, upstream.read_piece()).await {
                Ok(piece) => piece,
                Err(_) if reader.is_one_body() => break true,
                // A terminator whose own end does not come is one.
                Err(_) => {
                    let rest = reader.settle().ok_or_else(AttemptError::timed_out)?;
                    begun.extend_from_slice(rest);
                    break reader.gathers() && reader.fault().is_none();
                }
            }
        } else {
            upstream.read_piece().await
        };
        match piece {
            Ok(Some(piece)) => {
                begun.extend_from_slice(reader.feed(piece));
                if reader.over() || reader.cut() {
                    // What is gathered is written when its reader is told that this was all.
                    let gathered =
                        reader.composes() && !reader.streams() && reader.fault().is_none();
                    break gathered || (upstream.done() && !reader.composes());
                }
                // Of what is gathered nothing is for the client yet, and what is translated whole begins at its end.
                let gathered = reader.gathers() && (reader.begun() || reader.content_units() > 0);
                if waits && reader.gathers() && !gathered {
                    continue;
                }
                if gathered || (reader.begun() && !begun.is_empty()) || !waits {
                    break upstream.done() && !reader.composes();
                }
                if begun.len() > MAX_BEGINNING {
                    return Err(AttemptError::reset());
                }
            }
            Ok(None) => break true,
            Err(_) => return Err(AttemptError::reset()),
        }
    };
    Ok(())
}
