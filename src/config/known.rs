//! Which keys there are: unknown ones are refused with the nearest known one, and values of the
//! wrong shape are put aside, so that the rest can still be read.

use std::collections::BTreeSet;

use super::entries::ANY_KEY;
use super::problem::KeyPath;
use super::yaml::{Mapping, Value};
use crate::nearest::nearest;

/// Keys of one name that are told of.
const MAX_PLACES: usize = 3;

/// Walks `value` along `template`, which has every known key, one item in every list, and `null`
/// for every scalar. What does not fit goes to `problem` and out of `value`.
pub(super) fn check(
    value: &mut Value,
    template: &Value,
    problem: &mut dyn FnMut(&KeyPath, String),
) {
    let known = Known {
        all: keys(template),
    };
    known.check_at(&KeyPath::default(), value, template, problem);
}

/// The keys of the whole configuration, as dotted paths in which `[]` stands for any item of a list.
struct Known {
    all: BTreeSet<String>,
}

impl Known {
    fn check_at(
        &self,
        path: &KeyPath,
        value: &mut Value,
        template: &Value,
        problem: &mut dyn FnMut(&KeyPath, String),
    ) {
        match (&mut *value, template) {
            (Value::Null, _) | (_, Value::Null) => {}
            (Value::Mapping(mapping), Value::Mapping(known)) if known.contains_key(ANY_KEY) => {
                self.check_entries(path, mapping, &known[ANY_KEY], problem);
            }
            (Value::Mapping(mapping), Value::Mapping(known)) => {
                self.check_mapping(path, mapping, known, problem);
            }
            (Value::Sequence(items), Value::Sequence(known)) => {
                let template = known.first().unwrap_or(&Value::Null);
                for (index, item) in items.iter_mut().enumerate() {
                    match item {
                        Value::Null => problem(&path.item(index), "is empty; remove it".to_owned()),
                        _ => self.check_at(&path.item(index), item, template, problem),
                    }
                }
            }
            // A bare string in `backends` is short for its `url`.
            (Value::String(url), Value::Mapping(known)) if known.contains_key("url") => {
                let url = std::mem::take(url);
                *value = Mapping::from_iter([("url".into(), url.into())]).into();
            }
            (_, Value::Mapping(known)) if known.contains_key(ANY_KEY) => {
                problem(path, "expected a mapping of names to values".to_owned());
                *value = Value::Null;
            }
            (_, Value::Mapping(known)) => {
                let keys: Vec<&str> = names(known).collect();
                problem(
                    path,
                    format!("expected a mapping with the keys {}", keys.join(", ")),
                );
                *value = Value::Null;
            }
            _ => {
                problem(path, "expected a list".to_owned());
                *value = Value::Null;
            }
        }
    }

    fn check_mapping(
        &self,
        path: &KeyPath,
        mapping: &mut Mapping,
        known: &Mapping,
        problem: &mut dyn FnMut(&KeyPath, String),
    ) {
        for (key, value) in mapping.iter_mut() {
            let name = super::scalar::text(key).unwrap_or_default();
            match known.get(key) {
                Some(template) => self.check_at(&path.key(&name), value, template, problem),
                None => problem(&path.key(&name), self.unknown(&name, known)),
            }
        }
        // `null` is the same as not written.
        mapping.retain(|key, value| known.contains_key(key) && !value.is_null());
    }

    /// Checks a mapping with keys of the operator's own choice, each with a value of the same shape.
    fn check_entries(
        &self,
        path: &KeyPath,
        mapping: &mut Mapping,
        template: &Value,
        problem: &mut dyn FnMut(&KeyPath, String),
    ) {
        for (key, mut value) in std::mem::take(mapping) {
            let Some(name) = super::scalar::text(&key) else {
                problem(path, "has a key that is no text".to_owned());
                continue;
            };
            let path = path.key(&name);
            match value {
                Value::Null => problem(&path, "is empty; give it a value or remove it".to_owned()),
                _ => {
                    self.check_at(&path, &mut value, template, problem);
                    mapping.insert(name.into_owned().into(), value);
                }
            }
        }
    }

