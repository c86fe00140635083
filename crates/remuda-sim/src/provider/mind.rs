//! What the simulated model thinks: the same in every dialect, so that tests can assert on what it was told.
//!
//! - It repeats the last text of the user, and says how many images and which system text it saw. Then follows prose.
//! - It calls every tool whose name occurs in that text, in the order of the text, with arguments that fit the tool's
//!   schema; once results have come back, it repeats them instead.
//! - Asked for JSON it gives JSON, of the schema if there is one.
//! - A text that contains `REFUSE` is refused by the model; at `FILTER` the provider's filter stops the answer; and what
//!   [`Prompt::is_blocked`] finds is to be refused before a model sees it.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::super::chance::{self, Dice};
use super::super::prose::Words;
use super::super::schema;

/// The most characters of a text that an answer repeats.
const MAX_ECHO: usize = 400;

/// A conversation, as a model sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prompt {
    pub(crate) model: String,
    /// All instructions, a blank line between two.
    pub(crate) system: String,
    /// The text of the last turn of the user that has one.
    pub(crate) said: String,
    /// Images in the whole conversation.
    pub(crate) images: usize,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Choice,
    /// Whether it must not call more than one tool at once.
    pub(crate) one_call: bool,
    /// Texts of tool results since that turn of the user, in their order.
    pub(crate) results: Vec<String>,
    pub(crate) form: Form,
    /// Whether it reasons before it answers.
    pub(crate) reasons: bool,
    /// Tokens that may be made, reasoning included.
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stop: Vec<String>,
    pub(crate) seed: u64,
    /// Words of prose that follow the echo.
    pub(crate) prose: Option<RangeInclusive<u32>>,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// Its arguments' JSON Schema; null takes none.
    pub(crate) schema: Value,
}

/// Whether the model has to call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    None,
    /// Some tool.
    Required,
    /// This one.
    Named(String),
}

/// What form an answer must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Form {
    #[default]
    Text,
    Json,
    Schema(Value),
}

/// All that a model has to say. Lists of text are its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Thought {
    pub(crate) reasoning: Vec<String>,
    /// Comes before the calls, where there are both.
    pub(crate) text: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Finish,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// The JSON text of the arguments; not whole if the limit of tokens has cut it.
    pub(crate) arguments: Vec<String>,
}

/// Why a model says no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    #[default]
    Stop,
    /// At this stop string, which is not part of the text.
    StopString(String),
    Length,
    Calls,
    /// It does not want to answer; its text says so.
    Refused,
    /// The provider's filter let nothing pass after the text so far.
    Filtered,
}

impl Call {
    pub(crate) fn json(&self) -> String {
        self.arguments.concat()
    }

    /// Returns the arguments as a value; an object with nothing in it if they were cut.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.json()).unwrap_or_else(|_| json!({}))
    }
}

impl Thought {
    pub(crate) fn text(&self) -> String {
        self.text.concat()
    }

    pub(crate) fn reasoning(&self) -> String {
        self.reasoning.concat()
    }

    /// Returns all tokens that were made, reasoning included.
    pub(crate) fn tokens(&self) -> u64 {
        let calls = self
            .calls
            .iter()
            .map(|call| call.arguments.len())
            .sum::<usize>();
        (self.reasoning.len() + self.text.len() + calls) as u64
    }
}

