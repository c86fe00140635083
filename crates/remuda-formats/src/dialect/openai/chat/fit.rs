//! A chat that passes as it came, put right as a translated one is written right: by what is known of its model.

use super::super::fit::{Fate, Fit, Refinement, raw};
use super::super::foreign;
use super::super::schema::Hop;
use super::body::Body;
use super::reasoning;
use super::ways::Ways;
use crate::dialect::exchange::Target;
use crate::facts::{EffortLevel, Parameter};
use crate::ir::{Dropped, Thinking};
use crate::provider::ProviderKind;
use crate::wire::json::Object;

const OLD_LIMIT: &str = "max_tokens";
const LIMIT: &str = "max_completion_tokens";
const EFFORT: &str = "reasoning_effort";

/// What models may refuse, but for the temperature.
const REFINEMENTS: [Refinement; 12] = [
    ("top_p", Parameter::TopP, &["1", "1.0"]),
    ("top_k", Parameter::TopK, &[]),
    (
        "presence_penalty",
        Parameter::PresencePenalty,
        &["0", "0.0"],
    ),
    (
        "frequency_penalty",
        Parameter::FrequencyPenalty,
        &["0", "0.0"],
    ),
    ("logprobs", Parameter::Logprobs, &["false"]),
    ("top_logprobs", Parameter::Logprobs, &[]),
    ("stop", Parameter::Stop, &["[]", "\"\""]),
    ("seed", Parameter::Seed, &[]),
    ("logit_bias", Parameter::LogitBias, &["{}"]),
    (
        "parallel_tool_calls",
        Parameter::ParallelToolCalls,
        &["true"],
    ),
    ("n", Parameter::N, &["1"]),
    ("prediction", Parameter::Prediction, &[]),
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
    limit(&mut fit);
    fit.temperature();
    fit.leave_out(&REFINEMENTS);
    fit.forced_choice();
    if target.provider.kind != ProviderKind::OpenRouter {
        effort(&mut fit);
    }
    let function: &[Hop] = &[Hop::Item, Hop::Key("function"), Hop::Key("parameters")];
    fit.schemas("tools", &[function]);
    fit.schemas("functions", &[&[Hop::Item, Hop::Key("parameters")]]);
    let schema: &[Hop] = &[Hop::Key("json_schema"), Hop::Key("schema")];
    fit.schemas("response_format", &[schema]);
    fit.finish()
}

fn wanted(body: &Object<'_>) -> Option<Thinking> {
    let said = Body::of_reasoning(|name| raw(body.get(name)));
    reasoning::read(&said).ok().flatten()
}

/// The limit by the name that the model takes.
fn limit(fit: &mut Fit<'_, '_>) {
    let known = match Ways::of(fit.target).limit {
        LIMIT if fit.target.facts.refused.contains(&Parameter::MaxTokens) => (OLD_LIMIT, LIMIT),
        OLD_LIMIT if fit.target.provider.kind == ProviderKind::Azure => (LIMIT, OLD_LIMIT),
        _ => (LIMIT, LIMIT),
    };
    let (refused, taken) = known;
    if refused != taken && fit.body.get(refused).is_some() {
        if fit.body.get(taken).is_some() {
            // The other says it.
            fit.body.remove(refused);
        } else {
            fit.body.rename(refused, taken);
        }
    }
    fit.limit(OLD_LIMIT);
    fit.limit(LIMIT);
}

fn effort(fit: &mut Fit<'_, '_>) {
    match fit.effort(fit.body.get(EFFORT)) {
        Fate::Kept => {}
        Fate::Nearest(nearest) => fit.body.set(EFFORT, format!("\"{}\"", nearest.name())),
        Fate::Refused(wanted) => {
            fit.body.remove(EFFORT);
            fit.dropped.add_if(wanted != EffortLevel::None, EFFORT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::exchange::fitted_for;

    fn fit(model: &str, body: &str) -> Option<(String, Vec<&'static str>)> {
        fitted_for(ProviderKind::OpenAi, model, body, fitted)
    }

    #[test]
    fn the_limit_has_the_name_that_the_model_takes() {
        assert_eq!(
            fit("gpt-5", r#"{"model":"x","max_tokens":7,"messages":[ ]}"#),
            Some((
                r#"{"model":"x","max_completion_tokens":7,"messages":[ ]}"#.into(),
                vec![]
            ))
        );
        assert_eq!(
            fit("gpt-5", r#"{"max_tokens":7,"max_completion_tokens":8}"#),
            Some((r#"{"max_completion_tokens":8}"#.into(), vec![]))
        );
        assert_eq!(fit("gpt-4.1", r#"{"max_tokens":7}"#), None);
        let (body, dropped) = fit("gpt-4.1", r#"{"max_tokens":99999999}"#).unwrap();
        assert!(!body.contains("99999999"), "{body}");
        assert_eq!(dropped, ["max_tokens"]);
    }

    #[test]
    fn what_the_model_refuses_is_left_out_and_named() {
        let body = r#"{"temperature":0.5,"top_p":1,"presence_penalty":1,"logprobs":true,"top_logprobs":2,"stop":["x"],"seed":1}"#;
        let (kept, dropped) = fit("gpt-5", body).unwrap();
        assert!(
            kept.contains("seed") && !kept.contains("temperature"),
            "{kept}"
        );
        for name in [
            "temperature",
            "presence_penalty",
            "logprobs",
            "top_logprobs",
            "stop",
        ] {
            assert!(dropped.contains(&name), "{name} {dropped:?}");
        }
        assert!(!dropped.contains(&"top_p") && !kept.contains("top_p"));
        assert_eq!(fit("gpt-4.1", body), None);
        assert_eq!(fit("gpt-5", r#"{"temperature":1}"#), None);
        assert_eq!(fit("nobody-knows-it", body), None);
    }

    #[test]
    fn an_effort_is_one_that_the_model_knows() {
        let (kept, dropped) = fit("gpt-5", r#"{"reasoning_effort":"xhigh"}"#).unwrap();
        assert_eq!(
            (kept.as_str(), dropped),
            (r#"{"reasoning_effort":"high"}"#, vec![])
        );
        let (kept, dropped) = fit("gpt-4.1", r#"{"reasoning_effort":"low"}"#).unwrap();
        assert_eq!((kept.as_str(), dropped), ("{}", vec!["reasoning_effort"]));
        assert_eq!(fit("gpt-5", r#"{"reasoning_effort":"low"}"#), None);
    }

    #[test]
    fn schemas_get_what_they_lack() {
        let body = r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"functions":[{"name":"f","parameters":{"type":"object"}}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array"}}}}"#;
        let (kept, dropped) = fit("nobody-knows-it", body).unwrap();
        assert_eq!(kept.matches(r#""properties":{}"#).count(), 2, "{kept}");
        assert!(kept.contains(r#""items":{}"#) && dropped.is_empty());
        assert_eq!(fit("nobody-knows-it", &kept), None);
    }
}
