//! `keys:`, who may ask, for what and how much.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::environment::read_secret;
use super::field::Field;
use super::label::Label;
use super::reader::{Reader, Section};
use super::scalar::{Choice, Count, Scalar, Whole, text};
use super::shared::Shared;
use super::yaml::Value;
use crate::settings::{self, KeyDigest, Limits, Network, Period, Secret, Strategy};

/// The key of a provider balancer's clients, and what it is called here.
const FROM_ENVIRONMENT: (&str, &str) = ("OPTILLM_API_KEY", "optillm");
/// Characters below which a key is warned of.
const SHORT: usize = 16;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Key {
    name: Field<Label>,
    key: Field<Secret>,
    key_sha256: Field<KeyDigest>,
    key_file: Field<PathBuf>,
    models: Vec<Field<Pattern>>,
    providers: Vec<Field<String>>,
    priority: Field<Priority>,
    strategy: Field<Strategy>,
    requests_per_minute: Field<Amount>,
    requests_per_day: Field<Amount>,
    tokens_per_minute: Field<Amount>,
    tokens_per_day: Field<Amount>,
    max_concurrent: Field<Count<1>>,
    budget: Budget,
    tag: Field<Label>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Budget {
    usd: Field<Dollars>,
    per: Field<Period>,
}

/// Models by `*` and `?`.
#[derive(Clone)]
struct Pattern(Arc<str>);

impl Scalar for Pattern {
    fn read(value: &Value) -> Result<Pattern, String> {
        text(value)
            .filter(|pattern| (1..=256).contains(&pattern.len()))
            .filter(|pattern| !pattern.contains(|c: char| c.is_control() || c.is_whitespace()))
            .map(|pattern| Pattern(pattern.to_ascii_lowercase().into()))
            .ok_or_else(|| "expected a model's name, in which * and ? stand for others".into())
    }

    fn write(&self) -> Value {
        (*self.0).into()
    }
}

impl Scalar for KeyDigest {
    fn read(value: &Value) -> Result<KeyDigest, String> {
        text(value)
            .and_then(|text| KeyDigest::from_hex(&text))
            .ok_or_else(|| "expected the 64 hexadecimal digits of a SHA-256".into())
    }

    fn write(&self) -> Value {
        self.to_string().into()
    }
}

/// As `X-Priority` has it.
#[derive(Clone, Copy)]
struct Priority(i32);

impl Scalar for Priority {
    fn read(value: &Value) -> Result<Priority, String> {
        let text = text(value).unwrap_or_default().to_ascii_lowercase();
        match &*text {
            "high" => Ok(Priority(10)),
            "normal" => Ok(Priority(0)),
            "low" => Ok(Priority(-10)),
            number => number.parse().map(Priority).map_err(|_| {
                "expected high, normal, low, or a whole number (higher goes first)".into()
            }),
        }
    }

    fn write(&self) -> Value {
        self.0.into()
    }
}

/// Requests or tokens.
#[derive(Clone, Copy)]
struct Amount(u64);

/// More than any provider sells in a day, and far from the end of the integers that are counted with.
const MAX_AMOUNT: u64 = 1_000_000_000_000;

impl Scalar for Amount {
    fn read(value: &Value) -> Result<Amount, String> {
        text(value)
            .and_then(|text| text.replace('_', "").parse().ok())
            .filter(|amount| (1..=MAX_AMOUNT).contains(amount))
            .map(Amount)
            .ok_or_else(|| format!("expected a whole number from 1 to {MAX_AMOUNT}"))
    }

    fn write(&self) -> Value {
        self.0.into()
    }
}

/// US dollars, kept in millionths.
#[derive(Clone, Copy)]
struct Dollars(u64);

const MICRO: f64 = 1e6;

impl Scalar for Dollars {
    fn read(value: &Value) -> Result<Dollars, String> {
        text(value)
            .and_then(|text| text.parse().ok())
            .filter(|usd: &f64| (0.0..=1e9).contains(usd))
            .map(|usd| Dollars((usd * MICRO).round() as u64))
            .ok_or_else(|| "expected an amount in US dollars, such as 20 or 0.5".into())
    }

    fn write(&self) -> Value {
        (self.0 as f64 / MICRO).into()
    }
}

impl Choice for Period {
    const NAMES: &'static [(&'static str, Period)] = &[
        ("day", Period::Day),
        ("month", Period::Month),
        ("total", Period::Total),
    ];
}

