//! How a client is told that there is no answer: by an error of the gateway's own in the format of its API, by a backend's
//! own error, or, where its stream has begun, by the stream's last event.

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;

use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::attempt::ClientError;
use crate::proxy::failure::error_answer::ErrorAnswer;
use crate::proxy::failure::{Failure, Stop, words};
use crate::proxy::heads::{self, speaks_anthropic};
use crate::proxy::request_filter::body;
use crate::proxy::request_filter::unpack;
use crate::proxy::response_body::client::{self, Framing};
use crate::proxy::response_body::head::Head;
use crate::proxy::response_body::limits::state_limits;
use crate::proxy::response_body::responder::Responder;
use remuda_formats::client::{ErrorStyle, Operation, named_early};
use remuda_formats::translate::{self, ClientForm};

/// What a browser asks its reader for a name and a password by (RFC 7617 section 2.1).
const BASIC: &str = "Basic realm=\"remuda\", charset=\"UTF-8\"";

impl Responder {
    /// Tells the client why there is no answer.
    ///
    /// # Errors
    /// The failure that the client is to be told, where it is the gateway's own; else why it cannot be told anything.
    pub(crate) async fn tell(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        error: ClientError,
    ) -> Result<(), Stop> {
        match error {
            ClientError::Answer(answer) => self.relay_error(session, ctx, framing, *answer).await,
            ClientError::Failure(failure) => Err((*failure).into()),
        }
    }

    /// Relays a backend's own error, when no other candidate is left.
    async fn relay_error(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        answer: ErrorAnswer,
    ) -> Result<(), Stop> {
        if ctx.opening.head_is_sent()? {
            return Err(self.as_failure(ctx, &answer).into());
        }
        let mut head = heads::downstream_response(
            &answer.head,
            self.is_service(ctx),
            framing.version,
            &framing.method,
            &ctx.inbound.request_id,
        );
        ctx.outcome.status = head.status.as_u16();
        ctx.outcome.code = Some("backend_error");
        let style = ctx
            .inbound
            .operation
            .map_or(ErrorStyle::Ollama, ErrorStyle::of);
        state_limits(ctx.inbound.key.as_ref(), style, &mut head);
        let (client, origin) = (
            &mut session.downstream_session,
            ctx.inbound.allow_origin.as_ref(),
        );
        ctx.outcome.bytes = client::respond(client, framing, head, answer.body, origin).await?;
        Ok(())
    }

    /// Returns a backend's own error as a failure of the gateway's, for a client whose answer has begun.
    fn as_failure(&self, ctx: &Ctx, answer: &ErrorAnswer) -> Failure {
        let (status, headers) = (answer.head.status.as_u16(), &answer.head.headers);
        let Some(provider) = self.provider_of(ctx) else {
            return Failure::new(status, "backend_error", words::ALL_ATTEMPTS_FAILED);
        };
        let fault = translate::fault(provider.kind, status, headers, &answer.body);
        Failure {
            status,
            code: "backend_error",
            text: fault.message.clone(),
            ..Failure::of_fault(&fault, &provider.name)
        }
    }

    /// Tells the client what went wrong, in the words of its API: by an answer, or, where that has begun, by the last
    /// event of the stream.
    ///
    /// # Errors
    /// [`Stop::ClientGone`] when the connection is dead.
    pub(crate) async fn explain(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        failure: Failure,
    ) -> Result<(), Stop> {
        let style = style(session.req_header(), ctx.inbound.operation);
        let form = ctx.inbound.operation.and_then(ClientForm::of);
        let embeds = form.is_some_and(ClientForm::embeds);
        let failure = failure.in_words_of(style, embeds, self.settings.queue.timeout);
        ctx.outcome.code = Some(failure.code);
        let client = &mut session.downstream_session;
        if ctx.opening.head_is_sent()? {
            ctx.outcome.status = 200;
            let last = style.stream_end_of(&failure.told(), false);
            ctx.outcome.bytes += last.len() as u64;
            client::write_piece(client, &last).await?;
            return client::finish(client).await;
        }
        ctx.outcome.status = failure.status;
        ctx.outcome.bytes = refuse(client, framing, style, &failure, &ctx.inbound).await?;
        if failure.close {
            let beginning = body::linger(client).await;
            if ctx.inbound.asked.is_none() && matches!(failure.status, 401 | 404 | 405) {
                let asked = named_early(&beginning);
                ctx.inbound.asked = asked.map(|name| name.as_ref().into());
            }
        }
        Ok(())
    }
}

/// Returns the API in whose format the client of a request reads errors.
fn style(head: &RequestHeader, operation: Option<Operation>) -> ErrorStyle {
    match operation {
        None => ErrorStyle::of_path(head.uri.path(), speaks_anthropic(head)),
        Some(Operation::OpenAiModels | Operation::OpenAiModel) if speaks_anthropic(head) => {
            ErrorStyle::Anthropic
        }
        Some(operation) => ErrorStyle::of(operation),
    }
}

