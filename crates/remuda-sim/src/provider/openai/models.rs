//! What OpenAI's models refuse: families by name, as of November 2026.

use serde_json::{Map, Value};

use super::super::World;
use super::error::{Refusal, listed};
use super::fields::{given, type_name, wrong_type};

/// What a family of models can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    name: &'static str,
    pub(crate) kind: ModelKind,
    /// Efforts that it knows; none of them makes it a model that does not reason.
    pub(crate) efforts: &'static [&'static str],
    default_effort: &'static str,
    /// Whether it takes stop strings.
    stop: bool,
    /// From here on, chat completions take no functions while the model reasons.
    no_chat_tools: bool,
    /// Tokens of prompt and answer together, and of an answer.
    pub(crate) context: u64,
    pub(crate) output: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelKind {
    Chat,
    /// Responses only.
    Pro,
    /// Completions only.
    Text,
    /// Embeddings, of this length.
    Embedding(usize),
}

const PLAIN: Family = Family {
    name: "",
    kind: ModelKind::Chat,
    efforts: &[],
    default_effort: "",
    stop: true,
    no_chat_tools: false,
    context: 128_000,
    output: 16_384,
};

const O: Family = Family {
    efforts: &["low", "medium", "high"],
    default_effort: "medium",
    stop: false,
    context: 200_000,
    output: 100_000,
    ..PLAIN
};

const GPT_5: Family = Family {
    name: "gpt-5",
    efforts: &["minimal", "low", "medium", "high"],
    default_effort: "medium",
    stop: false,
    context: 400_000,
    output: 128_000,
    ..PLAIN
};

const GPT_5_1: Family = Family {
    name: "gpt-5.1",
    efforts: &["none", "low", "medium", "high"],
    default_effort: "none",
    ..GPT_5
};

const GPT_5_2: Family = Family {
    name: "gpt-5.2",
    efforts: &["none", "low", "medium", "high", "xhigh"],
    ..GPT_5_1
};

const GPT_5_4: Family = Family {
    name: "gpt-5.4",
    no_chat_tools: true,
    context: 1_050_000,
    ..GPT_5_2
};

const GPT_5_5: Family = Family {
    name: "gpt-5.5",
    default_effort: "medium",
    ..GPT_5_4
};

const GPT_6: Family = Family {
    name: "gpt-6",
    efforts: &["none", "low", "medium", "high", "xhigh", "max"],
    context: 1_050_000,
    ..GPT_5_5
};

const ALWAYS_REASONS: Family = Family {
    efforts: &["low", "medium", "high", "xhigh", "max"],
    ..GPT_6
};

const PRO: Family = Family {
    kind: ModelKind::Pro,
    efforts: &["medium", "high", "xhigh"],
    ..GPT_5_5
};

/// A name belongs to the longest entry that it begins with.
const FAMILIES: [Family; 24] = [
    Family {
        name: "gpt-4o",
        ..PLAIN
    },
    Family {
        name: "gpt-4.1",
        context: 1_047_576,
        output: 32_768,
        ..PLAIN
    },
    Family {
        name: "o1",
        stop: true,
        ..O
    },
    Family { name: "o3", ..O },
    Family {
        name: "o3-mini",
        stop: true,
        ..O
    },
    Family {
        name: "o4-mini",
        ..O
    },
    GPT_5,
    GPT_5_1,
    GPT_5_2,
    Family {
        name: "gpt-5.3",
        ..GPT_5_2
    },
    GPT_5_4,
    GPT_5_5,
    Family {
        name: "gpt-5.6",
        ..GPT_5_5
    },
    GPT_6,
    Family {
        name: "gpt-6-astra",
        ..ALWAYS_REASONS
    },
    Family {
        name: "gpt-6.1",
        ..GPT_6
    },
    Family {
        name: "gpt-6.1-sol",
        ..ALWAYS_REASONS
    },
    Family {
        name: "gpt-3.5-turbo",
        context: 16_385,
        output: 4_096,
        ..PLAIN
    },
    Family {
        name: "gpt-3.5-turbo-instruct",
        kind: ModelKind::Text,
        context: 4_096,
        output: 4_096,
        ..PLAIN
    },
    Family {
        name: "davinci-002",
        kind: ModelKind::Text,
        context: 16_384,
        ..PLAIN
    },
    Family {
        name: "babbage-002",
        kind: ModelKind::Text,
        context: 16_384,
        ..PLAIN
    },
    Family {
        name: "text-embedding-3-small",
        kind: ModelKind::Embedding(1_536),
        context: 8_191,
        ..PLAIN
    },
    Family {
        name: "text-embedding-3-large",
        kind: ModelKind::Embedding(3_072),
        context: 8_191,
        ..PLAIN
    },
    Family {
        name: "text-embedding-ada-002",
        kind: ModelKind::Embedding(1_536),
        context: 8_191,
        ..PLAIN
    },
];

