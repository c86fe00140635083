//! The keys of `routing:` that say which provider serves a request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entries::{ANY_KEY, ModelName};
use super::field::Field;
use super::reader::Section;
use super::scalar::Choice;
use crate::settings::{self, Matching, Strategy};

/// The variable that names the filter's file.
const FILTER: &str = "MODELS_FILTER_PATH";

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Route {
    strategy: Field<Strategy>,
    rules: Vec<Option<Rule>>,
    bundled_rules: Field<bool>,
    models: BTreeMap<String, Option<ModelRouting>>,
    default_model: Field<ModelName>,
    models_filter: Field<PathBuf>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Rule {
    #[serde(rename = "match")]
    glob: Field<String>,
    regex: Field<String>,
    provider: Field<String>,
    model: Field<ModelName>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct ModelRouting {
    strategy: Field<Strategy>,
    overflow: Vec<Field<ModelName>>,
    max_wait: Field<Duration>,
}

impl Choice for Strategy {
    const NAMES: &'static [(&'static str, Strategy)] = Strategy::NAMES;
}

impl Route {
    pub(super) fn template() -> Route {
        let model = ModelRouting {
            overflow: vec![Field::Absent],
            ..ModelRouting::default()
        };
        Route {
            rules: vec![Some(Rule::default())],
            models: BTreeMap::from([(ANY_KEY.to_owned(), Some(model))]),
            ..Route::default()
        }
    }

    /// Fills in `used`, which has the defaults.
    pub(super) fn used(self, at: &mut Section<'_, '_>, used: &mut settings::Routing) {
        let strategy = at.stated_or("strategy", self.strategy, "ROUTING_STRATEGY");
        let balances = at.reader.variable("ENABLE_LOAD_BALANCING").unwrap_or(true);
        used.strategy = match strategy {
            Some(strategy) => strategy,
            None if !balances => Strategy::Failover,
            None => used.strategy,
        };
        let mut list = at.section("rules");
        let rules = self.rules.into_iter().enumerate();
        let rules = rules.filter_map(|(index, rule)| rule?.used(list.item(index)));
        used.rules = rules.collect();
        if let Some(bundled) = at.stated("bundled_rules", self.bundled_rules) {
            used.bundled_rules = bundled;
        }
        let mut models = at.section("models");
        used.models = self
            .models
            .into_iter()
            .filter_map(|(name, model)| {
                Some((name.as_str().into(), model?.used(models.section(&name))))
            })
            .collect();
        let default = at.stated("default_model", self.default_model);
        used.default_model = default.map(|model| model.0);
        let is_stated = self.models_filter.is_stated();
        let filter = at.stated_or("models_filter", self.models_filter, FILTER);
        if let Some(path) = &filter
            && let Err(error) = std::fs::read_to_string(path)
        {
            let what = format!("cannot read {}: {error}", path.display());
            if is_stated {
                at.problem("models_filter", what)
            } else {
                at.reader.variable_problem(FILTER, what)
            }
        }
        used.models_filter = filter;
    }
}

impl Rule {
    fn used(self, mut at: Section<'_, '_>) -> Option<settings::Rule> {
        match (self.glob.is_stated(), self.regex.is_stated()) {
            (false, false) => at.problem_here("has no match; add one, as in match: \"gpt-4*\""),
            (true, true) => at.problem("regex", "is stated together with match; keep one of them"),
            _ => {}
        }
        if !self.provider.is_stated() {
            at.problem_here("has no provider; add its name, or a kind");
        }
        let glob = at.stated("match", self.glob);
        let regex = at.stated("regex", self.regex);
        let regex = regex.filter(|text| match regex::Regex::new(text) {
            Ok(_) => true,
            Err(_) => {
                at.problem("regex", "is no regular expression of Rust's regex crate");
                false
            }
        });
        let glob = glob.map(|text| Matching::Glob(text.into()));
        let matching = glob.or_else(|| regex.map(|text| Matching::Regex(text.into())));
        let provider = at.stated("provider", self.provider);
        let model = at.stated("model", self.model);
        Some(settings::Rule {
            matching: matching?,
            provider: provider?.into(),
            model: model.map(|model| model.0),
        })
    }
}

impl ModelRouting {
    fn used(self, mut at: Section<'_, '_>) -> settings::ModelRouting {
        let mut list = at.section("overflow");
        let overflow = self.overflow.into_iter().enumerate();
        let overflow = overflow.filter_map(|(index, model)| list.stated_item(index, model));
        let overflow: Vec<Arc<str>> = overflow.map(|model| model.0).collect();
        let max_wait = at.stated("max_wait", self.max_wait);
        if max_wait.is_some() && overflow.is_empty() {
            at.warning("max_wait", "does nothing without overflow");
        }
        settings::ModelRouting {
            strategy: at.stated("strategy", self.strategy),
            overflow,
            max_wait,
        }
    }
}

impl From<&settings::Routing> for Route {
    fn from(used: &settings::Routing) -> Route {
        let models = used.models.iter();
        Route {
            strategy: used.strategy.into(),
            rules: used.rules.iter().map(|rule| Some(rule.into())).collect(),
            bundled_rules: used.bundled_rules.into(),
            models: models
                .map(|(name, model)| (name.to_string(), Some(model.into())))
                .collect(),
            default_model: used.default_model.clone().map(ModelName).into(),
            models_filter: used.models_filter.clone().into(),
        }
    }
}

impl From<&settings::Rule> for Rule {
    fn from(used: &settings::Rule) -> Rule {
        let (glob, regex) = match &used.matching {
            Matching::Glob(text) => (Some(text.to_string()), None),
            Matching::Regex(text) => (None, Some(text.to_string())),
        };
        Rule {
            glob: glob.into(),
            regex: regex.into(),
            provider: used.provider.to_string().into(),
            model: used.model.clone().map(ModelName).into(),
        }
    }
}

impl From<&settings::ModelRouting> for ModelRouting {
    fn from(used: &settings::ModelRouting) -> ModelRouting {
        let overflow = used.overflow.iter();
        ModelRouting {
            strategy: used.strategy.into(),
            overflow: overflow
                .map(|model| ModelName(Arc::clone(model)).into())
                .collect(),
            max_wait: used.max_wait.into(),
        }
    }
}
