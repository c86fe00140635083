//! The table of keys against what reads them, and the schema and the reference against the table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value as Json;

use super::super::{file, from_sources, known, schema};
use super::*;
use crate::config::yaml::{self, Value as Yaml};

/// What is tried as the value of every key.
const SAMPLES: &[&str] = &[
    "true",
    "'false'",
    "YES",
    "on",
    "off",
    "0",
    "'0'",
    "1",
    "' 1 '",
    "'+1'",
    "-1",
    "1.5",
    "'1.5'",
    ".5",
    "5",
    "31",
    "20000",
    "99999999999",
    "4000000000000000000",
    "5s",
    "1m 30s",
    "1m30s",
    "500ms",
    "2 hours",
    "366d",
    "400d",
    "5 parsecs",
    "s",
    "64MiB",
    "2GB",
    "1.5 kib",
    "64 many",
    "1_000",
    "_",
    "high",
    "LOW",
    "a",
    "A b",
    "http://a",
    "10.0.0.0/8",
    "24000-24100",
    "5-3",
    "127.0.0.1:80",
    "':80'",
    "host:80",
    "'[::1]:80'",
    "1/s",
    "10r/m",
    "600/h",
    "1/d",
    "'${V}'",
    "'a${V:-5}s'",
    "[]",
    "[a]",
    "[1, true]",
    "[high, ~]",
    "[[a]]",
    "{ a: b }",
    "{ url: a }",
    "''",
];
/// No key takes it.
const WRONG: &str = "{ never: { valid: here } }";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json(yaml: &str) -> Json {
    let mut value: Yaml = yaml::from_str(yaml).unwrap();
    value.apply_merge().unwrap();
    // JSON has neither.
    match yaml::from_value(value) {
        Ok(value) => value,
        Err(error) => panic!("{yaml}: {error}"),
    }
}

/// Says why `value` does not fit, or nothing. It knows what the schema of this program is made of, and nothing else.
fn refusal(schema: &Json, value: &Json, path: &str) -> Option<String> {
    let mut words = schema.as_object().unwrap().iter();
    words.find_map(|(word, rule)| match word.as_str() {
        "$schema" | "title" | "description" | "default" | "deprecated" | "properties" => None,
        "items" => {
            let mut items = value.as_array().into_iter().flatten().enumerate();
            items.find_map(|(index, item)| refusal(rule, item, &format!("{path}[{index}]")))
        }
        "additionalProperties" => refused_member(schema, rule, value, path),
        "minimum" | "maximum" | "exclusiveMinimum" => {
            let bound = rule.as_f64().unwrap();
            let beyond = |number: f64| match word.as_str() {
                "minimum" => number < bound,
                "maximum" => number > bound,
                _ => number <= bound,
            };
            let is_beyond = value.as_f64().is_some_and(beyond);
            is_beyond.then(|| format!("{path}: is out of bounds: {value}"))
        }
        word => refused_by(word, rule, value, path).map(|why| format!("{path}: {why}: {value}")),
    })
}

/// Why a value does not fit one rule about it as a whole, if so.
fn refused_by(word: &str, rule: &Json, value: &Json, path: &str) -> Option<&'static str> {
    let (fits, why) = match word {
        "type" => {
            let types = rule.as_array();
            let is = |name: &Json| is_of_type(name.as_str().unwrap(), value);
            let fits = types.map_or_else(|| is(rule), |all| all.iter().any(is));
            (fits, "is of another type")
        }
        "enum" => (rule.as_array().unwrap().contains(value), "is not listed"),
        "anyOf" => {
            let mut all = rule.as_array().unwrap().iter();
            let fits = all.any(|one| refusal(one, value, path).is_none());
            (fits, "fits nothing")
        }
        "not" => (refusal(rule, value, path).is_some(), "is excluded"),
        "const" => (value == rule, "is something else"),
        "pattern" => {
            let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
            let fits = value.as_str().is_none_or(|text| pattern.is_match(text));
            (fits, "does not look so")
        }
        "minLength" => (value.as_str() != Some(""), "is empty"),
        "minItems" => (
            value.as_array().is_none_or(|items| !items.is_empty()),
            "has no items",
        ),
        other => panic!("the schema has come to say {other}"),
    };
    (!fits).then_some(why)
}

fn is_of_type(name: &str, value: &Json) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("{other}"),
    }
}

/// Why a member of a mapping does not fit, or is not known; `others` says what members may be that the schema does not
/// list.
fn refused_member(schema: &Json, others: &Json, value: &Json, path: &str) -> Option<String> {
    let mut members = value.as_object().into_iter().flatten();
    members.find_map(|(name, value)| {
        let known = schema.get("properties").and_then(|all| all.get(name));
        let path = format!("{path}.{name}");
        match (known, others) {
            (None, Json::Bool(false)) => Some(format!("{path}: is unknown")),
            (known, others) => refusal(known.unwrap_or(others), value, &path),
        }
    })
}

/// A configuration that has nothing but this value of this key.
fn alone(path: &str, value: &str) -> String {
    let mut yaml = value.to_owned();
    for step in path.rsplit('.') {
        yaml = match step.strip_suffix("[]") {
            Some(name) => format!("{{ {name}: [ {yaml} ] }}"),
            None => format!("{{ '{step}': {yaml} }}"),
        };
    }
    yaml
}

/// What is wrong with the value of the key, as far as it is about what it looks like.
fn problem(path: &str, yaml: &str) -> Option<String> {
    let environment = [("V".to_owned(), "1".to_owned())].into();
    let report = from_sources(Some(("remuda.yaml", yaml)), &environment).err()?;
    let path = path.replace("[]", "[0]");
    let mut all = report.problems.into_iter();
    let found = all.find(|problem| problem.key.is_empty() || problem.key.starts_with(&path));
    found.map(|problem| problem.what)
}

