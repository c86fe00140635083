//! What pages name in passing exists: keys of the configuration, subcommands and flags. Every page is listed.

use std::collections::{BTreeMap, BTreeSet};

use crate::demo::{remuda, succeed};
use crate::page::{code, links, pages, readme, repository};
use crate::tables::{documented, keys};

/// The most that the README may have, in bytes.
const README: usize = 18_000;

#[test]
fn the_readme_is_short() {
    let bytes = readme().len();
    assert!(bytes <= README, "{bytes} bytes");
}

#[test]
fn every_page_is_listed() {
    let mut listed = BTreeSet::new();
    for list in ["", "docs/decisions/"] {
        let page = std::fs::read_to_string(repository(&format!("{list}README.md"))).unwrap();
        listed.extend(links(&page).iter().map(|link| format!("{list}{link}")));
    }
    listed.insert("README.md".to_owned());
    for page in pages() {
        assert!(listed.contains(&page.name), "{} is not listed", page.name);
    }
}

/// A key as pages write it, with its section before it; `None` for any other text.
fn key(text: &str) -> Option<String> {
    const SECTIONS: [&str; 9] = [
        "server",
        "keys",
        "shared",
        "providers",
        "routing",
        "timeouts",
        "queue",
        "monitoring",
        "usage",
    ];
    let path = text.split(": ").next()?;
    let (first, rest) = path.split_once('.')?;
    let section = first.split('[').next()?;
    let file = ["md", "rs", "yaml", "yml", "db", "sh"].contains(&rest);
    let written = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._<>[]".contains(c);
    if file || !SECTIONS.contains(&section) || !rest.chars().all(written) {
        return None;
    }
    Some(path.replace("[0]", "[]"))
}

#[test]
fn every_key_that_a_page_names_exists() {
    let mut all = BTreeMap::new();
    keys("", &documented(true), &mut all);
    let mut known = BTreeSet::new();
    for key in all.keys() {
        let ends = key.match_indices('.').map(|(end, _)| end);
        known.extend(ends.map(|end| key[..end].to_owned()));
        known.insert(key.clone());
    }
    let mut named = 0;
    for page in pages() {
        for key in code(&page.text).into_iter().filter_map(key) {
            assert!(known.contains(&key), "{}: {key}", page.name);
            named += 1;
        }
    }
    assert!(named > 200, "{named}");
}

#[test]
fn every_command_that_a_page_names_exists() {
    let empty = tempfile::tempdir().unwrap();
    let help = |name: &str| succeed(remuda(empty.path()).args([name, "--help"]));
    let mut known = BTreeMap::new();
    for page in pages() {
        for text in code(&page.text) {
            let words: Vec<&str> = text.split_whitespace().collect();
            let ["remuda" | "./remuda.sh", name, flags @ ..] = words.as_slice() else {
                continue;
            };
            let help = known
                .entry((*name).to_owned())
                .or_insert_with(|| help(name));
            for flag in flags.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(help.contains(flag), "{}: {text}", page.name);
            }
        }
    }
    assert!(known.len() > 5, "{:?}", known.keys());
}
