//! What of a configuration differs from the defaults, for readers who know these or do not care.

use super::file::File;
use super::yaml::{self, Mapping, Value};
use crate::settings::{Access, ClientKey, KeyDigest, PortRange, Provider, Settings};

/// What names an entry of a list, and is shown whatever the default is.
const NAMES: [&str; 2] = ["name", "kind"];

/// Returns the keys that have another value than their default, as YAML with secrets masked; empty if there are none.
pub fn differences(settings: &Settings) -> String {
    let plain = Settings {
        server: Default::default(),
        access: Access::default(),
        providers: Vec::new(),
        routing: Default::default(),
        timeouts: Default::default(),
        queue: Default::default(),
        monitoring: Default::default(),
        usage: Default::default(),
    };
    let mut kept = match without(written(settings), &written(&plain)) {
        Some(Value::Mapping(kept)) => kept,
        _ => Mapping::new(),
    };
    let providers = settings.providers.iter().map(|provider| Settings {
        providers: vec![bare(provider)],
        ..plain.clone()
    });
    compare_items(&mut kept, "providers", providers);
    let keys = settings.access.keys.iter().map(|key| Settings {
        access: Access {
            keys: vec![ClientKey::new(&key.name, KeyDigest([0; 32]))],
            ..Access::default()
        },
        ..plain.clone()
    });
    compare_items(&mut kept, "keys", keys);
    if kept.is_empty() {
        String::new()
    } else {
        yaml::to_string(&kept).expect("what was YAML is YAML")
    }
}

/// Returns a provider of that name and kind of which nothing more is stated; the ports that are scanned are always
/// shown.
fn bare(provider: &Provider) -> Provider {
    let nowhere = || PortRange {
        host: String::new(),
        ports: 0..=0,
    };
    Provider {
        discover: provider.discover.as_ref().map(|_| nowhere()),
        ..Provider::of_kind(&provider.name, provider.kind)
    }
}

fn written(settings: &Settings) -> Value {
    yaml::to_value(File::from(settings)).expect("fields and sections are plain values")
}

/// Compares each item of the list at `key` with the only item of the same list in its own `plain`.
fn compare_items(kept: &mut Mapping, key: &str, plain: impl Iterator<Item = Settings>) {
    let Some(Value::Sequence(items)) = kept.get_mut(key) else {
        return;
    };
    for (item, plain) in items.iter_mut().zip(plain) {
        let plain = written(&plain)[key][0].clone();
        let names: Vec<(Value, Value)> = NAMES
            .iter()
            .filter_map(|name| Some(((*name).into(), item.get(name)?.clone())))
            .collect();
        let mut whole = Mapping::from_iter(names);
        if let Some(Value::Mapping(rest)) = without(std::mem::take(item), &plain) {
            whole.extend(rest);
        }
        *item = whole.into();
    }
}

/// Returns what of the value differs from `plain`; `None` if nothing does.
fn without(value: Value, plain: &Value) -> Option<Value> {
    if value == *plain {
        return None;
    }
    match value {
        Value::Null => None,
        Value::Mapping(entries) => {
            let kept = entries.into_iter().filter_map(|(key, value)| {
                let plain = plain.get(&key).unwrap_or(&Value::Null);
                Some((key, without(value, plain)?))
            });
            let kept: Mapping = kept.collect();
            (!kept.is_empty()).then_some(kept.into())
        }
        Value::Sequence(items) => {
            let kept = items.into_iter().map(|item| without(item, &Value::Null));
            let kept: Vec<Value> = kept.map(Option::unwrap_or_default).collect();
            (!kept.is_empty() || plain.is_sequence()).then_some(kept.into())
        }
        other => Some(other),
    }
}
