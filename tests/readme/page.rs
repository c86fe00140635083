//! Pages taken apart: fenced blocks, commands, tables, links.

use std::path::{Path, PathBuf};

/// `path` in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn readme() -> String {
    std::fs::read_to_string(repository("README.md")).unwrap()
}

/// A page of the documentation.
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Every page: those at the top of the repository, and those of `docs/`.
pub(crate) fn pages() -> Vec<Page> {
    let top = ["README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"];
    let top = top.map(|name| PathBuf::from(name).with_extension("md"));
    let read = |path: PathBuf| Page {
        text: std::fs::read_to_string(repository(path.to_str().unwrap())).unwrap(),
        name: path.to_str().unwrap().to_owned(),
    };
    top.into_iter()
        .chain(pages_of("docs".as_ref()))
        .map(read)
        .collect()
}

/// The pages whose examples are tried here; `tests/programs` tries those of `docs/migration`.
pub(crate) fn tried_pages() -> impl Iterator<Item = Page> {
    let elsewhere = |page: &Page| page.name.starts_with("docs/migration/");
    pages().into_iter().filter(move |page| !elsewhere(page))
}

/// All that these pages say.
pub(crate) fn reference() -> String {
    tried_pages().map(|page| page.text).collect()
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
    pages.sort();
    pages
}

/// The contents of the fenced blocks of one language, of which a page may have none.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line == fence) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n") + "\n");
    }
    blocks
}

/// The commands of a page, without the comments after them.
pub(crate) fn commands(page: &str) -> Vec<String> {
    let scripts = blocks(page, "sh").into_iter();
    let lines = scripts.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.map(|line| line.split(" #").next().unwrap().trim().to_owned());
    let shown = sessions(page).into_iter().map(|(command, _)| command);
    lines.chain(shown).collect()
}

/// The commands of a page that stand with their output, and its lines.
pub(crate) fn sessions(page: &str) -> Vec<(String, Vec<String>)> {
    let mut sessions: Vec<(String, Vec<String>)> = Vec::new();
    for block in blocks(page, "console") {
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => sessions.push((command.to_owned(), Vec::new())),
                None => sessions.last_mut().unwrap().1.push(line.to_owned()),
            }
        }
    }
    sessions
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
