//! What the simulated model says through Converse, whole or as frames.

use serde_json::{Value, json};

use super::super::super::chance::Dice;
use super::super::exchange::{Piece, Request};
use super::super::ledger::Input;
use super::super::mind::{Finish, Thought};
use super::super::signature;
use super::check::Checked;
use super::extra::Reasoning;
use super::frames;

/// The word in the user's text that makes the model's reasoning unreadable.
const REDACT: &str = "REDACT";

/// Milliseconds that the metrics tell for each token.
const LATENCY: u64 = 10;

const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// One finished message.
pub(super) struct Message {
    blocks: Vec<Block>,
    stop_reason: &'static str,
    /// `additionalModelResponseFields`, if they were asked for.
    additional: Option<Value>,
    input: Input,
    output: u64,
    dice: Dice,
}

/// One content block; lists are its tokens.
enum Block {
    Reasoning {
        text: Vec<String>,
        signature: String,
        hidden: u64,
    },
    Redacted {
        data: String,
        hidden: u64,
    },
    Text(Vec<String>),
    ToolUse {
        id: String,
        name: String,
        input: Value,
        json: Vec<String>,
    },
}

impl Message {
    pub(super) fn new(
        request: &Request,
        checked: &Checked,
        said: &str,
        thought: Thought,
        input: Input,
    ) -> Self {
        let mut dice = Dice::new(request.number);
        let output = thought.tokens();
        let additional = checked.tells_stop.then(|| match &thought.finish {
            Finish::StopString(stop) => json!({"stop_sequence": stop}),
            _ => json!({"stop_sequence": null}),
        });
        let mut blocks = Vec::new();
        blocks.extend(reasoning(
            checked.reasoning,
            said,
            thought.reasoning,
            &mut dice,
        ));
        if !thought.text.is_empty() {
            blocks.push(Block::Text(thought.text));
        }
        for (index, call) in thought.calls.into_iter().enumerate() {
            blocks.push(Block::ToolUse {
                id: request.id("tooluse_", index as u64, 22),
                name: call.name.clone(),
                input: call.value(),
                json: call.arguments,
            });
        }
        Self {
            blocks,
            stop_reason: match thought.finish {
                Finish::Stop => "end_turn",
                Finish::StopString(_) => "stop_sequence",
                Finish::Length => "max_tokens",
                Finish::Calls => "tool_use",
                Finish::Refused => "content_filtered",
                Finish::Filtered => "guardrail_intervened",
            },
            additional,
            input,
            output,
            dice,
        }
    }

    /// Returns what a guardrail says in place of the model.
    pub(super) fn blocked(request: &Request, input: Input) -> Self {
        let words = ["Sorry,", " the model cannot answer", " this question."];
        Self {
            blocks: vec![Block::Text(words.map(String::from).into())],
            stop_reason: "guardrail_intervened",
            additional: None,
            input,
            output: 0,
            dice: Dice::new(request.number),
        }
    }

    /// Returns all tokens that the model wrote.
    pub(super) fn output(&self) -> u64 {
        self.output
    }

    fn usage(&self) -> Value {
        let mut usage = json!({
            "inputTokens": self.input.fresh,
            "outputTokens": self.output,
            "totalTokens": self.input.total() + self.output,
        });
        if self.input.written + self.input.read > 0 {
            usage["cacheReadInputTokens"] = self.input.read.into();
            usage["cacheWriteInputTokens"] = self.input.written.into();
            let ttl = if self.input.one_hour { "1h" } else { "5m" };
            usage["cacheDetails"] = json!([{"ttl": ttl, "inputTokens": self.input.written}]);
        }
        usage
    }

    fn metrics(&self) -> Value {
        json!({"latencyMs": (self.input.total() + self.output) * LATENCY})
    }

    /// Returns the message as one JSON object.
    pub(super) fn whole(&self) -> Value {
        let content: Vec<Value> = self.blocks.iter().map(Block::whole).collect();
        let mut answer = json!({
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": self.stop_reason,
            "usage": self.usage(),
            "metrics": self.metrics(),
        });
        if let Some(additional) = &self.additional {
            answer["additionalModelResponseFields"] = additional.clone();
        }
        answer
    }

