//! From a request that was taken to the conversation that the simulated model sees.

use serde_json::Value;

use super::super::World;
use super::super::mind::{Choice, Form, Prompt, Tool};
use super::check::{Checked, Mode};
use super::contents::{Part, Turn};

impl Checked<'_> {
    pub(super) fn prompt(&self, model: &str, world: &World) -> Prompt {
        let mut prompt = Prompt {
            model: model.to_owned(),
            tools: self.tools(),
            choice: match self.mode {
                Mode::Auto | Mode::Validated => Choice::Auto,
                Mode::None => Choice::None,
                Mode::Any => Choice::Required,
            },
            form: match (self.config.schema, self.config.json) {
                (Some(schema), _) => Form::Schema(lower(schema)),
                (None, true) => Form::Json,
                (None, false) => Form::Text,
            },
            reasons: self.config.thinks,
            max_tokens: self.config.max_tokens,
            stop: self
                .config
                .stop
                .iter()
                .map(|stop| (*stop).to_owned())
                .collect(),
            seed: world.seed ^ self.config.seed,
            prose: Some(world.answer_tokens.clone()),
            ..Prompt::default()
        };
        for part in self.system.iter().flat_map(|turn| &turn.parts) {
            if let Part::Text(text) = part {
                prompt.instruct(text);
            }
        }
        for turn in &self.turns {
            hear(&mut prompt, turn);
        }
        prompt
    }

    fn tools(&self) -> Vec<Tool> {
        let allowed = |name: &str| self.allowed.is_empty() || self.allowed.contains(&name);
        let tools = self.tools.iter().filter(|tool| allowed(tool.name));
        tools
            .map(|tool| Tool {
                name: tool.name.to_owned(),
                schema: tool.schema.map(lower).unwrap_or_default(),
            })
            .collect()
    }
}

/// Returns a schema with its types in lower case, as JSON Schema writes them.
fn lower(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| match (key.as_str(), value) {
                ("type", Value::String(kind)) => (key.clone(), kind.to_lowercase().into()),
                _ => (key.clone(), lower(value)),
            };
            map.iter().map(entry).collect()
        }
        Value::Array(list) => list.iter().map(lower).collect(),
        other => other.clone(),
    }
}

fn hear(prompt: &mut Prompt, turn: &Turn) {
    if turn.from_model {
        return;
    }
    let mut texts: Vec<&str> = Vec::new();
    let mut results = Vec::new();
    for part in &turn.parts {
        match part {
            Part::Text(text) => texts.push(text),
            Part::Image => prompt.images += 1,
            Part::Response { response, .. } => results.push(result(response)),
            _ => {}
        }
    }
    prompt.say(&texts.join("\n"));
    prompt.results.extend(results);
}

/// Returns the text of a function's response: what stands under the name that is usual for it, else all of it.
fn result(response: &Value) -> String {
    let usual = ["output", "result", "error"]
        .iter()
        .find_map(|key| response.get(key));
    match usual.unwrap_or(response) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
