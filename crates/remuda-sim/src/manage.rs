//! The routes that change what is on a server's disk: pull, push, create, copy, delete and blobs.

use std::time::Duration;

use hyper::StatusCode;
use serde::Serialize;

use super::body::Body;
use super::catalogue::Model;
use super::digest::sha256;
use super::gojson::{Fields, object};
use super::names::Name;
use super::options::Machine;
use super::reply::{Refusal, Reply, empty, error_line, line, ok, with_type};
use super::server::{OnDisk, Server, lock};
use std::sync::Arc;

/// Lines of progress that a transfer is told in.
const STEPS: u64 = 10;

#[derive(Serialize)]
struct Progress<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "is_zero")]
    completed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn status(status: &str) -> Vec<u8> {
    line(&Progress {
        status,
        digest: None,
        total: 0,
        completed: 0,
    })
}

/// A line of a progress stream and the time before it.
type Step = (Duration, Vec<u8>);

/// `POST /api/pull`: any model of the catalogue can be had.
pub(super) fn pull(server: &Arc<Server>, body: &[u8]) -> Result<Work, Refusal> {
    let (name, stream) = named(body, "PullRequest")?;
    let mut steps = vec![(Duration::ZERO, status("pulling manifest"))];
    let Some(model) = server
        .model(&name)
        .map(|on_disk| (*on_disk.model).clone())
        .or_else(|| Model::known(&name))
    else {
        return Ok(Work::new(steps, stream).failing("pull model manifest: file does not exist"));
    };
    steps.extend(transfer("pulling", &model, &server.machine));
    for text in ["verifying sha256 digest", "writing manifest", "success"] {
        steps.push((Duration::ZERO, status(text)));
    }
    let server = server.clone();
    Ok(Work::new(steps, stream).then(move || server.store(model)))
}

/// `POST /api/push`.
pub(super) fn push(server: &Arc<Server>, body: &[u8]) -> Result<Work, Refusal> {
    let (name, stream) = named(body, "PushRequest")?;
    let mut steps = vec![(Duration::ZERO, status("retrieving manifest"))];
    let Some(on_disk) = server.model(&name) else {
        let text = "couldn't retrieve manifest";
        return Ok(Work::new(steps, stream).failing(text));
    };
    steps.extend(transfer("pushing", &on_disk.model, &server.machine));
    for text in ["pushing manifest", "success"] {
        steps.push((Duration::ZERO, status(text)));
    }
    Ok(Work::new(steps, stream))
}

/// `POST /api/create`: from another model, or from blobs.
pub(super) fn create(server: &Arc<Server>, body: &[u8]) -> Result<Work, Refusal> {
    let map = object(body, "CreateRequest")?;
    let fields = Fields::new(&map, "CreateRequest");
    let name = Name::parse(fields.model()?).ok_or_else(|| Refusal::bad("invalid model name"))?;
    let stream = fields.boolean("stream")?.unwrap_or(true);
    let from = fields.string("from")?;
    let files = fields.object("files", "map[string]string")?;
    let model = match (from, files) {
        ("", None) => {
            return Err(Refusal::bad("neither 'from' or 'files' was specified"));
        }
        ("", Some(_)) => Model::named(&name),
        (from, _) => match Name::parse(from).and_then(|from| server.model(&from)) {
            Some(on_disk) => made(&on_disk.model, &name, &fields),
            // Ollama pulls what it does not have.
            None => match Name::parse(from).and_then(|from| Model::known(&from)) {
                Some(model) => made(&model, &name, &fields),
                None => {
                    let steps = vec![(Duration::ZERO, status("pulling manifest"))];
                    let text = "pull model manifest: file does not exist";
                    return Ok(Work::new(steps, stream).failing(text));
                }
            },
        },
    };
    let steps = layers(&model, &fields);
    let server = server.clone();
    Ok(Work::new(steps, stream).then(move || server.store(model)))
}

/// What is told of the layers of a model while it is put together: weights, template, what is new, settings.
fn layers(model: &Model, fields: &Fields<'_>) -> Vec<Step> {
    let layer = |verb: &str, what: &str| {
        let digest = sha256(format!("{what} of {}", model.blob).as_bytes());
        status(&format!("{verb} layer sha256:{digest}"))
    };
    let mut lines = vec![
        status(&format!("using existing layer sha256:{}", model.blob)),
        layer("using existing", "template"),
    ];
    let new = LAYERS.iter().filter(|new| fields.value(new).is_some());
    lines.extend(new.map(|new| layer("creating new", new)));
    lines.push(layer("using existing", "settings"));
    lines.extend(["writing manifest", "success"].map(status));
    lines
        .into_iter()
        .map(|line| (Duration::ZERO, line))
        .collect()
}

/// What can be put beside the weights of a model.
const LAYERS: [&str; 5] = ["system", "template", "parameters", "messages", "license"];

/// The same weights under another name; what is put beside them makes it another model.
fn made(from: &Model, name: &Name, fields: &Fields<'_>) -> Model {
    if LAYERS.iter().any(|layer| fields.value(layer).is_some()) {
        from.made_into(name)
    } else {
        from.renamed(name)
    }
}