    /// Returns the message as frames.
    pub(super) fn stream(mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.frame(&mut pieces, "messageStart", json!({"role": "assistant"}), 0);
        for (index, block) in std::mem::take(&mut self.blocks).iter().enumerate() {
            // Texts and reasoning begin with their first delta.
            if let Block::ToolUse { id, name, .. } = block {
                let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                let start = json!({"contentBlockIndex": index, "start": start});
                self.frame(&mut pieces, "contentBlockStart", start, 0);
            }
            for (delta, tokens) in block.deltas() {
                let delta = json!({"contentBlockIndex": index, "delta": delta});
                self.frame(&mut pieces, "contentBlockDelta", delta, tokens);
            }
            self.frame(
                &mut pieces,
                "contentBlockStop",
                json!({"contentBlockIndex": index}),
                0,
            );
        }
        let mut stop = json!({"stopReason": self.stop_reason});
        if let Some(additional) = &self.additional {
            stop["additionalModelResponseFields"] = additional.clone();
        }
        self.frame(&mut pieces, "messageStop", stop, 0);
        let metadata = json!({"usage": self.usage(), "metrics": self.metrics()});
        self.frame(&mut pieces, "metadata", metadata, 0);
        pieces
    }

    /// One event, with padding that hides its length.
    fn frame(&mut self, pieces: &mut Vec<Piece>, name: &str, mut payload: Value, tokens: u64) {
        let length = 1 + self.dice.below(PADDING.len());
        payload["p"] = PADDING[..length].into();
        pieces.push(Piece::new(
            frames::event(name, &payload.to_string()),
            tokens,
        ));
    }
}

fn reasoning(how: Reasoning, said: &str, text: Vec<String>, dice: &mut Dice) -> Option<Block> {
    let hidden = text.len() as u64;
    if hidden == 0 {
        return None;
    }
    if said.contains(REDACT) {
        let data = signature::issue("redacted", "", dice);
        return Some(Block::Redacted { data, hidden });
    }
    match how {
        Reasoning::Off => None,
        Reasoning::Shown => Some(Block::Reasoning {
            signature: signature::issue("reasoning", &text.concat(), dice),
            text,
            hidden: 0,
        }),
        Reasoning::Omitted => Some(Block::Reasoning {
            signature: signature::issue("reasoning", "", dice),
            text: Vec::new(),
            hidden,
        }),
    }
}

impl Block {
    fn whole(&self) -> Value {
        match self {
            Self::Reasoning {
                text, signature, ..
            } => {
                let text = json!({"text": text.concat(), "signature": signature});
                json!({"reasoningContent": {"reasoningText": text}})
            }
            Self::Redacted { data, .. } => json!({"reasoningContent": {"redactedContent": data}}),
            Self::Text(text) => json!({"text": text.concat()}),
            Self::ToolUse {
                id, name, input, ..
            } => {
                json!({"toolUse": {"toolUseId": id, "name": name, "input": input}})
            }
        }
    }

    /// Returns the deltas, and the tokens that each carries.
    fn deltas(&self) -> Vec<(Value, u64)> {
        match self {
            Self::Reasoning {
                text,
                signature,
                hidden,
            } => {
                let thought = |part: &String| (json!({"reasoningContent": {"text": part}}), 1);
                let signed = json!({"reasoningContent": {"signature": signature}});
                text.iter()
                    .map(thought)
                    .chain([(signed, *hidden)])
                    .collect()
            }
            Self::Redacted { data, hidden } => {
                vec![(
                    json!({"reasoningContent": {"redactedContent": data}}),
                    *hidden,
                )]
            }
            Self::Text(text) => text.iter().map(|part| (json!({"text": part}), 1)).collect(),
            // A tool without arguments streams none.
            Self::ToolUse { json, .. } if json.concat() == "{}" => Vec::new(),
            Self::ToolUse { json, .. } => json
                .iter()
                .map(|part| (json!({"toolUse": {"input": part}}), 1))
                .collect(),
        }
    }
}
