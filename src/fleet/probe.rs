//! One probe of a backend: is it there, and what does it have? Within one time limit.
//!
//! An Ollama server is asked for `/api/tags` and `/api/ps` (and `/api/version` when asked) over one connection, and an
//! answer counts only if its body is what Ollama sends. Of a service see `census.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use remuda_formats::dialect::ollama::{LoadedEntry, Malformed, parse_ps, parse_tags};

use super::ask::{Answer, Caller};
use super::complaints::Topic;
use super::inventory::Inventory;
use super::miss::Miss;
use super::question::{Prober, Question};
use super::{census, selection};

/// How long a service has to answer anything whose list of models did not come in time.
const ROUSED_WITHIN: Duration = Duration::from_secs(2);

impl Prober {
    /// Asks, and returns what the backend has.
    pub(super) async fn probe(&self, question: &Question<'_>) -> Result<Inventory, Miss> {
        let (connected, answered) = (AtomicBool::new(false), AtomicBool::new(false));
        let timeout = question.timeout;
        let caller = Caller {
            connector: &self.connector,
            endpoint: question.endpoint,
            timeout,
            connected: &connected,
            answered: &answered,
        };
        let asked = async {
            if question.provider.settings.kind.is_fleet() {
                self.ask_server(question, &caller).await
            } else {
                census::ask(self, question, &caller).await
            }
        };
        let is_fleet = question.provider.settings.kind.is_fleet();
        let missed = match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(inventory)) => {
                let found = question.found(inventory);
                return Ok(found.heard(answered.load(Ordering::Acquire)));
            }
            Ok(Err(miss)) => miss,
            // A service that is slow to list its models answers other questions.
            Err(_) if !is_fleet && !question.doubted && connected.load(Ordering::Acquire) => {
                let roused = tokio::time::timeout(timeout.min(ROUSED_WITHIN), caller.rouse()).await;
                let answers = matches!(roused, Ok(Ok(()))) || answered.load(Ordering::Acquire);
                if answers {
                    Miss::Stuck {
                        path: "its list of models",
                        within: timeout,
                    }
                } else {
                    Miss::TimedOut(timeout)
                }
            }
            // The lists of an Ollama server are asked for in this order.
            Err(_) if answered.load(Ordering::Acquire) => Miss::Stuck {
                path: "/api/ps",
                within: timeout,
            },
            Err(_) if connected.load(Ordering::Acquire) => Miss::TimedOut(timeout),
            Err(_) => Miss::ConnectTimedOut(timeout),
        };
        if is_fleet {
            return Err(missed);
        }
        let judged = census::judge(self, question, missed);
        judged.map(|inventory| inventory.heard(answered.into_inner()))
    }

    async fn ask_server(
        &self,
        question: &Question<'_>,
        caller: &Caller<'_>,
    ) -> Result<Inventory, Miss> {
        let fields = question.provider.fields();
        let tags = good(caller.get("/api/tags", fields).await?, "/api/tags")?;
        let listed = parse_tags(&tags.body).map_err(body("/api/tags"))?;
        caller.keep(tags).await;
        let ps = caller.get("/api/ps", fields).await?;
        let loaded = loaded(question, &ps);
        let version = match question.version {
            Some(version) => version.to_owned(),
            None => {
                caller.keep(ps).await;
                version(caller.get("/api/version", fields).await?)
            }
        };
        let settings = &question.provider.settings;
        let offered = selection::offered(settings, listed);
        let most = selection::most(settings, question.endpoint);
        let (offered, loaded) = (
            within(offered, most, question, Topic::Many),
            within(loaded, most, question, Topic::ManyLoaded),
        );
        let now = Instant::now();
        Ok(Inventory::new(&self.models, offered, loaded, version, now))
    }
}

/// Asks what a server has in memory. It lists its models, so it is there: where it does not tell this, nothing is known
/// to be loaded, and requests show whether it is well.
fn loaded(question: &Question<'_>, ps: &Answer) -> Vec<LoadedEntry> {
    let (what, status) = (Topic::Loaded, ps.status.as_u16());
    let (loaded, why) = match (ps.status, parse_ps(&ps.body)) {
        (StatusCode::OK, Ok(loaded)) => (loaded, None),
        (StatusCode::OK, Err(_)) => (Vec::new(), Some("with something else".to_owned())),
        // An older server, or one that stands in for one: it has no such list.
        (
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED,
            _,
        ) => (Vec::new(), None),
        _ => (Vec::new(), Some(format!("with status {status}"))),
    };
    match why {
        None => question
            .provider
            .complaints
            .settle(&question.endpoint.name, what),
        Some(why) => question.complain(
            what,
            &format!("/api/ps is answered {why}, so what it has in memory is not known"),
        ),
    }
    loaded
}

/// Cuts what a server lists to as many entries as may count, and complains if there were more.
fn within<T>(mut all: Vec<T>, most: usize, question: &Question<'_>, what: Topic) -> Vec<T> {
    if all.len() > most {
        let why = format!(
            "it lists {} models, of which only the first {most} count",
            all.len()
        );
        question.complain(what, &why);
        all.truncate(most);
    } else {
        question
            .provider
            .complaints
            .settle(&question.endpoint.name, what)
    }
    all
}

/// Asks for the server's version; empty if it does not tell, which is no reason not to use it.
fn version(answer: Answer) -> String {
    #[derive(serde::Deserialize)]
    struct Version {
        version: String,
    }
    let read = serde_json::from_slice(&answer.body);
    read.ok()
        .filter(|_| answer.status == StatusCode::OK)
        .map_or_else(String::new, |answer: Version| answer.version)
}

fn good(answer: Answer, path: &'static str) -> Result<Answer, Miss> {
    match answer.status {
        StatusCode::OK => Ok(answer),
        status => Err(bad(status, path)),
    }
}

fn bad(status: StatusCode, path: &'static str) -> Miss {
    let status = status.as_u16();
    Miss::Status { path, status }
}

fn body(path: &'static str) -> impl Fn(Malformed) -> Miss {
    move |cause| Miss::Body { path, cause }
}
