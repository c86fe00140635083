//! The Claude models that the simulated API serves, and what each of them refuses.

use serde_json::{Value, json};

/// One model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Model<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    /// Also served under this dated or undated name.
    pub(super) other_id: Option<&'static str>,
    created: &'static str,
    pub(super) max_input: u64,
    pub(super) max_output: u64,
    /// `temperature`, `top_p` and `top_k` are taken.
    pub(super) sampling: bool,
    /// `thinking.type` may be `enabled`, with a budget.
    pub(super) budget: bool,
    /// `thinking.type` may be `adaptive`.
    pub(super) adaptive: bool,
    /// `thinking.type` may be `disabled`; where not, the model always thinks.
    pub(super) can_be_silenced: bool,
    /// `output_config.effort` may be one of these.
    pub(super) efforts: &'static [&'static str],
    /// `tool_choice` may be `any` or `tool`.
    pub(super) forced_tools: bool,
    /// The conversation may end with an assistant turn.
    pub(super) prefill: bool,
    /// `system` turns may stand within the conversation.
    pub(super) system_turns: bool,
}

const HAIKU_4_5: Model<'static> = Model {
    id: "claude-haiku-4-5-20251001",
    name: "Claude Haiku 4.5",
    other_id: Some("claude-haiku-4-5"),
    created: "2025-10-15T00:00:00Z",
    max_input: 200_000,
    max_output: 64_000,
    sampling: true,
    budget: true,
    adaptive: false,
    can_be_silenced: true,
    efforts: &[],
    forced_tools: true,
    prefill: true,
    system_turns: false,
};

const OPUS_4_6: Model<'static> = Model {
    id: "claude-opus-4-6",
    name: "Claude Opus 4.6",
    other_id: None,
    created: "2026-02-05T00:00:00Z",
    max_input: 1_000_000,
    max_output: 128_000,
    adaptive: true,
    efforts: &["low", "medium", "high", "max"],
    prefill: false,
    ..HAIKU_4_5
};

const OPUS_5: Model<'static> = Model {
    id: "claude-opus-5",
    name: "Claude Opus 5",
    created: "2026-07-01T00:00:00Z",
    sampling: false,
    budget: false,
    efforts: &["low", "medium", "high", "xhigh", "max"],
    ..OPUS_4_6
};

const FABLE_5: Model<'static> = Model {
    id: "claude-fable-5",
    name: "Claude Fable 5",
    can_be_silenced: false,
    system_turns: true,
    ..OPUS_5
};

const OPUS_5_5: Model<'static> = Model {
    id: "claude-opus-5-5",
    name: "Claude Opus 5.5",
    created: "2026-11-01T00:00:00Z",
    forced_tools: false,
    ..FABLE_5
};

/// All models, the newest first, as the list has them.
pub(super) const MODELS: [Model<'static>; 17] = [
    OPUS_5_5,
    Model {
        id: "claude-sonnet-5-5",
        name: "Claude Sonnet 5.5",
        ..OPUS_5_5
    },
    Model {
        id: "claude-haiku-5-5",
        name: "Claude Haiku 5.5",
        created: "2026-11-01T00:00:00Z",
        ..OPUS_5
    },
    Model {
        id: "claude-fable-5-1",
        name: "Claude Fable 5.1",
        ..OPUS_5_5
    },
    Model {
        id: "claude-mythos-5-1",
        name: "Claude Mythos 5.1",
        ..OPUS_5_5
    },
    FABLE_5,
    Model {
        id: "claude-mythos-5",
        name: "Claude Mythos 5",
        ..FABLE_5
    },
    OPUS_5,
    Model {
        id: "claude-sonnet-5",
        name: "Claude Sonnet 5",
        ..OPUS_5
    },
    Model {
        id: "claude-opus-4-8",
        name: "Claude Opus 4.8",
        created: "2026-05-01T00:00:00Z",
        system_turns: true,
        ..OPUS_5
    },
    Model {
        id: "claude-opus-4-7",
        name: "Claude Opus 4.7",
        created: "2026-04-01T00:00:00Z",
        ..OPUS_5
    },
    OPUS_4_6,
    Model {
        id: "claude-sonnet-4-6",
        name: "Claude Sonnet 4.6",
        created: "2026-02-17T00:00:00Z",
        ..OPUS_4_6
    },
    Model {
        id: "claude-opus-4-5-20251101",
        name: "Claude Opus 4.5",
        other_id: Some("claude-opus-4-5"),
        created: "2025-11-24T00:00:00Z",
        efforts: &["low", "medium", "high"],
        ..HAIKU_4_5
    },
    HAIKU_4_5,
    Model {
        id: "claude-sonnet-4-5-20250929",
        name: "Claude Sonnet 4.5",
        other_id: Some("claude-sonnet-4-5"),
        created: "2025-09-29T00:00:00Z",
        ..HAIKU_4_5
    },
    Model {
        id: "claude-opus-4-1-20250805",
        name: "Claude Opus 4.1",
        other_id: Some("claude-opus-4-1"),
        created: "2025-08-05T00:00:00Z",
        max_output: 32_000,
        ..HAIKU_4_5
    },
];

