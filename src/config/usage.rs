//! `usage:`, whether it is counted what answers cost, and where it is kept.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::reader::{Reader, Section};
use super::scalar::{Scalar, text};
use super::yaml::Value;
use crate::settings::{self, Settings};
use crate::usage::Tag;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Usage {
    enabled: Field<bool>,
    path: Field<PathBuf>,
    retention: Field<Days>,
    default_tag: Field<TagName>,
}

/// Where systemd lets a service keep what it has to know when it is started again (systemd.exec(5)): absolute paths
/// between colons, of `StateDirectory=`.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// In it.
const FILE: &str = "usage.db";
/// The longest month: what a month's budget is held against is summed from the rows.
const LEAST: u32 = 31;
const MOST: u32 = 36_500;
const DAY: u64 = 24 * 3600;

/// Whole days, 0 for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Days(u32);

impl Days {
    fn of(retention: Option<Duration>) -> Days {
        let days = retention.map_or(0, |retention| retention.as_secs() / DAY);
        Days(u32::try_from(days).unwrap_or(MOST))
    }
}

impl Scalar for Days {
    fn read(value: &Value) -> Result<Days, String> {
        let days = text(value).and_then(|text| match &*text {
            "0" => Some(0),
            text => {
                let retention = humantime::parse_duration(text).ok()?;
                let days = retention.as_secs() / DAY;
                // Less than a day is a mistake, and none of "for ever".
                (days > 0 || retention.is_zero()).then_some(days)
            }
        });
        days.and_then(|days| u32::try_from(days).ok())
            .filter(|days| *days == 0 || (LEAST..=MOST).contains(days))
            .map(Days)
            .ok_or_else(|| {
                format!(
                    "expected days such as 400d, at least {LEAST}, which budgets of a month need, or 0 for ever"
                )
            })
    }

    fn write(&self) -> Value {
        format!("{}d", self.0).into()
    }
}

/// A tag as requests may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TagName(Arc<str>);

impl Scalar for TagName {
    fn read(value: &Value) -> Result<TagName, String> {
        let text = text(value).unwrap_or_default();
        let tag = Tag::parse(&text).map_err(|error| format!("expected a tag; {error}"))?;
        Ok(TagName(tag.as_str().into()))
    }

    fn write(&self) -> Value {
        (*self.0).into()
    }
}

impl Usage {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Usage {
        let default = settings::Usage::default();
        let path = at.stated("path", self.path);
        let retention = match at.stated("retention", self.retention) {
            None => default.retention,
            Some(Days(0)) => None,
            Some(Days(days)) => Some(Duration::from_secs(u64::from(days) * DAY)),
        };
        settings::Usage {
            enabled: at
                .stated("enabled", self.enabled)
                .unwrap_or(default.enabled),
            path: path.or_else(|| state_file(&at)).or(default.path),
            retention,
            default_tag: at.stated("default_tag", self.default_tag).map(|tag| tag.0),
        }
    }
}

/// Warns of a path that the gateway will not be able to use, as it would not start.
pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let usage = &settings.usage;
    let Some(path) = usage.path.as_deref().filter(|_| usage.enabled) else {
        return;
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder.display();
    let what = match folder.metadata() {
        Ok(found) if !found.is_dir() => format!("{shown} is a file; name a folder"),
        // SQLite has files of its own beside the one that is named.
        Ok(found) if found.permissions().readonly() => {
            format!("nothing can be written in the folder {shown}; allow it to remuda's user")
        }
        Ok(_) => return,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            format!("there is no folder {shown} here; create it before the gateway is started")
        }
        Err(error) => format!("the folder {shown} cannot be looked at: {error}"),
    };
    reader.section("usage").warning("path", what);
}

fn state_file(at: &Section<'_, '_>) -> Option<PathBuf> {
    let directories = at.reader.environment.setting(STATE_DIRECTORY)?;
    let first = directories.split(':').next()?;
    let first = Path::new(first);
    first.is_absolute().then(|| first.join(FILE))
}

