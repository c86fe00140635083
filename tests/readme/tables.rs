//! The pages' tables against the program: keys and defaults, routes, metrics, variables.

use std::collections::{BTreeMap, BTreeSet};

use remuda::admin::PagePath;
use remuda_formats::client::ROUTES;
use serde_yaml::Value;

use crate::demo::{Demo, remuda, succeed};
use crate::page::{code, commands, pages, readme, reference, repository, rows};

/// The documented configuration; with `all`, its `#key:` lines are made active.
pub(crate) fn documented(all: bool) -> Value {
    let text = std::fs::read_to_string(repository("conf/remuda.yaml")).unwrap();
    let lines = text.lines().map(|line| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            // `#  - url`: an item of a list, indented beneath its key.
            Some(key) if all && (key.starts_with("  ") || !key.starts_with(' ')) => {
                format!("{indent}{key}\n")
            }
            _ => format!("{line}\n"),
        }
    });
    serde_yaml::from_str(&lines.collect::<String>()).unwrap()
}

/// Mappings whose keys the operator chooses.
const FREE: [&str; 5] = [
    "headers",
    "model_map",
    "model_contexts",
    "deployments",
    "aliases",
];

/// Dotted keys of everything that is no mapping, with the text of a scalar.
pub(crate) fn keys(prefix: &str, value: &Value, found: &mut BTreeMap<String, Option<String>>) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let dot = if prefix.is_empty() { "" } else { "." };
                let path = format!("{prefix}{dot}{}", key.as_str().unwrap());
                if FREE.contains(&key.as_str().unwrap()) {
                    found.insert(path, None);
                    continue;
                }
                if path == "routing.models" && value.is_mapping() {
                    for (_, value) in value.as_mapping().unwrap() {
                        keys("routing.models.<name>", value, found);
                    }
                    continue;
                }
                if !value.is_mapping() && path != "providers" {
                    let text = serde_yaml::to_string(value).unwrap();
                    let scalar = (!value.is_sequence()).then(|| text.trim_end().to_owned());
                    found.insert(path.clone(), scalar);
                }
                keys(&path, value, found);
            }
        }
        Value::Sequence(items) => {
            for item in items {
                keys(&format!("{prefix}[]"), item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_has_a_row_with_its_default() {
    let (mut all, mut active) = (BTreeMap::new(), BTreeMap::new());
    keys("", &documented(true), &mut all);
    keys("", &documented(false), &mut active);
    let page = reference();
    let rows = rows(&page, "Key");
    let listed: Vec<&str> = rows.iter().map(|row| code(&row[0])[0]).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "a key is listed twice");
    assert_eq!(unique, all.keys().map(String::as_str).collect());
    for (key, row) in listed.iter().zip(&rows) {
        let stated = code(&row[1]).first().map(|text| (*text).to_owned());
        let expected = match *key {
            "providers[].name" => None,
            key => active.get(key).cloned().flatten(),
        };
        assert_eq!(stated, expected, "the default of {key}");
    }
}

#[test]
fn every_route_has_a_row() {
    let page = reference();
    let listed: BTreeSet<String> = rows(&page, "Route")
        .iter()
        .flat_map(|row| {
            code(&row[0])
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|route| !places().contains(route))
        .collect();
    let known: BTreeSet<String> = ROUTES
        .iter()
        .map(|route| {
            let argument = match route.path {
                "/api/blobs/" => "{digest}",
                _ if route.segment => "{model}",
                _ => "",
            };
            format!("{} {}{argument}", route.method, route.path)
        })
        .collect();
    assert_eq!(listed, known);
}

fn places() -> BTreeSet<String> {
    let routes = PagePath::ROUTES.iter();
    routes.map(|route| format!("GET {route}")).collect()
}

#[test]
fn every_page_about_the_gateway_has_a_row() {
    let page = reference();
    let rows = rows(&page, "Route");
    let listed: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row.len() == 3)
        .map(|row| (code(&row[0])[0], code(&row[1])[0]))
        .collect();
    let routes: BTreeSet<String> = listed
        .iter()
        .map(|(route, _)| (*route).to_owned())
        .collect();
    assert_eq!(routes, places());
    for (route, group) in listed {
        let path = route.trim_start_matches("GET ").replace("{provider}", "x");
        let place = PagePath::find(&path).unwrap();
        assert_eq!(format!("{:?}", place.group()).to_lowercase(), group);
    }
}

#[test]
fn the_other_routes_answer_as_their_rows_say() {
    let demo = Demo::start();
    let page = reference();
    let answers = rows(&page, "Route").into_iter().chain(rows(&page, "Route"));
    let mut asked = 0;
    for route in answers.flat_map(|row| {
        code(&row[0])
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    }) {
        let Some(path) = route
            .strip_prefix("GET ")
            .filter(|path| !path.contains('{'))
        else {
            continue;
        };
        let port = if path == "/metrics" { 11435 } else { 11434 };
        assert_ne!(
            demo.curl(&format!("curl http://localhost:{port}{path}")),
            "",
            "{route}"
        );
        asked += 1;
    }
    assert!(asked > 8, "{asked}");
    let health = demo.curl("curl http://localhost:11434/__proxy/health");
    assert!(page.contains(&health), "{health}");
    assert_eq!(
        demo.curl("curl http://localhost:11435/__proxy/health"),
        health
    );
}

/// Kind and labels of each metric that is exposed; buckets and the like under their family's name.
fn exposed(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (sample, rest) = line.split_once(['{', ' ']).unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| {
                    sample
                        .strip_suffix(end)
                        .filter(|name| families.contains_key(*name))
                })
                .unwrap_or(sample);
            let labels = rest.rsplit_once("\"}").map_or("", |(labels, _)| labels);
            let names = labels
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""));
            let known = &mut families.get_mut(family).unwrap().1;
            known.extend(
                names
                    .map(|(name, _)| name.to_owned())
                    .filter(|name| name != "le"),
            );
        }
    }
    families
}