/// `POST /api/copy`.
pub(super) fn copy(server: &Server, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "CopyRequest")?;
    let fields = Fields::new(&map, "CopyRequest");
    let (source, destination) = (fields.string("source")?, fields.string("destination")?);
    let from =
        Name::parse(source).ok_or_else(|| Refusal::bad(format!("source {source:?} is invalid")))?;
    let to = Name::parse(destination)
        .ok_or_else(|| Refusal::bad(format!("destination {destination:?} is invalid")))?;
    let OnDisk { model, .. } = server
        .model(&from)
        .ok_or_else(|| Refusal::not_found(format!("model {source:?} not found")))?;
    server.store(model.renamed(&to));
    Ok(empty(StatusCode::OK))
}

/// `DELETE /api/delete`.
pub(super) fn delete(server: &Server, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "DeleteRequest")?;
    let written = Fields::new(&map, "DeleteRequest").model()?;
    let name =
        Name::parse(written).ok_or_else(|| Refusal::bad(format!("name {written:?} is invalid")))?;
    match server.remove(&name) {
        Some(_) => Ok(empty(StatusCode::OK)),
        None => Err(Refusal::not_found(format!("model '{written}' not found"))),
    }
}

/// `HEAD /api/blobs/:digest`.
pub(super) fn has_blob(server: &Server, digest: &str) -> Reply {
    if lock(&server.blobs).contains(digest) {
        empty(StatusCode::OK)
    } else {
        Refusal::not_found(format!("blob {digest:?} not found")).reply()
    }
}

/// `POST /api/blobs/:digest`.
pub(super) fn put_blob(server: &Server, digest: &str, body: &[u8]) -> Result<Reply, Refusal> {
    let hexadecimal = digest.strip_prefix("sha256:").filter(|hexadecimal| {
        hexadecimal.len() == 64 && hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let Some(hexadecimal) = hexadecimal else {
        return Err(Refusal::bad("invalid digest format"));
    };
    if lock(&server.blobs).contains(digest) {
        return Ok(empty(StatusCode::OK));
    }
    let found = sha256(body);
    if found != hexadecimal.to_ascii_lowercase() {
        return Err(Refusal::bad(format!(
            "digest mismatch, expected {digest:?}, got \"sha256:{found}\""
        )));
    }
    lock(&server.blobs).insert(digest.to_owned());
    Ok(empty(StatusCode::CREATED))
}

fn named(body: &[u8], go_type: &str) -> Result<(Name, bool), Refusal> {
    let map = object(body, go_type)?;
    let fields = Fields::new(&map, go_type);
    let name = Name::parse(fields.model()?).ok_or_else(|| Refusal::bad("invalid model name"))?;
    Ok((name, fields.boolean("stream")?.unwrap_or(true)))
}

fn transfer(verb: &str, model: &Model, machine: &Machine) -> Vec<Step> {
    let digest = format!("sha256:{}", model.digest);
    let text = format!("{verb} {}", &model.digest[..12]);
    let time = machine.time(model.size as f64, machine.pull_bandwidth as f64) / STEPS as u32;
    (0..=STEPS)
        .map(|step| {
            let progress = Progress {
                status: &text,
                digest: Some(&digest),
                total: model.size,
                completed: (u128::from(model.size) * u128::from(step) / u128::from(STEPS)) as u64,
            };
            let wait = if step == 0 { Duration::ZERO } else { time };
            (wait, line(&progress))
        })
        .collect()
}

/// A job that tells of its progress, and what it leads to.
pub(super) struct Work {
    steps: Vec<Step>,
    stream: bool,
    /// Its last line, instead of success.
    failure: Option<&'static str>,
    effect: Option<Box<dyn FnOnce() + Send>>,
}

impl Work {
    fn new(steps: Vec<Step>, stream: bool) -> Self {
        Self {
            steps,
            stream,
            failure: None,
            effect: None,
        }
    }

    fn failing(mut self, text: &'static str) -> Self {
        self.failure = Some(text);
        self
    }

    /// What is true once the job is done, before its last line is sent.
    fn then(mut self, effect: impl FnOnce() + Send + 'static) -> Self {
        self.effect = Some(Box::new(effect));
        self
    }

    /// Does the job; a stream is 200 from its first line on, whatever follows.
    pub(super) async fn reply(self) -> Result<Reply, Refusal> {
        if self.stream {
            return Ok(with_type(
                StatusCode::OK,
                "application/x-ndjson",
                self.body(),
            ));
        }
        for (wait, _) in &self.steps {
            pause(*wait).await;
        }
        if let Some(text) = self.failure {
            return Err(Refusal::internal(text));
        }
        if let Some(effect) = self.effect {
            effect();
        }
        Ok(ok(&serde_json::json!({ "status": "success" })))
    }

    fn body(self) -> Body {
        Body::flow(|lines| async move {
            let mut effect = self.effect;
            let count = self.steps.len();
            for (at, (wait, bytes)) in self.steps.into_iter().enumerate() {
                pause(wait).await;
                if at + 1 == count
                    && let Some(effect) = effect.take()
                {
                    effect();
                }
                if lines.send(bytes.into()).await.is_err() {
                    return;
                }
            }
            if let Some(text) = self.failure {
                // No receiver, no client: there is nobody to tell.
                let _ = lines.send(error_line(text).into()).await;
            }
        })
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
