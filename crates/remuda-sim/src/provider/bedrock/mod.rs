//! A simulated Bedrock: Converse and its stream of frames, embeddings by invocation, counting, and the listings.
//!
//! The runtime and the control plane answer at one address. What a user says steers it: `BLOCK` and `FILTER` have a
//! guardrail step in, and `REDACT` makes the reasoning unreadable.

mod check;
mod content;
mod embed;
mod extra;
mod fields;
mod frames;
mod message;
mod models;
mod prompt;
mod refused;
mod sigv4;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::super::percent::decoded;
use super::exchange::{Failed, Reply, Request};
use super::ledger::{Cache, Input};
use super::picture;
use super::{Provider, World};
use fields::Fields;
use message::Message;
use models::Model;
use refused::Refused;

/// The simulated API.
pub(super) struct Bedrock {
    world: World,
    cache: Mutex<Cache>,
}

impl Bedrock {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            cache: Mutex::default(),
        }
    }

    /// Ids that can be called if nothing else is said.
    pub(super) const MODELS: [&'static str; models::CALLABLE.len()] = models::CALLABLE;

    fn route(&self, request: &Request) -> Result<Reply, Refused> {
        self.authenticate(request)?;
        let segments: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match (&request.method, segments.as_slice()) {
            (&Method::POST, ["model", id, "count-tokens"]) => {
                self.count_tokens(request, &decoded(id))
            }
            (&Method::POST, ["model", id, operation]) => {
                let id = self.model_id(&decoded(id))?;
                self.run(request, &id, operation)
            }
            (&Method::GET, ["foundation-models"]) => Ok(self.foundation_models(request)),
            (&Method::GET, ["inference-profiles"]) => self.inference_profiles(request),
            _ => Err(Refused::new(404, "UnknownOperationException", "")),
        }
    }

    fn authenticate(&self, request: &Request) -> Result<(), Refused> {
        match (request.header("authorization"), request.bearer()) {
            ("", _) => Err(Refused::forbidden(
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            )),
            (_, Some(key)) if key == self.world.setup.api_key => Ok(()),
            (_, Some(_)) => Err(Refused::forbidden(
                "AccessDeniedException",
                "Authentication failed: Please make sure your API Key is valid.",
            )),
            _ => sigv4::verify(request, &self.world.setup),
        }
    }

    /// Returns the id that can be called, which an ARN may name, too.
    fn model_id(&self, id: &str) -> Result<String, Refused> {
        // arn:aws:bedrock:region:account:kind/name, and the name may have colons of its own.
        let resource = id
            .starts_with("arn:aws:bedrock:")
            .then(|| id.splitn(6, ':').nth(5).unwrap_or_default());
        let found = match resource {
            None => id.to_owned(),
            Some(resource) => match resource.split_once('/') {
                // One that an account made for itself stands for the first model.
                Some(("application-inference-profile", _)) => {
                    self.world.setup.models.first().cloned().unwrap_or_default()
                }
                Some(("inference-profile" | "foundation-model", name)) => name.to_owned(),
                _ => {
                    return Err(Refused::new(
                        404,
                        refused::usual(404).0,
                        refused::usual(404).1,
                    ));
                }
            },
        };
        if self.world.lists(&found) {
            return Ok(found);
        }
        let by_profile = |listed: &String| models::base(listed) == (found.as_str(), true);
        if self.world.setup.models.iter().any(by_profile) {
            Err(Refused::invalid(format!(
                "Invocation of model ID {found} with on-demand throughput isn’t supported. Retry your request with \
                 the ID or ARN of an inference profile that contains this model."
            )))
        } else {
            Err(Refused::invalid(
                "The provided model identifier is invalid.",
            ))
        }
    }

    fn run(&self, request: &Request, id: &str, operation: &str) -> Result<Reply, Refused> {
        let model = models::find(models::base(id).0)
            .copied()
            .unwrap_or(Model::UNKNOWN);
        let body = || -> Result<Value, Refused> {
            serde_json::from_slice(&request.body)
                .map_err(|error| Refused::new(400, "SerializationException", error.to_string()))
        };
        match operation {
            "converse" | "converse-stream" => self.converse(
                request,
                id,
                &model,
                &body()?,
                operation == "converse-stream",
            ),
            "invoke" => embed::invoke(&body()?, &model),
            _ => Err(Refused::new(404, "UnknownOperationException", "")),
        }
    }

    /// Only foundation models have counters; their profiles for several regions have none.
    fn count_tokens(&self, request: &Request, id: &str) -> Result<Reply, Refused> {
        let (base, is_profile) = models::base(id);
        let listed = |listed: &String| models::base(listed).0 == base;
        if is_profile || !self.world.setup.models.iter().any(listed) {
            return Err(Refused::invalid(
                "The provided model doesn't support counting tokens.",
            ));
        }
        let model = models::find(base).copied().unwrap_or(Model::UNKNOWN);
        let body = serde_json::from_slice(&request.body)
            .map_err(|error| Refused::new(400, "SerializationException", error.to_string()))?;
        count_tokens(&body, &model)
    }

    fn converse(
        &self,
        request: &Request,
        id: &str,
        model: &Model,
        body: &Value,
        streams: bool,
    ) -> Result<Reply, Refused> {
        if !model.converses() {
            return Err(Refused::invalid(
                "The model that you provided doesn't support the Converse operation. Update the model, and try again.",
            ));
        }
        let checked = check::check(body, model)?;
        let input = self.settle(&checked);
        let prompt = checked.prompt(id, &self.world);
        let message = if prompt.is_blocked() {
            Message::blocked(request, input)
        } else {
            Message::new(request, &checked, &prompt.said, prompt.think(), input)
        };
        let output = message.output();
        let reply = if streams {
            Reply::stream("application/vnd.amazon.eventstream", message.stream())
        } else {
            Reply::json(200, &message.whole())
        };
        Ok(reply.after(input.total(), output))
    }

    fn settle(&self, checked: &check::Checked) -> Input {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        checked.ledger.settle(&mut cache)
    }

    fn foundation_models(&self, request: &Request) -> Reply {
        let provider = request.parameter("byProvider");
        let output = request.parameter("byOutputModality");
        let inference = request.parameter("byInferenceType");
        let listed = |model: &&Model| {
            self.world
                .setup
                .models
                .iter()
                .any(|id| models::base(id).0 == model.id)
        };
        let shown: Vec<Value> = models::MODELS
            .iter()
            .filter(listed)
            .filter(|model| {
                model.passes(provider.as_deref(), output.as_deref(), inference.as_deref())
            })
            .map(|model| model.show(&self.world.setup.region))
            .collect();
        Reply::json(200, &json!({ "modelSummaries": shown }))
    }

    fn inference_profiles(&self, request: &Request) -> Result<Reply, Refused> {
        let kind = request.parameter("type");
        let profiles: Vec<(&str, &Model)> = self
            .world
            .setup
            .models
            .iter()
            .filter_map(|id| match models::base(id) {
                (base, true) => Some((id.as_str(), models::find(base)?)),
                _ => None,
            })
            .filter(|_| kind.as_deref() != Some("APPLICATION"))
            .collect();
        let most = match request
            .parameter("maxResults")
            .map(|most| most.parse::<usize>())
        {
            None => 100,
            Some(Ok(most @ 1..=1_000)) => most,
            Some(_) => return Err(Refused::constraint("maxResults", "…", "be from 1 to 1000")),
        };
        let begin = match request.parameter("nextToken") {
            None => 0,
            Some(token) => profiles
                .iter()
                .position(|(id, _)| *id == token)
                .ok_or_else(|| Refused::invalid("The provided next token is invalid."))?,
        };
        let page = profiles[begin..].iter().take(most);
        let shown: Vec<Value> = page
            .map(|(id, model)| model.profile(id, &self.world.setup.region))
            .collect();
        let mut answer = json!({ "inferenceProfileSummaries": shown });
        if let Some((next, _)) = profiles.get(begin + most) {
            answer["nextToken"] = (*next).into();
        }
        Ok(Reply::json(200, &answer))
    }
}

