//! A request to a provider: every field but the messages.

use super::super::caching;
use super::super::custom::Customs;
use super::super::object::{Object, list};
use super::super::path::path;
use super::super::schema::write_parameters;
use super::super::serving;
use super::super::shared::{
    LONGEST_NAME, schema_in_words, speaks_of_json, write_randomness, write_schema, write_within,
};
use super::history::History;
use super::ways::{Caching, Reasoning, Ways};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::{Capability, EffortLevel, Parameter, ReasoningControl, ReasoningSetting};
use crate::ir::{
    ChatRequest, Dropped, Format, Refused, Sampling, Text, Tool, ToolChoice, ToolNames,
};

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

pub(in super::super) fn refuse_the_impossible(
    request: &ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<(), Refused> {
    let refused = |field, what: &str| {
        Err(Refused::field(
            field,
            format!("the model {} {what}", target.model),
        ))
    };
    if !request.tools.is_empty() && !target.facts.can(Capability::Tools) {
        return refused("tools", "does not support tools");
    }
    let Some(completion) = &request.completion else {
        return Ok(());
    };
    if completion
        .suffix
        .as_ref()
        .is_some_and(|text| !text.is_empty())
    {
        return refused("suffix", "does not support insert");
    }
    if completion.raw {
        return refused(
            "raw",
            "takes chats only, which its provider puts into a template",
        );
    }
    if completion.template.is_some() {
        return refused("template", "takes chats only, by its provider's template");
    }
    if completion.echo {
        refused("echo", "does not repeat its prompt")
    } else {
        Ok(())
    }
}

/// Writes what depends on the target, and notes what it does not take.
pub(in super::super) struct Writer<'t> {
    target: &'t Target<'t>,
    ways: Ways,
    ask: ReasoningSetting,
    dropped: Dropped,
    names: ToolNames,
    stop: Vec<String>,
}

impl<'t> Writer<'t> {
    /// Takes over what the request has left out already.
    pub(in super::super) fn new(request: &mut ChatRequest<'_>, target: &'t Target<'t>) -> Self {
        Writer {
            target,
            ways: Ways::of(target),
            ask: target.facts.ask(request.thinking),
            dropped: std::mem::take(&mut request.dropped),
            names: ToolNames::default(),
            stop: Vec::new(),
        }
    }

    pub(in super::super) fn outgoing(self, path: String, body: Vec<u8>) -> ProviderRequest {
        ProviderRequest {
            path,
            body,
            headers: Vec::new(),
            dropped: self.dropped,
            names: self.names,
            stop: self.stop,
        }
    }

    /// The fields that chats and completions share.
    pub(in super::super) fn common(&mut self, request: &ChatRequest<'_>, body: &mut Object<'_>) {
        body.flag("stream", self.target.stream);
        if self.target.stream && self.ways.usage_option {
            // Also where the client does not want it: the gateway accounts for it.
            body.raw("stream_options", "{\"include_usage\":true}");
        }
        self.sampling(&request.sampling, body);
        self.stop(&request.stop, body);
        self.format(&request.format, body);
        if let Some(user) = request.user.as_ref().filter(|_| self.ways.user) {
            body.text("user", user);
        } else {
            self.dropped.add_if(request.user.is_some(), "user");
        }
    }

