//! What the README and the pages of `docs/` say is so: their examples are configurations, their commands run, their
//! tables are complete, the names in them exist, and their links lead somewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod demo;
mod mentions;
mod page;
mod tables;

use std::path::Path;

use demo::{remuda, succeed};
use page::{anchors, blocks, code, links, pages, readme, repository, tried_pages};

#[test]
fn examples_are_configurations() {
    assert_eq!(blocks(&readme(), "yaml").len(), 2);
    for example in tried_pages().flat_map(|page| blocks(&page.text, "yaml")) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("remuda.yaml");
        // The folder that a package makes is there when its gateway starts.
        let example = example.replace("/var/lib/remuda", directory.path().to_str().unwrap());
        if example.starts_with("models:") {
            std::fs::write(directory.path().join("models.yaml"), &example).unwrap();
            std::fs::write(file, "routing: { models_file: models.yaml }\n").unwrap();
        } else {
            std::fs::write(file, &example).unwrap();
        }
        let mut check = remuda(directory.path());
        check.arg("check");
        succeed(&mut check);
        let warnings = check.output().unwrap().stderr;
        assert_eq!(String::from_utf8_lossy(&warnings), "", "{example}");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let (name, page) = (page.name, page.text);
        let folder = repository(&name).parent().unwrap().to_owned();
        let anchors = anchors(&page);
        for link in links(&page) {
            let found = match link.split_once('#') {
                Some(("", anchor)) => anchors.iter().any(|known| known == anchor),
                Some((page, anchor)) => anchors_of(&folder.join(page)).contains(&anchor.to_owned()),
                None => link.starts_with("https://") || folder.join(link).exists(),
            };
            assert!(found, "{name}: {link}");
        }
    }
}

fn anchors_of(page: &Path) -> Vec<String> {
    anchors(&std::fs::read_to_string(page).unwrap())
}

#[test]
fn named_files_are_there() {
    for page in pages() {
        for path in code(&page.text) {
            let inside = [
                "src/", "crates/", "tests/", "conf/", "bench/", "benches/", "./test", ".ci/",
            ];
            let generated = path.starts_with("bench/out/");
            if !generated && inside.iter().any(|start| path.starts_with(start)) {
                let file = path.split_whitespace().next().unwrap();
                assert!(repository(file).exists(), "{}: {path}", page.name);
            }
        }
    }
}

#[test]
fn the_oldest_toolchain_is_named() {
    let oldest = format!("Rust {} or newer", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme().contains(&oldest), "{oldest}");
}
