//! A request to a provider: every field but the input.

use super::super::chat::{effort_of, refuse_the_impossible};
use super::super::custom::Customs;
use super::super::object::{Object, list};
use super::super::path::path;
use super::super::schema::write_parameters;
use super::super::serving;
use super::super::shared::{
    LONGEST_NAME, schema_in_words, speaks_of_json, write_randomness, write_schema,
};
use super::history::History;
use super::ways::Ways;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::{Capability, EffortLevel, Parameter, ReasoningControl, ReasoningSetting};
use crate::ir::{
    ChatRequest, Dropped, Format, Refused, Sampling, Text, Thinking, Tool, ToolChoice, ToolNames,
};

/// Writes the request for `/responses`.
///
/// # Errors
/// If it asks for what the provider or its model cannot do.
pub fn write_chat(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    refuse_the_impossible(&request, target)?;
    let mut writer = Writer {
        target,
        ways: Ways::of(target),
        ask: target.facts.ask(request.thinking),
        dropped: std::mem::take(&mut request.dropped),
        names: ToolNames::default(),
    };
    let mut body = Vec::with_capacity(1024);
    writer.write(&mut request, &mut body)?;
    Ok(ProviderRequest {
        path: path(target, "responses"),
        body,
        headers: Vec::new(),
        dropped: writer.dropped,
        names: writer.names,
        // This API has no stop strings.
        stop: request
            .stop
            .iter()
            .map(|text| text.decoded().into_owned())
            .collect(),
    })
}

struct Writer<'t> {
    target: &'t Target<'t>,
    ways: Ways,
    ask: ReasoningSetting,
    dropped: Dropped,
    names: ToolNames,
}

