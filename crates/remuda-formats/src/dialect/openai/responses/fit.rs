//! A request that passes as it came, put right as a translated one is written right: by what is known of its model.

use serde_json::value::RawValue;

use super::super::fit::{Fate, Fit, Refinement, raw};
use super::super::foreign;
use super::super::schema::Hop;
use super::ways::Ways;
use crate::dialect::exchange::Target;
use crate::facts::{EffortLevel, Parameter, ReasoningControl};
use crate::ir::{Dropped, Text, Thinking};
use crate::wire::json::Object;

const LIMIT: &str = "max_output_tokens";
const REASONING: &str = "reasoning";
const INCLUDE: &str = "include";
/// What of `include` asks for log probabilities.
const LOGPROBS: &str = "\"message.output_text.logprobs\"";
/// What of `include` asks for reasoning that only the model can read.
const ENCRYPTED: &str = "\"reasoning.encrypted_content\"";

/// What models may refuse, but for the temperature.
const REFINEMENTS: [Refinement; 3] = [
    ("top_p", Parameter::TopP, &["1", "1.0"]),
    ("top_logprobs", Parameter::Logprobs, &["0"]),
    (
        "parallel_tool_calls",
        Parameter::ParallelToolCalls,
        &["true"],
    ),
];

/// Returns the body without what the model is known to refuse; `None` if it may pass as it is.
pub fn fitted(body: &[u8], target: &Target<'_>) -> Option<(Vec<u8>, Dropped)> {
    let body = Object::read(body)?;
    let mut fit = Fit {
        ask: target.facts.ask(wanted(&body)),
        body,
        target,
        dropped: Dropped::default(),
    };
    foreign::leave_out(&mut fit);
    fit.limit(LIMIT);
    fit.least(LIMIT, Ways::of(target).least_limit);
    fit.temperature();
    fit.leave_out(&REFINEMENTS);
    fit.forced_choice();
    included(&mut fit);
    effort(&mut fit);
    let function: &[Hop] = &[Hop::Item, Hop::Key("parameters")];
    let in_namespace: &[Hop] = &[
        Hop::Item,
        Hop::Key("tools"),
        Hop::Item,
        Hop::Key("parameters"),
    ];
    fit.schemas("tools", &[function, in_namespace]);
    fit.schemas("text", &[&[Hop::Key("format"), Hop::Key("schema")]]);
    fit.finish()
}

fn wanted(body: &Object<'_>) -> Option<Thinking> {
    let reasoning = Object::read(body.get(REASONING)?)?;
    let effort = raw(reasoning.get("effort")).and_then(Text::of)?;
    match effort.as_escaped() {
        "none" => Some(Thinking::Off),
        name => crate::ir::Effort::named(name).map(Thinking::Effort),
    }
}

/// Fits the list of what else the answer shall hold, by which log probabilities and reasoning for the next turn are
/// asked for.
fn included(fit: &mut Fit<'_, '_>) {
    let refuses_logprobs = fit.target.facts.refuses(Parameter::Logprobs, fit.ask);
    let unwanted = [
        (LOGPROBS, "logprobs", refuses_logprobs),
        (ENCRYPTED, INCLUDE, never_reasons(fit)),
    ];
    let list = fit.body.get(INCLUDE).map(<[u8]>::to_vec);
    let Some(Ok(list)) = list
        .as_deref()
        .map(serde_json::from_slice::<Vec<&RawValue>>)
    else {
        return;
    };
    let of = |item: &str| unwanted.iter().find(|(name, _, out)| *out && item == *name);
    let (mut kept, mut dropped) = (Vec::with_capacity(list.len()), Vec::new());
    for item in list.iter().map(|item| item.get()) {
        match of(item) {
            Some((_, named, _)) => dropped.push(*named),
            None => kept.push(item),
        }
    }
    if !dropped.is_empty() {
        fit.body.set(INCLUDE, format!("[{}]", kept.join(",")));
        dropped.into_iter().for_each(|named| fit.dropped.add(named));
    }
}

