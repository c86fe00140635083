//! What the README says is so: its examples are configurations, its commands run, its tables are
//! complete, its links lead somewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod demo;
mod page;
mod tables;

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
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/benchmarks.md",
        "docs/clients.md",
        "docs/failures.md",
        "docs/migration/multi-provider-proxy.md",
        "docs/migration/ollama-cloud-proxy.md",
        "docs/migration/optillm-proxy.md",
        "docs/migration/port-range-balancer.md",
        "docs/keys.md",
        "docs/routing.md",
    ] {
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

fn anchors_of(page: &std::path::Path) -> Vec<String> {
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
