//! Imports point down only: reads every path between modules, in `src/` and in `crates/`, and holds it against the floors
//! of `ARCHITECTURE.md`. Between packages the compiler does so; which package may use which is held here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the gateway's and the formats' roots, and the package `wire`, each with its floor; a module may use
/// those on lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("main", 9),
    ("cli", 8),
    ("config", 7),
    ("proxy", 6),
    ("admin", 5),
    ("admission", 4),
    ("access", 4),
    ("usage", 4),
    ("routing", 3),
    ("fleet", 2),
    ("translate", 1),
    ("dialect", 0),
    ("client", 0),
    ("ir", 0),
    ("wire", 0),
    ("facts", 0),
    ("preferences", 0),
    ("provider", 0),
    ("settings", 0),
    ("metrics", 0),
    ("clock", 0),
    ("coding", 0),
    ("ids", 0),
    ("nearest", 0),
];

/// What may be used from the same floor: dialects are made of frames, and say what the neutral model says to what clients
/// ask; and series are told apart by the ids of what they count.
const SAME_FLOOR: &[(&str, &str)] = &[
    ("client", "ir"),
    ("client", "provider"),
    ("client", "wire"),
    ("dialect", "client"),
    ("dialect", "wire"),
    ("dialect", "ir"),
    ("dialect", "facts"),
    ("dialect", "preferences"),
    ("dialect", "provider"),
    ("facts", "provider"),
    ("facts", "ir"),
    ("ir", "wire"),
    ("metrics", "ids"),
    ("settings", "preferences"),
    ("settings", "provider"),
];

/// One package of the workspace.
struct Package {
    /// As paths name it.
    name: &'static str,
    folder: &'static str,
    /// The packages of this workspace that it may depend on, in its tests too.
    uses: &'static [&'static str],
    /// The one name under which all of it has its floor; `None` if its modules have floors of their own.
    floor: Option<&'static str>,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "remuda",
        folder: ".",
        uses: &["remuda-formats", "remuda-sim"],
        floor: None,
    },
    Package {
        name: "remuda_formats",
        folder: "crates/remuda-formats",
        uses: &["remuda-wire"],
        floor: None,
    },
    // What tests run against shares no idea of a format with the gateway: a mistake is not made twice.
    Package {
        name: "remuda_sim",
        folder: "crates/remuda-sim",
        uses: &[],
        floor: Some("sim"),
    },
    Package {
        name: "remuda_wire",
        folder: "crates/remuda-wire",
        uses: &[],
        floor: Some("wire"),
    },
];

/// What opens sockets or waits: none of it belongs in the formats.
const SOCKETS: &[&str] = &["hyper", "mio", "pingora", "redis", "reqwest", "tokio"];

/// The simulated servers stand apart: they use no module of the others, and these use them.
const SIM_USERS: &[&str] = &["cli"];

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

/// Why `user` may not name `used`, if so.
fn objection(user: &str, used: &str) -> Option<String> {
    let allowed = match (user, used) {
        _ if user == used => true,
        ("sim", _) => false,
        (_, "sim") => SIM_USERS.contains(&user),
        _ => {
            let (Some(above), Some(below)) = (floor(user), floor(used)) else {
                return Some(format!("{user} or {used} has no floor"));
            };
            below < above || SAME_FLOOR.contains(&(user, used))
        }
    };
    (!allowed).then(|| format!("{user} may not use {used}"))
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Package {
    fn source(&self) -> PathBuf {
        repository(self.folder).join("src")
    }

    /// The modules that the text of one of its files uses, by their floors' names.
    fn used_by(&self, file: &Path, text: &str) -> BTreeSet<String> {
        let mut used = match self.floor {
            Some(_) => BTreeSet::new(),
            None => used_modules(text, module_path(&self.source(), file).len()),
        };
        for package in PACKAGES {
            let Some(floor) = package.floor else {
                continue;
            };
            if lines(text).any(|line| names(line, package.name)) {
                used.insert(floor.to_owned());
            }
        }
        used
    }
}

/// The lines of a text without their comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a line has this name, and not as a part of another.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(is_of_a_name) && !after.is_some_and(is_of_a_name)
    })
}