#[test]
fn every_metric_has_a_row() {
    let demo = Demo::start();
    let page = reference();
    let mut commands = commands(&readme()).into_iter();
    let chat = commands.find(|line| line.contains("/api/chat -d")).unwrap();
    demo.curl(&chat);
    // gemma3 is on disk but not loaded: a cold load.
    demo.curl(&chat.replace("llama3.2", "gemma3"));
    let exposed = exposed(&demo.curl("curl http://localhost:11435/metrics"));
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.is_file());
    let source: String = files
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let mut listed = BTreeSet::new();
    for row in rows(&page, "Metric") {
        let name = code(&row[0])[0].to_owned();
        let labels: BTreeSet<String> = code(&row[2]).into_iter().map(str::to_owned).collect();
        match exposed.get(&name) {
            Some(known) => assert_eq!(&(row[1].clone(), labels), known, "{name}"),
            // A family without a sample is not exposed, such as that of broken streams.
            None => assert!(source.contains(&format!("\"{name}\"")), "{name}"),
        }
        listed.insert(name);
    }
    let names: BTreeSet<String> = exposed.into_keys().collect();
    assert_eq!(names.difference(&listed).collect::<Vec<_>>(), [""; 0]);
    let all: Vec<String> = pages().into_iter().map(|page| page.text).collect();
    let mentioned = all
        .iter()
        .flat_map(|page| code(page))
        .filter(|text| text.starts_with("remuda_"))
        // Labels.
        .filter(|text| {
            ![
                "remuda_provider",
                "remuda_field",
                "remuda_key",
                "remuda_tag",
            ]
            .contains(text)
        })
        .map(|text| text.split('{').next().unwrap());
    assert_eq!(
        mentioned
            .filter(|name| !listed.contains(*name))
            .collect::<Vec<_>>(),
        [""; 0]
    );
}

/// Variables of the port-range balancer with their documented defaults.
fn variables(page: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for row in rows(page, "Variable") {
        let (names, defaults) = (code(&row[0]), code(&row[1]));
        assert_eq!(names.len(), defaults.len(), "{row:?}");
        let pairs = names.into_iter().zip(defaults);
        found.extend(pairs.map(|(name, default)| (name.to_owned(), default.to_owned())));
    }
    found
}

#[test]
fn every_variable_is_read_and_has_its_default() {
    let empty = tempfile::tempdir().unwrap();
    let page = reference();
    let variables = variables(&page);
    let check = || {
        let mut check = remuda(empty.path());
        check.args(["check", "--print"]);
        check
    };
    let without = succeed(&mut check());
    let with_defaults = succeed(check().envs(&variables));
    assert_eq!(with_defaults, without);
    let also = page
        .split("Environment: ")
        .skip(1)
        .flat_map(|rest| code(rest.split('|').next().unwrap()));
    for name in also.chain(variables.keys().map(String::as_str)) {
        let wrong = remuda(empty.path())
            .arg("check")
            .env(name, "x x")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&wrong.stderr);
        assert!(
            !wrong.status.success() && text.contains(name),
            "{name}: {text}"
        );
    }
}

#[test]
fn every_status_has_a_row() {
    let page = reference();
    let listed: BTreeSet<String> = rows(&page, "Status")
        .iter()
        .flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut used = BTreeSet::new();
    let mut left = vec![repository("src/proxy")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
            continue;
        }
        let code = std::fs::read_to_string(&path).unwrap();
        let made = code.split("Failure::new(").chain(code.split("\"HTTP/1.1 "));
        used.extend(made.map(str::trim_start).filter_map(|rest| {
            let digits = rest.get(..3)?;
            // What a test lets a server answer well is no failure.
            let failed = digits.parse::<u16>().is_ok_and(|status| status >= 400);
            failed.then(|| digits.to_owned())
        }));
    }
    assert!(used.len() > 8, "{used:?}");
    assert_eq!(used.difference(&listed).collect::<Vec<_>>(), [""; 0]);
}
