//! Log lines: text for people, or one JSON object a line for machines, on standard error.

use std::io::Write;
use std::time::SystemTime;

use log::{LevelFilter, Record};

use crate::settings::{LogFormat, Monitoring};

/// What this program logs itself; it shows no credential and no prompt at any level.
const OWN: [&str; 2] = ["remuda", "access"];

/// Others say here what passes through them, and what a broken connection looks like from inside: heads, bodies, frames.
/// Remuda's access log says what happened to every request, without those.
const QUIET: [&str; 2] = ["pingora_proxy", "pingora_core::protocols"];

/// The most that other modules log at any level: below it they print heads with their credentials.
const OF_OTHERS: LevelFilter = LevelFilter::Info;

/// Returns how much each module logs where this program logs as much as `level`.
fn levels(level: LevelFilter) -> Vec<(Option<&'static str>, LevelFilter)> {
    let mut levels = vec![(None, level.min(OF_OTHERS))];
    levels.extend(OWN.map(|module| (Some(module), level)));
    if level < LevelFilter::Debug {
        let warnings = level.min(LevelFilter::Warn);
        levels.push((Some("pingora"), warnings));
        levels.push((Some("pingora_core"), warnings));
        let errors = level.min(LevelFilter::Error);
        levels.push((Some("pingora_load_balancing"), errors));
    }
    levels.extend(QUIET.map(|module| (Some(module), LevelFilter::Off)));
    levels
}

/// Starts logging. A second call changes nothing, as in tests.
pub(super) fn start(monitoring: &Monitoring) {
    let mut builder = env_logger::Builder::new();
    for (module, level) in levels(monitoring.log_level) {
        builder.filter(module, level);
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

/// Writes a record as `{"time","level","target","message"}`; a message that is itself JSON (the access log) becomes the
/// fields of `request`.
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
    fn others_say_nothing_of_what_passes_through_them() {
        for (at, own, others) in [
            (LevelFilter::Trace, LevelFilter::Trace, LevelFilter::Info),
            (LevelFilter::Debug, LevelFilter::Debug, LevelFilter::Info),
            (LevelFilter::Info, LevelFilter::Info, LevelFilter::Info),
            (LevelFilter::Error, LevelFilter::Error, LevelFilter::Error),
        ] {
            let levels = levels(at);
            let of = |module| levels.iter().find(|(name, _)| *name == module).unwrap().1;
            assert_eq!(of(None), others);
            assert_eq!(of(Some("remuda")), own);
            assert_eq!(of(Some("access")), own);
            for module in QUIET {
                assert_eq!(of(Some(module)), LevelFilter::Off);
            }
        }
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