fn count_tokens(body: &Value, model: &Model) -> Result<Reply, Refused> {
    let fields = Fields::root(body)?;
    fields.only(&["input"])?;
    let input = fields.required_structure("input")?;
    let tokens = match input.union(&["converse", "invokeModel"])? {
        "converse" => {
            let inner = input.required_structure("converse")?;
            inner.only(&[
                "messages",
                "system",
                "toolConfig",
                "additionalModelRequestFields",
            ])?;
            check::check(input.required("converse")?, model)?
                .ledger
                .tokens()
        }
        _ => {
            let inner = input.required_structure("invokeModel")?;
            let bytes = picture::decode(inner.required_string("body")?);
            let bytes = bytes.ok_or_else(|| {
                Refused::new(
                    400,
                    "SerializationException",
                    "body is not a valid base64 blob",
                )
            })?;
            bytes.len().div_ceil(4) as u64
        }
    };
    Ok(Reply::json(200, &json!({ "inputTokens": tokens })))
}

/// Exceptions that a stream may end with; any other code ends it with an error that has no model.
const STREAM_EXCEPTIONS: [&str; 5] = [
    "internalServerException",
    "modelStreamErrorException",
    "validationException",
    "throttlingException",
    "serviceUnavailableException",
];

fn identified(reply: Reply, request: &Request) -> Reply {
    let id = request.id("", 0, 32).to_lowercase();
    let id = format!(
        "{}-{}-{}-{}-{}",
        &id[..8],
        &id[8..12],
        &id[12..16],
        &id[16..20],
        &id[20..]
    );
    reply.with("x-amzn-requestid", &id)
}

impl Provider for Bedrock {
    fn answer(&self, request: &Request) -> Reply {
        let reply = self
            .route(request)
            .unwrap_or_else(|refused| refused.reply());
        identified(reply, request)
    }

    /// Bedrock leaves callers to back off by themselves.
    fn says_retry_after(&self) -> bool {
        false
    }

    fn refuse(&self, request: &Request, failed: &Failed) -> Reply {
        let (exception, message) = refused::usual(failed.status);
        let exception = failed.code.as_deref().unwrap_or(exception);
        let message = failed.message.as_deref().unwrap_or(message);
        identified(refused::reply(failed.status, exception, message), request)
    }

    fn break_off(&self, _request: &Request, failed: &Failed, _sent: u64) -> Bytes {
        let code = failed
            .code
            .as_deref()
            .unwrap_or("modelStreamErrorException");
        let message = failed.message.as_deref();
        let known = STREAM_EXCEPTIONS
            .iter()
            .find(|exception| exception.eq_ignore_ascii_case(code));
        match known {
            Some(exception) => {
                let usual = "The system encountered an unexpected error during processing. Try your request again.";
                let mut payload = json!({"message": message.unwrap_or(usual)});
                if *exception == "modelStreamErrorException" {
                    payload["originalStatusCode"] = failed.status.into();
                }
                frames::exception(exception, &payload.to_string())
            }
            None => frames::error(
                code,
                message.unwrap_or("An internal failure ended the stream."),
            ),
        }
    }
}
