//! A request to a provider: every field but the input.

use super::super::custom::Customs;
use super::super::draft::{Draft, ToolOffer, effort_of, refuse_the_impossible};
use super::super::object::{Object, list};
use super::super::path::path;
use super::super::serving;
use super::super::shared::{schema_in_words, speaks_of_json, write_randomness, write_schema};
use super::super::tool_shape::ToolShape;
use super::history::History;
use super::ways::Ways;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::{Capability, EffortLevel, Parameter, ReasoningControl, ReasoningSetting};
use crate::ir::{ChatRequest, Format, Refused, Sampling, Text, Thinking, Tool};

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
        draft: Draft::of(&mut request, target),
        ways: Ways::of(target),
    };
    let mut body = Vec::with_capacity(1024);
    writer.write(&mut request, &mut body)?;
    Ok(ProviderRequest {
        path: path(target, "responses"),
        body,
        headers: Vec::new(),
        dropped: writer.draft.dropped,
        names: writer.draft.names,
        // This API has no stop strings.
        stop: request
            .stop
            .iter()
            .map(|text| text.decoded().into_owned())
            .collect(),
    })
}

struct Writer<'t> {
    draft: Draft<'t>,
    ways: Ways,
}

impl Writer<'_> {
    fn write(&mut self, request: &mut ChatRequest<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.refuse_built_in(&request.tools)?;
        let marked = request.take_breakpoints();
        self.draft
            .dropped
            .add_if(marked && !self.ways.caches, "cache_control");
        // The marks of sources that a search puts into the text would spoil JSON.
        self.ways.search &= request.format == Format::Text;
        let instruction = self.instruction(request);
        let mut body = Object::new(out);
        Text::plain(self.draft.target.model).write(body.key("model"));
        let special = std::mem::take(&mut request.special);
        let customs = Customs::of_those_taken(&special, self.ways.customs);
        self.draft.reserve_names(&request.tools);
        let history = History {
            target: self.draft.target,
            ways: &self.ways,
            customs: &customs,
        };
        let messages = std::mem::take(&mut request.messages);
        let (instructions, messages) = history.prepare(messages, &mut self.draft.dropped);
        if let Some(instructions) = instructions {
            body.text("instructions", &instructions);
        }
        history.write(
            &messages,
            instruction.as_ref(),
            &mut self.draft.names,
            &mut self.draft.dropped,
            body.key("input"),
        )?;
        body.flag("stream", self.draft.target.stream);
        body.flag("store", request.serving.store.unwrap_or(false));
        serving::write(&request.serving, &mut body);
        self.limit(request.max_tokens, &mut body);
        self.sampling(&request.sampling, &mut body);
        self.include(request.logprobs, &mut body);
        self.text(request, &mut body);
        self.tools(request, &customs, &mut body);
        self.reasoning(request.thinking, &mut body);
        self.draft.user(request, self.ways.user, &mut body);
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

    fn limit(&mut self, wanted: Option<u64>, body: &mut Object<'_>) {
        let most = self.draft.target.facts.max_output.unwrap_or(u64::MAX);
        let limit = match wanted {
            Some(wanted) => wanted.max(self.ways.least_limit).min(most),
            None => match self.ways.limit {
                Some(limit) => limit.min(most),
                None => return,
            },
        };
        self.draft
            .dropped
            .add_if(wanted.is_some_and(|wanted| wanted != limit), "max_tokens");
        body.integer("max_output_tokens", limit);
    }

    fn sampling(&mut self, wanted: &Sampling<'_>, body: &mut Object<'_>) {
        write_randomness(
            wanted,
            (self.draft.target, self.draft.setting),
            &mut self.draft.dropped,
            body,
        );
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
            self.draft.dropped.add_if(has, name);
        }
    }

    /// Asks for reasoning in a form that can be sent back, and for log probabilities.
    fn include(&mut self, logprobs: Option<u8>, body: &mut Object<'_>) {
        let refused = !self.ways.logprobs || self.draft.refuses(Parameter::Logprobs);
        self.draft
            .dropped
            .add_if(logprobs.is_some() && refused, "logprobs");
        let logprobs = logprobs.filter(|_| !refused);
        if let Some(top) = logprobs {
            self.draft.dropped.add_if(top > 20, "top_logprobs");
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

    /// Returns what must be said in words besides the format, or in place of it: the schema to a model that knows no
    /// schemas, and to any that it shall write JSON, unless it is said already: OpenAI answers 400 if the word is
    /// nowhere in the input. Instructions do not count.
    fn instruction(&mut self, request: &mut ChatRequest<'_>) -> Option<Text<'static>> {
        let json = if self.ways.text_format {
            Format::Json
        } else {
            Format::Text
        };
        match &request.format {
            Format::Schema { schema, .. }
                if !self.draft.target.facts.can(Capability::JsonSchema) =>
            {
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

    /// Writes the form of the answer, and how wordy it is to be.
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
        let offer = ToolOffer {
            shape: ToolShape::Flat,
            strict: self.ways.strict,
            customs,
        };
        let tools = body.key("tools");
        self.draft.tools(&request.tools, offer, tools);
        if self.ways.search && tools.pop() == Some(b']') {
            tools.extend_from_slice(b",{\"type\":\"web_search\"}]");
        }
        self.draft.tool_choice(&request.tool_choice, offer, body);
        let Some(parallel) = request.parallel_tool_calls else {
            return;
        };
        if self.ways.parallel_tool_calls && !self.draft.refuses(Parameter::ParallelToolCalls) {
            body.flag("parallel_tool_calls", parallel);
        } else {
            // Several calls at once are what it does by itself.
            self.draft.dropped.add_if(!parallel, "parallel_tool_calls");
        }
    }

    fn reasoning(&mut self, wanted: Option<Thinking>, body: &mut Object<'_>) {
        let effort = self.effort();
        let is_wanted = wanted.is_some_and(|wanted| wanted != Thinking::Off);
        let summary = is_wanted
            && self.ways.reasoning_items
            && self.draft.target.facts.reasoning.is_on(self.draft.setting);
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
        let effort = match self.draft.setting {
            ReasoningSetting::Off => Some(EffortLevel::None),
            ask => effort_of(ask),
        };
        // Whether an unknown model takes `none` is not known; that it need not be told is likely.
        let is_unknown = self.draft.target.facts.reasoning.form == ReasoningControl::Unknown;
        match effort {
            Some(EffortLevel::None) if is_unknown || !self.ways.all_efforts => {
                self.draft.dropped.add("thinking");
                None
            }
            Some(EffortLevel::Max) if !self.ways.all_efforts => Some(EffortLevel::Xhigh),
            effort => effort,
        }
    }
}
