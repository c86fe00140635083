//! Log lines: text for people, or one JSON object a line for machines, on standard error.

use std::io::Write;
use std::time::SystemTime;

use log::Record;

use crate::settings::{LogFormat, Monitoring};

/// Pingora logs what a client's broken connection looks like from inside, with bytes of its head.
/// Remuda's access log says what happened to every request, without them.
const QUIET: [&str; 2] = ["pingora_proxy", "pingora_core::protocols"];

/// Starts logging. A second call changes nothing, as in tests.
pub(super) fn start(monitoring: &Monitoring) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(monitoring.log_level);
    if monitoring.log_level < log::LevelFilter::Debug {
        builder.filter_module("pingora", monitoring.log_level.min(log::LevelFilter::Warn));
        builder.filter_module(
            "pingora_core",
            monitoring.log_level.min(log::LevelFilter::Warn),
        );
        builder.filter_module(
            "pingora_load_balancing",
            monitoring.log_level.min(log::LevelFilter::Error),
        );
        for module in QUIET {
            builder.filter_module(module, log::LevelFilter::Off);
        }
    }
    match monitoring.log_format {
        LogFormat::Text => builder.format(|out, record| {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            writeln!(
                out,
                "{now} {:<5} {} {}",
                record.level(),
                record.target(),
                record.args()
            )
        }),
        LogFormat::Json => builder.format(|out, record| writeln!(out, "{}", json_line(record))),
    };
    let _ = builder.try_init();
}

/// `{"time","level","target","message"}`; a message that is itself JSON (the access log) becomes
/// the fields of `request`.
fn json_line(record: &Record<'_>) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        time: String,
        level: &'static str,
        target: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<&'a serde_json::value::RawValue>,
    }
    let text = record.args().to_string();
    let request = serde_json::from_str::<&serde_json::value::RawValue>(&text)
        .ok()
        .filter(|value| value.get().starts_with('{'));
    let line = Line {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        level: record.level().as_str(),
        target: record.target(),
        message: request.is_none().then_some(&*text),
        request,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn line(text: &str) -> serde_json::Value {
        let line = json_line(
            &Record::builder()
                .level(Level::Info)
                .target("access")
                .args(format_args!("{text}"))
                .build(),
        );
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_line_is_one_json_object() {
        let value = line("say \"hi\"\nagain");
        assert_eq!(value["message"], "say \"hi\"\nagain");
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn an_access_entry_keeps_its_fields() {
        assert_eq!(line(r#"{"status":200}"#)["request"]["status"], 200);
    }
}
