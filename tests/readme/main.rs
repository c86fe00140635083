//! What the README says is so: its examples are configurations, its commands run, its tables are
//! complete, its links lead somewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod demo;
mod page;
mod tables;

use std::path::{Path, PathBuf};

use demo::{remuda, succeed};
use page::{anchors, blocks, code, links, readme, repository};

#[test]
fn examples_are_configurations() {
    for example in blocks(&readme(), "yaml") {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("remuda.yaml"), &example).unwrap();
        let mut check = remuda(directory.path());
        check.arg("check");
        succeed(&mut check);
        let warnings = check.output().unwrap().stderr;
        assert_eq!(String::from_utf8_lossy(&warnings), "", "{example}");
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .map(PathBuf::from);
    for name in pages.into_iter().chain(pages_of("docs".as_ref())) {
        let name = name.to_str().unwrap();
        let page = std::fs::read_to_string(repository(name)).unwrap();
        let folder = repository(name).parent().unwrap().to_owned();
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

/// The Markdown pages of a folder of the repository and of those inside it.
fn pages_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository(folder.to_str().unwrap())).unwrap();
    let mut pages = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            pages.extend(pages_of(&path));
        } else if path.extension().is_some_and(|ext| ext == "md") {
            pages.push(path);
        }
    }
    pages
}

fn anchors_of(page: &Path) -> Vec<String> {
    anchors(&std::fs::read_to_string(page).unwrap())
}

#[test]
fn named_files_are_there() {
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let page = std::fs::read_to_string(repository(name)).unwrap();
        for path in code(&page) {
            let inside = [
                "src/", "tests/", "conf/", "bench/", "benches/", "./test", ".ci/",
            ];
            if inside.iter().any(|start| path.starts_with(start)) {
                let file = path.split(' ').next().unwrap();
                assert!(repository(file).exists(), "{name}: {path}");
            }
        }
    }
}

#[test]
fn the_oldest_toolchain_is_named() {
    let oldest = format!("Rust {} or newer", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme().contains(&oldest), "{oldest}");
}