/// About how many tokens a text has.
pub(crate) fn tokens(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

impl Prompt {
    /// Adds instructions to those that there are.
    pub(crate) fn instruct(&mut self, text: &str) {
        if !self.system.is_empty() && !text.is_empty() {
            self.system.push_str("\n\n");
        }
        self.system.push_str(text);
    }

    /// A turn of the user: what tools said before it has been answered.
    pub(crate) fn say(&mut self, text: &str) {
        if !text.is_empty() {
            self.said = text.to_owned();
            self.results.clear();
        }
    }

    /// Returns whether a provider's content filter finds fault with what the user said: with `BLOCK`.
    pub(crate) fn is_blocked(&self) -> bool {
        self.said.contains("BLOCK")
    }

    /// Returns what the model has to say; the same for the same conversation and seed.
    pub(crate) fn think(&self) -> Thought {
        let seed = chance::hash(self.seed, self.model.as_bytes());
        let mut dice = Dice::new(chance::hash(seed, self.said.as_bytes()));
        let mut thought = Thought {
            reasoning: self.reasoning(&mut dice),
            ..Thought::default()
        };
        let wanted = self.wanted();
        if self.said.contains("REFUSE") {
            thought.text = words("I'm sorry, but I can't help with that.");
            thought.finish = Finish::Refused;
        } else if wanted.is_empty() {
            let text = self.answer(&mut dice);
            (thought.text, thought.finish) = self.until_stop(&text);
            if self.said.contains("FILTER") {
                thought.text.truncate(2);
                thought.finish = Finish::Filtered;
            }
        } else {
            if wanted.len() > 1 {
                let names: Vec<&str> = wanted.iter().map(|tool| tool.name.as_str()).collect();
                thought.text = words(&format!("I will call {}.", names.join(" and ")));
            }
            thought.calls = wanted.iter().map(|tool| call(tool, &mut dice)).collect();
            thought.finish = Finish::Calls;
        }
        self.cut(&mut thought);
        thought
    }

    /// Returns the tools that the model calls now.
    fn wanted(&self) -> Vec<&Tool> {
        if !self.results.is_empty() || self.choice == Choice::None {
            return Vec::new();
        }
        if let Choice::Named(name) = &self.choice {
            return self
                .tools
                .iter()
                .filter(|tool| tool.name == *name)
                .collect();
        }
        let mut found: Vec<(usize, &Tool)> = self
            .tools
            .iter()
            .filter_map(|tool| Some((position(&self.said, &tool.name)?, tool)))
            .collect();
        found.sort_by_key(|(at, _)| *at);
        let mut wanted: Vec<&Tool> = found.into_iter().map(|(_, tool)| tool).collect();
        if wanted.is_empty() && self.choice == Choice::Required {
            wanted.extend(self.tools.first());
        }
        if self.one_call {
            wanted.truncate(1);
        }
        wanted
    }

    fn reasoning(&self, dice: &mut Dice) -> Vec<String> {
        if !self.reasons {
            return Vec::new();
        }
        let mut text = format!("The user said {:?}. ", shortened(&self.said));
        text.extend(Words::new(dice, 4..=12));
        words(&text)
    }

    fn answer(&self, dice: &mut Dice) -> String {
        match &self.form {
            Form::Text => self.echo(dice),
            Form::Json => {
                json!({"said": shortened(&self.said), "images": self.images, "results": self.results})
                    .to_string()
            }
            Form::Schema(form) => schema::example(form, dice).to_string(),
        }
    }

    fn echo(&self, dice: &mut Dice) -> String {
        let mut text = match self.results.as_slice() {
            [] => format!("You said: {}", shortened(&self.said)),
            results => {
                let results: Vec<&str> = results.iter().map(|text| shortened(text)).collect();
                format!("The tools said: {}", results.join(" | "))
            }
        };
        if self.images > 0 {
            text.push_str(&format!(" [images: {}]", self.images));
        }
        if !self.system.is_empty() {
            text.push_str(&format!(" [system: {}]", shortened(&self.system)));
        }
        text.push_str(".\n\n");
        if let Some(range) = &self.prose {
            text.extend(Words::new(dice, range.clone()));
        }
        text.trim_end().to_owned()
    }

    fn until_stop(&self, text: &str) -> (Vec<String>, Finish) {
        let found = self
            .stop
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| Some((text.find(stop.as_str())?, stop)))
            .min_by_key(|(at, _)| *at);
        match found {
            Some((at, stop)) => (words(&text[..at]), Finish::StopString(stop.clone())),
            None => (words(text), Finish::Stop),
        }
    }

    /// Takes away what goes beyond the limit of tokens.
    fn cut(&self, thought: &mut Thought) {
        let Some(limit) = self.max_tokens.filter(|limit| thought.tokens() > *limit) else {
            return;
        };
        let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
        thought.finish = Finish::Length;
        for list in [&mut thought.reasoning, &mut thought.text] {
            list.truncate(left);
            left -= list.len();
        }
        for call in &mut thought.calls {
            call.arguments.truncate(left);
            left -= call.arguments.len();
        }
        thought.calls.retain(|call| !call.arguments.is_empty());
    }
}

/// Returns where `name` stands in `text` as a word of its own.
fn position(text: &str, name: &str) -> Option<usize> {
    let joins =
        |character: char| character.is_alphanumeric() || character == '_' || character == '-';
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        !name.is_empty()
            && !text[..*at].ends_with(joins)
            && !text[at + name.len()..].starts_with(joins)
    })
}

fn call(tool: &Tool, dice: &mut Dice) -> Call {
    let arguments = match &tool.schema {
        Value::Object(schema) if !schema.is_empty() => schema::example(&tool.schema, dice),
        _ => json!({}),
    };
    let text = if arguments.is_object() {
        arguments.to_string()
    } else {
        "{}".to_owned()
    };
    let characters: Vec<char> = text.chars().collect();
    Call {
        name: tool.name.clone(),
        arguments: characters.chunks(6).map(String::from_iter).collect(),
    }
}

