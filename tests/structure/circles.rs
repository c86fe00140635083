//! No circle of files: what a file names is below it, and a reader can begin at the bottom.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{Module, Package, packages};

/// Circles that a reason justifies: all of the circle's modules, and the reason.
const JUSTIFIED: &[(&[&str], &str)] = &[
    (
        &[
            "client/error",
            "client/error/anthropic",
            "client/error/ollama",
            "client/error/openai",
        ],
        "each API writes the one type of errors, and that type's methods choose among them",
    ),
    (
        &[
            "config/keys",
            "config/keys/clients",
            "config/keys/providers",
            "config/keys/requests",
            "config/keys/routing",
            "config/keys/server",
        ],
        "one table in parts, of which the parent has the type of a row",
    ),
    (
        &["facts", "facts/file"],
        "what the file is read into is declared with what is looked up in it",
    ),
    (
        &["usage/store", "usage/store/read", "usage/store/schema"],
        "one store in parts, which share its error and its patience",
    ),
];

/// Which files of a package name which.
fn uses(package: &Package) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let mut imports: BTreeMap<(&Module, &str), Module> = BTreeMap::new();
    for (module, source) in package {
        for (name, path) in &source.imports {
            if let Some(path) = absolute(package, module, path) {
                imports.insert((module, name), path);
            }
        }
    }
    let declared = |(module, source)| {
        let named = |path: &Vec<String>| {
            let path = absolute(package, module, path)?;
            let declared = declaring(package, &imports, &path, 0)?;
            (declared != module).then_some(declared)
        };
        let source: &crate::sources::Source = source;
        (module, source.paths.iter().filter_map(named).collect())
    };
    package.iter().map(declared).collect()
}

/// A path from the package's root, if it leads into the package.
fn absolute(package: &Package, module: &Module, path: &[String]) -> Option<Module> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    match path.first().map(|name| &**name) {
        Some("crate" | "remuda") => Some(path[1..].to_vec()),
        Some("super") => {
            let above = &module[..module.len().checked_sub(supers)?];
            Some([above, &path[supers..]].concat())
        }
        Some(first) => {
            let child = [module, &[first.to_owned()][..]].concat();
            let path = || [&module[..], path].concat();
            package.contains_key(&child).then(path)
        }
        None => None,
    }
}

/// The module that declares what a path from the root names, through what others import.
fn declaring<'a>(
    package: &'a Package,
    imports: &BTreeMap<(&Module, &str), Module>,
    path: &[String],
    depth: usize,
) -> Option<&'a Module> {
    let lengths = (0..=path.len()).rev();
    let mut known = lengths.filter_map(|length| {
        let (module, _) = package.get_key_value(&path[..length])?;
        Some((length, module))
    });
    let (length, module) = known.next()?;
    let imported = path.get(length).and_then(|name| {
        let target = imports.get(&(module, &**name))?;
        (depth < 8 && target[..] != path[..=length])
            .then(|| [&target[..], &path[length + 1..]].concat())
    });
    match imported {
        Some(path) => declaring(package, imports, &path, depth + 1),
        None => Some(module),
    }
}

/// The strongly connected components of more than one file (Tarjan, 1972).
fn circles<'a>(uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<&'a Module>> {
    struct Search<'b, 'a> {
        uses: &'b BTreeMap<&'a Module, BTreeSet<&'a Module>>,
        index: BTreeMap<&'a Module, usize>,
        low: BTreeMap<&'a Module, usize>,
        stack: Vec<&'a Module>,
        found: Vec<Vec<&'a Module>>,
    }
    impl<'a> Search<'_, 'a> {
        fn visit(&mut self, module: &'a Module) {
            let index = self.index.len();
            self.index.insert(module, index);
            self.low.insert(module, index);
            self.stack.push(module);
            for used in self.uses.get(module).into_iter().flatten() {
                let reached = if !self.index.contains_key(used) {
                    self.visit(used);
                    self.low[used]
                } else if self.stack.contains(used) {
                    self.index[used]
                } else {
                    continue;
                };
                let low = self.low[module].min(reached);
                self.low.insert(module, low);
            }
            if self.low[module] == index {
                let from = self.stack.iter().position(|one| *one == module).unwrap();
                let component = self.stack.split_off(from);
                if component.len() > 1 {
                    self.found.push(component);
                }
            }
        }
    }
    let mut search = Search {
        uses,
        index: BTreeMap::new(),
        low: BTreeMap::new(),
        stack: Vec::new(),
        found: Vec::new(),
    };
    for module in uses.keys() {
        if !search.index.contains_key(module) {
            search.visit(module);
        }
    }
    search.found
}

#[test]
fn no_files_depend_on_each_other_in_a_circle() {
    let mut found = Vec::new();
    let mut unjustified: Vec<&[&str]> = JUSTIFIED.iter().map(|(circle, _)| *circle).collect();
    let mut edges = 0;
    for (name, package) in packages() {
        let uses = uses(&package);
        edges += uses.values().map(BTreeSet::len).sum::<usize>();
        for circle in circles(&uses) {
            let mut files: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            files.sort();
            let known = unjustified.iter().position(|circle| *circle == files);
            if let Some(known) = known {
                unjustified.remove(known);
            } else {
                found.push(format!(
                    "{name}: {} files: {}",
                    files.len(),
                    files.join(" ")
                ));
            }
        }
    }
    assert!(edges > 1_000, "only {edges} uses were found");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert!(
        unjustified.is_empty(),
        "no circle any more: {unjustified:?}"
    );
}

/// The circles among modules, each given by its path and its text.
fn circles_among(modules: &[(&str, &str)]) -> Vec<Vec<String>> {
    let module = |text: &str, path: &str| {
        let path: Module = path.split('/').map(str::to_owned).collect();
        let items = syn::parse_file(text).unwrap().items;
        (path, crate::sources::read(&items))
    };
    let modules = modules.iter().map(|(path, text)| module(text, path));
    let package: Package = modules.collect();
    let sorted = |circle: &Vec<&Module>| {
        let mut circle: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
        circle.sort();
        circle
    };
    circles(&uses(&package)).iter().map(sorted).collect()
}

#[test]
fn a_circle_is_found_through_exports_and_parents() {
    let found = circles_among(&[
        ("a", "pub use deep::Kept; mod deep;"),
        ("a/deep", "use crate::b::Other; pub struct Kept;"),
        ("b", "use crate::a::Kept; pub struct Other;"),
        ("c", "use crate::b::Other;"),
    ]);
    assert_eq!(found, [["a/deep", "b"]]);
}

#[test]
fn a_circle_is_found_however_a_module_is_named() {
    let below = ("a/below", "use super::Mine; pub fn call() {}");
    for above in [
        "mod below; pub struct Mine; fn f() { below::call() }",
        "mod below; pub struct Mine; fn f() { print!(\"{}\", below::call()) }",
        "mod below; pub struct Mine; fn f() { self::below::call() }",
    ] {
        assert_eq!(circles_among(&[("a", above), below]), [["a", "a/below"]]);
    }
    // What a parent imports for itself its children may name through it.
    let siblings = [
        ("a", "use one::One; mod one; mod two;"),
        ("a/one", "use super::two::Two; pub struct One;"),
        ("a/two", "use super::One; pub struct Two;"),
    ];
    assert_eq!(circles_among(&siblings), [["a/one", "a/two"]]);
    // A parent that only passes on what its children declare does not use them.
    let passed_on = ("a", "pub use below::call; mod below; pub struct Mine;");
    assert!(circles_among(&[passed_on, below]).is_empty());
}
