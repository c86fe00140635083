//! Decides who may ask: for which host, from which address, for whose web page and with which key, how many requests at a time,
//! and how much of their bodies. All of it is decided before a model is looked for.

use std::sync::Arc;

use http::Method;
use pingora_limits::inflight::{Guard, Inflight};
use pingora_proxy::Session;
use prometheus::IntCounterVec;

use crate::access::{self, Access, BadCredential};
use crate::admin::PagePath;
use crate::metrics::Metrics;
use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::listener::places::{Full, Place as ConnectionPlace, Places};
use crate::proxy::request_filter::body::{self, BodyBounds, closing_with_body};
use crate::proxy::request_filter::body_budget::{Body, BodyBudget};
use crate::proxy::request_filter::cors::{self, Origins, Sender};
use crate::proxy::request_filter::hosts::{self, Objection};
use crate::proxy::request_filter::pace::{Pace, seconds};
use crate::proxy::response_body::client::Framing;
use crate::settings::{Forwarded, HostRule, Settings};

/// The label of requests without a known key.
const NO_KEY: &str = "none";

/// Decides who may ask, and how much at a time.
pub(crate) struct Admit {
    settings: Arc<Settings>,
    access: Arc<Access>,
    hosts: HostRule,
    origins: Origins,
    places: Arc<Places>,
    /// The requests in flight of each client's address.
    in_flight: Inflight,
    /// The rate of requests of each client's address, where it has a limit.
    pace: Option<Pace>,
    bodies: Arc<BodyBudget>,
    rejected: IntCounterVec,
}

impl Admit {
    /// Admits by these settings and keys, and counts whom it rejects in `metrics`.
    pub(crate) fn new(settings: &Arc<Settings>, access: Arc<Access>, metrics: &Metrics) -> Admit {
        let server = &settings.server;
        // Series that every gateway has, so that they can be watched from the start.
        for reason in ["address", "address_rate", "credential", "host", "origin"] {
            metrics
                .downstream
                .rejected_requests
                .with_label_values(&[reason, NO_KEY]);
        }
        Admit {
            access,
            hosts: HostRule::new(server.listen, &server.hosts),
            origins: Origins::new(&server.allowed_origins),
            places: Places::new(server.max_connections, server.max_connections_per_address),
            in_flight: Inflight::new(),
            pace: server.max_requests_per_address.map(Pace::new),
            bodies: BodyBudget::new(server.max_buffered),
            rejected: metrics.downstream.rejected_requests.clone(),
            settings: Arc::clone(settings),
        }
    }

    /// Returns the places that connections and streams take.
    pub(crate) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Returns whether clients need a key.
    pub(crate) fn asks_for_keys(&self) -> bool {
        self.access.closed()
    }

    /// Returns whether clients may change which models there are.
    pub(super) fn allows_changes(&self) -> bool {
        self.settings.server.manage
    }

    /// Takes a place for a stream of HTTP/2, as a connection does: there may be many on one.
    ///
    /// # Errors
    /// When all places are taken, or all that one address may have.
    pub(crate) fn stream(
        &self,
        session: &Session,
        inbound: &Inbound,
    ) -> Result<Option<ConnectionPlace>, Full> {
        if session.is_http2() {
            self.places.take(inbound.client).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Lets a request in by the host that it is for.
    ///
    /// # Errors
    /// 400 where it names none, 403 for another.
    pub(crate) fn host(&self, session: &mut Session) -> Result<(), Failure> {
        hosts::check(&self.hosts, session.req_header()).map_err(|objection| {
            if objection == Objection::Foreign {
                self.count_rejected("host", NO_KEY);
            }
            closing_with_body(session, objection.failure())
        })
    }

    /// Lets a client come near by its address.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn address(&self, session: &mut Session, inbound: &Inbound) -> Result<(), Failure> {
        let allow = &self.settings.server.allow;
        let is_allowed = |client| allow.iter().any(|network| network.contains(client));
        if allow.is_empty() || inbound.client.is_some_and(is_allowed) {
            return Ok(());
        }
        self.count_rejected("address", NO_KEY);
        let text = "requests from this address are not served; see the setting server.allow";
        let failure = Failure::new(403, "address_refused", text);
        Err(closing_with_body(session, failure))
    }

    /// Counts a request against the rate of its client's address. What needs no key is not counted: a balancer's probes
    /// may come from the address of its clients.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn rate(&self, session: &mut Session, inbound: &Inbound) -> Result<(), Failure> {
        let (Some(pace), Some(client)) = (&self.pace, inbound.client) else {
            return Ok(());
        };
        if is_open(session) {
            return Ok(());
        }
        let Err(wait) = pace.count(client) else {
            return Ok(());
        };
        self.count_rejected("address_rate", NO_KEY);
        let text = format!(
            "more than {} requests from this address; the limit is the setting server.max_requests_per_address",
            pace.limit
        );
        let failure = Failure {
            api_code: Some("rate_limit_exceeded".into()),
            ..Failure::new(429, "too_many_requests", text)
        };
        Err(closing_with_body(
            session,
            failure.retry_after(seconds(wait)),
        ))
    }

