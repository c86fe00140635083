//! Reading a request's body: within `max_body`, not slower than `body_timeout`, `min_body_rate` and `max_body_time` allow,
//! held once, and all bodies together within `max_buffered`, as far as they have come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;

use crate::coding::{Coding, STEP, Stepped, Unpacking};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::listener::watch::Watch;
use crate::proxy::request_filter::body_budget::{Body, BodyBudget, Share};
use crate::proxy::request_filter::unpack;

/// Bounds on a request body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyBounds {
    /// The most bytes that a body may have.
    pub(crate) max: usize,
    /// The longest time between two pieces.
    pub(crate) pause: Duration,
    /// The longest time from the first piece to the last.
    pub(crate) time: Duration,
    /// The fewest bytes a second, over any stretch of `pause`.
    pub(crate) rate: usize,
}

/// Room that is made for a body at once; more comes with its bytes, as a client may state a length and send nothing.
const ROOM: usize = 256 * 1024;

/// Steps of unpacking before other requests have their turn: some hundred microseconds.
const STEPS_AT_ONCE: u64 = 4;

/// How long a refused request's body is still read.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes of such a body are kept, as there may be a name in them that tells its sender from others.
const BEGINNING: usize = 64 * 1024;
/// How long the next piece of such a body is waited for.
const LINGER_PAUSE: Duration = Duration::from_millis(250);

/// Reads the whole body and unpacks it; it is empty when the request has none.
///
/// # Errors
/// 400 for framing that two servers may read differently and for a compressed body that is garbled, 408 for a body that
/// stalls, 413 past the bound, 415 for an unknown way to compress it, 503 when all bodies together are too large;
/// [`Stop::ClientGone`] when the client leaves.
pub(crate) async fn read(
    session: &mut ServerSession,
    bounds: BodyBounds,
    budget: &Arc<BodyBudget>,
) -> Result<Body, Stop> {
    let head = session.req_header();
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    if chunked && has_raw_content_length(session) {
        // RFC 9112 §6.1: a smuggling attempt or a broken client.
        return Err(Failure::bad_request(
            "both Content-Length and Transfer-Encoding are given; send one",
        )
        .closing()
        .into());
    }
    let head = session.req_header();
    plainly_chunked(&head.headers)?;
    if is_garbled(session) {
        return Err(misframed().into());
    }
    let head = session.req_header();
    let codings = unpack::codings(&head.headers)?;
    let stated = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<usize>().ok());
    if stated.is_some_and(|length| length > bounds.max) {
        return Err(too_large(bounds.max).into());
    }
    let continues = head
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if continues {
        session
            .write_continue_response()
            .await
            .map_err(|_| Stop::ClientGone)?;
    }
    let mut share = Share::none(budget);
    let mut bytes = collect(session, stated, bounds, &mut share).await?;
    for coding in codings.into_iter().rev() {
        if bytes.is_empty() {
            break;
        }
        bytes = Box::pin(unpacked(&bytes, coding, bounds.max, &mut share)).await?;
        share.shrink(bytes.len());
    }
    Ok(Body::counted(bytes, share))
}

