//! `generationConfig`: how much is written, how tokens are chosen, how the model thinks, the form of the answer.

use super::json::{key, put, separate};
use super::schema;
use crate::facts::{EffortLevel, ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{ChatRequest, Dropped, Format, Refused, Sampling, Text, Thinking};

/// Stop strings in one request.
const MAX_STOPS: usize = 5;
/// Alternatives of one token.
const MAX_LOGPROBS: u8 = 20;

/// `thinkingConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thought {
    Unsaid,
    /// The model thinks as it does by itself, and shows it.
    Shown,
    Level(EffortLevel),
    /// Tokens; 0 is not to think, −1 as many as the model thinks fit.
    Budget(i64),
}

/// What is sent beside turns and tools.
#[derive(Debug)]
pub(super) struct Generation<'a> {
    thought: Thought,
    /// Whether the client wants to see thoughts.
    shown: bool,
    /// What the facts are asked with.
    said: ReasoningSetting,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    seed: Option<i64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    stop: Vec<Text<'a>>,
    /// Stop strings that the model does not take.
    pub(super) unsent_stop: Vec<String>,
    logprobs: Option<u8>,
    format: Format<'a>,
}

impl<'a> Generation<'a> {
    pub(super) fn of(request: &ChatRequest<'a>, facts: &ModelFacts, dropped: &mut Dropped) -> Self {
        let mut generation = Generation {
            thought: Thought::Unsaid,
            shown: false,
            said: ReasoningSetting::Nothing,
            max_tokens: request.max_tokens.filter(|tokens| *tokens > 0),
            temperature: None,
            top_p: None,
            top_k: None,
            seed: None,
            presence_penalty: None,
            frequency_penalty: None,
            stop: Vec::new(),
            unsent_stop: Vec::new(),
            logprobs: None,
            format: request.format.clone(),
        };
        generation.think(request.thinking, facts, dropped);
        if let (Some(wanted), Some(most)) = (generation.max_tokens, facts.max_output)
            && wanted > most
        {
            generation.max_tokens = Some(most);
            dropped.add("max_tokens");
        }
        generation.sample(&request.sampling, facts, dropped);
        generation.end_at(&request.stop, facts);
        match request.logprobs {
            Some(_) if facts.refuses(Parameter::Logprobs, generation.said) => {
                dropped.add("logprobs");
            }
            wanted => generation.logprobs = wanted.map(|count| count.min(MAX_LOGPROBS)),
        }
        generation
    }

    fn think(&mut self, wanted: Option<Thinking>, facts: &ModelFacts, dropped: &mut Dropped) {
        let wants = !matches!(wanted, None | Some(Thinking::Off | Thinking::Budget(0)));
        let ask = facts.ask(wanted);
        self.thought = match ask {
            ReasoningSetting::Budget(tokens) => Thought::Budget(tokens.into()),
            ReasoningSetting::Automatic => Thought::Budget(-1),
            ReasoningSetting::Off if facts.reasoning.budget.is_some() => Thought::Budget(0),
            ReasoningSetting::Effort(effort) if effort != EffortLevel::None => {
                // Gemini has no higher level that every model takes.
                Thought::Level(if effort == EffortLevel::Max {
                    EffortLevel::High
                } else {
                    effort
                })
            }
            ReasoningSetting::On(_) => Thought::Shown,
            ReasoningSetting::Nothing if wants && facts.reasoning.is_on(ask) => Thought::Shown,
            _ => Thought::Unsaid,
        };
        self.shown = wants && self.thought != Thought::Unsaid;
        if self.thought == Thought::Unsaid {
            // The model does by itself what is wanted, or it cannot be told.
            let does = facts.reasoning.is_on(ReasoningSetting::Nothing);
            dropped.add_if(wanted.is_some() && wants != does, "thinking");
        } else {
            self.said = ask;
        }
    }

