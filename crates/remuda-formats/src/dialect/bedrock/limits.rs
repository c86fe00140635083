//! `inferenceConfig` and the fields that differ from family to family: how much is written, how
//! tokens are chosen, how the model reasons.

use super::json::{key, number, put, separate};
use crate::facts::{
    EffortLevel, ModelFacts, Parameter, ReasoningControl, ReasoningSetting, SamplingRule,
};
use crate::ir::{self, ChatRequest, Dropped, Text, Thinking};

/// Claude's answer where the client sets no bound; Bedrock holds what it may cost against the quota.
const CLAUDE_MAX_TOKENS: u64 = 32_000;
/// The least that Claude takes as a budget.
const LEAST_BUDGET: u64 = 1024;

/// How the model is told to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reasoning {
    /// Nothing is said.
    Unsaid,
    Off,
    /// Claude from 4.6 on.
    Adaptive,
    /// Claude up to 4.5: tokens.
    Budget(u64),
    /// `reasoning_effort` of OpenAI's open models.
    Level(EffortLevel),
}

/// What is sent beside turns and tools.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    reasoning: Reasoning,
    /// `outputConfig.effort`.
    pub(super) effort: Option<EffortLevel>,
    /// What the facts are asked with: how the model is told to reason.
    pub(super) said: ReasoningSetting,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    stop: Vec<Text<'a>>,
    /// Stop strings that the model does not take.
    pub(super) unsent_stop: Vec<String>,
    claude: bool,
}

impl<'a> Limits<'a> {
    /// Decides the limits; `without_thought` says that a turn with calls has lost its thought, and the model is to go
    /// on with it.
    pub(super) fn of(
        request: &ChatRequest<'a>,
        facts: &ModelFacts,
        without_thought: bool,
        dropped: &mut Dropped,
    ) -> Self {
        let claude = &*facts.family == "claude";
        let mut limits = Limits {
            reasoning: Reasoning::Unsaid,
            effort: None,
            said: ReasoningSetting::Nothing,
            max_tokens: request.max_tokens.filter(|tokens| *tokens > 0),
            temperature: None,
            top_p: None,
            top_k: None,
            stop: Vec::new(),
            unsent_stop: Vec::new(),
            claude,
        };
        limits.reason(request.thinking, facts, dropped);
        if without_thought && matches!(limits.reasoning, Reasoning::Budget(_)) {
            limits.reasoning = Reasoning::Unsaid;
            limits.said = ReasoningSetting::Nothing;
            dropped.add("thinking");
        }
        limits.bound(facts, dropped);
        limits.sample(&request.sampling, facts, dropped);
        limits.end_at(&request.stop, facts);
        dropped.add_if(request.logprobs.is_some(), "logprobs");
        limits
    }

    /// Returns whether the model is told to reason.
    pub(super) fn thinks(&self) -> bool {
        !matches!(self.reasoning, Reasoning::Unsaid | Reasoning::Off)
    }

    fn reason(&mut self, wanted: Option<Thinking>, facts: &ModelFacts, dropped: &mut Dropped) {
        let ask = facts.ask(wanted);
        let claude = matches!(
            facts.reasoning.form,
            ReasoningControl::Budget | ReasoningControl::Adaptive
        );
        self.reasoning = match ask {
            ReasoningSetting::Off if claude && facts.reasoning.is_on(ReasoningSetting::Nothing) => {
                Reasoning::Off
            }
            ReasoningSetting::On(effort) if claude => {
                self.effort = effort;
                Reasoning::Adaptive
            }
            ReasoningSetting::Budget(tokens) if claude => {
                Reasoning::Budget(u64::from(tokens).max(LEAST_BUDGET))
            }
            ReasoningSetting::Effort(level) if facts.reasoning.form == ReasoningControl::Effort => {
                Reasoning::Level(level)
            }
            _ => Reasoning::Unsaid,
        };
        if self.reasoning != Reasoning::Unsaid {
            self.said = ask;
            return;
        }
        // The model does by itself what is wanted, or it cannot be told.
        let wants = !matches!(wanted, Some(Thinking::Off | Thinking::Budget(0)));
        let does = facts.reasoning.is_on(ReasoningSetting::Nothing);
        let known = facts.reasoning.form != ReasoningControl::Unknown;
        dropped.add_if(wanted.is_some() && wants != (does && known), "thinking");
    }

    /// Settles `maxTokens`, which counts the thinking too and has to be above its budget.
    fn bound(&mut self, facts: &ModelFacts, dropped: &mut Dropped) {
        if let (Some(wanted), Some(most)) = (self.max_tokens, facts.max_output)
            && wanted > most
        {
            self.max_tokens = Some(most);
            dropped.add("max_tokens");
        }
        if self.max_tokens.is_none() && self.claude {
            self.max_tokens = Some(
                facts
                    .max_output
                    .map_or(CLAUDE_MAX_TOKENS, |most| most.min(CLAUDE_MAX_TOKENS)),
            );
        }
        let (Reasoning::Budget(budget), Some(tokens)) = (&mut self.reasoning, &mut self.max_tokens)
        else {
            return;
        };
        if *budget >= *tokens {
            if *tokens <= LEAST_BUDGET {
                // The client's bound is for what it reads.
                *tokens += LEAST_BUDGET;
            }
            *budget = (*tokens / 2).max(LEAST_BUDGET);
        }
    }