    fn write(&mut self, request: &mut ChatRequest<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.breakpoints(request);
        let instruction = self.instruction(request);
        let mut body = Object::new(out);
        body.string("model", self.target.model);
        let special = std::mem::take(&mut request.special);
        let customs = if self.ways.customs {
            Customs::of(&special)
        } else {
            Customs::default()
        };
        let tools = request.tools.iter().map(|tool| &tool.name);
        self.names.reserve(tools, LONGEST_NAME);
        let history = History {
            target: self.target,
            ways: &self.ways,
            reasons: self.target.facts.reasoning.is_on(self.ask),
            customs: &customs,
        };
        let messages = std::mem::take(&mut request.messages);
        let mut messages = history.prepare(messages, instruction, &mut self.dropped);
        let lost = caching::settle(&mut messages);
        self.dropped.add_if(lost, "cache_control");
        history.write(messages, &mut self.names, body.key("messages"))?;
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
        self.dropped.add_if(lost, "cache_control");
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

    fn refuses(&self, parameter: Parameter) -> bool {
        self.target.facts.refuses(parameter, self.ask)
    }

    fn limit(&mut self, wanted: Option<u64>, body: &mut Object<'_>) {
        let Some(wanted) = wanted else { return };
        let most = self.target.facts.max_output.unwrap_or(u64::MAX);
        self.dropped.add_if(wanted > most, "max_tokens");
        body.integer(self.ways.limit, wanted.min(most));
    }

    fn sampling(&mut self, wanted: &Sampling<'_>, body: &mut Object<'_>) {
        write_randomness(wanted, (self.target, self.ask), &mut self.dropped, body);
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
            let value = self.taken(value, parameter, name);
            write_within(name, value, -2.0..=2.0, &mut self.dropped, body);
        }
        // A negative seed is Ollama's word for none.
        let seed = wanted.seed.filter(|seed| *seed >= 0);
        if let Some(seed) = self.taken(seed, Parameter::Seed, "seed") {
            body.integer("seed", seed);
        }
        if let Some(bias) = self.taken(
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
            self.taken(wanted.top_k, Parameter::TopK, "top_k"),
            extras.top_k_off,
        ) {
            (Some(top_k), Some(off)) => body.integer("top_k", if top_k > 0 { top_k } else { off }),
            (top_k, _) => self
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
                (value, _) => self.dropped.add_if(value.is_some(), name),
            }
        }
        match (wanted.repeat_last_n, extras.repeat_last_n) {
            (Some(tokens), true) => body.integer("repeat_last_n", tokens),
            (tokens, _) => self.dropped.add_if(tokens.is_some(), "repeat_last_n"),
        }
    }

    /// A value, unless the model refuses the parameter.
    fn taken<T>(
        &mut self,
        value: Option<T>,
        parameter: Parameter,
        name: &'static str,
    ) -> Option<T> {
        if value.is_some() && self.refuses(parameter) {
            self.dropped.add(name);
            return None;
        }
        value
    }

    fn stop(&mut self, wanted: &[Text<'_>], body: &mut Object<'_>) {
        let most = if self.refuses(Parameter::Stop) {
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
        if let Some(top) = self.taken(wanted, Parameter::Logprobs, "logprobs") {
            body.flag("logprobs", true);
            if top > 0 {
                self.dropped.add_if(top > 20, "top_logprobs");
                body.integer("top_logprobs", top.min(20));
            }
        }
    }

    /// What must be said in words besides the format: the schema to a model that knows no schemas, and to any that it
    /// shall write JSON, unless it is said already: OpenAI answers 400 if the word is nowhere in the messages.
    fn instruction(&mut self, request: &mut ChatRequest<'_>) -> Option<Text<'static>> {
        match &request.format {
            Format::Schema { schema, .. } if !self.target.facts.can(Capability::JsonSchema) => {
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
        let names = &mut self.names;
        list(&request.tools, body.key("tools"), |tool, out| {
            write_tool(tool, customs, names, out);
        });
        let forced = matches!(
            request.tool_choice,
            ToolChoice::Required | ToolChoice::Named(_)
        );
        if forced && self.refuses(Parameter::ForcedToolChoice) {
            self.dropped.add("tool_choice");
        } else {
            self.tool_choice(&request.tool_choice, customs, body);
        }
        let parallel = request.parallel_tool_calls;
        if let Some(parallel) = self.taken(
            parallel,
            Parameter::ParallelToolCalls,
            "parallel_tool_calls",
        ) {
            body.flag("parallel_tool_calls", parallel);
        }
    }

    fn tool_choice(
        &mut self,
        choice: &ToolChoice<'_>,
        customs: &Customs<'_>,
        body: &mut Object<'_>,
    ) {
        match choice {
            ToolChoice::Auto => {}
            ToolChoice::None => body.word("tool_choice", "none"),
            ToolChoice::Required => body.word("tool_choice", "required"),
            ToolChoice::Named(name) => {
                let kind = match customs.find(name) {
                    Some(_) => "custom",
                    None => "function",
                };
                let name = self.names.sent(name, LONGEST_NAME);
                let mut choice = Object::new(body.key("tool_choice"));
                choice.word("type", kind);
                let mut tool = Object::new(choice.key(kind));
                tool.text("name", &name);
                tool.end();
                choice.end();
            }
        }
    }

    fn reasoning(&mut self, body: &mut Object<'_>) {
        if self.ask == ReasoningSetting::Nothing {
            return;
        }
        match self.ways.reasoning {
            Reasoning::Effort => self.effort(body),
            Reasoning::Object => self.reasoning_object(body),
            Reasoning::Switch => {
                let kind = match self.ask {
                    ReasoningSetting::Off | ReasoningSetting::Effort(EffortLevel::None) => {
                        "{\"type\":\"disabled\"}"
                    }
                    _ => "{\"type\":\"enabled\"}",
                };
                body.raw("thinking", kind);
                if let Some(effort) =
                    effort_of(self.ask).filter(|effort| *effort > EffortLevel::None)
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
                let effort = effort_of(self.ask).filter(|effort| *effort > EffortLevel::None);
                let mut arguments = Object::new(body.key("chat_template_kwargs"));
                let off = matches!(
                    self.ask,
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
        let effort = match self.ask {
            // Whether the model takes `none` is not known; that it need not be told is likely.
            ReasoningSetting::Off
                if self.target.facts.reasoning.form == ReasoningControl::Unknown =>
            {
                None
            }
            ReasoningSetting::Off => Some(EffortLevel::None),
            ask => effort_of(ask),
        };
        match effort {
            Some(effort) => body.word("reasoning_effort", effort.name()),
            None => {
                let is_default = self.target.facts.reasoning.is_on(ReasoningSetting::Nothing);
                let unheard = self.ask == ReasoningSetting::Off || !is_default;
                self.dropped.add_if(unheard, "thinking");
            }
        }
    }

    fn reasoning_object(&mut self, body: &mut Object<'_>) {
        let mut reasoning = Object::new(body.key("reasoning"));
        match self.ask {
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

pub(in super::super) fn effort_of(ask: ReasoningSetting) -> Option<EffortLevel> {
    match ask {
        ReasoningSetting::Effort(effort) => Some(effort),
        ReasoningSetting::On(effort) => effort,
        ReasoningSetting::Budget(tokens) => Some(EffortLevel::of_budget(tokens)),
        ReasoningSetting::Nothing | ReasoningSetting::Off | ReasoningSetting::Automatic => None,
    }
}

/// The three levels that open models know.
fn three(effort: EffortLevel) -> &'static str {
    match effort {
        EffortLevel::None | EffortLevel::Minimal | EffortLevel::Low => "low",
        EffortLevel::Medium => "medium",
        EffortLevel::High | EffortLevel::Xhigh | EffortLevel::Max => "high",
    }
}

fn write_tool(tool: &Tool<'_>, customs: &Customs<'_>, names: &mut ToolNames, out: &mut Vec<u8>) {
    let mut offered = Object::new(out);
    if let Some(custom) = customs.find(&tool.name) {
        offered.word("type", "custom");
        let mut object = Object::new(offered.key("custom"));
        object.text("name", &names.sent(&tool.name, LONGEST_NAME));
        custom.write(false, &mut object);
        object.end();
        return offered.end();
    }
    offered.word("type", "function");
    let mut function = Object::new(offered.key("function"));
    function.text("name", &names.sent(&tool.name, LONGEST_NAME));
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    write_parameters("parameters", tool.parameters.as_ref(), &mut function);
    if let Some(strict) = tool.strict {
        function.flag("strict", strict);
    }
    function.end();
    caching::write(tool.cache, &mut offered);
    offered.end();
}
