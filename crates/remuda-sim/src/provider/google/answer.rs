//! What the simulated Gemini says, as responses: one, or a stream of them.

use serde_json::{Value, json};

use super::super::super::chance::{self, Dice};
use super::super::exchange::{Piece, Request};
use super::super::mind::{self, Finish, Thought};
use super::super::signature;
use super::check::Checked;
use super::continuation;
use super::models::Model;

/// The word that makes the model break off in the middle, to be continued.
const CONTINUE: &str = "CONTINUE";
/// The word that makes half of the prompt one that is cached.
const CACHED: &str = "CACHED";

/// One answer of a model.
pub(super) struct Answer<'a> {
    model: Model<'a>,
    id: String,
    prompt_tokens: u64,
    cached_tokens: u64,
    /// Tokens of the thinking, shown or not.
    thoughts: Vec<String>,
    shows_thoughts: bool,
    text: Vec<String>,
    /// Whole parts, with the tokens that each took.
    calls: Vec<(Value, u64)>,
    /// Closes the text, for models that sign.
    signature: Option<String>,
    finish: &'static str,
    continuation: Option<String>,
    /// Alternatives for every token of the text.
    logprobs: Option<i64>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(
        request: &Request,
        model: Model<'a>,
        checked: &Checked,
        said: &str,
        thought: Thought,
        prompt_tokens: u64,
    ) -> Self {
        let mut answer = Self {
            model,
            id: request.id("", 0, 22),
            prompt_tokens,
            cached_tokens: if said.contains(CACHED) {
                prompt_tokens / 2
            } else {
                0
            },
            thoughts: thought.reasoning,
            shows_thoughts: checked.config.shows_thoughts,
            text: thought.text,
            calls: Vec::new(),
            signature: None,
            finish: match thought.finish {
                Finish::Length => "MAX_TOKENS",
                Finish::Filtered => "SAFETY",
                _ => "STOP",
            },
            continuation: None,
            logprobs: checked.config.logprobs,
        };
        let mut dice = Dice::new(request.number);
        answer.call(request, &thought.calls, &mut dice);
        if answer.calls.is_empty() && answer.finish == "STOP" {
            answer.signature = model.signs.then(|| signature::issue("call", "", &mut dice));
            answer.break_off(said, checked.continues_at);
        }
        answer
    }

    /// Calls arrive whole; one that the limit has cut does not arrive.
    fn call(&mut self, request: &Request, calls: &[mind::Call], dice: &mut Dice) {
        for (index, call) in calls.iter().enumerate() {
            let Ok(args) = serde_json::from_str::<Value>(&call.json()) else {
                continue;
            };
            let mut part = json!({"functionCall": {"name": call.name, "args": args}});
            if self.model.signs {
                part["functionCall"]["id"] = request.id("", 1 + index as u64, 8).into();
            }
            if self.model.signs && index == 0 {
                part["thoughtSignature"] = signature::issue("call", &call.name, dice).into();
            }
            self.calls.push((part, call.arguments.len() as u64));
        }
    }

    fn break_off(&mut self, said: &str, continues_at: Option<usize>) {
        if let Some(begin) = continues_at {
            self.text.drain(..begin.min(self.text.len()));
        } else if said.contains(CONTINUE) && self.text.len() > 1 {
            let half = self.text.len() / 2;
            self.text.truncate(half);
            self.finish = "CONTINUATION";
            self.signature = None;
            self.continuation = Some(continuation::token(half));
        }
    }

    /// Returns how many tokens the text and the calls have, which is what `candidatesTokenCount` counts.
    fn candidate_tokens(&self) -> u64 {
        self.text.len() as u64 + self.calls.iter().map(|(_, tokens)| tokens).sum::<u64>()
    }

    /// Returns all tokens that the model wrote.
    pub(super) fn tokens(&self) -> u64 {
        self.thoughts.len() as u64 + self.candidate_tokens()
    }

    fn usage(&self, thoughts: u64, candidates: u64) -> Value {
        let mut usage = json!({
            "promptTokenCount": self.prompt_tokens,
            "totalTokenCount": self.prompt_tokens + thoughts + candidates,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt_tokens}],
        });
        for (key, count) in [
            ("candidatesTokenCount", candidates),
            ("thoughtsTokenCount", thoughts),
            ("cachedContentTokenCount", self.cached_tokens),
        ] {
            if count > 0 {
                usage[key] = count.into();
            }
        }
        usage
    }

    fn response(&self, candidate: Value, usage: Value) -> Value {
        json!({
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": self.model.id,
            "responseId": self.id,
        })
    }

    /// What closes the answer.
    fn end(&self, candidate: &mut Value) {
        candidate["finishReason"] = self.finish.into();
        candidate["safetyRatings"] = json!([]);
        if let Some(token) = &self.continuation {
            candidate["continuationToken"] = token.as_str().into();
        }
    }

    /// Returns one response with all of it; without parts if nothing came of it.
    pub(super) fn whole(&self) -> Value {
        let mut parts = Vec::new();
        if self.shows_thoughts && !self.thoughts.is_empty() {
            parts.push(json!({"text": self.thoughts.concat(), "thought": true}));
        }
        if !self.text.is_empty() {
            let mut part = json!({"text": self.text.concat()});
            if let Some(signature) = &self.signature {
                part["thoughtSignature"] = signature.as_str().into();
            }
            parts.push(part);
        }
        parts.extend(self.calls.iter().map(|(part, _)| part.clone()));
        let mut candidate = json!({"content": {"role": "model"}, "index": 0});
        if !parts.is_empty() {
            candidate["content"]["parts"] = parts.into();
        }
        self.end(&mut candidate);
        if let Some(alternatives) = self.logprobs {
            let (result, mean) = logprobs(&self.text, alternatives);
            candidate["logprobsResult"] = result;
            candidate["avgLogprobs"] = mean.into();
        }
        let thoughts = self.thoughts.len() as u64;
        self.response(candidate, self.usage(thoughts, self.candidate_tokens()))
    }

    /// Returns the responses of a stream, with the tokens that each carries; counts grow from one to the next.
    fn responses(&self) -> Vec<(Value, u64)> {
        let mut responses = Vec::new();
        let (mut thoughts, mut candidates) = (0, 0);
        let chunk =
            |part: Value| json!({"content": {"role": "model", "parts": [part]}, "index": 0});
        if self.shows_thoughts {
            for text in &self.thoughts {
                thoughts += 1;
                let candidate = chunk(json!({"text": text, "thought": true}));
                responses.push((self.response(candidate, self.usage(thoughts, 0)), 1));
            }
        }
        let mut hidden = self.thoughts.len() as u64 - thoughts;
        thoughts += hidden;
        for text in &self.text {
            candidates += 1;
            let mut candidate = chunk(json!({"text": text}));
            if let Some(alternatives) = self.logprobs {
                (candidate["logprobsResult"], _) =
                    logprobs(std::slice::from_ref(text), alternatives);
            }
            let usage = self.usage(thoughts, candidates);
            responses.push((
                self.response(candidate, usage),
                1 + std::mem::take(&mut hidden),
            ));
        }
        for (part, tokens) in &self.calls {
            candidates += tokens;
            let usage = self.usage(thoughts, candidates);
            let tokens = tokens + std::mem::take(&mut hidden);
            responses.push((self.response(chunk(part.clone()), usage), tokens));
        }
        // The last one has no text of its own, but may carry the signature.
        let mut last = json!({"text": ""});
        if let Some(signature) = &self.signature {
            last["thoughtSignature"] = signature.as_str().into();
        }
        let mut candidate = chunk(last);
        self.end(&mut candidate);
        responses.push((
            self.response(candidate, self.usage(thoughts, candidates)),
            hidden,
        ));
        responses
    }

    /// Server-sent events, which Google ends with carriage returns.
    pub(super) fn events(&self) -> Vec<Piece> {
        let responses = self.responses().into_iter();
        responses
            .map(|(response, tokens)| Piece::new(format!("data: {response}\r\n\r\n"), tokens))
            .collect()
    }

    /// Returns one JSON array, element by element.
    pub(super) fn array(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (response, tokens) in self.responses() {
            let before = if pieces.is_empty() { "[" } else { ",\r\n" };
            pieces.push(Piece::new(format!("{before}{response:#}"), tokens));
        }
        pieces.push(Piece::new("]\r\n", 0));
        pieces
    }
}

