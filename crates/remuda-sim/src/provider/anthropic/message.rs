//! What the simulated Claude says, as blocks of a message, whole or streamed.

use serde_json::{Value, json};

use super::super::super::chance::Dice;
use super::super::exchange::{Piece, Request};
use super::super::ledger::Input;
use super::super::mind::{Finish, Thought};
use super::super::signature;
use super::check::Checked;
use super::thinking::Thinking;

/// The word in the user's text that makes the model pause its turn, as it does while a server tool runs.
const PAUSE: &str = "PAUSE";
/// The word that puts an empty text before what it says: the API answers with those, but does not take them back.
const EMPTY: &str = "EMPTY";
/// The word that makes its thinking unreadable.
const REDACT: &str = "REDACT";

/// One finished message.
pub(super) struct Message<'a> {
    id: String,
    model: &'a str,
    blocks: Vec<Block>,
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    stop_details: Value,
    input: Input,
    output: u64,
    thinking: u64,
    managed: bool,
}

/// Short histories are left as they are.
fn no_edits() -> Value {
    json!({"applied_edits": []})
}

/// One content block; lists are its tokens.
enum Block {
    Thinking {
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
    ServerToolUse {
        id: String,
        json: Vec<String>,
    },
}

impl<'a> Message<'a> {
    pub(super) fn new(
        request: &Request,
        model: &'a str,
        checked: &Checked,
        said: &str,
        thought: Thought,
        input: Input,
    ) -> Self {
        let mut message = Self {
            id: request.id("msg_01", 0, 22),
            model,
            output: thought.tokens(),
            thinking: thought.reasoning.len() as u64,
            managed: checked.managed,
            stop_reason: "end_turn",
            stop_sequence: None,
            stop_details: Value::Null,
            blocks: Vec::new(),
            input,
        };
        message.end(&thought.finish);
        message.reason(request, checked.thinking, said, thought.reasoning);
        if said.contains(EMPTY) {
            message.blocks.push(Block::Text(Vec::new()));
        }
        if !thought.text.is_empty() {
            message.blocks.push(Block::Text(thought.text));
        }
        for (index, call) in thought.calls.into_iter().enumerate() {
            message.blocks.push(Block::ToolUse {
                id: request.id("toolu_01", index as u64, 22),
                name: call.name.clone(),
                input: call.value(),
                json: call.arguments,
            });
        }
        if said.contains(PAUSE) && !checked.resumes() && message.stop_reason == "end_turn" {
            message.stop_reason = "pause_turn";
            message.blocks.push(Block::ServerToolUse {
                id: request.id("srvtoolu_01", 0, 22),
                json: vec!["{\"query\":".into(), "\"weather\"}".into()],
            });
        }
        message
    }

    fn end(&mut self, finish: &Finish) {
        self.stop_reason = match finish {
            Finish::Stop => "end_turn",
            Finish::StopString(stop) => {
                self.stop_sequence = Some(stop.clone());
                "stop_sequence"
            }
            Finish::Length => "max_tokens",
            Finish::Calls => "tool_use",
            // A filter of the API ends an answer as a refusal of the model does.
            Finish::Refused | Finish::Filtered => {
                self.stop_details = json!({
                    "type": "refusal",
                    "category": "general_harms",
                    "explanation": "The request was declined by the simulated model.",
                });
                "refusal"
            }
        };
    }

    fn reason(&mut self, request: &Request, thinking: Thinking, said: &str, text: Vec<String>) {
        let hidden = text.len() as u64;
        if hidden == 0 || thinking == Thinking::Off {
            return;
        }
        let mut dice = Dice::new(request.number);
        self.blocks.push(if said.contains(REDACT) {
            Block::Redacted {
                data: signature::issue("redacted", "", &mut dice),
                hidden,
            }
        } else if thinking == Thinking::Omitted {
            Block::Thinking {
                text: Vec::new(),
                signature: signature::issue("thinking", "", &mut dice),
                hidden,
            }
        } else {
            Block::Thinking {
                signature: signature::issue("thinking", &text.concat(), &mut dice),
                text,
                hidden: 0,
            }
        });
    }

    /// Returns all tokens that the model wrote.
    pub(super) fn output(&self) -> u64 {
        self.output
    }

    /// Returns the message as one JSON object.
    pub(super) fn whole(&self) -> Value {
        let blocks: Vec<Value> = self.blocks.iter().map(Block::whole).collect();
        let mut message = self.head(blocks, self.output);
        message["stop_reason"] = self.stop_reason.into();
        message["stop_sequence"] = json!(self.stop_sequence);
        message["stop_details"] = self.stop_details.clone();
        message["usage"]["output_tokens_details"] = json!({"thinking_tokens": self.thinking});
        if self.managed {
            message["context_management"] = no_edits();
        }
        message
    }

