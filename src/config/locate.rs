//! Finds the line of a key: the YAML parser itself walks there, fails on purpose, and says where.
//!
//! So block style, flow style, comments, anchors and multi-line strings need no scanner of our own.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::problem::{KeyPath, Step};
use super::yaml;

/// Returns the line (from 1) of the key or list item at `path`, or of the nearest parent that the text has.
pub(super) fn line_of(text: &str, path: &KeyPath) -> Option<usize> {
    let steps = path.steps();
    (1..=steps.len())
        .rev()
        .find_map(|depth| exact_line(text, &steps[..depth]))
}

fn exact_line(text: &str, steps: &[Step]) -> Option<usize> {
    let walk = Walk { steps };
    let error = walk.deserialize(yaml::Deserializer::from_str(text)).err()?;
    // The message begins with the parser's own idea of the path.
    let reached = error.to_string().contains(REACHED);
    error
        .location()
        .filter(|_| reached)
        .map(|location| location.line())
}

/// Tells the failure on purpose from a file that does not parse.
const REACHED: &str = "reached the key";

/// Walks down `steps` and fails at their end.
struct Walk<'a> {
    steps: &'a [Step],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rest of the path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(key), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(REACHED));
        };
        let wanted = || Key {
            name: key,
            last: rest.is_empty(),
        };
        while let Some(found) = map.next_key_seed(wanted())? {
            if found {
                map.next_value_seed(Walk { steps: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Item(item), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(REACHED));
        };
        for _ in 0..*item {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk { steps: rest })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

impl Walk<'_> {
    /// Ends the walk at a scalar, which can only be the end of the path; a longer path is not in this text.
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.steps.is_empty() {
            Err(E::custom(REACHED))
        } else {
            Ok(())
        }
    }
}

/// Compares a key; fails on purpose if it is the last one of the path.
struct Key<'a> {
    name: &'a str,
    last: bool,
}

impl Key<'_> {
    fn compare<E: Error>(self, found: &str) -> Result<bool, E> {
        let is_same = found == self.name;
        if is_same && self.last {
            return Err(E::custom(REACHED));
        }
        Ok(is_same)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        // The parser hands any scalar over as its text.
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<bool, E> {
        self.compare(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "\
# a comment with server: in it
server:
  listen: 0.0.0.0:11434   # here

  admin: off
providers:
  # the fleet
  - name: gpus
    note: |
      discover:
        ports: 1
    discover: { host: localhost,
                ports: 24000-24100 }
    backends:
      - http://gpu1:11434
      - url: http://gpu2:11434
        weight: 2
  -
    name: more
1: x
";

    fn path(text: &str) -> KeyPath {
        text.split('.')
            .fold(KeyPath::default(), |path, step| match step.parse() {
                Ok(item) => path.item(item),
                Err(_) => path.key(step.trim_start_matches('"')),
            })
    }

    #[test]
    fn finds_keys_and_items_in_block_and_flow_style() {
        for (wanted, line) in [
            ("server", 2),
            ("server.listen", 3),
            ("server.admin", 5),
            ("providers.0", 8),
            ("providers.0.name", 8),
            ("providers.0.discover", 12),
            ("providers.0.discover.host", 12),
            ("providers.0.discover.ports", 13),
            ("providers.0.backends.0", 15),
            ("providers.0.backends.1", 16),
            ("providers.0.backends.1.weight", 17),
            ("providers.1.name", 19),
            ("\"1", 20),
        ] {
            assert_eq!(line_of(BLOCK, &path(wanted)), Some(line), "{wanted}");
        }
    }

    #[test]
    fn falls_back_to_the_nearest_parent() {
        assert_eq!(line_of(BLOCK, &path("server.threads")), Some(2));
        assert_eq!(line_of(BLOCK, &path("providers.7.name")), Some(6));
        assert_eq!(
            line_of(BLOCK, &path("providers.0.backends.0.url")),
            Some(15)
        );
        assert_eq!(line_of(BLOCK, &path("queue.size")), None);
        assert_eq!(line_of("a: [", &path("a.b")), Some(1));
        assert_eq!(line_of("", &path("a")), None);
    }

    #[test]
    fn follows_an_alias_to_its_anchor() {
        let text = "a: &one\n  b: 1\nc: *one\n";
        assert_eq!(line_of(text, &path("c")), Some(3));
        assert_eq!(line_of(text, &path("c.b")), Some(2));
    }
}
