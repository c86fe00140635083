//! A message that passes as it came, put right as a translated one is written right: by what is known of its model, whose
//! newer ones refuse what older ones took.

use std::borrow::Cow;

use serde::Deserialize;

use super::{amid, management};
use crate::dialect::exchange::Target;
use crate::dialect::local;
use crate::dialect::turns::GO_ON;
use crate::facts::{
    Capability, EffortLevel, Parameter, ReasoningControl, ReasoningSetting, SamplingRule,
};
use crate::ir::{self, Dropped, Thinking};
use crate::wire::json::{Object, Scanner};

/// The provider's least budget.
const LEAST_BUDGET: u64 = 1024;
const TEMPERATURE: &str = "temperature";
const THINKING: &str = "thinking";
const OUTPUT: &str = "output_config";
const CHOICE: &str = "tool_choice";
const MESSAGES: &str = "messages";

/// `thinking`, as far as it is looked at.
#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    budget_tokens: Option<u64>,
    #[serde(borrow)]
    display: Option<Cow<'a, str>>,
}

struct Fit<'a, 't> {
    body: Object<'a>,
    target: &'t Target<'t>,
    ask: ReasoningSetting,
    dropped: Dropped,
}

/// Returns the body without what the model is known to refuse; `None` if it may pass as it is.
pub fn fitted(body: &[u8], target: &Target<'_>) -> Option<(Vec<u8>, Dropped)> {
    let body = Object::read(body)?;
    let mut fit = Fit {
        ask: target.facts.ask(wanted(&body)),
        body,
        target,
        dropped: Dropped::default(),
    };
    local::leave_out(&mut fit.body, &mut fit.dropped);
    fit.limit();
    fit.thinking();
    fit.effort();
    fit.sampling();
    fit.choice();
    fit.system_turns();
    fit.prefill();
    let dropped = fit.dropped;
    fit.body.written().map(|body| (body, dropped))
}

fn said<'b>(body: &'b Object<'_>) -> Option<Said<'b>> {
    serde_json::from_slice(body.get(THINKING)?).ok()
}

fn wanted(body: &Object<'_>) -> Option<Thinking> {
    let effort = effort_of(body);
    let Some(said) = said(body) else {
        return effort.map(Thinking::Effort);
    };
    match (&*said.kind, said.budget_tokens) {
        ("disabled", _) => Some(Thinking::Off),
        ("enabled", Some(tokens)) => Some(Thinking::Budget(tokens)),
        _ => Some(Thinking::Effort(effort.unwrap_or(ir::Effort::High))),
    }
}

fn effort_of(body: &Object<'_>) -> Option<ir::Effort> {
    let output = Object::read(body.get(OUTPUT)?)?;
    let name: String = serde_json::from_slice(output.get("effort")?).ok()?;
    ir::Effort::named(&name)
}

impl Fit<'_, '_> {
    fn number(&self, name: &str) -> Option<f64> {
        serde_json::from_slice(self.body.get(name)?).ok()
    }

    fn refuses(&self, parameter: Parameter) -> bool {
        self.target.facts.refuses(parameter, self.ask)
    }

    fn leave_out(&mut self, name: &'static str, says: bool) {
        self.body.remove(name);
        self.dropped.add_if(says, name);
    }

    fn limit(&mut self) {
        const LIMIT: &str = "max_tokens";
        if let (Some(wanted), Some(most)) = (self.number(LIMIT), self.target.facts.max_output)
            && wanted > most as f64
        {
            self.body.set(LIMIT, most.to_string());
            self.dropped.add(LIMIT);
        }
    }

    /// Says how to think in the form that the model takes: by tokens, or as it thinks fit.
    fn thinking(&mut self) {
        let Some(said) = said(&self.body) else { return };
        let reasoning = &self.target.facts.reasoning;
        match (reasoning.form, &*said.kind) {
            (ReasoningControl::Adaptive, "enabled") if reasoning.budget.is_none() => {
                let display = said.display.as_deref().unwrap_or("summarized");
                let adaptive = if display.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    format!(r#"{{"type":"adaptive","display":"{display}"}}"#)
                } else {
                    r#"{"type":"adaptive"}"#.to_owned()
                };
                self.body.set(THINKING, adaptive);
                if let (ReasoningSetting::On(Some(effort)), None) =
                    (self.ask, effort_of(&self.body))
                {
                    self.set_effort(effort);
                }
            }
            (ReasoningControl::Adaptive, "disabled") if !reasoning.off => {
                self.leave_out_thinking(true);
            }
            (ReasoningControl::Budget, "adaptive") => self.budget(),
            (ReasoningControl::Never, kind) => {
                let says = kind != "disabled";
                self.leave_out_thinking(says);
            }
            _ => {}
        }
    }

    /// Leaves out `thinking` with the edits of what was thought, which the provider takes only beside it.
    fn leave_out_thinking(&mut self, says: bool) {
        self.leave_out(THINKING, says);
        let edited = management::leave_thoughts(&mut self.body);
        self.dropped.add_if(edited, management::FIELD);
    }