impl From<&settings::Usage> for Usage {
    fn from(used: &settings::Usage) -> Usage {
        Usage {
            enabled: used.enabled.into(),
            path: used.path.clone().into(),
            retention: Days::of(used.retention).into(),
            default_tag: used.default_tag.clone().map(TagName).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::from_sources;

    fn used(yaml: &str, state: Option<&str>) -> Result<settings::Usage, String> {
        let state = state.map(|text| (STATE_DIRECTORY.to_owned(), text.to_owned()));
        let environment: BTreeMap<_, _> = state.into_iter().collect();
        from_sources(Some(("remuda.yaml", yaml)), &environment)
            .map(|loaded| loaded.settings.usage)
            .map_err(|report| report.to_string())
    }

    #[test]
    fn a_service_keeps_it_where_systemd_says() {
        let path = |yaml, state| used(yaml, state).unwrap().path;
        assert_eq!(path("", None), None);
        let state = Some("/var/lib/remuda:/var/lib/other");
        assert_eq!(path("", state), Some("/var/lib/remuda/usage.db".into()));
        let stated = "usage: { path: /srv/usage.db }";
        assert_eq!(path(stated, state), Some("/srv/usage.db".into()));
        assert_eq!(path("", Some("relative")), None);
    }

    #[test]
    fn only_nothing_is_for_ever() {
        let kept = |text: &str| {
            let yaml = format!("usage: {{ retention: {text} }}");
            used(&yaml, None).map(|usage| usage.retention)
        };
        assert_eq!(kept("0"), Ok(None));
        assert_eq!(kept("0d"), Ok(None));
        assert_eq!(kept("31d"), Ok(Some(Duration::from_secs(31 * DAY))));
        for text in ["1s", "23h", "1d", "30d"] {
            let refused = kept(text).unwrap_err();
            assert!(refused.contains("at least 31"), "{text}: {refused}");
        }
    }

    #[test]
    fn budgets_need_usage_and_a_file_to_outlive_a_restart() {
        let budget =
            "keys: [ { name: a, key: a-key-of-some-length, budget: { usd: 5, per: month } } ]";
        let load = |usage: &str| {
            let yaml = format!("{budget}\nusage: {usage}");
            from_sources(Some(("remuda.yaml", &yaml)), &BTreeMap::new())
        };
        let refused = load("{ enabled: false }").unwrap_err().to_string();
        assert!(refused.contains("usage.enabled"), "{refused}");
        let told = |usage: &str| {
            let warnings = load(usage).unwrap().warnings;
            warnings.iter().any(|warning| warning.key == "usage.path")
        };
        assert!(told("{}"));
        assert!(!told("{ path: usage.db }"));
    }

    #[test]
    fn a_folder_that_is_missing_or_closed_is_told_with_its_line() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let warnings = |path: &Path| {
            let yaml = format!("usage:\n  path: {}\n", path.display());
            let loaded = from_sources(Some(("remuda.yaml", &yaml)), &BTreeMap::new()).unwrap();
            let warnings = loaded.warnings.iter();
            let of_path = warnings.filter(|warning| warning.key == "usage.path");
            of_path.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(warnings(&folder.path().join("usage.db")).is_empty());
        let missing = warnings(&folder.path().join("none/usage.db"));
        assert!(missing[0].starts_with("remuda.yaml:2: usage.path: there is no folder"));
        let closed = folder.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
        let told = warnings(&closed.join("usage.db"));
        assert!(told[0].starts_with("remuda.yaml:2: usage.path: nothing can be written"));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(warnings(&file.join("usage.db"))[0].contains("is a file"));
    }

    #[test]
    fn rows_are_kept_for_a_month_at_least_or_for_ever() {
        let retention = |text: &str| used(&format!("usage: {{ retention: {text} }}"), None);
        for ever in ["0", "0d"] {
            assert_eq!(retention(ever).unwrap().retention, None);
        }
        let month = Duration::from_secs(31 * DAY);
        assert_eq!(retention("31d").unwrap().retention, Some(month));
        for refused in ["30d", "7", "-1", "200years"] {
            let refused = retention(refused).unwrap_err();
            assert!(
                refused.contains("usage.retention") && refused.contains("at least 31"),
                "{refused}"
            );
        }
    }
}