    fn sample(&mut self, sampling: &ir::Sampling<'_>, facts: &ModelFacts, dropped: &mut Dropped) {
        let said = self.said;
        let mut unit = |value: Option<f64>, parameter, name: &'static str| {
            let value = value.filter(|value| value.is_finite())?;
            if facts.refuses(parameter, said) {
                // One is what the model does by itself.
                dropped.add_if(value != 1.0, name);
                return None;
            }
            dropped.add_if(!(0.0..=1.0).contains(&value), name);
            Some(value.clamp(0.0, 1.0))
        };
        self.temperature = unit(sampling.temperature, Parameter::Temperature, "temperature");
        self.top_p = unit(sampling.top_p, Parameter::TopP, "top_p");
        if facts.sampling == SamplingRule::OneOfTemperatureAndTopP && self.temperature.is_some() {
            dropped.add_if(self.top_p.take().is_some_and(|top_p| top_p < 1.0), "top_p");
        }
        // Zero and less is Ollama's and vLLM's word for no bound.
        if let Some(top_k) = sampling.top_k.filter(|top_k| *top_k > 0) {
            let has_place = matches!(&*facts.family, "claude" | "nova");
            if has_place && !facts.refuses(Parameter::TopK, said) {
                self.top_k = Some(top_k);
            } else {
                dropped.add("top_k");
            }
        }
        dropped.add_if(sampling.min_p.is_some_and(|value| value > 0.0), "min_p");
        dropped.add_if(
            sampling.typical_p.is_some_and(|value| value < 1.0),
            "typical_p",
        );
        dropped.add_if(
            sampling.repeat_penalty.is_some_and(|value| value != 1.0),
            "repeat_penalty",
        );
        dropped.add_if(sampling.repeat_last_n.is_some(), "repeat_last_n");
        dropped.add_if(
            sampling.presence_penalty.is_some_and(|value| value != 0.0),
            "presence_penalty",
        );
        dropped.add_if(
            sampling.frequency_penalty.is_some_and(|value| value != 0.0),
            "frequency_penalty",
        );
        dropped.add_if(sampling.seed.is_some_and(|seed| seed >= 0), "seed");
        dropped.add_if(sampling.logit_bias.is_some(), "logit_bias");
    }

    /// Divides the stop strings: those that the service refuses are met by the gateway itself.
    fn end_at(&mut self, stop: &[Text<'a>], facts: &ModelFacts) {
        for text in stop.iter().filter(|text| !text.is_empty()) {
            let refused = facts.refuses(Parameter::Stop, self.said) || text.is_blank();
            if refused {
                self.unsent_stop.push(text.decoded().into_owned());
            } else {
                self.stop.push(text.clone());
            }
        }
    }

    /// Appends `inferenceConfig`, `additionalModelRequestFields` and what goes with them.
    pub(super) fn write(&self, facts: &ModelFacts, out: &mut Vec<u8>) {
        key("inferenceConfig", out);
        out.push(b'{');
        if let Some(tokens) = self.max_tokens {
            key("maxTokens", out);
            put(&tokens.to_string(), out);
        }
        for (name, value) in [("temperature", self.temperature), ("topP", self.top_p)] {
            if let Some(value) = value {
                key(name, out);
                number(value, out);
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
        out.push(b'}');
        self.write_more(facts, out);
        if self.claude && !self.stop.is_empty() {
            // Without it the answer does not say which one was met.
            put(
                r#","additionalModelResponseFieldPaths":["/stop_sequence"]"#,
                out,
            );
        }
    }

    fn write_more(&self, facts: &ModelFacts, out: &mut Vec<u8>) {
        let top_k = self.top_k.map(|top_k| match &*facts.family {
            "nova" => format!(r#""inferenceConfig":{{"topK":{top_k}}}"#),
            _ => format!(r#""top_k":{top_k}"#),
        });
        let reasoning = match self.reasoning {
            Reasoning::Unsaid => None,
            Reasoning::Off => Some(r#""thinking":{"type":"disabled"}"#.to_owned()),
            Reasoning::Adaptive => Some(r#""thinking":{"type":"adaptive"}"#.to_owned()),
            Reasoning::Budget(tokens) => Some(format!(
                r#""thinking":{{"type":"enabled","budget_tokens":{tokens}}}"#
            )),
            Reasoning::Level(level) => Some(format!(r#""reasoning_effort":"{}""#, level.name())),
        };
        if top_k.is_none() && reasoning.is_none() {
            return;
        }
        key("additionalModelRequestFields", out);
        out.push(b'{');
        for member in [top_k, reasoning].into_iter().flatten() {
            separate(out);
            put(&member, out);
        }
        out.push(b'}');
    }
}
