//! Every key of the configuration in one table: its name, what it takes, its default, its variables and its meaning.
//!
//! The raw structs read the keys; tests hold the table against them both ways. The JSON Schema is made of the table, and
//! the reference in the documentation has its words.

use super::scalar::Choice;

mod clients;
mod providers;
mod requests;
mod routing;
mod server;

/// The tables of the sections, in the order of the reference.
const SECTIONS: [&[Key]; 5] = [
    server::KEYS,
    clients::KEYS,
    providers::KEYS,
    routing::KEYS,
    requests::KEYS,
];

/// The largest count; nothing but good sense bounds it.
const MAX: u32 = i32::MAX as u32;

/// Returns all keys, in the order of the reference.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.into_iter().flatten()
}

/// One key that can be written in the configuration.
pub(super) struct Key {
    /// The dotted name, in which `[]` stands for any item of a list and `<name>` for a name of the operator's choice.
    pub(super) path: &'static str,
    pub(super) takes: Takes,
    /// The default as the reference states it: a value in backticks, or words where it depends on something else.
    pub(super) default: &'static str,
    /// The variables of the environment that fill in where the key is absent, as the reference names them.
    pub(super) variables: Option<&'static str>,
    /// What the key does, in Markdown without links.
    pub(super) meaning: &'static str,
}

impl Key {
    const fn new(
        path: &'static str,
        takes: Takes,
        default: &'static str,
        meaning: &'static str,
    ) -> Key {
        Key {
            path,
            takes,
            default,
            variables: None,
            meaning,
        }
    }

    const fn from(self, variables: &'static str) -> Key {
        Key {
            variables: Some(variables),
            ..self
        }
    }

    /// Returns the default, if it is the same for everyone.
    pub(super) fn default_value(&self) -> Option<&'static str> {
        let value = self.default.strip_prefix('`')?.strip_suffix('`')?;
        (!value.contains('`')).then_some(value)
    }

    /// Returns the meaning with the variables, as the reference has them.
    pub(super) fn description(&self) -> String {
        match self.variables {
            Some(variables) => format!("{}. Environment: {variables}", self.meaning),
            None => self.meaning.to_owned(),
        }
    }
}

/// What may be written as the value of a key.
pub(super) enum Takes {
    /// `true` or `false`, by any of their names.
    Truth,
    /// A whole number from the first to the second.
    Whole(u32, u32),
    /// A number from the first up to the second, if there is one.
    Number(f64, Option<f64>),
    /// A whole number up to 10,000; what is not positive counts as 1.
    Weight,
    /// A count of requests or tokens, in which `_` may set digits apart.
    Amount,
    /// `high`, `normal`, `low` or a whole number.
    Priority,
    /// A duration, or a number of seconds.
    Time,
    /// The same, but not zero.
    TimeAboveZero,
    /// A duration, or `off`.
    TimeOrOff,
    /// Whole days, or 0.
    Days,
    /// A size, or a number of bytes.
    Size,
    /// A number of tokens, with `k` for 1024 of them.
    Tokens,
    /// One such number, or a list of them.
    Contexts,
    /// `auto`, or a whole number above zero.
    CountOrAuto,
    /// Requests in a second, a minute or an hour.
    Rate,
    /// An address with a port, or a port alone.
    Address,
    /// The same, or `off`.
    AddressOrOff,
    /// A range of ports, or one port.
    Ports,
    /// A text; what it has to look like is said when it is read.
    Text,
    /// One text, or a list of them.
    Texts,
    /// One of a few names, in any case, with `-` or `_`.
    OneOf(fn() -> Vec<&'static str>),
    /// A list of such values.
    List(&'static Takes),
    /// A mapping from names of the operator's choice to such values.
    Names(&'static Takes),
    /// A list of mappings, whose keys have their own rows.
    Sections,
    /// The same, in which a text stands for a mapping with that `url`.
    Backends,
}

/// Returns the names of a choice.
fn names<T: Choice>() -> Vec<&'static str> {
    T::NAMES.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests;