/// Returns the beginning of a text, at most `MAX_ECHO` characters.
fn shortened(text: &str) -> &str {
    match text.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Returns a text in tokens: words, each with the space before it.
fn words(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, character) in text.char_indices() {
        let space = character.is_whitespace();
        if space && in_word {
            tokens.push(text[start..at].to_owned());
            start = at;
        }
        in_word = !space;
    }
    if start < text.len() {
        tokens.push(text[start..].to_owned());
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(said: &str) -> Prompt {
        Prompt {
            said: said.into(),
            model: "m".into(),
            ..Prompt::default()
        }
    }

    fn tool(name: &str) -> Tool {
        Tool {
            name: name.into(),
            schema: json!({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}),
        }
    }

    #[test]
    fn it_says_what_it_saw() {
        let mut prompt = prompt("hello there");
        prompt.images = 2;
        prompt.instruct("be brief");
        prompt.prose = Some(5..=5);
        let text = prompt.think().text();
        assert!(
            text.starts_with("You said: hello there [images: 2] [system: be brief].\n\n"),
            "{text}"
        );
        assert_eq!(prompt.think(), prompt.think());
        assert_eq!(words(" a  b\nc ").concat(), " a  b\nc ");
    }

    #[test]
    fn it_calls_the_tools_that_are_named_in_their_order() {
        let mut prompt = prompt("use get_time and then get_weather, not weather");
        prompt.tools = ["get_weather", "get_time", "get", "weather_map"]
            .map(tool)
            .into();
        let thought = prompt.think();
        let names: Vec<&str> = thought
            .calls
            .iter()
            .map(|call| call.name.as_str())
            .collect();
        assert_eq!(names, ["get_time", "get_weather"]);
        assert!(thought.calls[0].value()["city"].is_string());
        assert!(thought.calls[0].value()["days"].is_i64());
        assert_eq!(thought.finish, Finish::Calls);
        prompt.one_call = true;
        assert_eq!(prompt.think().calls.len(), 1);
        prompt.choice = Choice::None;
        assert!(prompt.think().calls.is_empty());
        prompt.choice = Choice::Named("weather_map".into());
        assert_eq!(prompt.think().calls[0].name, "weather_map");
    }

    #[test]
    fn it_repeats_results_until_the_user_speaks_again() {
        let mut prompt = prompt("use get_time");
        prompt.tools = vec![tool("get_time")];
        prompt.results = vec!["12:00".into(), "ok".into()];
        assert!(prompt.think().text().contains("12:00 | ok"));
        prompt.say("get_time again");
        assert_eq!(prompt.think().finish, Finish::Calls);
    }

    #[test]
    fn limits_cut_reasoning_text_and_arguments() {
        let mut prompt = prompt("one two three get_time");
        prompt.reasons = true;
        let whole = prompt.think();
        let reasoning = whole.reasoning.len() as u64;
        prompt.max_tokens = Some(reasoning + 2);
        let cut = prompt.think();
        assert_eq!(
            (cut.text.as_slice(), cut.finish),
            (&whole.text[..2], Finish::Length)
        );
        prompt.max_tokens = Some(1);
        assert_eq!(prompt.think().tokens(), 1);
        prompt.max_tokens = Some(whole.tokens());
        assert_eq!(prompt.think().finish, Finish::Stop);
        prompt.tools = vec![tool("get_time")];
        prompt.max_tokens = Some(reasoning + 1);
        let cut = prompt.think();
        assert!(serde_json::from_str::<Value>(&cut.calls[0].json()).is_err());
        assert_eq!(
            (cut.calls[0].value(), cut.finish),
            (json!({}), Finish::Length)
        );
    }

    #[test]
    fn the_first_stop_string_ends_it() {
        let mut prompt = prompt("alpha beta gamma");
        prompt.stop = vec!["gamma".into(), "beta".into(), String::new()];
        let thought = prompt.think();
        assert_eq!(thought.text(), "You said: alpha ");
        assert_eq!(thought.finish, Finish::StopString("beta".into()));
    }

    #[test]
    fn json_fits() {
        let mut prompt = prompt("hi");
        prompt.form = Form::Json;
        let value: Value = serde_json::from_str(&prompt.think().text()).unwrap();
        assert_eq!(value["said"], "hi");
        prompt.form = Form::Schema(tool("").schema);
        let value: Value = serde_json::from_str(&prompt.think().text()).unwrap();
        assert!(value["days"].is_i64());
    }
}
