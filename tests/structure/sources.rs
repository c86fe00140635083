//! The sources of every package of the workspace, parsed: modules, what each names, and the types that it declares.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

/// The names from a package's root to a module; the root itself is empty.
pub(crate) type Module = Vec<String>;

/// One file of a package.
pub(crate) struct Source {
    /// Every path that is named outside of tests, as it is written; those of `use` items are taken apart.
    pub(crate) paths: Vec<Vec<String>>,
    /// What `pub use` makes of a name: the name, and the path that stands for it.
    pub(crate) exports: Vec<(String, Vec<String>)>,
    /// The types that can be named outside of the file's folder.
    pub(crate) types: Vec<String>,
}

/// The files of one package by their modules.
pub(crate) type Package = BTreeMap<Module, Source>;

/// Every package with its name: the gateway, and those in `crates/`.
pub(crate) fn packages() -> Vec<(String, Package)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![("remuda".to_owned(), root.join("src"))];
    for entry in fs::read_dir(root.join("crates")).into_iter().flatten() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        folders.push((name, folder.join("src")));
    }
    folders.sort();
    let read = |(name, folder): (String, _)| (name, package(folder));
    folders.into_iter().map(read).collect()
}

fn package(folder: impl AsRef<Path>) -> Package {
    let mut package = Package::new();
    let mut left = vec![(Module::new(), folder.as_ref().to_owned())];
    while let Some((module, path)) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap().path();
                let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
                let is_rust = entry.extension().is_some_and(|kind| kind == "rs");
                if !entry.is_dir() && !is_rust || is_test(&name) {
                    continue;
                }
                let own = is_rust && matches!(&*name, "mod" | "lib" | "main");
                let below = module.iter().cloned().chain((!own).then_some(name));
                left.push((below.collect(), entry));
            }
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let file = syn::parse_file(&text).unwrap();
        // A package with a library has its modules there, and its `main.rs` names the library.
        let source = read(&file.items);
        match package.get_mut(&module) {
            Some(known) => {
                known.paths.extend(source.paths);
                known.exports.extend(source.exports);
                known.types.extend(source.types);
            }
            None => {
                package.insert(module, source);
            }
        }
    }
    package
}

fn is_test(name: &str) -> bool {
    name == "tests" || name.ends_with("_tests")
}

/// What the items of a module say, which stand in one file.
pub(crate) fn read(items: &[Item]) -> Source {
    let mut reader = Reader {
        inline: 0,
        source: Source {
            paths: Vec::new(),
            exports: Vec::new(),
            types: Vec::new(),
        },
    };
    for item in items {
        reader.visit_item(item);
    }
    reader.source
}

struct Reader {
    /// How many modules within the file the reader is in.
    inline: usize,
    source: Source,
}

impl Reader {
    fn declare(&mut self, visibility: &Visibility, name: &syn::Ident) {
        let reaches = match visibility {
            Visibility::Public(_) => true,
            // `pub(super)` and `pub(in …)` stay within a folder.
            Visibility::Restricted(within) => within.path.is_ident("crate"),
            Visibility::Inherited => false,
        };
        if reaches && self.inline == 0 {
            self.source.types.push(name.to_string());
        }
    }

    /// A path as it would be written at the top of the file.
    fn raise(&self, mut path: Vec<String>) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        if path.first().is_some_and(|name| name == "self") {
            return (self.inline == 0).then(|| path.split_off(1));
        }
        if supers == 0 {
            return Some(path);
        }
        (supers >= self.inline).then(|| path.split_off(self.inline))
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            return;
        }
        match item {
            Item::Struct(item) => self.declare(&item.vis, &item.ident),
            Item::Enum(item) => self.declare(&item.vis, &item.ident),
            Item::Trait(item) => self.declare(&item.vis, &item.ident),
            Item::Type(item) => self.declare(&item.vis, &item.ident),
            Item::Mod(item) if item.content.is_some() => {
                self.inline += 1;
                syn::visit::visit_item_mod(self, item);
                self.inline -= 1;
                return;
            }
            Item::Use(item) => {
                let mut paths = Vec::new();
                leaves(&item.tree, &mut Vec::new(), &mut paths);
                let exported = !matches!(item.vis, Visibility::Inherited) && self.inline == 0;
                for (name, path) in paths {
                    let Some(path) = self.raise(path) else {
                        continue;
                    };
                    if exported {
                        self.source.exports.push((name, path))
                    } else {
                        self.source.paths.push(path)
                    }
                }
                return;
            }
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }

    /// Where something may be seen is not what it uses.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        let names: Vec<String> = names.collect();
        let rooted = matches!(&*names[0], "crate" | "super" | "self");
        if names.len() > 1 && rooted {
            let raised = self.raise(names);
            self.source.paths.extend(raised);
        }
        syn::visit::visit_path(self, path);
    }
}

/// Every path of a `use` item with the name that it is known by from there on.
fn leaves(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    let mut add = |prefix: &[String], last: &syn::Ident, name: &syn::Ident| {
        let mut path = prefix.to_vec();
        if last != "self" {
            path.push(last.to_string());
        }
        found.push((name.to_string(), path));
    };
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) => add(prefix, &name.ident, &name.ident),
        UseTree::Rename(rename) => add(prefix, &rename.ident, &rename.rename),
        UseTree::Glob(_) => found.push(("*".to_owned(), prefix.clone())),
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, prefix, found);
            }
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it is `#[cfg(test)]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let is_test = |tested: syn::Path| tested.is_ident("test");
    attribute.path().is_ident("cfg") && attribute.parse_args().is_ok_and(is_test)
}

#[test]
fn paths_exports_and_types_are_found_however_they_are_written() {
    let text = "
        //! Not `crate::prose`.
        use crate::{one::{A, b::C}, two as three};
        use super::sibling;
        pub use child::Kept;
        pub(crate) fn f(x: crate::five::T) { super::six::call(); local::call() }
        pub(crate) struct Public; pub(super) struct Near; struct Own;
        mod within { use super::super::seven; use super::own; pub struct Hidden; }
        #[cfg(test)]
        mod tests { use crate::unseen; }
    ";
    let source = read(&syn::parse_file(text).unwrap().items);
    let mut paths: Vec<String> = source.paths.iter().map(|path| path.join("::")).collect();
    paths.sort();
    let expected = [
        "crate::five::T",
        "crate::one::A",
        "crate::one::b::C",
        "crate::two",
        "own",
        "super::seven",
        "super::sibling",
        "super::six::call",
    ];
    assert_eq!(paths, expected);
    let exports = [(
        "Kept".to_owned(),
        vec!["child".to_owned(), "Kept".to_owned()],
    )];
    assert_eq!(source.exports, exports);
    assert_eq!(source.types, ["Public"]);
}
