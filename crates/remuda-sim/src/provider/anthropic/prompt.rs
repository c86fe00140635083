//! From a request that was taken to the conversation that the simulated model sees.

use serde_json::Value;

use super::super::World;
use super::super::mind::{Choice, Form, Prompt, Tool};
use super::check::Checked;
use super::content::Block;
use super::thinking::Thinking;
use super::{tools, turns::Turn};

impl Checked<'_> {
    /// Returns whether the conversation goes on from a turn that was paused.
    pub(super) fn resumes(&self) -> bool {
        let last = self.turns.last().and_then(|turn| turn.blocks.last());
        matches!(last, Some(Block::ServerToolUse))
    }

    /// Returns what the model sees.
    pub(super) fn prompt(&self, model: &str, body: &Value, world: &World) -> Prompt {
        let mut prompt = Prompt {
            model: model.to_owned(),
            tools: self.tools.iter().map(tool).collect(),
            choice: match self.choice {
                tools::Choice::Auto => Choice::Auto,
                tools::Choice::None => Choice::None,
                tools::Choice::Any => Choice::Required,
                tools::Choice::Tool(name) => Choice::Named(name.to_owned()),
            },
            one_call: !self.parallel,
            form: match self.schema {
                Some(schema) => Form::Schema(schema.clone()),
                None => Form::Text,
            },
            reasons: self.thinking != Thinking::Off,
            max_tokens: Some(self.max_tokens),
            stop: self.stop.iter().map(|stop| (*stop).to_owned()).collect(),
            seed: world.seed,
            prose: Some(world.answer_tokens.clone()),
            ..Prompt::default()
        };
        instruct(&mut prompt, &body["system"]);
        for turn in &self.turns {
            hear(&mut prompt, turn);
        }
        prompt
    }
}

fn tool(tool: &tools::Tool) -> Tool {
    Tool {
        name: tool.name.to_owned(),
        schema: tool.schema.clone(),
    }
}

fn instruct(prompt: &mut Prompt, system: &Value) {
    match system {
        Value::String(text) => prompt.instruct(text),
        Value::Array(blocks) => {
            for block in blocks {
                prompt.instruct(block["text"].as_str().unwrap_or_default());
            }
        }
        _ => {}
    }
}

fn hear(prompt: &mut Prompt, turn: &Turn) {
    let mut texts: Vec<&str> = Vec::new();
    let mut results = Vec::new();
    for block in &turn.blocks {
        match block {
            Block::Text(text) => texts.push(text),
            Block::Image => prompt.images += 1,
            Block::ToolResult { text, images, .. } => {
                prompt.images += images;
                results.push(text.clone());
            }
            _ => {}
        }
    }
    match turn.role {
        "user" => {
            prompt.say(&texts.join("\n"));
            prompt.results.extend(results);
        }
        "system" => prompt.instruct(&texts.join("\n")),
        _ => {}
    }
}
