//! A request to a provider: every field but the messages.

use super::super::caching;
use super::super::custom::Customs;
use super::super::draft::{Draft, ToolOffer, effort_of, refuse_the_impossible};
use super::super::object::{Object, list};
use super::super::path::path;
use super::super::serving;
use super::super::shared::{
    schema_in_words, speaks_of_json, write_randomness, write_schema, write_within,
};
use super::super::tool_shape::ToolShape;
use super::history::History;
use super::ways::{Caching, Reasoning, Ways};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::{Capability, EffortLevel, Parameter, ReasoningControl, ReasoningSetting};
use crate::ir::{ChatRequest, Format, Refused, Sampling, Text};

/// Writes the request for `/chat/completions`.
///
/// # Errors
/// If it asks for what the provider or its model cannot do.
pub fn write_chat(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    refuse_the_impossible(&request, target)?;
    let mut writer = Writer::new(&mut request, target);
    let mut body = Vec::with_capacity(1024);
    writer.write(&mut request, &mut body)?;
    Ok(writer.outgoing(path(target, "chat/completions"), body))
}

/// Writes what depends on the target, and notes what it does not take.
pub(in super::super) struct Writer<'t> {
    draft: Draft<'t>,
    ways: Ways,
    stop: Vec<String>,
}

impl<'t> Writer<'t> {
    /// Takes over what the request has left out already.
    pub(in super::super) fn new(request: &mut ChatRequest<'_>, target: &'t Target<'t>) -> Self {
        Writer {
            draft: Draft::of(request, target),
            ways: Ways::of(target),
            stop: Vec::new(),
        }
    }

    pub(in super::super) fn outgoing(self, path: String, body: Vec<u8>) -> ProviderRequest {
        ProviderRequest {
            path,
            body,
            headers: Vec::new(),
            dropped: self.draft.dropped,
            names: self.draft.names,
            stop: self.stop,
        }
    }

    /// Writes the fields that chats and completions share.
    pub(in super::super) fn common(&mut self, request: &ChatRequest<'_>, body: &mut Object<'_>) {
        body.flag("stream", self.draft.target.stream);
        if self.draft.target.stream && self.ways.usage_option {
            // Also where the client does not want it: the gateway accounts for it.
            body.raw("stream_options", "{\"include_usage\":true}");
        }
        self.sampling(&request.sampling, body);
        self.stop(&request.stop, body);
        self.format(&request.format, body);
        self.draft.user(request, self.ways.user, body);
    }

    fn write(&mut self, request: &mut ChatRequest<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.breakpoints(request);
        let instruction = self.instruction(request);
        let mut body = Object::new(out);
        body.string("model", self.draft.target.model);
        let special = std::mem::take(&mut request.special);
        let customs = Customs::of_those_taken(&special, self.ways.customs);
        self.draft.reserve_names(&request.tools);
        let history = History {
            target: self.draft.target,
            ways: &self.ways,
            reasons: self.draft.target.facts.reasoning.is_on(self.draft.setting),
            customs: &customs,
        };
        let messages = std::mem::take(&mut request.messages);
        let mut messages = history.prepare(messages, instruction, &mut self.draft.dropped);
        let lost = caching::settle(&mut messages);
        self.draft.dropped.add_if(lost, "cache_control");
        history.write(messages, &mut self.draft.names, body.key("messages"))?;
        self.common(request, &mut body);
        self.serving(request, &mut body);
        self.limit(request.max_tokens, &mut body);
        self.logprobs(request.logprobs, &mut body);
        self.tools(request, &customs, &mut body);
        self.reasoning(&mut body);
        caching::write(request.cache, &mut body);
        body.end();
        Ok(())
    }

    /// Leaves those breakpoints that the provider heeds.
    fn breakpoints(&mut self, request: &mut ChatRequest<'_>) {
        let lost = match self.ways.caching {
            Caching::Marked => request.limit_breakpoints(),
            Caching::Itself => {
                request.take_breakpoints();
                false
            }
            Caching::Unknown => request.take_breakpoints(),
        };
        self.draft.dropped.add_if(lost, "cache_control");
    }

    fn serving(&mut self, request: &ChatRequest<'_>, body: &mut Object<'_>) {
        let wanted = &request.serving;
        serving::write(wanted, body);
        if let Some(store) = wanted.store {
            body.flag("store", store);
        }
        if let Some(verbosity) = &wanted.verbosity {
            body.text("verbosity", verbosity);
        }
    }