    /// Says that a name is unknown, with the nearest key of this place, else where a key of this name belongs, else all
    /// that may stand here.
    fn unknown(&self, name: &str, known: &Mapping) -> String {
        let elsewhere = || {
            let last = |path: &str| {
                path.rsplit_once('.')
                    .map_or(0, |(before, _)| before.len() + 1)
            };
            let named = self.all.iter().map(|path| &path[last(path)..]);
            let key = nearest(name, named)?;
            let is_it = |path: &&String| path[last(path)..] == *key;
            let paths = self.all.iter().filter(is_it).take(MAX_PLACES);
            Some(paths.map(String::as_str).collect::<Vec<_>>().join(" or "))
        };
        if let Some(near) = nearest(name, names(known)) {
            return format!("unknown key; did you mean {near:?}?");
        }
        let keys: Vec<&str> = names(known).collect();
        match elsewhere() {
            Some(paths) => format!("unknown key here; did you mean {paths}?"),
            None => format!("unknown key; the keys here are {}", keys.join(", ")),
        }
    }
}

fn names(known: &Mapping) -> impl Iterator<Item = &str> {
    known.keys().filter_map(Value::as_str)
}

/// Returns every known key, as dotted paths in which `[]` stands for any item of a list.
pub(super) fn keys(template: &Value) -> BTreeSet<String> {
    fn walk(prefix: &str, value: &Value, keys: &mut BTreeSet<String>) {
        match value {
            Value::Mapping(mapping) => {
                for (key, value) in mapping {
                    let dot = if prefix.is_empty() { "" } else { "." };
                    walk(
                        &format!("{prefix}{dot}{}", key.as_str().unwrap_or_default()),
                        value,
                        keys,
                    );
                }
            }
            Value::Sequence(items) => {
                for item in items {
                    walk(&format!("{prefix}[]"), item, keys);
                }
            }
            _ => {}
        }
        if !prefix.is_empty() && !prefix.ends_with("[]") {
            keys.insert(prefix.to_owned());
        }
    }
    let mut keys = BTreeSet::new();
    walk("", template, &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    const TEMPLATE: &str =
        "{ server: { listen: ~, admin: ~ }, list: [ { url: ~, weight: ~ } ], map: { <name>: ~ } }";

    fn found(yaml: &str) -> (Value, Vec<String>) {
        let mut value = yaml::from_str(yaml).unwrap();
        let mut problems = Vec::new();
        let template = yaml::from_str(TEMPLATE).unwrap();
        check(&mut value, &template, &mut |path, what| {
            problems.push(format!("{path}: {what}"))
        });
        (value, problems)
    }

    #[test]
    fn known_keys_pass_and_a_bare_string_becomes_a_url() {
        let (value, problems) =
            found("{ server: { listen: 1, admin: ~ }, list: [ a, { url: b } ] }");
        assert_eq!(problems, [""; 0]);
        let expected = "{ server: { listen: 1 }, list: [ { url: a }, { url: b } ] }";
        assert_eq!(value, yaml::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn a_mapping_of_free_keys_takes_any_name() {
        let (value, problems) = found("map: { a: 1, 7: b, true: c, gpt-4: ~, [x]: y }");
        assert_eq!(
            problems,
            [
                "map.gpt-4: is empty; give it a value or remove it",
                "map: has a key that is no text"
            ]
        );
        let expected = "map: { a: 1, '7': b, 'true': c }";
        assert_eq!(value, yaml::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn all_that_does_not_fit_is_reported_and_put_aside() {
        let (value, problems) =
            found("{ server: { lsiten: 1 }, zzz: 1, 7: x, list: [ 5, { url: b, wieght: 1 }, ~ ] }");
        assert_eq!(
            problems,
            [
                "server.lsiten: unknown key; did you mean \"listen\"?",
                "zzz: unknown key; the keys here are server, list, map",
                "7: unknown key; the keys here are server, list, map",
                "list[0]: expected a mapping with the keys url, weight",
                "list[1].wieght: unknown key; did you mean \"weight\"?",
                "list[2]: is empty; remove it",
            ]
        );
        let expected = "{ server: {}, list: [ ~, { url: b }, ~ ] }";
        assert_eq!(value, yaml::from_str::<Value>(expected).unwrap());
        assert_eq!(found("list: 5").1, ["list: expected a list"]);
        assert_eq!(
            found("map: [ a ]").1,
            ["map: expected a mapping of names to values"]
        );
        assert_eq!(
            found("server: 5").1,
            ["server: expected a mapping with the keys listen, admin"]
        );
    }
}