/// Returns the model of that name.
pub(super) fn find(id: &str) -> Option<&'static Model<'static>> {
    MODELS
        .iter()
        .find(|model| model.id == id || model.other_id == Some(id))
}

impl<'a> Model<'a> {
    /// Returns a model that is not in the table: it takes everything.
    pub(super) fn unknown(id: &'a str) -> Self {
        Self {
            id,
            name: id,
            other_id: None,
            ..OPUS_4_6
        }
    }

    /// Returns whether the model thinks when the request does not speak of thinking.
    pub(super) fn always_thinks(&self) -> bool {
        !self.can_be_silenced
    }

    /// Returns the model as the list and `GET /v1/models/{id}` show it.
    pub(super) fn show(&self) -> Value {
        let can = |supported: bool| json!({ "supported": supported });
        json!({
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "created_at": self.created,
            "deprecated_at": null,
            "retires_at": null,
            "lifecycle": "active",
            "line": self.id.split('-').nth(1),
            "max_input_tokens": self.max_input,
            "max_tokens": self.max_output,
            "capabilities": {
                "batch": can(true),
                "citations": can(true),
                "code_execution": can(false),
                "context_management": {"supported": false},
                "effort": {
                    "supported": !self.efforts.is_empty(),
                    "low": can(self.efforts.contains(&"low")),
                    "medium": can(self.efforts.contains(&"medium")),
                    "high": can(self.efforts.contains(&"high")),
                    "xhigh": can(self.efforts.contains(&"xhigh")),
                    "max": can(self.efforts.contains(&"max")),
                },
                "image_input": can(true),
                "pdf_input": can(true),
                "server_tools": {
                    "supported": false,
                    "code_execution": can(false),
                    "web_search": can(false),
                },
                "structured_outputs": can(true),
                "thinking": {
                    "supported": true,
                    "types": {
                        "adaptive": can(self.adaptive),
                        "between_tools": can(false),
                        "disabled": can(self.can_be_silenced),
                        "enabled": can(self.budget),
                    },
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_once() {
        for model in MODELS {
            for id in std::iter::once(model.id).chain(model.other_id) {
                let named = MODELS
                    .iter()
                    .filter(|other| other.id == id || other.other_id == Some(id));
                assert_eq!(named.count(), 1, "{id}");
                assert_eq!(find(id), Some(&model));
            }
        }
    }

    #[test]
    fn what_models_refuse_grows_with_their_age() {
        let of = |id| find(id).unwrap();
        assert!(of("claude-sonnet-4-5").prefill && !of("claude-sonnet-4-6").prefill);
        assert!(of("claude-opus-4-6").sampling && !of("claude-opus-4-7").sampling);
        assert!(!of("claude-mythos-5").can_be_silenced && of("claude-haiku-5-5").can_be_silenced);
        assert!(of("claude-fable-5").forced_tools && !of("claude-fable-5-1").forced_tools);
    }
}
