//! A request to a provider while it is written: what chats and Responses have in common of it.

use super::caching;
use super::custom::Customs;
use super::object::{Object, list};
use super::schema::write_parameters;
use super::shared::LONGEST_NAME;
use super::tool_shape::ToolShape;
use crate::dialect::exchange::Target;
use crate::facts::{Capability, EffortLevel, Parameter, ReasoningSetting};
use crate::ir::{ChatRequest, Dropped, Refused, Tool, ToolChoice, ToolNames};

/// What depends on the target, and what of the request it does not take.
pub(super) struct Draft<'t> {
    pub(super) target: &'t Target<'t>,
    /// How the model is told to reason.
    pub(super) setting: ReasoningSetting,
    pub(super) dropped: Dropped,
    pub(super) names: ToolNames,
}

/// How tools are offered.
#[derive(Clone, Copy)]
pub(super) struct ToolOffer<'c> {
    pub(super) shape: ToolShape,
    /// What is said of a tool of which the client does not say whether its schema is strict.
    pub(super) strict: Option<bool>,
    /// The tools that take plain text.
    pub(super) customs: &'c Customs<'c>,
}

impl<'t> Draft<'t> {
    /// Begins a request, and takes over what it has left out already.
    pub(super) fn of(request: &mut ChatRequest<'_>, target: &'t Target<'t>) -> Self {
        Draft {
            target,
            setting: target.facts.ask(request.thinking),
            dropped: std::mem::take(&mut request.dropped),
            names: ToolNames::default(),
        }
    }

    /// Returns whether the model refuses a parameter beside this way to reason.
    pub(super) fn refuses(&self, parameter: Parameter) -> bool {
        self.target.facts.refuses(parameter, self.setting)
    }

    /// Returns a value unless the model refuses the parameter, which is then named.
    pub(super) fn taken<T>(
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

    /// Writes for whom the request is made, where the provider has a place for it.
    pub(super) fn user(
        &mut self,
        request: &ChatRequest<'_>,
        has_place: bool,
        body: &mut Object<'_>,
    ) {
        if let Some(user) = request.user.as_ref().filter(|_| has_place) {
            body.text("user", user);
        } else {
            self.dropped.add_if(request.user.is_some(), "user");
        }
    }

    /// Keeps the names of the tools from being given to others.
    pub(super) fn reserve_names(&mut self, tools: &[Tool<'_>]) {
        let names = tools.iter().map(|tool| &tool.name);
        self.names.reserve(names, LONGEST_NAME);
    }

    /// Writes the list of tools.
    pub(super) fn tools(&mut self, tools: &[Tool<'_>], offer: ToolOffer<'_>, out: &mut Vec<u8>) {
        list(tools, out, |tool, out| self.tool(tool, offer, out));
    }

    fn tool(&mut self, tool: &Tool<'_>, offer: ToolOffer<'_>, out: &mut Vec<u8>) {
        let ToolOffer {
            shape,
            strict,
            customs,
        } = offer;
        let mut offered = Object::new(out);
        let name = self.names.sent(&tool.name, LONGEST_NAME);
        if let Some(custom) = customs.find(&tool.name) {
            shape.write("custom", &mut offered, |members| {
                members.text("name", &name);
                custom.write(shape, members);
            });
            return offered.end();
        }
        shape.write("function", &mut offered, |members| {
            members.text("name", &name);
            if let Some(description) = &tool.description {
                members.text("description", description);
            }
            write_parameters("parameters", tool.parameters.as_ref(), members);
            if let Some(strict) = tool.strict.or(strict) {
                members.flag("strict", strict);
            }
        });
        caching::write(tool.cache, &mut offered);
        offered.end();
    }

    /// Writes whether a tool is to be called, unless the model refuses to be forced.
    pub(super) fn tool_choice(
        &mut self,
        choice: &ToolChoice<'_>,
        offer: ToolOffer<'_>,
        body: &mut Object<'_>,
    ) {
        const FIELD: &str = "tool_choice";
        let forces = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
        if forces && self.refuses(Parameter::ForcedToolChoice) {
            return self.dropped.add(FIELD);
        }
        match choice {
            ToolChoice::Auto => {}
            ToolChoice::None => body.word(FIELD, "none"),
            ToolChoice::Required => body.word(FIELD, "required"),
            ToolChoice::Named(name) => {
                let kind = match offer.customs.find(name) {
                    Some(_) => "custom",
                    None => "function",
                };
                let name = self.names.sent(name, LONGEST_NAME);
                let mut choice = Object::new(body.key(FIELD));
                offer
                    .shape
                    .write(kind, &mut choice, |members| members.text("name", &name));
                choice.end();
            }
        }
    }
}

/// Refuses what a chat cannot say, or a model is known not to do.
///
/// # Errors
/// With the field and what the model does not do.
pub(super) fn refuse_the_impossible(
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

/// Returns the effort that a setting amounts to, if it is one.
pub(super) fn effort_of(ask: ReasoningSetting) -> Option<EffortLevel> {
    match ask {
        ReasoningSetting::Effort(effort) => Some(effort),
        ReasoningSetting::On(effort) => effort,
        ReasoningSetting::Budget(tokens) => Some(EffortLevel::of_budget(tokens)),
        ReasoningSetting::Nothing | ReasoningSetting::Off | ReasoningSetting::Automatic => None,
    }
}
