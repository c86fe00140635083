//! The keys of `server:`.

use super::{Key, MAX, Takes, names};
use crate::settings::{Forwarded, HealthStatus, ModelNames, PublicPage};

pub(super) static KEYS: &[Key] = &[
    Key::new("server.listen", Takes::Address, "`0.0.0.0:11434`", "Where clients connect").from("`PROXY_HOST` and `PROXY_PORT`, else `HOST` and `PORT`, else `OPTILLM_PORT`"),
    Key::new("server.allow", Takes::List(&Takes::Text), "any", "Addresses and networks from which clients may connect: `[127.0.0.1, 10.0.0.0/8]`; others are answered 403"),
    Key::new("server.hosts", Takes::List(&Takes::Text), "any", "Names by which clients may call this gateway: `[llm.example, \"*.llm.example\"]`; other names are answered 403. Addresses, `localhost`, and names that end in `.localhost`, `.local` or `.internal` are always answered; on a loopback address, no other name is by default"),
    Key::new("server.allowed_origins", Takes::List(&Takes::Text), "Ollama's", "Origins of web pages that may send requests, besides those that Ollama allows: `[\"https://chat.example\", \"moz-extension://*\"]`").from("`OLLAMA_ORIGINS`"),
    Key::new("server.base_path", Takes::Text, "none", "A path in front of every route, such as `/ollama`, for a proxy in front that keeps it"),
    Key::new("server.admin", Takes::AddressOrOff, "`127.0.0.1:11435`", "Where metrics and health are served, or `off`").from("`PROXY_ADMIN`"),
    Key::new("server.max_body", Takes::Size, "`64MiB`", "A larger request body is answered 413"),
    Key::new("server.max_buffered", Takes::Size, "`1GiB`", "Bytes of all request bodies over 64 KiB together, which are held until their answers begin; beyond it, requests are answered 503"),
    Key::new("server.max_unsent", Takes::Size, "`128MiB`", "Bytes of all answers together that wait for clients to read them; beyond it, requests are answered 503 or their answers end"),
    Key::new("server.max_header", Takes::Size, "`64KiB`", "A larger request head is answered 431"),
    Key::new("server.header_timeout", Takes::TimeAboveZero, "`10s`", "Time from the first byte of a request head to its last"),
    Key::new("server.body_timeout", Takes::TimeAboveZero, "`30s`", "Time between two pieces of a request body"),
    Key::new("server.max_body_time", Takes::TimeAboveZero, "`10m`", "Time from the first byte of a request body to its last"),
    Key::new("server.min_body_rate", Takes::Size, "`1KiB`", "Least rate of a request body, in bytes a second, over any `server.body_timeout`"),
    Key::new("server.keepalive_timeout", Takes::TimeAboveZero, "`75s`", "An idle client connection is closed after this time"),
    Key::new("server.max_connections", Takes::Whole(1, MAX), "`10000`", "Open client connections, counting each stream of HTTP/2; further ones are answered 503 and closed"),
    Key::new("server.max_connections_per_address", Takes::Whole(0, MAX), "`5000`", "The same for one client address (for IPv6, one /64), except for loopback addresses; 0 means no limit"),
    Key::new("server.max_streams", Takes::Whole(1, 10_000), "`128`", "Streams at a time on one HTTP/2 connection"),
    Key::new("server.max_requests_per_address", Takes::Rate, "no limit", "Requests of one client address (of IPv6, of one /64) in a second, a minute or an hour, such as `10/s` or `600/m`; more are answered 429. Requests for health pages are not counted"),
    Key::new("server.max_in_flight_per_client", Takes::Whole(0, MAX), "`0`", "Requests in flight per client address; more are answered 429; 0 means no limit"),
    Key::new("server.threads", Takes::Whole(1, 1024), "one per core", "Worker threads"),
    Key::new("server.work_stealing", Takes::Truth, "`false`", "Whether idle workers take tasks from busy ones"),
    Key::new("server.drain_timeout", Takes::Time, "`30s`", "How long open streams may continue after SIGTERM"),
    Key::new("server.expose_backend", Takes::Truth, "`false`", "Whether answers carry `X-Remuda-Backend` and `X-Remuda-Attempts`"),
    Key::new("server.reject_streaming", Takes::Truth, "`false`", "Whether to refuse `stream: true`, and to treat an absent `stream` as false").from("`REJECT_STREAMING`"),
    Key::new("server.manage", Takes::Truth, "`false`", "Whether to allow pull, push, create, copy, delete and blobs"),
    Key::new("server.forwarded", Takes::OneOf(names::<Forwarded>), "`append`", "What to do with `X-Forwarded-*` and `Forwarded`: `append`, `replace` or `off`"),
    Key::new("server.public", Takes::List(&Takes::OneOf(names::<PublicPage>)), "all but metrics", "Pages about the gateway itself that clients get as well: `health`, `providers`, `tags`, `backends`, `metrics`"),
    Key::new("server.health_status", Takes::OneOf(names::<HealthStatus>), "`states`", "What `/health` reports: `states` (`healthy`, `degraded`, or `unhealthy` with 503), or `ok` while the process serves, whatever its providers do"),
    Key::new("server.model_names", Takes::OneOf(names::<ModelNames>), "`slash`", "How `/api/tags` lists the models of cloud providers: `slash` (`openai/gpt-5.4`), `dash` (`openai-gpt-5.4`), or `both`, the default where the environment alone makes the providers"),
];