/// `10.0.0.0/8`, or one address.
#[derive(Clone, Copy)]
pub(super) struct Allowed(pub(super) Network);

impl Scalar for Allowed {
    fn read(value: &Value) -> Result<Allowed, String> {
        text(value)
            .and_then(|text| Network::parse(&text))
            .map(Allowed)
            .ok_or_else(|| "expected an address or a network such as 10.0.0.0/8".into())
    }

    fn write(&self) -> Value {
        self.0.to_string().into()
    }
}

impl Key {
    pub(super) fn template() -> Key {
        Key {
            models: vec![Field::Absent],
            providers: vec![Field::Absent],
            ..Key::default()
        }
    }

    fn used(self, mut at: Section<'_, '_>, providers: &[Arc<str>]) -> Option<settings::ClientKey> {
        if !self.name.is_stated() {
            at.problem_here("has no name; add one, as in name: alice");
        }
        let name = at.stated("name", self.name);
        let digest = digest(&mut at, self.key, self.key_sha256, self.key_file);
        let mut list = at.section("models");
        let models = self.models.into_iter().enumerate();
        let models = models.filter_map(|(index, model)| list.stated_item(index, model));
        let models = models.map(|pattern| pattern.0).collect();
        let providers = known(&mut at.section("providers"), self.providers, providers);
        let priority = at.stated("priority", self.priority);
        let strategy = at.stated("strategy", self.strategy);
        let mut amount = |key: &str, field| at.stated(key, field).map(|amount: Amount| amount.0);
        let mut limits = Limits {
            requests_per_minute: amount("requests_per_minute", self.requests_per_minute),
            requests_per_day: amount("requests_per_day", self.requests_per_day),
            tokens_per_minute: amount("tokens_per_minute", self.tokens_per_minute),
            tokens_per_day: amount("tokens_per_day", self.tokens_per_day),
            ..Limits::default()
        };
        let concurrent = at.stated("max_concurrent", self.max_concurrent);
        limits.max_concurrent = concurrent.map(Whole::size);
        limits.budget = self.budget.used(&mut at);
        let tag = at.stated("tag", self.tag);
        Some(settings::ClientKey {
            name: name?.0,
            digest: digest?,
            models,
            providers,
            priority: priority.map(|priority| priority.0),
            strategy,
            limits,
            tag: tag.map(|tag| tag.0),
        })
    }
}

impl Budget {
    fn used(self, at: &mut Section<'_, '_>) -> Option<settings::Budget> {
        let mut at = at.section("budget");
        let stated = self.per.is_stated();
        let missing = !self.usd.is_stated();
        let per = at.stated("per", self.per);
        if missing {
            if stated {
                at.problem("usd", "is missing; say how many US dollars, as in usd: 20");
            }
            return None;
        }
        Some(settings::Budget {
            micro_usd: at.stated("usd", self.usd)?.0,
            per: per.unwrap_or(Period::Month),
        })
    }
}

/// Returns those of the names that providers have, as the providers write them.
fn known(
    at: &mut Section<'_, '_>,
    names: Vec<Field<String>>,
    providers: &[Arc<str>],
) -> Vec<Arc<str>> {
    let mut used = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let Some(name) = at.stated_item(index, name) else {
            continue;
        };
        let mut having = providers.iter();
        match having.find(|provider| provider.eq_ignore_ascii_case(&name)) {
            Some(provider) => used.push(Arc::clone(provider)),
            None => at.problem_here(format!(
                "names {name:?}, and no provider is called so; there are {}",
                providers.join(", ")
            )),
        }
    }
    used
}