    fn head(&self, content: Vec<Value>, output: u64) -> Value {
        let (five_minutes, one_hour) = if self.input.one_hour {
            (0, self.input.written)
        } else {
            (self.input.written, 0)
        };
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "stop_details": null,
            "usage": {
                "input_tokens": self.input.fresh,
                "cache_creation_input_tokens": self.input.written,
                "cache_read_input_tokens": self.input.read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": five_minutes,
                    "ephemeral_1h_input_tokens": one_hour,
                },
                "output_tokens": output,
                "service_tier": "standard",
            },
        })
    }

    /// Returns the message as events.
    pub(super) fn stream(&self) -> Vec<Piece> {
        let head = self.head(Vec::new(), 1);
        let mut pieces = vec![event(json!({"type": "message_start", "message": head}), 0)];
        for (index, block) in self.blocks.iter().enumerate() {
            let start = block.start();
            pieces.push(event(
                json!({"type": "content_block_start", "index": index, "content_block": start}),
                block.hidden(),
            ));
            if index == 0 {
                pieces.push(event(json!({"type": "ping"}), 0));
            }
            for (delta, tokens) in block.deltas() {
                pieces.push(event(
                    json!({"type": "content_block_delta", "index": index, "delta": delta}),
                    tokens,
                ));
            }
            pieces.push(event(
                json!({"type": "content_block_stop", "index": index}),
                0,
            ));
        }
        let delta = json!({
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
        });
        let usage = json!({
            "input_tokens": self.input.fresh,
            "cache_creation_input_tokens": self.input.written,
            "cache_read_input_tokens": self.input.read,
            "output_tokens": self.output,
            "output_tokens_details": {"thinking_tokens": self.thinking},
        });
        let mut last = json!({"type": "message_delta", "delta": delta, "usage": usage});
        if self.managed {
            last["context_management"] = no_edits();
        }
        pieces.push(event(last, 0));
        pieces.push(event(json!({"type": "message_stop"}), 0));
        pieces
    }
}

/// Returns an event, which is named by its `type`.
fn event(value: Value, tokens: u64) -> Piece {
    let name = value["type"].as_str().unwrap_or_default().to_owned();
    Piece::event(&name, &value, tokens)
}

impl Block {
    fn whole(&self) -> Value {
        match self {
            Self::Thinking {
                text, signature, ..
            } => {
                json!({"type": "thinking", "thinking": text.concat(), "signature": signature})
            }
            Self::Redacted { data, .. } => json!({"type": "redacted_thinking", "data": data}),
            Self::Text(text) => json!({"type": "text", "text": text.concat()}),
            Self::ToolUse {
                id, name, input, ..
            } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
            Self::ServerToolUse { id, json } => {
                let input: Value = serde_json::from_str(&json.concat()).unwrap_or_default();
                json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": input})
            }
        }
    }

    /// Returns the block as its start event has it: with nothing in it yet.
    fn start(&self) -> Value {
        match self {
            Self::Thinking { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Self::Redacted { .. } => self.whole(),
            Self::Text(_) => json!({"type": "text", "text": ""}),
            Self::ToolUse { .. } | Self::ServerToolUse { .. } => {
                let mut start = self.whole();
                start["input"] = json!({});
                start
            }
        }
    }

    /// Returns how many tokens were made before the block begins, and are not shown.
    fn hidden(&self) -> u64 {
        match self {
            Self::Thinking { hidden, .. } | Self::Redacted { hidden, .. } => *hidden,
            _ => 0,
        }
    }

    /// Returns the deltas, and the tokens that each carries.
    fn deltas(&self) -> Vec<(Value, u64)> {
        match self {
            Self::Thinking {
                text, signature, ..
            } => {
                let thought =
                    |part: &String| (json!({"type": "thinking_delta", "thinking": part}), 1);
                let signed = json!({"type": "signature_delta", "signature": signature});
                text.iter().map(thought).chain([(signed, 0)]).collect()
            }
            Self::Redacted { .. } => Vec::new(),
            Self::Text(text) => text
                .iter()
                .map(|part| (json!({"type": "text_delta", "text": part}), 1))
                .collect(),
            // A tool without arguments streams none.
            Self::ToolUse { json, .. } if json.concat() == "{}" => Vec::new(),
            Self::ToolUse { json, .. } | Self::ServerToolUse { json, .. } => {
                let fragment =
                    |part: &String| (json!({"type": "input_json_delta", "partial_json": part}), 1);
                // The first fragment is empty, as it is with the real one.
                let first = (json!({"type": "input_json_delta", "partial_json": ""}), 0);
                std::iter::once(first)
                    .chain(json.iter().map(fragment))
                    .collect()
            }
        }
    }
}