    fn sample(&mut self, sampling: &Sampling<'_>, facts: &ModelFacts, dropped: &mut Dropped) {
        let said = self.said;
        // `unset`: what is the same as saying nothing.
        let mut number = |value: Option<f64>, range: (f64, f64), parameter, unset: f64, name| {
            let value = value.filter(|value| value.is_finite())?;
            if facts.refuses(parameter, said) {
                dropped.add_if(value != unset, name);
                return None;
            }
            let (least, most) = range;
            dropped.add_if(!(least..=most).contains(&value), name);
            Some(value.clamp(least, most))
        };
        self.temperature = number(
            sampling.temperature,
            (0.0, 2.0),
            Parameter::Temperature,
            1.0,
            "temperature",
        );
        self.top_p = number(sampling.top_p, (0.0, 1.0), Parameter::TopP, 1.0, "top_p");
        self.presence_penalty = number(
            sampling.presence_penalty,
            (-2.0, 2.0),
            Parameter::PresencePenalty,
            0.0,
            "presence_penalty",
        );
        self.frequency_penalty = number(
            sampling.frequency_penalty,
            (-2.0, 2.0),
            Parameter::FrequencyPenalty,
            0.0,
            "frequency_penalty",
        );
        // Zero and less is Ollama's and vLLM's word for no bound.
        let top_k = sampling.top_k.filter(|top_k| *top_k > 0);
        if facts.refuses(Parameter::TopK, said) {
            dropped.add_if(top_k.is_some(), "top_k");
        } else {
            self.top_k = top_k.map(|top_k| top_k.min(i64::from(i32::MAX)));
        }
        let seed = sampling.seed.filter(|seed| *seed >= 0);
        if facts.refuses(Parameter::Seed, said) {
            dropped.add_if(seed.is_some(), "seed");
        } else {
            // The field has 31 bits; what matters is that the same seed stays the same.
            self.seed = seed.map(|seed| seed & i64::from(i32::MAX));
        }
        let differs = |value: Option<f64>, from: f64| value.is_some_and(|value| value != from);
        dropped.add_if(differs(sampling.min_p, 0.0), "min_p");
        dropped.add_if(differs(sampling.typical_p, 1.0), "typical_p");
        dropped.add_if(differs(sampling.repeat_penalty, 1.0), "repeat_penalty");
        dropped.add_if(sampling.repeat_last_n.is_some(), "repeat_last_n");
        dropped.add_if(sampling.logit_bias.is_some(), "logit_bias");
    }

    /// Divides the stop strings: those beyond what the API takes are met by the gateway itself.
    fn end_at(&mut self, stop: &[Text<'a>], facts: &ModelFacts) {
        let refused = facts.refuses(Parameter::Stop, self.said);
        for text in stop.iter().filter(|text| !text.is_empty()) {
            if refused || self.stop.len() == MAX_STOPS {
                self.unsent_stop.push(text.decoded().into_owned());
            } else {
                self.stop.push(text.clone());
            }
        }
    }

    /// Appends the member, if there is anything to say.
    ///
    /// # Errors
    /// If the schema is too large once its references are written out.
    pub(super) fn write(&self, facts: &ModelFacts, out: &mut Vec<u8>) -> Result<(), Refused> {
        let before = out.len();
        key("generationConfig", out);
        out.push(b'{');
        let empty = out.len();
        for (name, value) in [
            ("temperature", self.temperature),
            ("topP", self.top_p),
            ("presencePenalty", self.presence_penalty),
            ("frequencyPenalty", self.frequency_penalty),
        ] {
            if let Some(value) = value {
                key(name, out);
                put(&value.to_string(), out);
            }
        }
        let max_tokens = self
            .max_tokens
            .and_then(|tokens| i64::try_from(tokens).ok());
        for (name, value) in [
            ("topK", self.top_k),
            ("maxOutputTokens", max_tokens),
            ("seed", self.seed),
        ] {
            if let Some(value) = value {
                integer(name, value, out);
            }
        }
        if !self.stop.is_empty() {
            key("stopSequences", out);
            out.push(b'[');
            for text in &self.stop {
                separate(out);
                text.write(out);
            }
            out.push(b']');
        }
        if let Some(count) = self.logprobs {
            put_member("responseLogprobs", "true", out);
            if count > 0 {
                integer("logprobs", count.into(), out);
            }
        }
        self.write_format(facts, out)?;
        self.write_thought(out);
        if out.len() > empty {
            out.push(b'}');
        } else {
            out.truncate(before);
        }
        Ok(())
    }

    fn write_format(&self, facts: &ModelFacts, out: &mut Vec<u8>) -> Result<(), Refused> {
        if self.format == Format::Text {
            return Ok(());
        }
        put_member("responseMimeType", r#""application/json""#, out);
        let Format::Schema { schema, .. } = &self.format else {
            return Ok(());
        };
        if facts.refuses(Parameter::FullJsonSchema, self.said) {
            key("responseSchema", out);
            schema::write_subset(schema, out);
        } else {
            key("responseJsonSchema", out);
            schema::write_any(schema, out).map_err(|_| too_large("response_format"))?;
        }
        Ok(())
    }

    fn write_thought(&self, out: &mut Vec<u8>) {
        if self.thought == Thought::Unsaid {
            return;
        }
        key("thinkingConfig", out);
        out.push(b'{');
        if self.shown {
            put_member("includeThoughts", "true", out);
        }
        match self.thought {
            Thought::Unsaid | Thought::Shown => {}
            Thought::Level(effort) => {
                key("thinkingLevel", out);
                Text::escaped(effort.name()).write(out);
            }
            Thought::Budget(tokens) => integer("thinkingBudget", tokens, out),
        }
        out.push(b'}');
    }
}

/// Returns what is said of a schema that cannot be sent.
pub(super) fn too_large(field: &'static str) -> Refused {
    let what = "has a schema that is too large once its references are written out, as Gemini asks for: use fewer of them";
    Refused::field(field, format!("`{field}` {what}"))
}

fn put_member(name: &str, json: &str, out: &mut Vec<u8>) {
    key(name, out);
    put(json, out);
}

fn integer(name: &str, value: i64, out: &mut Vec<u8>) {
    put_member(name, &value.to_string(), out);
}