/// Returns what a prompt that is blocked is answered with: nothing but the reason.
pub(super) fn blocked(request: &Request, model: &Model, prompt_tokens: u64) -> Value {
    json!({
        "promptFeedback": {
            "blockReason": "PROHIBITED_CONTENT",
            "safetyRatings": [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": true}],
        },
        "usageMetadata": {"promptTokenCount": prompt_tokens, "totalTokenCount": prompt_tokens},
        "modelVersion": model.id,
        "responseId": request.id("", 0, 22),
    })
}

/// Log probabilities that depend on the tokens alone, and their mean.
fn logprobs(tokens: &[String], alternatives: i64) -> (Value, f64) {
    let (mut chosen, mut top, mut sum) = (Vec::new(), Vec::new(), 0.0);
    for token in tokens {
        let mut dice = Dice::new(chance::hash(0, token.as_bytes()));
        let best = -(dice.unit() * 0.5);
        sum += best;
        let candidate = |text: &str, number: f64| json!({"token": text, "tokenId": text.len(), "logProbability": number});
        chosen.push(candidate(token, best));
        let others = 1..alternatives;
        let mut candidates = vec![candidate(token, best)];
        candidates
            .extend(others.map(|rank| candidate(&format!("{token}{rank}"), best - rank as f64)));
        candidates.truncate(usize::try_from(alternatives).unwrap_or_default());
        top.push(json!({ "candidates": candidates }));
    }
    let mut result = json!({"chosenCandidates": chosen, "logProbabilitySum": sum});
    if alternatives > 0 {
        result["topCandidates"] = top.into();
    }
    (result, sum / tokens.len().max(1) as f64)
}