/// Answers with an error in the client's format. Returns the bytes of its body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
async fn refuse(
    client: &mut ServerSession,
    framing: &Framing,
    style: ErrorStyle,
    failure: &Failure,
    inbound: &Inbound,
) -> Result<u64, Stop> {
    let mut head = refusal_head(failure, client.req_header());
    head.set(heads::X_REQUEST_ID, inbound.request_id.clone());
    state_limits(inbound.key.as_ref(), style, &mut head);
    if failure.close {
        client.set_keepalive(None);
    }
    let request_id = inbound.request_id.to_str().ok();
    let body: Bytes = failure.body(style, request_id);
    client::respond(client, framing, head, body, inbound.allow_origin.as_ref()).await
}

/// Returns whether a browser asks for a page to show, so that it can ask its reader for the key: what scripts fetch must
/// not make a dialogue appear (Fetch metadata request headers, section 2).
fn is_navigation(head: &RequestHeader) -> bool {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let takes_pages = field("accept").is_some_and(|types| {
        let mut types = types.split(',');
        types.any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("text/html")
        })
    });
    takes_pages
        && matches!(head.method, Method::GET | Method::HEAD)
        && field("sec-fetch-mode").is_none_or(|mode| mode.eq_ignore_ascii_case("navigate"))
}

/// Returns the head of an error's answer, but for what it says of the request.
fn refusal_head(failure: &Failure, asked: &RequestHeader) -> Head {
    let mut head = Head::of_status(failure.status, 13);
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    head.set(header::CONTENT_TYPE, json);
    if let Some(seconds) = failure.retry_after {
        head.set(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure.final_word {
        // Read by OpenAI's and Anthropic's clients, which ask twice more by themselves otherwise.
        let name = HeaderName::from_static("x-should-retry");
        head.set(name, HeaderValue::from_static("false"));
    }
    if failure.status == 401 {
        // RFC 9110 section 11.6.1.
        let challenge = if is_navigation(asked) {
            BASIC
        } else {
            "Bearer"
        };
        head.set(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    if failure.status == 415 {
        head.set(header::ACCEPT_ENCODING, unpack::ACCEPTED);
    }
    if let Some(allow) = failure.allow {
        head.set(header::ALLOW, HeaderValue::from_static(allow));
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/v1/models", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn only_a_browser_that_goes_to_a_page_is_asked_for_a_password() {
        let failure = Failure::new(401, "bad_key", "no");
        let challenge = |fields: &[(&'static str, &'static str)]| {
            let head = refusal_head(&failure, &asked(fields));
            head.fields()[header::WWW_AUTHENTICATE].clone()
        };
        assert_eq!(challenge(&[]), "Bearer");
        assert_eq!(challenge(&[("accept", "*/*")]), "Bearer");
        let page = ("accept", "text/html,application/xhtml+xml;q=0.9");
        assert_eq!(challenge(&[page]), BASIC);
        assert_eq!(challenge(&[page, ("sec-fetch-mode", "navigate")]), BASIC);
        assert_eq!(challenge(&[page, ("sec-fetch-mode", "cors")]), "Bearer");
    }

    #[test]
    fn a_refusal_says_what_its_client_can_do() {
        let allow = Failure {
            allow: Some("GET, HEAD"),
            ..Failure::new(405, "method_not_allowed", "no")
        };
        let head = refusal_head(&allow, &asked(&[]));
        assert_eq!(head.fields()[header::ALLOW], "GET, HEAD");
        let packed = refusal_head(&Failure::new(415, "unknown_coding", "no"), &asked(&[]));
        assert_eq!(packed.fields()[header::ACCEPT_ENCODING], unpack::ACCEPTED);
        let over = Failure {
            final_word: true,
            ..Failure::new(503, "down", "no").retry_after(7)
        };
        let head = refusal_head(&over, &asked(&[]));
        assert_eq!(head.fields()[header::RETRY_AFTER], "7");
        assert_eq!(head.fields()["x-should-retry"], "false");
        assert!(!head.fields().contains_key(header::WWW_AUTHENTICATE));
    }

    #[test]
    fn models_are_refused_in_the_format_of_who_asks() {
        let (plain, anthropics) = (asked(&[]), asked(&[("anthropic-version", "2023-06-01")]));
        let models = Some(Operation::OpenAiModels);
        assert_eq!(style(&plain, models), ErrorStyle::OpenAi);
        assert_eq!(style(&anthropics, models), ErrorStyle::Anthropic);
        assert_eq!(
            style(&anthropics, Some(Operation::Chat)),
            ErrorStyle::Ollama
        );
    }
}