impl Writer<'_> {
    fn write(&mut self, request: &mut ChatRequest<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.refuse_built_in(&request.tools)?;
        let marked = request.take_breakpoints();
        self.dropped
            .add_if(marked && !self.ways.caches, "cache_control");
        // The marks of sources that a search puts into the text would spoil JSON.
        self.ways.search &= request.format == Format::Text;
        let instruction = self.instruction(request);
        let mut body = Object::new(out);
        Text::plain(self.target.model).write(body.key("model"));
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
            customs: &customs,
        };
        let messages = std::mem::take(&mut request.messages);
        let (instructions, messages) = history.prepare(messages, &mut self.dropped);
        if let Some(instructions) = instructions {
            body.text("instructions", &instructions);
        }
        history.write(
            &messages,
            instruction.as_ref(),
            &mut self.names,
            &mut self.dropped,
            body.key("input"),
        )?;
        body.flag("stream", self.target.stream);
        body.flag("store", request.serving.store.unwrap_or(false));
        serving::write(&request.serving, &mut body);
        self.limit(request.max_tokens, &mut body);
        self.sampling(&request.sampling, &mut body);
        self.include(request.logprobs, &mut body);
        self.text(request, &mut body);
        self.tools(request, &customs, &mut body);
        self.reasoning(request.thinking, &mut body);
        if let Some(user) = request.user.as_ref().filter(|_| self.ways.user) {
            body.text("user", user);
        } else {
            self.dropped.add_if(request.user.is_some(), "user");
        }
        body.end();
        Ok(())
    }

    fn refuse_built_in(&self, tools: &[Tool<'_>]) -> Result<(), Refused> {
        let taken = |tool: &&Tool<'_>| self.ways.built_in.contains(&tool.name.as_escaped());
        match tools.iter().find(taken) {
            None => Ok(()),
            Some(tool) => Err(Refused::field(
                "tools",
                format!(
                    "the provider has a tool of its own by the name {}: give the function another one",
                    tool.name.as_escaped()
                ),
            )),
        }
    }

    fn refuses(&self, parameter: Parameter) -> bool {
        self.target.facts.refuses(parameter, self.ask)
    }

    fn limit(&mut self, wanted: Option<u64>, body: &mut Object<'_>) {
        let most = self.target.facts.max_output.unwrap_or(u64::MAX);
        let limit = match wanted {
            Some(wanted) => wanted.max(self.ways.least_limit).min(most),
            None => match self.ways.limit {
                Some(limit) => limit.min(most),
                None => return,
            },
        };
        self.dropped
            .add_if(wanted.is_some_and(|wanted| wanted != limit), "max_tokens");
        body.integer("max_output_tokens", limit);
    }

    fn sampling(&mut self, wanted: &Sampling<'_>, body: &mut Object<'_>) {
        write_randomness(wanted, (self.target, self.ask), &mut self.dropped, body);
        for (has, name) in [
            (wanted.top_k.is_some_and(|top_k| top_k > 0), "top_k"),
            (wanted.min_p.is_some(), "min_p"),
            (wanted.typical_p.is_some(), "typical_p"),
            (wanted.repeat_penalty.is_some(), "repeat_penalty"),
            (wanted.repeat_last_n.is_some(), "repeat_last_n"),
            (wanted.presence_penalty.is_some(), "presence_penalty"),
            (wanted.frequency_penalty.is_some(), "frequency_penalty"),
            // A negative seed is Ollama's word for none.
            (wanted.seed.is_some_and(|seed| seed >= 0), "seed"),
            (wanted.logit_bias.is_some(), "logit_bias"),
        ] {
            self.dropped.add_if(has, name);
        }
    }

    /// Reasoning in a form that can be sent back, and log probabilities.
    fn include(&mut self, logprobs: Option<u8>, body: &mut Object<'_>) {
        let refused = !self.ways.logprobs || self.refuses(Parameter::Logprobs);
        self.dropped
            .add_if(logprobs.is_some() && refused, "logprobs");
        let logprobs = logprobs.filter(|_| !refused);
        if let Some(top) = logprobs {
            self.dropped.add_if(top > 20, "top_logprobs");
            body.integer("top_logprobs", top.min(20));
        }
        let wanted = [
            (self.ways.reasoning_items, "\"reasoning.encrypted_content\""),
            (logprobs.is_some(), "\"message.output_text.logprobs\""),
        ];
        let wanted: Vec<_> = wanted
            .into_iter()
            .filter_map(|(is_wanted, name)| is_wanted.then_some(name))
            .collect();
        if !wanted.is_empty() {
            list(&wanted, body.key("include"), |name, out| {
                out.extend_from_slice(name.as_bytes());
            });
        }
    }

    /// What must be said in words besides the format, or in place of it: the schema to a model that knows no schemas,
    /// and to any that it shall write JSON, unless it is said already: OpenAI answers 400 if the word is nowhere in the
    /// input. Instructions do not count.
    fn instruction(&mut self, request: &mut ChatRequest<'_>) -> Option<Text<'static>> {
        let json = if self.ways.text_format {
            Format::Json
        } else {
            Format::Text
        };
        match &request.format {
            Format::Schema { schema, .. } if !self.target.facts.can(Capability::JsonSchema) => {
                let text = schema_in_words(schema);
                request.format = json;
                Some(text)
            }
            Format::Json if !self.ways.text_format => {
                request.format = json;
                Some(Text::escaped(
                    "Answer with a JSON object and nothing else: no words around it, no code fence.",
                ))
            }
            Format::Json if !speaks_of_json(&request.messages) => {
                Some(Text::escaped("Answer with a JSON object."))
            }
            _ => None,
        }
    }

    /// The form of the answer, and how wordy it is to be.
    fn text(&mut self, request: &ChatRequest<'_>, body: &mut Object<'_>) {
        let (format, verbosity) = (&request.format, &request.serving.verbosity);
        let said = self.ways.text_format && *format != Format::Text;
        if said || verbosity.is_some() {
            let mut text = Object::new(body.key("text"));
            match format {
                Format::Json if said => text.raw("format", "{\"type\":\"json_object\"}"),
                Format::Schema { .. } if said => {
                    let mut wanted = Object::new(text.key("format"));
                    wanted.word("type", "json_schema");
                    write_schema(format, &mut wanted);
                    wanted.end();
                }
                _ => {}
            }
            if let Some(verbosity) = verbosity {
                text.text("verbosity", verbosity);
            }
            text.end();
        }
        if !self.ways.text_format && matches!(format, Format::Schema { .. }) {
            let mut wanted = Object::new(body.key("response_format"));
            wanted.word("type", "json_schema");
            let mut schema = Object::new(wanted.key("json_schema"));
            write_schema(format, &mut schema);
            schema.end();
            wanted.end();
        }
    }

    fn tools(&mut self, request: &ChatRequest<'_>, customs: &Customs<'_>, body: &mut Object<'_>) {
        if request.tools.is_empty() {
            if self.ways.search {
                body.raw("tools", "[{\"type\":\"web_search\"}]");
                body.raw("tool_choice", "{\"type\":\"web_search\"}");
            }
            return;
        }
        let (names, strict) = (&mut self.names, self.ways.strict);
        let tools = body.key("tools");
        list(&request.tools, tools, |tool, out| {
            write_tool(tool, strict, customs, names, out);
        });
        if self.ways.search && tools.pop() == Some(b']') {
            tools.extend_from_slice(b",{\"type\":\"web_search\"}]");
        }
        let forced = matches!(
            request.tool_choice,
            ToolChoice::Required | ToolChoice::Named(_)
        );
        if forced && self.refuses(Parameter::ForcedToolChoice) {
            self.dropped.add("tool_choice");
        } else {
            self.tool_choice(&request.tool_choice, customs, body);
        }
        let Some(parallel) = request.parallel_tool_calls else {
            return;
        };
        if self.ways.parallel_tool_calls && !self.refuses(Parameter::ParallelToolCalls) {
            body.flag("parallel_tool_calls", parallel);
        } else {
            // Several calls at once are what it does by itself.
            self.dropped.add_if(!parallel, "parallel_tool_calls");
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
                choice.text("name", &name);
                choice.end();
            }
        }
    }

    fn reasoning(&mut self, wanted: Option<Thinking>, body: &mut Object<'_>) {
        let effort = self.effort();
        let is_wanted = wanted.is_some_and(|wanted| wanted != Thinking::Off);
        let summary =
            is_wanted && self.ways.reasoning_items && self.target.facts.reasoning.is_on(self.ask);
        if effort.is_none() && !summary {
            return;
        }
        let mut reasoning = Object::new(body.key("reasoning"));
        if let Some(effort) = effort {
            reasoning.word("effort", effort.name());
        }
        if summary {
            reasoning.word("summary", "auto");
        }
        reasoning.end();
    }

    fn effort(&mut self) -> Option<EffortLevel> {
        let effort = match self.ask {
            ReasoningSetting::Off => Some(EffortLevel::None),
            ask => effort_of(ask),
        };
        // Whether an unknown model takes `none` is not known; that it need not be told is likely.
        let is_unknown = self.target.facts.reasoning.form == ReasoningControl::Unknown;
        match effort {
            Some(EffortLevel::None) if is_unknown || !self.ways.all_efforts => {
                self.dropped.add("thinking");
                None
            }
            Some(EffortLevel::Max) if !self.ways.all_efforts => Some(EffortLevel::Xhigh),
            effort => effort,
        }
    }
}

/// The fields of a schema, which stand flat or in an object of their own.
fn write_tool(
    tool: &Tool<'_>,
    strict: Option<bool>,
    customs: &Customs<'_>,
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) {
    let mut function = Object::new(out);
    if let Some(custom) = customs.find(&tool.name) {
        function.word("type", "custom");
        function.text("name", &names.sent(&tool.name, LONGEST_NAME));
        custom.write(true, &mut function);
        return function.end();
    }
    function.word("type", "function");
    function.text("name", &names.sent(&tool.name, LONGEST_NAME));
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    write_parameters("parameters", tool.parameters.as_ref(), &mut function);
    if let Some(strict) = tool.strict.or(strict) {
        function.flag("strict", strict);
    }
    function.end();
}