    /// Finds out whose web page sends a request, and notes the origin that may read its answer.
    pub(crate) fn page(&self, session: &Session, inbound: &mut Inbound) -> Sender {
        let head = session.req_header();
        let behind = self.settings.server.forwarded == Forwarded::Append;
        let sender = self
            .origins
            .sender(&head.method, &head.headers, &head.uri, behind);
        if let Sender::Allowed(origin) = &sender {
            inbound.allow_origin = Some(origin.clone());
        }
        sender
    }

    /// Answers what is decided by whose page asks: a preflight, and a page that may not ask. Returns whether it did.
    ///
    /// # Errors
    /// [`Stop::ClientGone`] when the connection is dead.
    pub(crate) async fn answer_page(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        sender: &Sender,
    ) -> Result<bool, Stop> {
        if *sender == Sender::Foreign {
            self.count_rejected("origin", NO_KEY);
        }
        cors::answer(session, ctx, framing, sender).await
    }

    /// Lets a client in by its key, which is noted.
    ///
    /// # Errors
    /// 401.
    pub(crate) fn key(&self, session: &mut Session, inbound: &mut Inbound) -> Result<(), Failure> {
        if !self.access.closed() {
            return Ok(());
        }
        let fields = &session.req_header().headers;
        let known = access::presented(fields)
            .and_then(|shown| self.access.key(&shown).ok_or(BadCredential::Unknown));
        match known {
            Ok(key) => {
                inbound.key = Some(Arc::clone(key));
                Ok(())
            }
            Err(_) if is_open(session) => Ok(()),
            Err(bad) => {
                self.count_rejected("credential", NO_KEY);
                let failure = Failure {
                    api_code: Some("invalid_api_key".into()),
                    ..Failure::new(401, "bad_key", bad.to_string())
                };
                Err(closing_with_body(session, failure))
            }
        }
    }

    /// Takes the client's share of the requests in flight, which is given back when the guard is dropped.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn share(&self, inbound: &Inbound) -> Result<Option<Guard>, Failure> {
        let limit = self.settings.server.max_in_flight_per_client;
        let (Some(client), true) = (inbound.client, limit > 0) else {
            return Ok(None);
        };
        let (guard, count) = self.in_flight.incr(client, 1);
        if count <= limit as isize {
            return Ok(Some(guard));
        }
        let text = format!(
            "more than {limit} requests in flight from this address; the limit is the setting server.max_in_flight_per_client"
        );
        Err(Failure::new(429, "too_many_in_flight", text)
            .retry_after(1)
            .closing())
    }

    /// Reads a request's body within the configured bounds.
    ///
    /// # Errors
    /// The failures of [`body::read`].
    pub(crate) async fn body(&self, session: &mut Session) -> Result<Body, Stop> {
        let server = &self.settings.server;
        let bounds = BodyBounds {
            max: server.max_body,
            pause: server.body_timeout,
            time: server.max_body_time,
            rate: server.min_body_rate,
        };
        body::read(&mut session.downstream_session, bounds, &self.bodies).await
    }

    /// Counts a request that is not let in, by the reason and the name of its key.
    pub(crate) fn count_rejected(&self, reason: &str, key: &str) {
        self.rejected.with_label_values(&[reason, key]).inc();
    }
}

/// Returns whether a request needs no key, as those of probes do not.
fn is_open(session: &Session) -> bool {
    let head = session.req_header();
    let path = head.uri.path();
    matches!(head.method, Method::GET | Method::HEAD)
        && (path == "/" || PagePath::find(path).is_some_and(PagePath::is_open))
}
