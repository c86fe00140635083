//! From what people write (YAML, environment, `.env`) to the configuration as used.
//!
//! A file and the environment combine: the file wins where it states a key, the environment fills
//! the rest, and what is still open has its default.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File as OpenFile;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod access;
mod adaptive;
mod address;
mod aws;
mod azure;
mod backend;
mod balance;
mod breaker;
mod checks;
mod copies;
mod credentials;
mod difference;
mod discover;
mod duration;
mod enabled;
mod entries;
mod environment;
mod field;
mod file;
mod foreign;
mod headers;
mod interpolate;
mod keys;
mod kind;
mod known;
mod label;
mod locate;
mod monitoring;
mod origin;
mod pool;
mod probes;
mod problem;
mod provider;
mod queue;
mod rate;
mod reader;
mod requests;
mod retry;
mod route;
mod routing;
mod scalar;
mod schema;
mod schema_value;
mod server;
mod service;
mod shared;
mod size;
mod targets;
#[cfg(test)]
mod tests;
mod timeouts;
mod usage;
mod yaml;

use environment::Environment;
use interpolate::interpolate;
use problem::KeyPath;
use reader::{OPTILLM, Reader};
use yaml::Value;

pub use address::{AdminAddress, admin_address, host_address, listen_address, local_address};
pub use difference::differences;
pub use problem::{Problem, Report};
pub use schema::schema;

use crate::settings::Settings;

/// Where a configuration is looked for when the command line names none.
pub const DEFAULT_FILES: [&str; 2] = ["remuda.yaml", "/etc/remuda/remuda.yaml"];

/// Beneath the home directory: where OptiLLM's proxy plugin keeps its own, which is looked for after those.
const OPTILLM_FOLDER: &str = ".optillm";

/// Larger is not a configuration.
const MAX_FILE: u64 = 4 << 20;

/// A configuration that can be used, and what a reader of it should know.
#[derive(Debug)]
pub struct LoadedSettings {
    pub settings: Settings,
    pub source: Source,
    /// What was taken in a way that may not have been meant.
    pub warnings: Vec<Problem>,
}

/// A configuration that may have mistakes: what of it can be read, for those who need a little of it.
#[derive(Debug)]
pub struct Glance {
    pub settings: Settings,
    pub source: Source,
    pub problems: Vec<Problem>,
}

impl Glance {
    /// Returns the problem with the key, or with a key beneath it or above it.
    pub fn problem_with(&self, key: &str, variable: &str) -> Option<&Problem> {
        let holds = |one: &str, other: &str| {
            let rest = other.strip_prefix(one);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.problems.iter().find(|problem| {
            let stated = problem.key.as_str();
            stated == variable || holds(stated, key) || holds(key, stated)
        })
    }
}

/// What the command line says in place of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub listen: Option<SocketAddr>,
    pub admin: Option<AdminAddress>,
}

impl Overrides {
    fn apply(self, settings: &mut Settings) {
        let server = &mut settings.server;
        server.listen = self.listen.unwrap_or(server.listen);
        server.admin = self.admin.map_or(server.admin, |admin| admin.0);
    }
}

/// What a configuration was read from, besides the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Environment => f.write_str("the environment alone"),
        }
    }
}

/// Reads the file at `path`, else the first of [`DEFAULT_FILES`] that exists, else `~/.optillm/proxy_config.yaml` (or
/// `.yml`), else none; with the process's environment and a `.env` file in the working directory.
///
/// # Errors
/// All that is wrong, in the order of its lines, or the first thing that cannot be read at all.
pub fn load(path: Option<&Path>) -> Result<LoadedSettings, Report> {
    load_with(path, Overrides::default())
}

/// Loads a configuration as [`load`] does, with what the command line says.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: Option<&Path>, overrides: Overrides) -> Result<LoadedSettings, Report> {
    let variables = environment::variables(Path::new(".env"))?;
    let home = variables.get("HOME").map(Path::new);
    let Some((path, text)) = find(path, home)? else {
        return loaded(None, &variables, overrides);
    };
    let mut loaded = loaded(
        Some((&path.to_string_lossy(), &text)),
        &variables,
        overrides,
    )?;
    loaded.source = Source::File(path);
    Ok(loaded)
}

/// Loads a configuration as [`load`] does, with what the command line says.
///
/// # Errors
/// What cannot be read at all.
pub fn glance(path: Option<&Path>) -> Result<Glance, Report> {
    let variables = environment::variables(Path::new(".env"))?;
    let home = variables.get("HOME").map(Path::new);
    let found = find(path, home)?;
    let named = found
        .as_ref()
        .map(|(path, text)| (path.to_string_lossy(), text));
    let yaml = named.as_ref().map(|(name, text)| (&**name, text.as_str()));
    let (settings, reader) = read_settings(yaml, &variables, Overrides::default())?;
    let problems = reader.into_problems();
    Ok(Glance {
        settings,
        source: found.map_or(Source::Environment, |(path, _)| Source::File(path)),
        problems,
    })
}