    /// Sets a budget of as many tokens as the effort amounts to, if the answer has room for more.
    fn budget(&mut self) {
        let limit = self.number("max_tokens").unwrap_or(f64::MAX);
        let budget = match self.ask {
            ReasoningSetting::Budget(tokens) => u64::from(tokens),
            _ => 0,
        };
        if budget >= LEAST_BUDGET && limit > budget as f64 {
            let enabled = format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#);
            self.body.set(THINKING, enabled);
        } else {
            self.ask = ReasoningSetting::Nothing;
            self.leave_out_thinking(true);
        }
    }

    /// Sets the nearest level that the model knows.
    fn effort(&mut self) {
        let reasoning = &self.target.facts.reasoning;
        if let (ReasoningControl::Adaptive, Some(wanted)) = (reasoning.form, effort_of(&self.body))
        {
            let wanted = EffortLevel::from(wanted);
            if let Some(nearest) = reasoning.effort_for(wanted).filter(|it| *it != wanted) {
                self.set_effort(nearest);
            }
        }
    }

    fn set_effort(&mut self, effort: EffortLevel) {
        let before = self.body.get(OUTPUT).unwrap_or(b"{}").to_vec();
        let Some(mut output) = Object::read(&before) else {
            return;
        };
        output.set("effort", format!("\"{}\"", effort.name()));
        if let Some(written) = output.written() {
            self.body.set(OUTPUT, written);
        }
    }

    /// Keeps, with thinking by budget, only the default temperature, no `top_k`, and a `top_p` of 0.95 or more.
    fn sampling(&mut self) {
        let budget = matches!(
            self.ask,
            ReasoningSetting::Budget(_) | ReasoningSetting::Automatic
        );
        if let Some(temperature) = self.number(TEMPERATURE)
            && temperature != 1.0
        {
            if self.refuses(Parameter::Temperature) || budget {
                self.leave_out(TEMPERATURE, true);
            } else if temperature > 1.0 {
                self.body.set(TEMPERATURE, "1");
                self.dropped.add(TEMPERATURE);
            }
        }
        if let Some(top_p) = self.number("top_p") {
            let alone = self.target.facts.sampling == SamplingRule::OneOfTemperatureAndTopP
                && self.body.get(TEMPERATURE).is_some();
            if self.refuses(Parameter::TopP) || (budget && top_p < 0.95) || alone {
                self.leave_out("top_p", top_p < 1.0);
            }
        }
        if self.body.get("top_k").is_some() && (self.refuses(Parameter::TopK) || budget) {
            self.leave_out("top_k", true);
        }
    }

    fn choice(&mut self) {
        let Some(value) = self.body.get(CHOICE).map(<[u8]>::to_vec) else {
            return;
        };
        let Some(mut choice) = Object::read(&value) else {
            return;
        };
        let forces = matches!(choice.get("type"), Some(b"\"any\"" | b"\"tool\""));
        let budget = matches!(
            self.ask,
            ReasoningSetting::Budget(_) | ReasoningSetting::Automatic
        );
        if forces && (self.refuses(Parameter::ForcedToolChoice) || budget) {
            choice.set("type", "\"auto\"");
            choice.remove("name");
            if let Some(written) = choice.written() {
                self.body.set(CHOICE, written);
            }
            self.dropped.add(CHOICE);
        }
    }

    /// Has the user say the system's words amid the conversation where the model takes none there.
    fn system_turns(&mut self) {
        if !self.target.facts.can(Capability::SystemTurns)
            && let Some(turns) = self.body.get(MESSAGES).and_then(amid::as_user)
        {
            self.body.set(MESSAGES, turns);
        }
    }

