//! What only Bedrock needs: a region, and credentials to sign with unless there is a bearer key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::address::BackendUrl;
use super::field::Field;
use super::reader::Section;
use super::scalar::{Scalar, text};
use super::yaml::Value;
use crate::settings::{self, Secret, StaticBackend};

/// Where a region is not stated anywhere.
const DEFAULT_REGION: &str = "us-east-1";

/// Access key, secret key and session token: those of Bedrock alone, else those that all of Amazon's tools read.
const VARIABLES: [[&str; 3]; 2] = [
    [
        "AWS_BEDROCK_ACCESS_KEY",
        "AWS_BEDROCK_SECRET_KEY",
        "AWS_BEDROCK_SESSION_TOKEN",
    ],
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ],
];

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Aws {
    region: Field<Region>,
    access_key: Field<Secret>,
    secret_key: Field<Secret>,
    session_token: Field<Secret>,
    control_url: Field<BackendUrl>,
}

#[derive(Clone, Debug)]
struct Region(String);

impl Scalar for Region {
    fn read(value: &Value) -> Result<Region, String> {
        text(value)
            .filter(|name| (1..=32).contains(&name.len()))
            .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
            .map(|name| Region(name.to_ascii_lowercase()))
            .ok_or_else(|| "expected a region such as us-east-1".into())
    }

    fn write(&self) -> Value {
        self.0.as_str().into()
    }
}

impl Aws {
    /// Returns the keys that the file states, for a provider of another kind.
    pub(super) fn stated_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("region", self.region.is_stated()),
            ("access_key", self.access_key.is_stated()),
            ("secret_key", self.secret_key.is_stated()),
            ("session_token", self.session_token.is_stated()),
            ("control_url", self.control_url.is_stated()),
        ];
        keys.into_iter()
            .filter_map(|(key, stated)| stated.then_some(key))
    }

    /// Returns whether the file states credentials that requests are signed with.
    pub(super) fn signs(&self) -> bool {
        self.access_key.is_stated() || self.secret_key.is_stated()
    }

    /// Returns what the file states, for a provider of another kind too, so that its mistakes are reported.
    pub(super) fn stated(self, at: &mut Section<'_, '_>) -> settings::Aws {
        let region = at.stated("region", self.region);
        let control_url = at.stated("control_url", self.control_url);
        settings::Aws {
            region: region.map(|region| region.0).unwrap_or_default().into(),
            access_key: at.secret("access_key", self.access_key),
            secret_key: at.secret("secret_key", self.secret_key),
            session_token: at.secret("session_token", self.session_token),
            control_url: control_url.map(|url| url.to_string().into()),
        }
    }
}

/// Fills in what the file leaves open. `signs` is whether the file states what requests are signed with, `has_key`
/// whether there is a bearer key, so that nothing need be signed.
pub(super) fn complete(
    at: &mut Section<'_, '_>,
    used: &mut settings::Aws,
    backends: &[StaticBackend],
    signs: bool,
    has_key: bool,
) {
    if used.region.is_empty() {
        let from_host = backends.iter().find_map(|entry| region_of(&entry.host));
        used.region = match from_host {
            Some(region) => region.into(),
            None => region_from_environment(at),
        };
    }
    match (signs, has_key) {
        (false, false) => fill_in(at, used),
        (false, true) => {}
        (true, _) => check_pair(at, used),
    }
}

fn region_from_environment(at: &mut Section<'_, '_>) -> Arc<str> {
    let names = ["AWS_BEDROCK_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"];
    let region: Option<Region> = at.stated_or_first("region", Field::Absent, &names);
    region.map_or(DEFAULT_REGION.into(), |region| region.0.into())
}

/// Returns the region in a host such as `bedrock-runtime.eu-west-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let (region, domain) = host.strip_prefix("bedrock-runtime.")?.split_once('.')?;
    domain.starts_with("amazonaws.").then_some(region)
}

fn fill_in(at: &mut Section<'_, '_>, used: &mut settings::Aws) {
    let environment = &at.reader.environment;
    let set = VARIABLES
        .iter()
        .find(|names| environment.has_secret(names[0]) || environment.has_secret(names[1]));
    let Some(names) = set else {
        at.problem_here(
            "has no credentials; add access_key and secret_key, or api_key with a bearer key, or set \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK",
        );
        return;
    };
    for (name, other) in [(names[0], names[1]), (names[1], names[0])] {
        if !at.reader.environment.has_secret(name) {
            let what = format!("is not set, and {other} is; set both or neither");
            at.reader.variable_problem(name, what);
        }
    }
    used.access_key = at.reader.secret_variable(&names[..1]);
    used.secret_key = at.reader.secret_variable(&names[1..2]);
    used.session_token = at.reader.secret_variable(&names[2..]);
}

fn check_pair(at: &mut Section<'_, '_>, used: &settings::Aws) {
    match (&used.access_key, &used.secret_key) {
        (Some(_), None) => at.problem("access_key", "is stated without secret_key; add it"),
        (None, Some(_)) => at.problem("secret_key", "is stated without access_key; add it"),
        _ => {}
    }
}

impl From<&settings::Aws> for Aws {
    fn from(used: &settings::Aws) -> Aws {
        let control_url = used.control_url.as_ref();
        let control_url = control_url.and_then(|url| BackendUrl::parse(url).ok());
        Aws {
            region: Some(&*used.region)
                .filter(|region| !region.is_empty())
                .map(|region| Region(region.to_owned()))
                .into(),
            access_key: used.access_key.clone().into(),
            secret_key: used.secret_key.clone().into(),
            session_token: used.session_token.clone().into(),
            control_url: control_url.into(),
        }
    }
}
