//! `GET /api/route?model=NAME`: where a request would go, and why.

use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;

use super::{Introspection, Page, explained};
use crate::admission::{Need, Providers, Scope, Want, Wanted};
use crate::routing::{Explanation, Needs, PlanRequest, PlanStep};
use crate::settings::Strategy;
use crate::usage::Tag;

pub(super) const PATH: &str = "/api/route";

/// What may be asked.
const PARAMETERS: &str = "model, provider (as X-Provider), strategy, needs (of vision, tools, thinking, embeddings), tokens and context";

/// What a query asks, its texts decoded.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Question {
    model: String,
    provider: Option<String>,
    strategy: Option<Strategy>,
    needs: Needs,
    /// The context in tokens that the client states (`num_ctx`).
    context: Option<u32>,
}

pub(super) fn page(introspection: &Introspection, query: Option<&str>) -> Page {
    let question = match Question::read(query.unwrap_or_default()) {
        Ok(question) => question,
        Err(text) => return Page::error(400, &text),
    };
    let explained = planned(introspection, &question, |_, _| {});
    Page::json(200, &explained)
}

/// Explains the plan for a question; `each` is shown what is asked of the scheduler for each step, in order.
pub(super) fn planned(
    introspection: &Introspection,
    question: &Question,
    each: impl Fn(&Want, &Scope),
) -> Explanation {
    let is_listed = |name: &str| introspection.fleet.models().lookup(name).is_some();
    // As a request does, it may have a tag behind the name.
    let (model, _) = Tag::behind(&question.model, &introspection.settings, is_listed);
    let ask = PlanRequest {
        provider: question.provider.as_deref(),
        strategy: question.strategy,
        needs: question.needs,
        ..PlanRequest::of(model)
    };
    // How long a request of normal priority that came now would wait for a slot of the step.
    let expected = |step: &PlanStep| -> Option<Duration> {
        let want = Want {
            wanted: Wanted::from(&step.model),
            priority: 0,
            pinned: None,
            need: question.need(),
            recipe: None,
        };
        let scope = Scope {
            providers: Providers::of(&step.providers),
            ..Scope::default()
        };
        each(&want, &scope);
        introspection.dispatcher.forecast(&want, scope)
    };
    let now = Instant::now();
    let mut explained = introspection.router.explain(&ask, now, expected);
    explained::complete(introspection, &mut explained, now);
    explained
}

impl Question {
    /// Reads the query.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub(super) fn read(query: &str) -> Result<Question, String> {
        let mut question = Question::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value)
                .decode_utf8()
                .map_err(|_| format!("{name} is not UTF-8"))?;
            match name {
                "model" => question.model = value.into_owned(),
                "provider" => question.provider = Some(value.into_owned()),
                "strategy" => question.strategy = Some(strategy(&value)?),
                "needs" => question.needs = needs(&value, question.needs)?,
                "tokens" => {
                    let number = value.parse();
                    question.needs.tokens = number.map_err(|_| "tokens is a number".to_owned())?;
                }
                "context" => {
                    let number = value.parse();
                    let number = number.map_err(|_| "context is a number".to_owned())?;
                    question.context = Some(number);
                }
                _ => return Err(format!("unknown parameter; there are {PARAMETERS}")),
            }
        }
        if question.model.trim().is_empty() {
            Err(format!("model is missing; there are {PARAMETERS}"))
        } else {
            Ok(question)
        }
    }

    /// Returns what the request needs of the copy that serves it.
    fn need(&self) -> Need {
        Need {
            tokens: u32::try_from(self.needs.tokens).unwrap_or(u32::MAX),
            stated: self.context,
            embeds: self.needs.embeddings,
        }
    }
}

fn strategy(name: &str) -> Result<Strategy, String> {
    let known = Strategy::NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, strategy)| *strategy).ok_or_else(|| {
        let names: Vec<_> = Strategy::NAMES.iter().map(|(name, _)| *name).collect();
        format!("strategy is one of {}", names.join(", "))
    })
}

fn needs(list: &str, mut needs: Needs) -> Result<Needs, String> {
    for need in list.split(',').map(str::trim) {
        match need {
            "vision" => needs.vision = true,
            "tools" => needs.tools = true,
            "thinking" => needs.thinking = true,
            "embeddings" => needs.embeddings = true,
            _ => return Err("needs are vision, tools, thinking, embeddings".to_owned()),
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let query = "model=a%2Fb%26c+d&provider=groq&strategy=failover&needs=tools,vision&tokens=7&context=8192";
        let expected = Question {
            model: "a/b&c d".to_owned(),
            provider: Some("groq".to_owned()),
            strategy: Some(Strategy::Failover),
            needs: Needs {
                tools: true,
                vision: true,
                tokens: 7,
                ..Needs::default()
            },
            context: Some(8192),
        };
        assert_eq!(Question::read(query), Ok(expected));
        assert!(Question::read("model=a").is_ok());
    }

    #[test]
    fn a_mistake_in_a_query_is_told() {
        for (query, part) in [
            ("", "model is missing"),
            ("model=", "model is missing"),
            ("models=a", "unknown parameter"),
            ("model=a&strategy=best", "round_robin"),
            ("model=a&needs=speed", "vision"),
            ("model=a&tokens=many", "number"),
            ("model=a&context=8k", "number"),
            ("model=%ff", "UTF-8"),
        ] {
            let error = Question::read(query).unwrap_err();
            assert!(error.contains(part), "{query}: {error}");
        }
    }
}
