//! The keys of `keys:` and `shared:`.

use super::{Key, MAX, Takes, names};
use crate::settings::{Period, Strategy};

pub(super) static KEYS: &[Key] = &[
    Key::new("keys", Takes::Sections, "–", "The list of keys. If it is absent, the environment may state one key without limits, named `optillm`").from("`OPTILLM_API_KEY`"),
    Key::new("keys[].name", Takes::Text, "required", "Up to 64 letters, digits, and `-_.`, as it appears in metrics and logs"),
    Key::new("keys[].key", Takes::Text, "–", "The key, which clients send as `Authorization: Bearer …` or `x-api-key: …`"),
    Key::new("keys[].key_sha256", Takes::Text, "–", "The SHA-256 of the key in hexadecimal digits, in place of the key"),
    Key::new("keys[].key_file", Takes::Text, "–", "A file that holds the key"),
    Key::new("keys[].models", Takes::List(&Takes::Text), "all", "Models that the key may use, with `*` and `?`: `[llama3*, groq/*]`"),
    Key::new("keys[].providers", Takes::List(&Takes::Text), "all", "Providers that the key may use"),
    Key::new("keys[].priority", Takes::Priority, "as the request says", "The highest priority that `X-Priority` can ask for, which is also the priority of a request without it: `high`, `normal`, `low`, or a number"),
    Key::new("keys[].strategy", Takes::OneOf(names::<Strategy>), "as for others", "How providers are ordered for the requests of this key"),
    Key::new("keys[].requests_per_minute", Takes::Amount, "no limit", "Requests in any minute"),
    Key::new("keys[].requests_per_day", Takes::Amount, "no limit", "Requests in any 24 hours"),
    Key::new("keys[].tokens_per_minute", Takes::Amount, "no limit", "Input and output tokens in any minute"),
    Key::new("keys[].tokens_per_day", Takes::Amount, "no limit", "Input and output tokens in any 24 hours"),
    Key::new("keys[].max_concurrent", Takes::Whole(1, MAX), "no limit", "Requests in flight"),
    Key::new("keys[].budget.usd", Takes::Number(0.0, Some(1e9)), "no limit", "What the requests of this key may cost, in US dollars"),
    Key::new("keys[].budget.per", Takes::OneOf(names::<Period>), "month", "`day`, `month` or `total`; days and months are those of UTC"),
    Key::new("keys[].tag", Takes::Text, "–", "The tag of its requests that state none"),
    Key::new("shared.url", Takes::Text, "–", "A Redis or Valkey server at which several gateways count together: `redis://[user:password@]host[:port][/database]`, with TLS `rediss://…`"),
    Key::new("shared.prefix", Takes::Text, "remuda", "The prefix of all keys at that server; gateways with the same prefix count together"),
];
