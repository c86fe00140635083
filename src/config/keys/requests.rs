//! The keys of `timeouts:`, `queue:`, `monitoring:` and `usage:`.

use log::LevelFilter;

use super::{Key, MAX, Takes, names};
use crate::settings::{LogFormat, WhenUnhealthy};

pub(super) static KEYS: &[Key] = &[
    Key::new("timeouts.connect", Takes::TimeAboveZero, "`5s`", "Time until the connection to a server is established").from("`BACKEND_CONNECT_TIMEOUT_SECONDS`"),
    Key::new("timeouts.request", Takes::TimeAboveZero, "–", "Another name of `first_byte`"),
    Key::new("timeouts.first_byte", Takes::TimeAboveZero, "`300s`", "Time until the first content of an answer that comes as a stream; a cold load can take minutes").from("`BACKEND_READ_TIMEOUT_SECONDS`"),
    Key::new("timeouts.silent", Takes::TimeAboveZero, "`600s`, or `first_byte` if that is longer", "Time for an answer of which nothing can be seen before it is complete: embeddings, rerankings, transcripts, and answers that a cloud service is not asked to stream. After it, the request is answered 504; it is not run again, and no server is marked"),
    Key::new("timeouts.between_chunks", Takes::TimeAboveZero, "`60s`", "Time between two pieces of an answer").from("`BACKEND_READ_TIMEOUT_SECONDS`"),
    Key::new("timeouts.load", Takes::TimeAboveZero, "`600s`", "Time for an Ollama server to load a model, apart from `first_byte`"),
    Key::new("timeouts.keep_alive", Takes::Time, "`15s`", "A client that waits for a stream gets an empty piece at this interval, so that no proxy in between gives up; from the first such piece on, errors are sent in the stream. `0` disables it"),
    Key::new("timeouts.total", Takes::Time, "no bound", "Time for the whole answer"),
    Key::new("queue.max_concurrent", Takes::Whole(0, MAX), "`1000`", "Requests in flight over all providers; 0 means no limit").from("`MAX_CONCURRENT_REQUESTS`"),
    Key::new("queue.size", Takes::Whole(0, MAX), "`1000`", "Number of requests that may wait; beyond it, those of the lowest priority are answered 503").from("`MAX_QUEUE_SIZE`"),
    Key::new("queue.timeout", Takes::Time, "`60s`", "How long a request may wait").from("`QUEUE_TIMEOUT_SECONDS`"),
    Key::new("queue.ageing", Takes::Time, "`30s`", "Age from which a waiting request may go before all others, whatever the servers have loaded and whoever has priority"),
    Key::new("queue.aged_share", Takes::Number(0.0, Some(1.0)), "`0.1`", "The share of all starts that goes to such requests while others have a higher priority"),
    Key::new("queue.when_unhealthy", Takes::OneOf(names::<WhenUnhealthy>), "`wait`", "What to do while no server is healthy: `wait` for one, or `refuse` at once"),
    Key::new("queue.priorities", Takes::Truth, "`true`", "Whether `X-Priority` counts; otherwise only the order of arrival does").from("`ENABLE_PRIORITIZATION`"),
    Key::new("monitoring.log_level", Takes::OneOf(names::<LevelFilter>), "`info`", "`trace`, `debug`, `info`, `warning`, `error` or `off`; `debug` with `DEBUG=true` in the environment").from("`LOG_LEVEL`, else `OPTILLM_LOG_LEVEL`"),
    Key::new("monitoring.log_format", Takes::OneOf(names::<LogFormat>), "`text`", "`text`, or `json` for one JSON object a line"),
    Key::new("monitoring.access_log", Takes::Truth, "`true`", "Whether to write one line for each request"),
    Key::new("usage.enabled", Takes::Truth, "`true`", "Whether tokens and cost are counted"),
    Key::new("usage.path", Takes::Text, "", "The SQLite file that keeps them. Without it, they are kept in `usage.db` in the state directory that systemd gives the service, or else in memory, which ends with the process"),
    Key::new("usage.retention", Takes::Days, "`400d`", "Age from which hourly sums are removed; at least 31 days, or `0` to keep them for ever"),
    Key::new("usage.default_tag", Takes::Text, "", "The tag of requests that have none"),
];