    fn limit(&mut self, wanted: Option<u64>, body: &mut Object<'_>) {
        let Some(wanted) = wanted else { return };
        let most = self.draft.target.facts.max_output.unwrap_or(u64::MAX);
        self.draft.dropped.add_if(wanted > most, "max_tokens");
        body.integer(self.ways.limit, wanted.min(most));
    }

    fn sampling(&mut self, wanted: &Sampling<'_>, body: &mut Object<'_>) {
        write_randomness(
            wanted,
            (self.draft.target, self.draft.setting),
            &mut self.draft.dropped,
            body,
        );
        for (name, value, parameter) in [
            (
                "presence_penalty",
                wanted.presence_penalty,
                Parameter::PresencePenalty,
            ),
            (
                "frequency_penalty",
                wanted.frequency_penalty,
                Parameter::FrequencyPenalty,
            ),
        ] {
            let value = self.draft.taken(value, parameter, name);
            write_within(name, value, -2.0..=2.0, &mut self.draft.dropped, body);
        }
        // A negative seed is Ollama's word for none.
        let seed = wanted.seed.filter(|seed| *seed >= 0);
        if let Some(seed) = self.draft.taken(seed, Parameter::Seed, "seed") {
            body.integer("seed", seed);
        }
        if let Some(bias) = self.draft.taken(
            wanted.logit_bias.as_ref(),
            Parameter::LogitBias,
            "logit_bias",
        ) {
            body.json("logit_bias", bias);
        }
        self.extras(wanted, body);
    }

    fn extras(&mut self, wanted: &Sampling<'_>, body: &mut Object<'_>) {
        let extras = self.ways.extras;
        match (
            self.draft.taken(wanted.top_k, Parameter::TopK, "top_k"),
            extras.top_k_off,
        ) {
            (Some(top_k), Some(off)) => body.integer("top_k", if top_k > 0 { top_k } else { off }),
            (top_k, _) => self
                .draft
                .dropped
                .add_if(top_k.is_some_and(|top_k| top_k > 0), "top_k"),
        }
        let min_p = extras.min_p.then_some("min_p");
        let typical_p = extras.typical_p.then_some("typical_p");
        for (name, value, field) in [
            ("min_p", wanted.min_p, min_p),
            ("typical_p", wanted.typical_p, typical_p),
            (
                "repeat_penalty",
                wanted.repeat_penalty,
                extras.repeat_penalty,
            ),
        ] {
            match (value, field) {
                (Some(value), Some(field)) => body.number(field, value),
                (value, _) => self.draft.dropped.add_if(value.is_some(), name),
            }
        }
        match (wanted.repeat_last_n, extras.repeat_last_n) {
            (Some(tokens), true) => body.integer("repeat_last_n", tokens),
            (tokens, _) => self.draft.dropped.add_if(tokens.is_some(), "repeat_last_n"),
        }
    }