#[test]
fn the_table_has_every_key_that_is_read_and_no_other() {
    let mut listed = BTreeSet::new();
    for key in all() {
        let free = matches!(key.takes, Takes::Names(_)).then(|| format!("{}.<name>", key.path));
        for path in [key.path.to_owned()].into_iter().chain(free) {
            let ends = path.match_indices('.').map(|(end, _)| end);
            for end in ends.chain([path.len()]) {
                listed.insert(path[..end].trim_end_matches("[]").to_owned());
            }
        }
    }
    assert_eq!(listed, known::keys(&file::template()));
    let count = all().count();
    let unique: BTreeSet<_> = all().map(|key| key.path).collect();
    assert_eq!(unique.len(), count, "a key is listed twice");
}

#[test]
fn the_published_schema_is_that_of_the_table() {
    let path = root().join("conf/remuda.schema.json");
    if std::env::var_os("REMUDA_SCHEMA").is_some_and(|how| how == "write") {
        std::fs::write(&path, schema::schema()).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(
        published == schema::schema(),
        "remuda check --schema > conf/remuda.schema.json makes it anew"
    );
}

/// The rows of the reference, in which the table's words may have links.
#[test]
fn the_reference_has_the_words_of_the_table() {
    let link = Regex::new(r"\[([^\]\[]*)\]\([^)]*\)").unwrap();
    let pages = ["docs/configuration.md", "README.md"];
    let pages = pages.map(|page| std::fs::read_to_string(root().join(page)).unwrap_or_default());
    let text = pages.concat();
    let rows: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| link.replace_all(line, "$1").into_owned())
        .collect();
    for key in all() {
        let Key { path, default, .. } = key;
        let row = format!("| `{path}` | {default} | {} |", key.description());
        let row = row.replace("|  |", "| |");
        let stated = rows
            .iter()
            .find(|row| row.starts_with(&format!("| `{path}` |")));
        assert_eq!(stated, Some(&row));
    }
}

#[test]
fn the_schema_takes_what_is_read_and_refuses_what_is_seen_to_be_wrong() {
    let schema: Json = serde_json::from_str(&schema::schema()).unwrap();
    let mut differ = Vec::new();
    for key in all() {
        let path = key.path;
        for sample in SAMPLES.iter().chain([&WRONG]) {
            let yaml = alone(path, sample);
            let problem = problem(path, &yaml);
            let refused = refusal(&schema, &json(&yaml), "");
            if problem.is_none() && refused.is_some() {
                differ.push(format!("{yaml} is read, but {refused:?}"));
            }
            let told =
                problem.filter(|what| what.starts_with("expected") || what.contains("Expected"));
            if told.is_some() && refused.is_none() && is_seen(key, sample) {
                differ.push(format!("{yaml} is not refused, but {told:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
    for yaml in [
        "{ serve: { listen: 1 } }",
        "{ server: { lisen: 1 } }",
        "{ keys: [ { nam: a } ] }",
        "{ server: 5 }",
    ] {
        assert!(refusal(&schema, &json(yaml), "").is_some(), "{yaml}");
    }
    for yaml in [
        "~",
        "{ server: ~ }",
        "{ monitoring: { track_latency: true } }",
        "{ routing: { models: { a: { overflow: [b] } } } }",
    ] {
        assert_eq!(refusal(&schema, &json(yaml), ""), None, "{yaml}");
    }
}

/// Whether a value that is wrong is seen to be wrong by its look. A quoted number may be out of bounds, or a span of time.
fn is_seen(key: &Key, sample: &str) -> bool {
    let loose = matches!(
        key.takes,
        Takes::Text
            | Takes::Texts
            | Takes::List(_)
            | Takes::Names(_)
            | Takes::Backends
            | Takes::Sections
            | Takes::Address
            | Takes::AddressOrOff
            | Takes::Weight
    );
    // The largest head has narrower bounds than other sizes, and the least retention is a number of days.
    let may_be_out_of_bounds = sample.starts_with('\'')
        || ["366d", "400d"].contains(&sample)
        || key.path == "server.max_header"
        || matches!(key.takes, Takes::Days);
    sample == WRONG || !loose && !may_be_out_of_bounds
}

fn texts(folder: &str, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            texts(&name, end, found);
        } else if name.ends_with(end) {
            found.push(path);
        }
    }
}

/// The blocks of YAML on a page, without what they are indented by.
fn blocks(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "```yaml" {
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            let text: Vec<&str> = inside
                .map(|line| line.get(indent..).unwrap_or(""))
                .collect();
            found.push(text.join("\n"));
        }
    }
    found
}

#[test]
fn every_configuration_that_is_shown_fits_the_schema() {
    let schema: Json = serde_json::from_str(&schema::schema()).unwrap();
    let sections = schema["properties"].as_object().unwrap();
    let mut shown = Vec::new();
    let mut pages = vec![root().join("README.md")];
    texts("docs", ".md", &mut pages);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        shown.extend(blocks(&text).into_iter().map(|block| (page.clone(), block)));
    }
    let mut files = Vec::new();
    texts("conf", ".yaml", &mut files);
    texts("bench", ".yaml", &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        shown.push((file, text));
    }
    let mut checked = 0;
    for (place, yaml) in shown {
        let place = place.display();
        let value = json(&yaml);
        // Others are of Kubernetes, Prometheus or the facts about models.
        let named = value.as_object().into_iter().flatten();
        if named.clone().any(|(name, _)| sections.contains_key(name))
            && value.get("services").is_none()
        {
            assert_eq!(refusal(&schema, &value, ""), None, "{place}\n{yaml}");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}
