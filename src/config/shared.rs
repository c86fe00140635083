//! `shared:`, the server at which several gateways count together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::label::Label;
use super::reader::Section;
use super::scalar::Scalar;
use super::yaml::Value;
use crate::settings::{self, Secret};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Shared {
    url: Field<ServerUrl>,
    prefix: Field<Label>,
}

/// An address that may hold a user's name and a password.
#[derive(Clone)]
struct ServerUrl(Secret);

impl Scalar for ServerUrl {
    fn read(value: &Value) -> Result<ServerUrl, String> {
        Secret::read(value).map(ServerUrl)
    }

    /// Writes the address without its password, so that it is an address still.
    fn write(&self) -> Value {
        masked(self.0.expose()).into()
    }
}

fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let mut masked = format!("{scheme}://");
    match rest.rsplit_once('@') {
        Some((who, place)) => {
            // What stands alone may be a password in the place of a name.
            let user = who.split_once(':').map(|(user, _)| user);
            let user = user.map_or_else(String::new, |user| format!("{user}:"));
            masked += &format!("{user}***@{place}");
        }
        None => masked += rest,
    }
    let secret = |name: &str| name.eq_ignore_ascii_case("pass");
    for (index, pair) in query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .enumerate()
    {
        masked.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if secret(name) => masked += &format!("{name}=***"),
            _ => masked += pair,
        }
    }
    masked
}

impl Shared {
    pub(super) fn used(self, at: &mut Section<'_, '_>) -> Option<settings::Shared> {
        if !self.url.is_stated() && self.prefix.is_stated() {
            at.problem(
                "url",
                "is missing; add the server's address, as in redis://127.0.0.1:6379",
            );
        }
        let prefix = at.stated("prefix", self.prefix);
        let ServerUrl(url) = at.secret("url", self.url)?;
        // Valkey speaks the same protocol, under a scheme that clients of Redis do not know.
        let plain = match url.expose().strip_prefix("valkey") {
            Some(rest) => format!("redis{rest}"),
            None => url.expose().to_owned(),
        };
        if redis::parse_redis_url(&plain).is_none() {
            at.problem("url", "expected an address such as redis://127.0.0.1:6379/0 or valkey://user:password@host");
            return None;
        }
        Some(settings::Shared {
            url: Secret::new(&plain),
            prefix: prefix.map_or_else(|| "remuda".into(), |prefix| prefix.0),
        })
    }
}

impl From<&Option<settings::Shared>> for Shared {
    fn from(used: &Option<settings::Shared>) -> Shared {
        Shared {
            url: used
                .as_ref()
                .map(|shared| ServerUrl(shared.url.clone()))
                .into(),
            prefix: used
                .as_ref()
                .map(|shared| Label(Arc::clone(&shared.prefix)))
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_password_alone() {
        for (url, shown) in [
            ("redis://cache:1234/2", "redis://cache:1234/2"),
            ("redis://:secret@cache", "redis://:***@cache"),
            ("rediss://me:secret@cache/1", "rediss://me:***@cache/1"),
            ("redis://me:s%40e:cret@cache", "redis://me:***@cache"),
            ("redis://secret@cache", "redis://***@cache"),
            (
                "redis+unix:///run/redis.sock?db=1&user=me&pass=secret",
                "redis+unix:///run/redis.sock?db=1&user=me&pass=***",
            ),
        ] {
            let shown_again = masked(shown);
            assert_eq!((&*masked(url), &*shown_again), (shown, shown));
            assert!(redis::parse_redis_url(shown).is_some(), "{shown}");
        }
    }
}