fn find(named: Option<&Path>, home: Option<&Path>) -> Result<Option<(PathBuf, String)>, Report> {
    let candidates: Vec<PathBuf> = match named {
        Some(path) => vec![path.to_owned()],
        None => {
            let folder = home.map(|home| home.join(OPTILLM_FOLDER));
            let theirs = folder
                .iter()
                .flat_map(|folder| OPTILLM.map(|name| folder.join(name)));
            DEFAULT_FILES
                .iter()
                .map(PathBuf::from)
                .chain(theirs)
                .collect()
        }
    };
    for path in candidates {
        match read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if named.is_none() && is_absent(&error) => {}
            Err(error) => {
                let what = format!("cannot be read: {error}");
                let place = path.to_string_lossy();
                return Err(Problem::in_file(place, None, what).into());
            }
        }
    }
    Ok(None)
}

/// Returns whether there is no such file. The home directory may itself be a file, as `/dev/null` is for some users.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    OpenFile::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        let message = format!("the file is longer than {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

/// Loads a configuration as [`load`] does, with what the command line says.
pub fn from_sources(
    yaml: Option<(&str, &str)>,
    environment: &BTreeMap<String, String>,
) -> Result<LoadedSettings, Report> {
    loaded(yaml, environment, Overrides::default())
}

fn loaded(
    yaml: Option<(&str, &str)>,
    environment: &BTreeMap<String, String>,
    overrides: Overrides,
) -> Result<LoadedSettings, Report> {
    let (settings, reader) = read_settings(yaml, environment, overrides)?;
    Ok(LoadedSettings {
        settings,
        source: yaml.map_or(Source::Environment, |(name, _)| Source::File(name.into())),
        warnings: reader.finish()?,
    })
}

fn read_settings<'a>(
    yaml: Option<(&'a str, &'a str)>,
    environment: &'a BTreeMap<String, String>,
    overrides: Overrides,
) -> Result<(Settings, Reader<'a>), Report> {
    let file = yaml.map(|(name, text)| reader::Source { name, text });
    let written = file.map_or(Ok(Value::Null), parse)?;
    let mut value = written.clone();
    let mut reader = Reader::new(file, written, Environment::new(environment));
    fill_in(&mut value, &KeyPath::default(), &mut reader);
    foreign::put_aside(&mut value, &mut reader);
    known::check(&mut value, &file::template(), &mut |path, what| {
        reader.problem(path, what)
    });
    let as_written: file::File = match value {
        Value::Null => file::File::default(),
        value => yaml::from_value(value).unwrap_or_else(|error| {
            reader.problem(&KeyPath::default(), error.to_string());
            file::File::default()
        }),
    };
    let mut settings = as_written.used(&mut reader);
    overrides.apply(&mut settings);
    checks::check(&settings, &mut reader);
    targets::check(&settings, &mut reader);
    usage::check(&settings, &mut reader);
    Ok((settings, reader))
}

fn parse(file: reader::Source<'_>) -> Result<Value, Report> {
    let merged = yaml::from_str(file.text).and_then(|mut value: Value| {
        value.apply_merge()?;
        Ok(value)
    });
    merged.map_err(|error| {
        let line = error.location().map(|location| location.line());
        let what = match error.to_string() {
            // It would repeat the number, which may be a credential without its quotes.
            text if text.contains("128, expected") => {
                "holds a number beyond 64 bits; put it in quotes if it is a text".to_owned()
            }
            text => format!("is not valid YAML: {text}"),
        };
        Problem::in_file(file.name, line, what).into()
    })
}

/// Interpolates every string; one that cannot be is reported and left as it is.
fn fill_in(value: &mut Value, path: &KeyPath, reader: &mut Reader<'_>) {
    match value {
        Value::String(text) if text.contains("${") => {
            match interpolate(text, |name| reader.environment.value(name)) {
                Ok(filled) => *text = filled,
                Err(error) => reader.give_up(path, error.to_string()),
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill_in(item, &path.item(index), reader);
            }
        }
        Value::Mapping(mapping) => {
            for (key, value) in mapping.iter_mut() {
                let name = scalar::text(key).unwrap_or_default();
                fill_in(value, &path.key(&name), reader);
            }
        }
        _ => {}
    }
}

/// Returns the configuration as YAML that [`from_sources`] takes back, with secrets masked.
pub fn to_yaml(settings: &Settings) -> String {
    yaml::to_string(&file::File::from(settings)).expect("fields and sections are plain values")
}
