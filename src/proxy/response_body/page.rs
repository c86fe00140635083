//! Sends a page that the gateway has made itself.

use http::header::{self, HeaderValue};
use pingora_proxy::Session;

use crate::admin::Page;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Stop;
use crate::proxy::heads;
use crate::proxy::response_body::client::{self, Framing};
use crate::proxy::response_body::head::Head;

/// Sends a page as the answer of a request.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead, and 503 when too much waits for clients already.
pub(crate) async fn send_page(
    session: &mut Session,
    ctx: &mut Ctx,
    framing: &Framing,
    page: Page,
) -> Result<(), Stop> {
    let head = page_head(&page, ctx);
    ctx.outcome.status = page.status;
    ctx.outcome.bytes = client::respond(
        &mut session.downstream_session,
        framing,
        head,
        page.body,
        ctx.inbound.allow_origin.as_ref(),
    )
    .await?;
    Ok(())
}

/// Returns the head of a page.
fn page_head(page: &Page, ctx: &Ctx) -> Head {
    let mut head = Head::of_status(page.status, 6);
    if !page.body.is_empty() {
        let content_type = HeaderValue::from_static(page.content_type);
        head.set(header::CONTENT_TYPE, content_type);
    }
    head.set(heads::X_REQUEST_ID, ctx.inbound.request_id.clone());
    if let Some(age) = page.age {
        head.set(header::AGE, age.as_secs().into());
    }
    if let Some(seconds) = page.retry_after {
        head.set(header::RETRY_AFTER, seconds.into());
    }
    head
}