fn never_reasons(fit: &Fit<'_, '_>) -> bool {
    fit.target.facts.reasoning.form == ReasoningControl::Never
}

fn effort(fit: &mut Fit<'_, '_>) {
    let Some(value) = fit.body.get(REASONING).map(<[u8]>::to_vec) else {
        return;
    };
    let Some(mut reasoning) = Object::read(&value) else {
        return;
    };
    match fit.effort(reasoning.get("effort")) {
        // A summary, or whatever else is asked of reasoning, is refused as well.
        Fate::Kept if never_reasons(fit) => {
            let asks = !matches!(value.as_slice(), b"{}");
            fit.body.remove(REASONING);
            fit.dropped.add_if(asks, REASONING);
        }
        Fate::Kept => {}
        Fate::Nearest(nearest) => {
            reasoning.set("effort", format!("\"{}\"", nearest.name()));
            if let Some(written) = reasoning.written() {
                fit.body.set(REASONING, written);
            }
        }
        Fate::Refused(wanted) => {
            fit.body.remove(REASONING);
            fit.dropped.add_if(wanted != EffortLevel::None, REASONING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::exchange::fitted_for;
    use crate::provider::ProviderKind;

    fn fit(model: &str, body: &str) -> Option<(String, Vec<&'static str>)> {
        fitted_for(ProviderKind::OpenAi, model, body, fitted)
    }

    #[test]
    fn what_the_model_refuses_is_left_out_and_named() {
        let body = r#"{"temperature":0.2,"top_p":0.5,"include":["message.output_text.logprobs","reasoning.encrypted_content"],"reasoning":{"effort":"max","summary":"auto"},"input":"x"}"#;
        let (kept, dropped) = fit("gpt-5", body).unwrap();
        assert_eq!(
            kept,
            r#"{"include":["reasoning.encrypted_content"],"reasoning":{"effort":"high","summary":"auto"},"input":"x"}"#
        );
        assert_eq!(dropped, ["temperature", "top_p", "logprobs"]);
        assert_eq!(fit("nobody-knows-it", body), None);
        let (kept, dropped) = fit("gpt-4.1", r#"{"reasoning":{"effort":"low"}}"#).unwrap();
        assert_eq!((kept.as_str(), dropped), ("{}", vec!["reasoning"]));
    }

    #[test]
    fn a_limit_that_is_too_low_is_raised_and_named() {
        for (sent, goes) in [
            ("5", Some("16")),
            ("0", Some("16")),
            ("16", None),
            ("null", None),
        ] {
            let body = format!(r#"{{"max_output_tokens":{sent},"input":"x"}}"#);
            let expected = goes.map(|limit| {
                let body = format!(r#"{{"max_output_tokens":{limit},"input":"x"}}"#);
                (body, vec!["max_output_tokens"])
            });
            for model in ["gpt-5", "nobody-knows-it"] {
                assert_eq!(fit(model, &body), expected, "{model} {sent}");
            }
        }
    }

    /// As a coding agent asks a model that it does not know.
    #[test]
    fn a_model_that_does_not_reason_is_asked_for_no_reasoning() {
        let body = r#"{"reasoning":{"summary":"auto"},"include":["reasoning.encrypted_content"],"input":"x"}"#;
        let (kept, dropped) = fit("gpt-4o", body).unwrap();
        assert_eq!(kept, r#"{"include":[],"input":"x"}"#);
        assert_eq!(dropped, ["include", "reasoning"]);
        assert_eq!(fit("gpt-5.5", body), None);
        assert_eq!(fit("nobody-knows-it", body), None);
    }

    #[test]
    fn schemas_get_what_they_lack() {
        let body = r#"{"tools":[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"namespace","tools":[{"type":"function","parameters":{"type":"object"}}]}],"text":{"format":{"type":"json_schema","schema":{"type":"object"}}}}"#;
        let (kept, _) = fit("nobody-knows-it", body).unwrap();
        assert_eq!(kept.matches(r#""properties":{}"#).count(), 3, "{kept}");
    }
}
