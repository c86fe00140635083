//! `ARCHITECTURE.md` names every file of `src/`, so that whoever looks for a decision finds where it is made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Files that their folder's name stands for, and those of tests.
fn is_named_by_its_folder(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let file = parts.next().unwrap_or_default();
    matches!(file, "mod.rs" | "lib.rs" | "main.rs" | "tests.rs")
        || file.ends_with("_tests.rs")
        || parts.any(|folder| folder == "tests")
}

fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let path = path.strip_prefix(root).unwrap();
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

/// What a page names: files, and folders that a table names as a whole.
///
/// A file is named by its whole path, or by its name alone where it is clear in which folder it is: in the rows of a table
/// whose head says `src/…/`, in the folder of its first column if there is one, and behind a whole path on the same line.
#[derive(Default)]
struct Named {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Named {
    fn of(page: &str) -> Named {
        let mut named = Named::default();
        // The folder that the present table is about, and the one of its present rows.
        let mut table: Option<String> = None;
        let mut row = String::new();
        for line in page.lines() {
            let Some(cells) = line.strip_prefix('|') else {
                table = None;
                named.read(line, None);
                continue;
            };
            let (first, rest) = cells.split_once('|').unwrap_or((cells, ""));
            if let Some((_, base)) = first.split_once("of `src/") {
                row = format!("src/{}", base.split('`').next().unwrap_or_default());
                table = Some(row.clone());
            } else if let Some(base) = &table {
                let has_folder = first.contains('`') && !first.contains(".rs");
                if has_folder {
                    row = format!("{base}{}", first.split('`').nth(1).unwrap_or_default());
                } else if !first.trim().is_empty() {
                    row.clone_from(base);
                }
                let names = if first.contains(".rs") { first } else { rest };
                let names = names.split('|').next().unwrap_or_default();
                if names.trim().starts_with("every file") {
                    named.folders.insert(row.clone());
                }
                named.read(names, Some(&row));
            } else {
                named.read(line, None);
            }
        }
        named
    }

    /// Reads what stands in backquotes.
    fn read(&mut self, text: &str, folder: Option<&str>) {
        let mut folder = folder.map(str::to_owned);
        for name in text.split('`').skip(1).step_by(2) {
            if let (true, Some((parent, _))) = (name.starts_with("src/"), name.rsplit_once('/')) {
                self.files.insert(name.to_owned());
                folder = Some(format!("{parent}/"));
            } else if name.contains('/') && name.ends_with(".rs") {
                // A file of another package, and what is beside it.
                folder = None;
            } else if let Some(folder) = &folder {
                if name.ends_with(".rs") {
                    self.files.insert(format!("{folder}{name}"));
                } else if name.ends_with('/') {
                    self.folders.insert(format!("{folder}{name}"));
                }
            }
        }
    }

    fn has(&self, path: &str) -> bool {
        self.files.contains(path)
            || self
                .folders
                .iter()
                .any(|folder| path.starts_with(folder.as_str()))
    }
}

#[test]
fn every_file_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let named = Named::of(&page);
    let mut there = Vec::new();
    files(&root.join("src"), &mut there);
    assert!(there.len() > 200, "only {} files were found", there.len());
    there.sort();
    let unnamed: Vec<&String> = there
        .iter()
        .filter(|path| !is_named_by_its_folder(path) && !named.has(path))
        .collect();
    assert!(unnamed.is_empty(), "not named: {unnamed:#?}");
    let gone: Vec<&String> = named
        .files
        .iter()
        .filter(|path| path.ends_with(".rs") && !root.join(path).exists())
        .collect();
    assert!(gone.is_empty(), "named, and not there: {gone:#?}");
}

#[test]
fn a_name_counts_in_the_folder_that_it_is_named_in() {
    let named = Named::of(
        "
| Folder of `src/a/` | File | What |
|---|---|---|
| `b/` (a phase) | `one.rs` | As `two.rs` does |
| | `three.rs`, `all/` | |
| itself | `four.rs` | |
| `c/` | every file, one for each section | |

Prose names `five.rs` of nobody, and `src/d/six.rs`, `seven.rs`.

| Files of `src/e/` | What |
|---|---|
| `eight.rs` | As `nine.rs` does |

| To change | Open |
|---|---|
| a thing | `src/f/ten.rs`; another: `eleven.rs`; a third: `crates/g/src/twelve.rs`, `thirteen.rs` |
",
    );
    let files = [
        "src/a/b/one.rs",
        "src/a/b/three.rs",
        "src/a/four.rs",
        "src/d/seven.rs",
        "src/d/six.rs",
        "src/e/eight.rs",
        "src/f/eleven.rs",
        "src/f/ten.rs",
    ];
    assert_eq!(named.files, files.map(str::to_owned).into());
    assert!(named.has("src/a/b/all/twelve.rs") && named.has("src/a/c/thirteen.rs"));
    assert!(!named.has("src/a/b/two.rs") && !named.has("src/a/five.rs"));
}
