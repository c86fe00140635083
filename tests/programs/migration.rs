//! The pages of `docs/migration/` say what is so: their commands run, their files are configurations, and each of
//! their variables has the effect that they name.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;

use crate::support::*;
use crate::surroundings::*;

/// Variables that the files of the pages refer to, which their readers have.
const READERS: [&str; 2] = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"];

fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migration");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    pages.iter().map(read).collect()
}

pub(crate) fn page_named(name: &str) -> String {
    let found = pages().into_iter().find(|(own, _)| own == name);
    found.unwrap_or_else(|| panic!("no page {name}")).1
}

/// The contents of the fenced blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = page.split(&fence).skip(1);
    starts
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The rows of the tables whose first column has this title: the texts in backticks of each cell.
fn rows(page: &str, title: &str) -> Vec<Vec<String>> {
    let header = format!("| {title} |");
    let mut rows = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line.starts_with(&header)) {
        let table = lines
            .by_ref()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        rows.extend(table.map(|line| {
            let code = line.split('`').skip(1).step_by(2);
            code.map(str::to_owned).collect::<Vec<_>>()
        }));
    }
    rows
}

/// The value at `providers[0].discover.ports`; null if there is none.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    path.split(['.', '[']).fold(value, |value, step| {
        let found = match step.strip_suffix(']') {
            Some(index) => value.get(index.parse::<usize>().unwrap()),
            None => value.get(step),
        };
        found.unwrap_or(NOTHING)
    })
}

#[test]
fn every_program_has_a_page_that_the_readme_names() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let pages = pages();
    assert_eq!(pages.len(), 4);
    for (name, page) in pages {
        assert!(
            readme.contains(&format!("docs/migration/{name}.md")),
            "{name}"
        );
        for part in [
            "## Switch",
            "## What stays",
            "## What differs, and why",
            "## Afterwards",
        ] {
            assert!(page.contains(part), "{name}: {part}");
        }
    }
}

#[test]
fn every_variable_has_the_effect_that_its_row_names() {
    let mut checked = 0;
    for (name, page) in pages() {
        let plain = Surroundings::bare().check().0;
        for row in rows(&page, "Variable") {
            let [variable, key, example] = row.as_slice() else {
                panic!("{name}: {row:?}")
            };
            let with = Surroundings::bare().with(variable, example).check().0;
            assert_ne!(
                at(&with, key),
                at(&plain, key),
                "{name}: {variable} -> {key}"
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn files_are_configurations_without_a_warning() {
    for (name, page) in pages() {
        let files = blocks(&page, "yaml");
        assert!(!files.is_empty(), "{name}");
        for file in files {
            let surroundings = Surroundings::bare().file("remuda.yaml", &file);
            let surroundings = READERS
                .iter()
                .fold(surroundings, |all, variable| all.with(variable, "key"));
            let (_, warnings) = surroundings.check();
            assert_eq!(warnings, "", "{name}: {file}");
        }
    }
}

/// Commands that start and check; what is asked of a running gateway is asked by [`ask_all`].
#[test]
fn commands_are_good() {
    for (name, page) in pages() {
        for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["curl", ..] => {}
                [variables @ .., "./remuda.sh", "serve" | "check"] => {
                    let variables = variables.iter().map(|pair| pair.split_once('=').unwrap());
                    let surroundings = variables
                        .fold(Surroundings::bare(), |all, (name, value)| {
                            all.with(name, value)
                        });
                    surroundings.check();
                }
                _ => panic!("{name}: no test knows {line:?}"),
            }
        }
    }
}

/// Runs every `curl` of a page against a gateway that was started as the page says.
pub(crate) async fn ask_all(page: &str, gateway: &Gateway) {
    let page = page_named(page);
    let mut asked = 0;
    for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
        let Some(rest) = line.strip_prefix("curl ") else {
            continue;
        };
        let address = gateway.address.to_string();
        let rest = rest
            .replace("localhost:11434", &address)
            .replace("localhost:8000", &address);
        let command = format!("curl -sS --fail-with-body --max-time 30 {rest}");
        let output = tokio::task::spawn_blocking(move || {
            Command::new("sh").args(["-c", &command]).output().unwrap()
        });
        let output = output.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {text}");
        asked += 1;
    }
    assert!(asked > 2, "{asked}");
}