/// Returns what is known of a model by its name; one of no known family refuses nothing.
pub(crate) fn family(model: &str) -> Family {
    let known = FAMILIES
        .iter()
        .filter(|family| model.starts_with(family.name))
        .max_by_key(|family| family.name.len());
    match known {
        Some(family) if model.ends_with("-pro") && !family.efforts.is_empty() => Family {
            name: family.name,
            ..PRO
        },
        Some(family) => *family,
        None if model.contains("embed") => Family {
            kind: ModelKind::Embedding(768),
            ..PLAIN
        },
        None => Family {
            context: u64::MAX,
            output: u64::MAX,
            ..PLAIN
        },
    }
}

/// The models that are listed if nothing else is said.
pub(crate) const MODELS: [&str; 19] = [
    "gpt-6-sol",
    "gpt-6-luna",
    "gpt-6-astra",
    "gpt-6.1-sol",
    "gpt-6.1-terra",
    "gpt-5.6-sol",
    "gpt-5.5",
    "gpt-5.5-pro",
    "gpt-5.4",
    "gpt-5.2",
    "gpt-5.1",
    "gpt-5",
    "o3",
    "gpt-4.1",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "text-embedding-3-large",
];

impl Family {
    /// Returns the effort that a request gets; an effort that the model does not know is refused.
    pub(crate) fn effort(
        &self,
        model: &str,
        asked: Option<&str>,
        param: &str,
    ) -> Result<&'static str, Refusal> {
        let Some(asked) = asked else {
            return Ok(self.default_effort);
        };
        if self.efforts.is_empty() {
            return Err(Refusal::unsupported(param, ""));
        }
        let found = self.efforts.iter().find(|effort| **effort == asked);
        found.copied().ok_or_else(|| {
            Refusal::bad(format!(
                "Unsupported value: '{asked}' is not supported with the '{model}' model. Supported values are: {}.",
                listed(self.efforts)
            ))
            .of(param)
            .code("unsupported_value")
        })
    }

    /// Returns whether the model reasons with this effort.
    pub(crate) fn reasons(&self, effort: &str) -> bool {
        !self.efforts.is_empty() && effort != "none"
    }

    /// Refuses what a chat request to this family must not have.
    pub(crate) fn check_chat(
        &self,
        model: &str,
        map: &Map<String, Value>,
        effort: &str,
    ) -> Result<(), Refusal> {
        if self.efforts.is_empty() {
            return Ok(());
        }
        if given(map, "max_tokens").is_some() {
            return Err(Refusal::unsupported(
                "max_tokens",
                " Use 'max_completion_tokens' instead.",
            ));
        }
        self.check_sampling(map, effort)?;
        let o_series = self.name.starts_with('o');
        let more: &[&str] = if o_series {
            &[
                "presence_penalty",
                "frequency_penalty",
                "parallel_tool_calls",
            ]
        } else {
            &[
                "presence_penalty",
                "frequency_penalty",
                "logit_bias",
                "prediction",
                "audio",
            ]
        };
        refuse_any(map, more)?;
        if !self.stop {
            refuse_any(map, &["stop"])?;
        }
        let functions = ["tools", "functions"].iter().any(|name| {
            given(map, name)
                .and_then(Value::as_array)
                .is_some_and(|tools| !tools.is_empty())
        });
        if self.no_chat_tools && functions && self.reasons(effort) {
            return Err(Refusal::bad(format!(
                "Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. Please use /v1/responses instead, or set reasoning_effort to 'none'."
            ))
            .of("reasoning_effort"));
        }
        Ok(())
    }

    /// Refuses sampling parameters while the model reasons.
    pub(crate) fn check_sampling(
        &self,
        map: &Map<String, Value>,
        effort: &str,
    ) -> Result<(), Refusal> {
        if !self.reasons(effort) {
            return Ok(());
        }
        let temperature = given(map, "temperature").and_then(Value::as_f64);
        if let Some(temperature) = temperature.filter(|temperature| *temperature != 1.0) {
            return Err(Refusal::bad(format!(
                "Unsupported value: 'temperature' does not support {temperature} with this model. Only the default (1) value is supported."
            ))
            .of("temperature")
            .code("unsupported_value"));
        }
        let logprobs = given(map, "logprobs").is_some_and(|value| *value != Value::Bool(false));
        if logprobs {
            return Err(Refusal::unsupported("logprobs", ""));
        }
        refuse_any(map, &["top_p", "top_logprobs"])
    }
}

