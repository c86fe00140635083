//! The sources of every package of the workspace, parsed: modules, what each names, and the types that it declares.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

/// The names from a package's root to a module; the root itself is empty.
pub(crate) type Module = Vec<String>;

/// One file of a package.
pub(crate) struct Source {
    /// Every path that is named outside of tests, as it is written; those of `use` items are taken apart. What `pub use`
    /// passes on is not used here.
    pub(crate) paths: Vec<Vec<String>>,
    /// What any `use` makes of a name, as modules below may name what is private to this one: the name, and the path that
    /// stands for it.
    pub(crate) imports: Vec<(String, Vec<String>)>,
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
                known.imports.extend(source.imports);
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
            imports: Vec::new(),
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

    /// Notes a path that is named outside of `use`: from a root, or from a module below this one.
    fn note(&mut self, names: Vec<String>) {
        let rooted = matches!(
            names.first().map(|name| &**name),
            Some("crate" | "super" | "self")
        );
        if names.len() > 1 && (rooted || self.inline == 0) {
            let raised = self.raise(names);
            self.source.paths.extend(raised);
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
                let exported = !matches!(item.vis, Visibility::Inherited);
                for (name, path) in paths {
                    let Some(path) = self.raise(path) else {
                        continue;
                    };
                    if self.inline > 0 || !exported {
                        self.source.paths.push(path.clone());
                    }
                    if self.inline == 0 {
                        self.source.imports.push((name, path));
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
        self.note(names.collect());
        syn::visit::visit_path(self, path);
    }

    /// What a macro is given is read by its tokens, as only the macro knows its grammar.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let mut names = Vec::new();
        let tokens = TokenBuffer::new2(item.tokens.clone());
        in_tokens(tokens.begin(), &mut names);
        // What a macro of this file writes is named from where it writes it.
        let is_template = item.path.is_ident("macro_rules");
        names.retain(|path| !is_template || path.first().is_some_and(|name| name == "crate"));
        for path in names {
            self.note(path);
        }
        syn::visit::visit_macro(self, item);
    }
}

/// Every path among tokens, also within their groups.
fn in_tokens(mut at: Cursor<'_>, found: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    while !at.eof() {
        if let Some((punct, next)) = at.punct()
            && punct.as_char() == ':'
        {
            (at, colons) = (next, colons + 1);
            continue;
        }
        let continues = std::mem::take(&mut colons) == 2 && !path.is_empty();
        if let Some((name, next)) = at.ident() {
            if !continues {
                found.push(std::mem::take(&mut path));
            }
            path.push(name.to_string());
            at = next;
            continue;
        }
        found.push(std::mem::take(&mut path));
        if let Some((within, _, _, next)) = at.any_group() {
            in_tokens(within, found);
            at = next;
        } else if let Some((_, next)) = at.token_tree() {
            at = next;
        }
    }
    found.push(path);
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
        pub(crate) fn f(x: crate::five::T) {
            super::six::call();
            below::call();
            log!(x: y, { nine::call::<T>(crate::ten) }, 'a');
        }
        pub(crate) struct Public; pub(super) struct Near; struct Own;
        mod within { use super::super::seven; use super::own; pub struct Hidden; }
        macro_rules! template { () => { super::elsewhere::call(crate::eleven::call()) } }
        #[cfg(test)]
        mod tests { use crate::unseen; }
    ";
    let source = read(&syn::parse_file(text).unwrap().items);
    let mut paths: Vec<String> = source.paths.iter().map(|path| path.join("::")).collect();
    paths.sort();
    let expected = [
        "below::call",
        "crate::eleven::call",
        "crate::five::T",
        "crate::one::A",
        "crate::one::b::C",
        "crate::ten",
        "crate::two",
        "nine::call",
        "own",
        "super::seven",
        "super::sibling",
        "super::six::call",
    ];
    assert_eq!(paths, expected);
    let imports: Vec<String> = source
        .imports
        .iter()
        .map(|(name, path)| format!("{name}: {}", path.join("::")))
        .collect();
    let expected = [
        "A: crate::one::A",
        "C: crate::one::b::C",
        "three: crate::two",
        "sibling: super::sibling",
        "Kept: child::Kept",
    ];
    assert_eq!(imports, expected);
    assert_eq!(source.types, ["Public"]);
}
