//! `/api/generate` and `/api/chat` in Ollama's own words.

use serde::Serialize;

use super::admit::{Admitted, admit};
use super::answer::Call;
use super::ask::{Ask, Manner};
use super::chance::{self, Dice};
use super::generation::{Done, Event, Metrics};
use super::reply::{Refusal, Reply, created_at, error_line, line, ok};
use super::seat::Visitor;
use super::speech::{self, Voice, Whole};

pub(super) async fn generate(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    answer(visitor, Ask::generate(body)?).await
}

pub(super) async fn chat(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let ask = Ask::chat(body)?;
    if ask.model.is_empty() {
        return Err(Refusal::bad("model is required"));
    }
    answer(visitor, ask).await
}

async fn answer(visitor: Visitor, ask: Ask) -> Result<Reply, Refusal> {
    let mut voice = Native {
        model: ask.model.clone(),
        manner: ask.manner,
        logprobs: ask.logprobs,
        // The real ones are the model's; their number is what clients see.
        context: ask.prompt.tokens(),
        calls_on_last_line: false,
        held: Vec::new(),
    };
    match admit(visitor, &ask).await? {
        Admitted::Rendered(text) => Ok(ok(&voice.rendered(text))),
        Admitted::Loaded(reason) => {
            Ok(ok(&voice.last(reason, Metrics::default(), Said::default())))
        }
        Admitted::Speaking(generation) => {
            voice.calls_on_last_line = generation.model().calls_on_last_line;
            if ask.stream {
                Ok(speech::stream(generation, voice))
            } else {
                speech::whole(generation, voice).await
            }
        }
    }
}

/// Ollama's own voice: one JSON object a line.
struct Native {
    model: String,
    manner: Manner,
    logprobs: Option<usize>,
    /// Tokens of the prompt, for the `context` of `/api/generate`.
    context: u64,
    calls_on_last_line: bool,
    /// Calls that wait for the last line.
    held: Vec<Call>,
}

/// What one line says.
#[derive(Default)]
struct Said<'a> {
    content: &'a str,
    thinking: &'a str,
    calls: Vec<Call>,
    logprobs: Vec<Logprob>,
}

#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(flatten)]
    says: Says<'a>,
    done: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    done_reason: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<Logprob>,
    #[serde(flatten)]
    metrics: Metrics,
    #[serde(rename = "_debug_info", skip_serializing_if = "Option::is_none")]
    debug_info: Option<DebugInfo>,
}

#[derive(Serialize)]
struct DebugInfo {
    rendered_template: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Says<'a> {
    Generate {
        response: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        thinking: &'a str,
    },
    Chat {
        message: Message<'a>,
    },
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

#[derive(Serialize)]
struct Logprob {
    #[serde(flatten)]
    token: TokenLogprob,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<TokenLogprob>,
}

#[derive(Clone, Serialize)]
struct TokenLogprob {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

impl Native {
    fn line<'a>(&'a self, said: Said<'a>) -> Line<'a> {
        Line {
            model: &self.model,
            created_at: created_at(),
            says: match self.manner {
                Manner::Generate { .. } => Says::Generate {
                    response: said.content,
                    thinking: said.thinking,
                },
                Manner::Chat => Says::Chat {
                    message: Message {
                        role: "assistant",
                        content: said.content,
                        thinking: said.thinking,
                        tool_calls: said.calls,
                    },
                },
            },
            done: false,
            done_reason: "",
            context: Vec::new(),
            logprobs: said.logprobs,
            metrics: Metrics::default(),
            debug_info: None,
        }
    }

    /// The prompt instead of an answer: a line that nobody has spoken.
    fn rendered(&self, rendered_template: String) -> Line<'_> {
        let mut line = self.line(Said::default());
        if let Says::Chat { message } = &mut line.says {
            message.role = "";
        }
        line.debug_info = Some(DebugInfo { rendered_template });
        line
    }

    fn last<'a>(&'a self, reason: &'static str, metrics: Metrics, said: Said<'a>) -> Line<'a> {
        let answered = metrics.total_duration > 0;
        let context = match self.manner {
            Manner::Generate { raw: false } if answered => {
                self.context_tokens(self.context + metrics.eval_count)
            }
            _ => Vec::new(),
        };
        Line {
            done: true,
            done_reason: reason,
            context,
            metrics,
            ..self.line(said)
        }
    }

    fn context_tokens(&self, count: u64) -> Vec<u32> {
        let mut dice = Dice::new(chance::hash(0, self.model.as_bytes()));
        (0..count.min(4_096))
            .map(|_| dice.below(128_000) as u32)
            .collect()
    }

    fn logprobs(&self, token: &str) -> Vec<Logprob> {
        let Some(alternatives) = self.logprobs else {
            return Vec::new();
        };
        let mut dice = Dice::new(chance::hash(0, token.as_bytes()));
        let chosen = TokenLogprob {
            token: token.to_owned(),
            logprob: -dice.unit(),
            bytes: token.as_bytes().to_vec(),
        };
        let others = (1..alternatives).map(|rank| {
            let token = format!(" or{rank}");
            TokenLogprob {
                logprob: chosen.logprob - rank as f64,
                bytes: token.as_bytes().to_vec(),
                token,
            }
        });
        let mut top_logprobs: Vec<TokenLogprob> = Vec::new();
        if alternatives > 0 {
            top_logprobs.push(chosen.clone());
            top_logprobs.extend(others);
        }
        vec![Logprob {
            token: chosen,
            top_logprobs,
        }]
    }
}

impl Voice for Native {
    const STREAM_TYPE: &'static str = "application/x-ndjson";

    fn stream(&mut self, event: Event) -> Vec<u8> {
        match event {
            Event::Thinking(text) => line(&self.line(Said {
                thinking: &text,
                ..Said::default()
            })),
            Event::Content(text) => line(&self.line(Said {
                content: &text,
                logprobs: self.logprobs(&text),
                ..Said::default()
            })),
            Event::Calls(calls) if self.calls_on_last_line => {
                self.held.extend(calls);
                Vec::new()
            }
            Event::Calls(calls) => line(&self.line(Said {
                calls,
                ..Said::default()
            })),
            Event::Error(message) => error_line(&message),
            Event::Done(Done { reason, metrics }) => {
                let calls = std::mem::take(&mut self.held);
                line(&self.last(
                    reason,
                    metrics,
                    Said {
                        calls,
                        ..Said::default()
                    },
                ))
            }
        }
    }

    fn whole(&mut self, whole: Whole) -> Reply {
        let said = Said {
            content: &whole.content,
            thinking: &whole.thinking,
            logprobs: whole
                .tokens
                .iter()
                .flat_map(|token| self.logprobs(token))
                .collect(),
            calls: whole.calls,
        };
        ok(&self.last(whole.done.reason, whole.done.metrics, said))
    }
}