/// Returns the digest of the one credential that is stated.
fn digest(
    at: &mut Section<'_, '_>,
    key: Field<Secret>,
    sha256: Field<KeyDigest>,
    file: Field<PathBuf>,
) -> Option<KeyDigest> {
    let stated = [key.is_stated(), sha256.is_stated(), file.is_stated()];
    match stated.iter().filter(|stated| **stated).count() {
        0 => at.problem_here(
            "has no credential; `remuda key` makes one: add it as key, key_file, or key_sha256",
        ),
        1 => {}
        _ => at.problem_here("has several credentials; keep one of key, key_sha256 and key_file"),
    }
    if let Some(key) = at.secret("key", key) {
        return of_secret(at, "key", &key);
    }
    if let Some(digest) = at.secret("key_sha256", sha256) {
        return Some(digest);
    }
    let path = at.stated("key_file", file)?;
    let read = read_secret(&path);
    let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()));
    let bad = |expected| format!("{expected}; see {}", path.display());
    let key = read.and_then(|text| Secret::read(&text.into()).map_err(bad));
    let key = key.inspect_err(|what| at.problem("key_file", what)).ok()?;
    of_secret(at, "key_file", &key)
}

fn of_secret(at: &mut Section<'_, '_>, name: &str, key: &Secret) -> Option<KeyDigest> {
    // What `remuda check` prints in place of provider keys: it must not become a credential.
    if key.expose().bytes().all(|byte| byte == b'*') {
        at.problem(name, "is a mask, not a key; `remuda key` makes one");
        return None;
    }
    if key.expose().len() < SHORT {
        at.warning(name, format!("has fewer than {SHORT} characters, and is soon guessed; `remuda key` makes a good one"));
    }
    Some(KeyDigest::of(key.expose().as_bytes()))
}

/// Returns the keys of the file, else the one of the environment.
pub(super) fn used(
    keys: Vec<Option<Key>>,
    shared: Shared,
    providers: &[settings::Provider],
    reader: &mut Reader<'_>,
) -> settings::Access {
    let names: Vec<Arc<str>> = providers.iter().map(|one| Arc::clone(&one.name)).collect();
    let mut used = Vec::new();
    let (mut labels, mut digests) = (HashSet::new(), HashSet::new());
    let listed = !keys.is_empty();
    for (index, key) in keys.into_iter().enumerate() {
        let mut list = reader.section("keys");
        let Some(key) = key.and_then(|key| key.used(list.item(index), &names)) else {
            continue;
        };
        if !labels.insert(key.name.to_ascii_lowercase()) {
            let what = format!(
                "a key named {:?} is already there; choose another name",
                key.name
            );
            list.item(index).problem("name", what);
        }
        if !digests.insert(key.digest) {
            list.item(index).problem_here(
                "has the credential of another key; make a new one with `remuda key`",
            );
        }
        used.push(key);
    }
    let (variable, name) = FROM_ENVIRONMENT;
    if !listed && let Some(key) = reader.secret_variable(&[variable]) {
        used.push(settings::ClientKey::new(
            name,
            KeyDigest::of(key.expose().as_bytes()),
        ));
    }
    settings::Access {
        keys: used,
        shared: shared.used(&mut reader.section("shared")),
    }
}

impl From<&settings::ClientKey> for Key {
    fn from(used: &settings::ClientKey) -> Key {
        let amount = |amount: Option<u64>| Field::from(amount.map(Amount));
        let limits = &used.limits;
        Key {
            name: Label(Arc::clone(&used.name)).into(),
            key: Field::Absent,
            key_sha256: used.digest.into(),
            key_file: Field::Absent,
            models: used
                .models
                .iter()
                .map(|model| Pattern(Arc::clone(model)).into())
                .collect(),
            providers: used
                .providers
                .iter()
                .map(|name| name.to_string().into())
                .collect(),
            priority: used.priority.map(Priority).into(),
            strategy: used.strategy.into(),
            requests_per_minute: amount(limits.requests_per_minute),
            requests_per_day: amount(limits.requests_per_day),
            tokens_per_minute: amount(limits.tokens_per_minute),
            tokens_per_day: amount(limits.tokens_per_day),
            max_concurrent: limits.max_concurrent.map(Whole::of).into(),
            budget: Budget {
                usd: limits.budget.map(|budget| Dollars(budget.micro_usd)).into(),
                per: limits.budget.map(|budget| budget.per).into(),
            },
            tag: used.tag.clone().map(Label).into(),
        }
    }
}
