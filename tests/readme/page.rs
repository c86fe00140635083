//! The README taken apart: fenced blocks, tables, links.

use std::path::{Path, PathBuf};

/// `path` in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn readme() -> String {
    std::fs::read_to_string(repository("README.md")).unwrap()
}

/// The contents of the fenced blocks of one language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line == fence) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n") + "\n");
    }
    assert!(!blocks.is_empty(), "no block of {language}");
    blocks
}

/// The cells of every row of the tables whose first column has this title.
pub(crate) fn rows(page: &str, title: &str) -> Vec<Vec<String>> {
    let header = format!("| {title} |");
    let mut rows = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line.starts_with(&header)) {
        for line in lines
            .by_ref()
            .skip(1)
            .take_while(|line| line.starts_with('|'))
        {
            let cells = line.trim_matches('|').split('|');
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    assert!(!rows.is_empty(), "no table of {title}");
    rows
}

/// The texts in backticks.
pub(crate) fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The targets of links and images.
pub(crate) fn links(page: &str) -> Vec<&str> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// The anchors of headings, as GitHub makes them.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| {
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}