/// Every Rust file beneath `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

/// The names of the module that `file` is, from its crate's root: `src/fleet/tests/mod.rs` is
/// `["fleet", "tests"]`, and the root itself is empty.
fn module_path(source: &Path, file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(source).unwrap().with_extension("");
    let mut names: Vec<String> = relative
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if names.last().is_some_and(|name| name == "mod") || names == ["lib"] {
        names.pop();
    }
    names
}

/// The modules of a crate's root that `text` names, by `crate::`, `remuda::`, `remuda_formats::`, or as many `super::`
/// as lead there from a module that is `depth` below it.
fn used_modules(text: &str, depth: usize) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    // Indentation of the inline modules around a line; stock rustfmt closes each with `}` at its own.
    let mut inline: Vec<usize> = Vec::new();
    let code: Vec<&str> = lines(text).collect();
    for (index, line) in code.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "}" && inline.last() == Some(&indent) {
            inline.pop();
        }
        for root in ["crate::", "remuda::", "remuda_formats::"] {
            for (at, _) in line.match_indices(root) {
                let before = line[..at].chars().next_back();
                if !before.is_some_and(|c| is_of_a_name(c) || c == ':') {
                    used.extend(first_names(&line[at + root.len()..], &code[index + 1..]));
                }
            }
        }
        let supers = "super::".repeat(depth + inline.len());
        if !supers.is_empty()
            && let Some(at) = line.find(&supers)
        {
            let rest = line[at + supers.len()..].trim_start_matches("super::");
            used.extend(first_names(rest, &code[index + 1..]));
        }
        if line.trim_end().ends_with('{') && line.split_whitespace().any(|word| word == "mod") {
            inline.push(indent);
        }
    }
    used
}

/// The first name of a path, or of every path in a group that `rest` opens and `following` may close.
fn first_names(rest: &str, following: &[&str]) -> Vec<String> {
    let name = |path: &str| -> String {
        path.trim()
            .chars()
            .take_while(|c| is_of_a_name(*c))
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut names = Vec::new();
    let mut depth = 1;
    let mut path = String::new();
    for c in group
        .chars()
        .chain(following.iter().flat_map(|line| line.chars()))
    {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&std::mem::take(&mut path))),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if c != ',' || depth > 1 {
            path.push(c);
        }
    }
    names.push(name(&path));
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn every_module_of_the_root_has_one_floor() {
    let mut modules: Vec<String> = PACKAGES
        .iter()
        .flat_map(|package| match package.floor {
            Some(floor) => vec![floor.to_owned()],
            None => fs::read_dir(package.source())
                .unwrap()
                .map(|entry| entry.unwrap().path().with_extension(""))
                .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
                .filter(|name| name != "lib")
                .collect(),
        })
        .collect();
    modules.sort();
    let mut listed: Vec<&str> = FLOORS
        .iter()
        .map(|(name, _)| *name)
        .chain(["sim"])
        .collect();
    listed.sort_unstable();
    assert_eq!(modules, listed, "give a new module its floor in this test");
}

#[test]
fn the_architecture_shows_the_same_floors() {
    let page = fs::read_to_string(repository("ARCHITECTURE.md")).unwrap();
    let shown: BTreeSet<(String, u8)> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let floor: u8 = cells.next()?.parse().ok()?;
            Some((floor, cells.next()?))
        })
        .flat_map(|(floor, modules)| {
            modules.split('`').skip(1).step_by(2).map(move |name| {
                (
                    name.trim_end_matches(['/'])
                        .trim_end_matches(".rs")
                        .to_owned(),
                    floor,
                )
            })
        })
        .collect();
    let known = FLOORS
        .iter()
        .map(|(name, floor)| ((*name).to_owned(), *floor));
    assert_eq!(shown, known.collect());
}