    fn stop(&mut self, wanted: &[Text<'_>], body: &mut Object<'_>) {
        let most = if self.draft.refuses(Parameter::Stop) {
            0
        } else {
            self.ways.stops
        };
        let (sent, own) = wanted.split_at(wanted.len().min(most));
        self.stop = own.iter().map(|text| text.decoded().into_owned()).collect();
        if !sent.is_empty() {
            list(sent, body.key("stop"), |text, out| text.write(out));
        }
    }

    fn logprobs(&mut self, wanted: Option<u8>, body: &mut Object<'_>) {
        if let Some(top) = self.draft.taken(wanted, Parameter::Logprobs, "logprobs") {
            body.flag("logprobs", true);
            if top > 0 {
                self.draft.dropped.add_if(top > 20, "top_logprobs");
                body.integer("top_logprobs", top.min(20));
            }
        }
    }

    /// Returns what must be said in words besides the format: the schema to a model that knows no schemas, and to any
    /// that it shall write JSON, unless it is said already: OpenAI answers 400 if the word is nowhere in the messages.
    fn instruction(&mut self, request: &mut ChatRequest<'_>) -> Option<Text<'static>> {
        match &request.format {
            Format::Schema { schema, .. }
                if !self.draft.target.facts.can(Capability::JsonSchema) =>
            {
                let text = schema_in_words(schema);
                request.format = Format::Json;
                Some(text)
            }
            Format::Json if !speaks_of_json(&request.messages) => {
                Some(Text::escaped("Answer with a JSON object."))
            }
            _ => None,
        }
    }

    fn format(&mut self, format: &Format<'_>, body: &mut Object<'_>) {
        match format {
            Format::Text => {}
            Format::Json => body.raw("response_format", "{\"type\":\"json_object\"}"),
            Format::Schema { .. } => {
                let mut wanted = Object::new(body.key("response_format"));
                wanted.word("type", "json_schema");
                let mut json_schema = Object::new(wanted.key("json_schema"));
                write_schema(format, &mut json_schema);
                json_schema.end();
                wanted.end();
            }
        }
    }

    fn tools(&mut self, request: &ChatRequest<'_>, customs: &Customs<'_>, body: &mut Object<'_>) {
        if request.tools.is_empty() {
            return;
        }
        let offer = ToolOffer {
            shape: ToolShape::Nested,
            strict: None,
            customs,
        };
        self.draft.tools(&request.tools, offer, body.key("tools"));
        self.draft.tool_choice(&request.tool_choice, offer, body);
        let parallel = request.parallel_tool_calls;
        if let Some(parallel) = self.draft.taken(
            parallel,
            Parameter::ParallelToolCalls,
            "parallel_tool_calls",
        ) {
            body.flag("parallel_tool_calls", parallel);
        }
    }

    fn reasoning(&mut self, body: &mut Object<'_>) {
        if self.draft.setting == ReasoningSetting::Nothing {
            return;
        }
        match self.ways.reasoning {
            Reasoning::Effort => self.effort(body),
            Reasoning::Object => self.reasoning_object(body),
            Reasoning::Switch => {
                let kind = match self.draft.setting {
                    ReasoningSetting::Off | ReasoningSetting::Effort(EffortLevel::None) => {
                        "{\"type\":\"disabled\"}"
                    }
                    _ => "{\"type\":\"enabled\"}",
                };
                body.raw("thinking", kind);
                if let Some(effort) =
                    effort_of(self.draft.setting).filter(|effort| *effort > EffortLevel::None)
                {
                    body.word(
                        "reasoning_effort",
                        match effort {
                            EffortLevel::Xhigh | EffortLevel::Max => "max",
                            effort => three(effort),
                        },
                    );
                }
            }
            Reasoning::Template { field } => {
                let effort =
                    effort_of(self.draft.setting).filter(|effort| *effort > EffortLevel::None);
                let mut arguments = Object::new(body.key("chat_template_kwargs"));
                let off = matches!(
                    self.draft.setting,
                    ReasoningSetting::Off | ReasoningSetting::Effort(EffortLevel::None)
                );
                arguments.flag("enable_thinking", !off);
                if let Some(effort) = effort {
                    arguments.word("reasoning_effort", three(effort));
                }
                arguments.end();
                if let Some(effort) = effort.filter(|_| field) {
                    body.word("reasoning_effort", three(effort));
                }
            }
        }
    }

    fn effort(&mut self, body: &mut Object<'_>) {
        let effort = match self.draft.setting {
            // Whether the model takes `none` is not known; that it need not be told is likely.
            ReasoningSetting::Off
                if self.draft.target.facts.reasoning.form == ReasoningControl::Unknown =>
            {
                None
            }
            ReasoningSetting::Off => Some(EffortLevel::None),
            ask => effort_of(ask),
        };
        match effort {
            Some(effort) => body.word("reasoning_effort", effort.name()),
            None => {
                let is_default = self
                    .draft
                    .target
                    .facts
                    .reasoning
                    .is_on(ReasoningSetting::Nothing);
                let unheard = self.draft.setting == ReasoningSetting::Off || !is_default;
                self.draft.dropped.add_if(unheard, "thinking");
            }
        }
    }

    fn reasoning_object(&mut self, body: &mut Object<'_>) {
        let mut reasoning = Object::new(body.key("reasoning"));
        match self.draft.setting {
            ReasoningSetting::Off => reasoning.flag("enabled", false),
            ReasoningSetting::Budget(tokens) => reasoning.integer("max_tokens", tokens),
            ask => match effort_of(ask) {
                // OpenRouter's own list ends there for most models.
                Some(EffortLevel::Max) => reasoning.word("effort", EffortLevel::Xhigh.name()),
                Some(effort) => reasoning.word("effort", effort.name()),
                None => reasoning.flag("enabled", true),
            },
        }
        reasoning.end();
    }
}

/// Returns the three levels that open models know.
fn three(effort: EffortLevel) -> &'static str {
    match effort {
        EffortLevel::None | EffortLevel::Minimal | EffortLevel::Low => "low",
        EffortLevel::Medium => "medium",
        EffortLevel::High | EffortLevel::Xhigh | EffortLevel::Max => "high",
    }
}