/// Unpacks a body that was packed by `coding`. Meanwhile `share` counts all bytes that are held.
async fn unpacked(
    packed: &[u8],
    coding: Coding,
    max: usize,
    share: &mut Share,
) -> Result<Bytes, Failure> {
    let mut unpacking =
        Unpacking::new(coding, packed).map_err(|garbled| unpack::failure(coding, garbled))?;
    let mut room = vec![0; STEP];
    let mut whole = Vec::new();
    for steps in 1_u64.. {
        let stepped = unpacking.step(&mut room);
        let count = match stepped.map_err(|garbled| unpack::failure(coding, garbled))? {
            Stepped::Wrote(count) => count,
            Stepped::End => break,
        };
        if whole.len() + count > max {
            let text = format!(
                "request body larger than {max} bytes once it is unpacked; the limit is the setting server.max_body"
            );
            return Err(Failure::new(413, "body_too_large", text));
        }
        if whole.len() + count > whole.capacity() {
            let capacity = (2 * whole.capacity()).max(whole.len() + count);
            // What a decoder looks back at is no more than what it has written.
            share.grow(packed.len() + capacity + capacity.min(coding.memory()))?;
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&room[..count]);
        // A small body is unpacked in one go.
        if steps.is_multiple_of(STEPS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
    whole.shrink_to_fit();
    Ok(whole.into())
}

/// Reads the body as it comes, within its bounds.
async fn collect(
    session: &mut ServerSession,
    stated: Option<usize>,
    bounds: BodyBounds,
    share: &mut Share,
) -> Result<Bytes, Stop> {
    let mut pace = Pace::new(bounds);
    let Some(first) = pace.piece(session).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > bounds.max {
        return Err(too_large(bounds.max).into());
    }
    share.grow(first.len())?;
    if stated == Some(first.len()) {
        // Tells the session that the body is whole; the usual small request is never copied.
        return match pace.piece(session).await? {
            None => Ok(first),
            Some(_) => Err(Failure::bad_request(
                "the request body is longer than Content-Length states",
            )
            .closing()
            .into()),
        };
    }
    let most = stated.unwrap_or(bounds.max).max(first.len());
    let mut whole = BytesMut::with_capacity(most.min(ROOM.max(2 * first.len())));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(next) = pace.piece(session).await? {
        let length = whole.len() + next.len();
        if length > bounds.max {
            return Err(too_large(bounds.max).into());
        }
        share.grow(length)?;
        if length > whole.capacity() {
            let capacity = (2 * whole.capacity()).min(most).max(length);
            whole.reserve(capacity - whole.len());
        }
        whole.extend_from_slice(&next);
    }
    Ok(whole.freeze())
}

/// Measures how fast a body comes.
struct Pace {
    bounds: BodyBounds,
    end: Instant,
    /// The beginning of the present stretch; `bytes` have come in it.
    since: Instant,
    bytes: usize,
}

impl Pace {
    fn new(bounds: BodyBounds) -> Pace {
        let now = Instant::now();
        Pace {
            bounds,
            end: now + bounds.time,
            since: now,
            bytes: 0,
        }
    }

    /// Returns the next piece; `None` at the end of the body.
    async fn piece(&mut self, session: &mut ServerSession) -> Result<Option<Bytes>, Stop> {
        let due = (Instant::now() + self.bounds.pause).min(self.end);
        match tokio::time::timeout_at(due.into(), session.read_request_body()).await {
            Ok(Ok(Some(piece))) => {
                self.keeps(piece.len(), Instant::now())?;
                Ok(Some(piece))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(match error.etype() {
                pingora::ErrorType::InvalidHTTPHeader | pingora::ErrorType::Custom(_) => {
                    misframed().into()
                }
                _ if is_garbled(session) => misframed().into(),
                _ => Stop::ClientGone,
            }),
            Err(_) if due == self.end => Err(Pace::too_long().into()),
            Err(_) => {
                let text = "the request body stalled; the limit is the setting server.body_timeout";
                Err(slow(text).into())
            }
        }
    }

    /// Notes that so many bytes have come.
    ///
    /// # Errors
    /// 408 when that was too few for too long.
    fn keeps(&mut self, bytes: usize, now: Instant) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes);
        let stretch = now.duration_since(self.since);
        if stretch < self.bounds.pause {
            return Ok(());
        }
        if now >= self.end {
            return Err(Pace::too_long());
        }
        let least = stretch.as_secs_f64() * self.bounds.rate as f64;
        if (self.bytes as f64) < least {
            return Err(slow(
                "the request body comes too slowly; the limit is the setting server.min_body_rate",
            ));
        }
        self.since = now;
        self.bytes = 0;
        Ok(())
    }

    fn too_long() -> Failure {
        slow("the request body takes too long; the limit is the setting server.max_body_time")
    }
}

/// Makes a failure that comes before the body was read end the connection, if there is a body.
pub(crate) fn closing_with_body(session: &mut Session, failure: Failure) -> Failure {
    if session.downstream_session.is_body_empty() {
        failure
    } else {
        failure.closing()
    }
}

/// Checks that a body's transfer coding is the one that is read here.
///
/// # Errors
/// 400.
fn plainly_chunked(fields: &http::HeaderMap) -> Result<(), Failure> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let only = codings.next().is_none_or(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        coding.eq_ignore_ascii_case(b"chunked")
    });
    if only && codings.next().is_none() {
        return Ok(());
    }
    let text = "Transfer-Encoding has to be chunked and nothing else; state a body's packing in Content-Encoding";
    Err(Failure::bad_request(text).closing())
}

