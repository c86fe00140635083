//! Keys of a provider balancer's files that are taken and do nothing here, so that such a file starts as it is.

use super::problem::KeyPath;
use super::reader::Reader;
use super::yaml::{Mapping, Value};

/// Section, key, and what stands in its place.
pub(super) const KEYS: [(&str, &str, &str); 2] = [
    (
        "monitoring",
        "track_latency",
        "does nothing; latencies are always in the metrics",
    ),
    (
        "monitoring",
        "track_errors",
        "does nothing; errors are always in the metrics",
    ),
];

/// Takes those keys out of the file, with a warning where one asks for something.
pub(super) fn put_aside(value: &mut Value, reader: &mut Reader<'_>) {
    for (section, key, instead) in KEYS {
        let path = KeyPath::default().key(section);
        match value.get_mut(section) {
            Some(Value::Mapping(mapping)) => take(mapping, &path.key(key), key, instead, reader),
            Some(Value::Sequence(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Value::Mapping(mapping) = item {
                        take(mapping, &path.item(index).key(key), key, instead, reader);
                    }
                }
            }
            _ => {}
        }
    }
}

fn take(mapping: &mut Mapping, path: &KeyPath, key: &str, instead: &str, reader: &mut Reader<'_>) {
    let usual = match key {
        "track_latency" | "track_errors" => Value::Bool(true),
        _ => Value::Null,
    };
    if mapping.remove(key).is_some_and(|stated| stated != usual) {
        reader.warning(path, instead);
    }
}