#[test]
fn imports_point_down_only() {
    let mut objections = Vec::new();
    let mut seen = 0;
    for package in PACKAGES {
        for file in files(&package.source()) {
            let module = module_path(&package.source(), &file);
            let Some(user) = package.floor.or(module.first().map(String::as_str)) else {
                continue;
            };
            let text = fs::read_to_string(&file).unwrap();
            for used in package.used_by(&file, &text) {
                seen += 1;
                if let Some(objection) = objection(user, &used) {
                    objections.push(format!("{}: {objection}", file.display()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found");
    assert_eq!(objections, [""; 0]);
}

/// The packages that a manifest names in any table of dependencies.
fn dependencies(package: &Package) -> BTreeSet<String> {
    let manifest = repository(package.folder).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let mut in_table = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            in_table = table.ends_with("dependencies]") && !table.starts_with("workspace.");
        } else if in_table && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            found.insert(name.to_owned());
        }
    }
    assert!(found.contains("serde_json"), "{found:?}");
    found
}

#[test]
fn packages_use_what_they_may() {
    let mut listed = vec![".".to_owned()];
    for entry in fs::read_dir(repository("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        listed.push(format!("crates/{name}"));
    }
    listed.sort();
    let mut known: Vec<&str> = PACKAGES.iter().map(|package| package.folder).collect();
    known.sort_unstable();
    assert_eq!(listed, known, "give a new package its row in this test");
    for package in PACKAGES {
        let dependencies = dependencies(package);
        let ours: Vec<&str> = dependencies
            .iter()
            .map(String::as_str)
            .filter(|name| name.starts_with("remuda"))
            .collect();
        assert_eq!(ours, package.uses, "{}", package.name);
    }
}

#[test]
fn the_formats_open_no_socket() {
    for package in PACKAGES {
        if matches!(package.name, "remuda_formats" | "remuda_wire") {
            let mut dependencies = dependencies(package).into_iter();
            let socket = dependencies.find(|name| SOCKETS.iter().any(|of| name.starts_with(of)));
            assert_eq!(socket, None, "{}", package.name);
        }
    }
}

/// The crate of YAML is archived, and its name stands for a fork: taking another is a change of one file.
#[test]
fn the_yaml_library_is_named_in_one_file() {
    let named = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        lines(&text).any(|line| names(line, "serde_yaml"))
    };
    let mut found = files(&repository("src"));
    found.retain(named);
    assert_eq!(found, [repository("src/config/yaml.rs")]);
}

#[test]
fn the_floors_hold() {
    for (user, used) in [
        ("fleet", "admission"),
        ("admission", "proxy"),
        ("wire", "dialect"),
        ("settings", "ids"),
        ("proxy", "config"),
        ("proxy", "sim"),
        ("sim", "fleet"),
        ("sim", "dialect"),
        ("sim", "wire"),
        ("fleet", "unlisted"),
    ] {
        assert!(objection(user, used).is_some(), "{user} -> {used}");
    }
    for (user, used) in [
        ("proxy", "admin"),
        ("dialect", "wire"),
        ("cli", "sim"),
        ("fleet", "fleet"),
        ("main", "cli"),
    ] {
        assert_eq!(objection(user, used), None, "{user} -> {used}");
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "\
//! Not `crate::prose`.
use crate::one::Thing;
use crate::{two::{A, b::C}, three,
    four};
pub(super) fn f(x: crate::five::T) {} // crate::comment
use my_crate::no;
use super::super::six::S;
use super::sibling;
mod tests {
    use super::super::super::seven;
    use super::super::inner;
}
use super::super::eight;
";
    let expected = [
        "one", "two", "three", "four", "five", "six", "seven", "eight",
    ];
    let expected: BTreeSet<String> = expected.map(str::to_owned).into();
    assert_eq!(used_modules(text, 2), expected);
}
