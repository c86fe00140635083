//! Logs.

/// Logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitoring {
    pub log_level: log::LevelFilter,
    pub log_format: LogFormat,
    /// One line a request (default true).
    pub access_log: bool,
}

impl Default for Monitoring {
    fn default() -> Monitoring {
        Monitoring {
            log_level: log::LevelFilter::Info,
            log_format: LogFormat::Text,
            access_log: true,
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
