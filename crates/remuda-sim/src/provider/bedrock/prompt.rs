//! From a request that was taken to the conversation that the simulated model sees.

use super::super::World;
use super::super::mind::{self, Form, Prompt};
use super::check::{self, Checked};
use super::content::Block;
use super::extra::Reasoning;
use super::turns::Turn;

impl Checked<'_> {
    pub(super) fn prompt(&self, model: &str, world: &World) -> Prompt {
        let tool = |tool: &check::Tool| mind::Tool {
            name: tool.name.to_owned(),
            schema: tool.schema.clone(),
        };
        let mut prompt = Prompt {
            model: model.to_owned(),
            system: self.system.join("\n\n"),
            tools: self.tools.iter().map(tool).collect(),
            choice: match self.choice {
                check::Choice::Auto => mind::Choice::Auto,
                check::Choice::Any => mind::Choice::Required,
                check::Choice::Tool(name) => mind::Choice::Named(name.to_owned()),
            },
            form: match &self.schema {
                Some(schema) => Form::Schema(schema.clone()),
                None => Form::Text,
            },
            reasons: self.reasoning != Reasoning::Off,
            max_tokens: self.max_tokens,
            stop: self.stop.iter().map(|stop| (*stop).to_owned()).collect(),
            seed: world.seed,
            prose: Some(world.answer_tokens.clone()),
            ..Prompt::default()
        };
        for turn in self.turns.iter().filter(|turn| turn.from_user) {
            hear(&mut prompt, turn);
        }
        prompt
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
    prompt.say(&texts.join("\n"));
    prompt.results.extend(results);
}