fn refuse_any(map: &Map<String, Value>, names: &[&str]) -> Result<(), Refusal> {
    match names.iter().find(|name| given(map, name).is_some()) {
        Some(name) => Err(Refusal::unsupported(name, "")),
        None => Ok(()),
    }
}

/// Returns the model that a body names; refuses a body that names none or one that is not listed.
pub(crate) fn model(map: &Map<String, Value>, world: &World) -> Result<String, Refusal> {
    match given(map, "model") {
        None => Err(Refusal::bad("you must provide a model parameter")),
        Some(Value::String(model)) if world.lists(model) => Ok(model.clone()),
        Some(Value::String(model)) => Err(Refusal::unknown_model(model)),
        Some(other) => Err(wrong_type("model", "a string", type_name(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(model: &str, body: Value) -> Option<String> {
        let map = body.as_object().unwrap();
        let family = family(model);
        let asked = given(map, "reasoning_effort").and_then(Value::as_str);
        let result = family
            .effort(model, asked, "reasoning_effort")
            .and_then(|effort| family.check_chat(model, map, effort));
        result.err().and_then(|refusal| refusal.param)
    }

    #[test]
    fn each_family_refuses_what_the_table_says() {
        let refusing = [
            ("o3", json!({"max_tokens": 5})),
            ("o3", json!({"stop": ["a"]})),
            ("o3", json!({"parallel_tool_calls": true})),
            ("gpt-5-mini", json!({"top_p": 0.5})),
            ("gpt-5", json!({"reasoning_effort": "none"})),
            ("gpt-5.1", json!({"reasoning_effort": "minimal"})),
            (
                "gpt-5.1",
                json!({"reasoning_effort": "low", "temperature": 0.5}),
            ),
            ("gpt-5.1", json!({"stop": "a"})),
            ("gpt-5.5", json!({"temperature": 0.5})),
            ("gpt-5.5", json!({"tools": [1]})),
            ("gpt-6-astra", json!({"reasoning_effort": "none"})),
            ("gpt-6.1-sol", json!({"logprobs": true})),
            ("gpt-6-sol", json!({"reasoning_effort": "minimal"})),
            ("gpt-4o", json!({"reasoning_effort": "low"})),
        ];
        for (model, body) in refusing {
            let last = body.as_object().unwrap().keys().next_back().cloned();
            let param = refused(model, body.clone());
            assert!(param.is_some(), "{model} {body}");
            if !body.to_string().contains("tools") {
                assert_eq!(param, last, "{model} {body}");
            }
        }
        for (model, body) in [
            ("o1", json!({"stop": ["a"], "temperature": 1})),
            (
                "gpt-5.1",
                json!({"temperature": 0.5, "top_p": 0.1, "logprobs": true}),
            ),
            ("gpt-5.4", json!({"tools": [1]})),
            (
                "gpt-5.5",
                json!({"reasoning_effort": "none", "temperature": 0.5, "tools": [1]}),
            ),
            ("gpt-6-luna", json!({"reasoning_effort": "max"})),
            ("gpt-6.1-terra", json!({"reasoning_effort": "none"})),
            (
                "gpt-4o-mini",
                json!({"max_tokens": 5, "stop": "a", "tools": [1]}),
            ),
            ("my-own", json!({"max_tokens": 5})),
        ] {
            assert_eq!(refused(model, body.clone()), None, "{model} {body}");
        }
    }

    #[test]
    fn pro_models_and_dated_names_are_recognised() {
        assert_eq!(family("gpt-5.5-pro").kind, ModelKind::Pro);
        assert_eq!(family("gpt-5.1-2025-11-13").name, "gpt-5.1");
        assert_eq!(
            family("text-embedding-3-large").kind,
            ModelKind::Embedding(3_072)
        );
    }
}