    /// Asks a model to go on that does not do so with the assistant's words.
    fn prefill(&mut self) {
        if !self.refuses(Parameter::Prefill) {
            return;
        }
        let Some(messages) = self.body.get(MESSAGES) else {
            return;
        };
        if last_role(messages).as_deref() != Some("assistant") {
            return;
        }
        let Some(before) = messages.trim_ascii_end().strip_suffix(b"]") else {
            return;
        };
        let turn = format!(r#",{{"role":"user","content":"{GO_ON}"}}]"#);
        let more = [before, turn.as_bytes()].concat();
        self.body.set(MESSAGES, more);
        self.dropped.add("prefill");
    }
}

/// Returns the role of who speaks last.
fn last_role(messages: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(messages);
    scanner.begin_array().ok()?;
    let (mut last, mut first) = (None, true);
    while scanner.next_item(first).ok()? {
        first = false;
        scanner.kind().ok()?;
        last = Some(scanner.skip_value().ok()?);
    }
    let turn = Object::read(last?.of(messages))?;
    serde_json::from_slice(turn.get("role")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::exchange::fitted_for;
    use crate::provider::ProviderKind;

    fn fit(model: &str, body: &str) -> Option<(String, Vec<&'static str>)> {
        fitted_for(ProviderKind::Anthropic, model, body, fitted)
    }

    fn kept(model: &str, body: &str, expected: &str, named: &[&str]) {
        let (kept, dropped) = fit(model, body).unwrap();
        assert_eq!((kept.as_str(), &dropped[..]), (expected, named), "{model}");
    }

    #[test]
    fn newer_models_take_no_sampling_and_think_as_they_see_fit() {
        let body = r#"{"model":"m","temperature":0.2,"top_p":0.9,"top_k":5,"messages":[ ]}"#;
        let named = ["temperature", "top_p", "top_k"];
        kept(
            "claude-opus-5",
            body,
            r#"{"model":"m","messages":[ ]}"#,
            &named,
        );
        assert_eq!(fit("claude-opus-5", r#"{"temperature":1.0}"#), None);
        kept(
            "claude-opus-5",
            r#"{"thinking":{"type":"enabled","budget_tokens":4096}}"#,
            r#"{"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"high"}}"#,
            &[],
        );
        kept(
            "claude-fable-5",
            r#"{"thinking":{"type":"disabled"}}"#,
            "{}",
            &["thinking"],
        );
        assert_eq!(
            fit("claude-opus-5", r#"{"thinking":{"type":"disabled"}}"#),
            None
        );
        assert_eq!(fit("nobody-knows-it", body), None);
    }

    #[test]
    fn what_is_meant_for_ollama_is_left_out_and_named() {
        kept(
            "nobody-knows-it",
            r#"{"model":"m","keep_alive":"5m","options":{"num_ctx":8192},"num_ctx":1,"think":true,"truncate":null,"shift":false,"extra_body":{}}"#,
            r#"{"model":"m"}"#,
            &["keep_alive", "options", "num_ctx", "think", "shift"],
        );
    }

    #[test]
    fn older_models_think_by_a_budget() {
        kept(
            "claude-sonnet-4-5",
            r#"{"max_tokens":9000,"thinking":{"type":"adaptive"},"output_config":{"effort":"low"},"temperature":0.1,"top_k":3}"#,
            r#"{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":1024},"output_config":{"effort":"low"}}"#,
            &["temperature", "top_k"],
        );
        kept(
            "claude-sonnet-4-5",
            r#"{"max_tokens":1000,"thinking":{"type":"adaptive"},"temperature":0.1}"#,
            r#"{"max_tokens":1000,"temperature":0.1}"#,
            &["thinking"],
        );
        let cleared = r#""context_management":{"edits":[{"type":"clear_thinking_20251015"}]}"#;
        let adaptive = r#""thinking":{"type":"adaptive"}"#;
        kept(
            "claude-sonnet-4-5",
            &format!(r#"{{"max_tokens":1000,{adaptive},{cleared}}}"#),
            r#"{"max_tokens":1000}"#,
            &["thinking", "context_management"],
        );
        // Where it thinks, by whatever form, its thoughts are cleared.
        kept(
            "claude-sonnet-4-5",
            &format!(
                r#"{{"max_tokens":9000,{adaptive},"output_config":{{"effort":"low"}},{cleared}}}"#
            ),
            &format!(
                r#"{{"max_tokens":9000,"thinking":{{"type":"enabled","budget_tokens":1024}},"output_config":{{"effort":"low"}},{cleared}}}"#
            ),
            &[],
        );
        kept(
            "claude-fable-5",
            &format!(r#"{{"thinking":{{"type":"disabled"}},{cleared}}}"#),
            "{}",
            &["thinking", "context_management"],
        );
        let by_budget = r#"{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000}}"#;
        assert_eq!(fit("claude-sonnet-4-5", by_budget), None);
    }

    #[test]
    fn forced_calls_and_prefilled_answers_are_put_otherwise() {
        kept(
            "claude-opus-5-5",
            r#"{"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}"#,
            r#"{"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#,
            &["tool_choice"],
        );
        kept(
            "claude-opus-5",
            r#"{"messages":[{"role":"user","content":"q"},{"content":"{","role":"assistant"} ]}"#,
            r#"{"messages":[{"role":"user","content":"q"},{"content":"{","role":"assistant"} ,{"role":"user","content":"Continue."}]}"#,
            &["prefill"],
        );
        let amid =
            r#"{"messages":[{"role":"user","content":"q"},{"role":"system","content":"s"}]}"#;
        kept(
            "claude-sonnet-4-5",
            amid,
            r#"{"messages":[{"role":"user","content":"q"},{"role":"user","content":"s"}]}"#,
            &[],
        );
        for takes_it in ["claude-fable-5", "nobody-knows-it"] {
            assert_eq!(fit(takes_it, amid), None);
        }
        let asked = r#"{"messages":[{"role":"user","content":"q"}]}"#;
        assert_eq!(fit("claude-opus-5", asked), None);
    }
}