fn misframed() -> Failure {
    Failure::bad_request("the request body's framing is invalid").closing()
}

/// Returns whether what has come of the body's chunks could be read in two ways.
fn is_garbled(session: &ServerSession) -> bool {
    Watch::of(session.digest()).is_some_and(Watch::is_garbled)
}

fn slow(text: &'static str) -> Failure {
    Failure::new(408, "slow_body", text).closing()
}

fn too_large(max: usize) -> Failure {
    Failure::new(
        413,
        "body_too_large",
        format!("request body larger than {max} bytes; the limit is the setting server.max_body"),
    )
    .closing()
}

/// Reads on after a refusal, for a moment: a connection that is closed with unread bytes is reset, and a reset takes the
/// refusal with it before the client has read it (RFC 9112 section 9.6). Returns the beginning of what came; the rest is thrown
/// away.
pub(crate) async fn linger(session: &mut ServerSession) -> Vec<u8> {
    let mut beginning = Vec::new();
    let discarding = async {
        while let Ok(Ok(Some(piece))) =
            tokio::time::timeout(LINGER_PAUSE, session.read_request_body()).await
        {
            let room = BEGINNING - beginning.len();
            beginning.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    };
    let _ = tokio::time::timeout(LINGER, discarding).await;
    beginning
}

/// Returns whether the raw head states a length: Pingora drops Content-Length where Transfer-Encoding is given, too.
fn has_raw_content_length(session: &ServerSession) -> bool {
    session.as_http1().is_some_and(|http1| {
        http1
            .get_headers_raw_bytes()
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b':').next())
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"content-length"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_unpacked_within_its_bound_and_counted() {
        let budget = BodyBudget::new(3 << 20);
        let text = vec![b' '; 1 << 20];
        let packed = zstd::encode_all(&*text, 1).unwrap();
        let mut share = Share::none(&budget);
        let whole = unpacked(&packed, Coding::Zstd, 1 << 20, &mut share).await;
        assert!(whole.is_ok_and(|whole| whole == text));
        assert!(budget.used() > 2 * text.len());
        share.shrink(text.len());
        assert_eq!(budget.used(), text.len());
        // There is no room for a second one.
        let mut second = Share::none(&budget);
        let refused = unpacked(&packed, Coding::Zstd, 1 << 20, &mut second).await;
        assert_eq!(refused.unwrap_err().status, 503);
        drop((share, second));
        assert_eq!(budget.used(), 0);
        let mut share = Share::none(&budget);
        let large = unpacked(&packed, Coding::Zstd, (1 << 20) - 1, &mut share).await;
        assert_eq!(large.unwrap_err().status, 413);
    }

    const BOUNDS: BodyBounds = BodyBounds {
        max: 1 << 20,
        pause: Duration::from_secs(30),
        time: Duration::from_secs(600),
        rate: 1024,
    };

    /// Feeds `bytes` every `every`. Returns how long that goes on, and the setting that ends it.
    fn ends(every: Duration, bytes: usize) -> Option<(Duration, String)> {
        let mut pace = Pace::new(BOUNDS);
        let start = pace.since;
        let mut now = start;
        while now - start < 2 * BOUNDS.time {
            now += every;
            if let Err(failure) = pace.keeps(bytes, now) {
                assert_eq!(failure.status, 408);
                return Some((now - start, format!("{failure:?}")));
            }
        }
        None
    }

    #[test]
    fn a_body_that_trickles_is_ended_by_its_rate_and_one_that_never_ends_by_its_time() {
        let second = Duration::from_secs(1);
        let (after, why) = ends(15 * second, 1).unwrap();
        assert_eq!(after, BOUNDS.pause);
        assert!(why.contains("server.min_body_rate"), "{why}");
        // However much came before.
        let mut pace = Pace::new(BOUNDS);
        let start = pace.since;
        pace.keeps(64 << 20, start + 29 * second).unwrap();
        pace.keeps(1, start + 31 * second).unwrap();
        assert!(pace.keeps(1, start + 62 * second).is_err());
        let (after, why) = ends(second, 2048).unwrap();
        assert_eq!(after, BOUNDS.time);
        assert!(why.contains("server.max_body_time"), "{why}");
    }
}
