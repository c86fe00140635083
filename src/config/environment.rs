//! The environment: the process's own variables over those of a `.env` file, and `VAR_FILE` secrets.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::problem::Problem;

/// Longer than any credential.
const MAX_SECRET: u64 = 64 << 10;

/// Names and values, as one process would see them.
pub(super) struct Environment<'a> {
    variables: &'a BTreeMap<String, String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(variables: &'a BTreeMap<String, String>) -> Environment<'a> {
        Environment { variables }
    }

    /// Returns the value of a setting; an empty variable counts as unset, as compose files leave them.
    pub(super) fn setting(&self, name: &str) -> Option<&'a str> {
        let value = self.variables.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    /// Returns the value for `${name}`: the variable, or the contents of the file that `name_FILE` names.
    pub(super) fn value(&self, name: &str) -> Result<Option<String>, String> {
        match self.variables.get(name) {
            Some(value) => Ok(Some(value.clone())),
            None => self.file(name),
        }
    }

    /// Returns a credential as [`Environment::value`] does, but an empty variable counts as unset.
    pub(super) fn secret(&self, name: &str) -> Result<Option<String>, String> {
        match self.setting(name) {
            Some(value) => Ok(Some(value.to_owned())),
            None => self.file(name),
        }
    }

    /// Returns whether there is a credential of that name.
    pub(super) fn has_secret(&self, name: &str) -> bool {
        self.setting(name).is_some() || self.setting(&format!("{name}_FILE")).is_some()
    }

    fn file(&self, name: &str) -> Result<Option<String>, String> {
        let file_variable = format!("{name}_FILE");
        let Some(path) = self.setting(&file_variable) else {
            return Ok(None);
        };
        match read_secret(Path::new(path)) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) => Err(format!("cannot read {path} ({file_variable}): {error}")),
        }
    }
}

/// Reads a secret's file, without the newline that editors put at its end.
pub(super) fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MAX_SECRET + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET {
        let message = format!("the file is longer than {MAX_SECRET} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

/// Returns this process's variables, and beneath them those of `dot_env` if there is such a file.
pub(super) fn variables(dot_env: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let mut variables = match fs::metadata(dot_env) {
        Ok(_) => read_dot_env(dot_env)?,
        Err(_) => BTreeMap::new(),
    };
    // `vars` would panic on a name or value that is not UTF-8; no setting of ours is one.
    for (name, value) in std::env::vars_os() {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

fn read_dot_env(path: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let name = path.to_string_lossy();
    let unreadable = |error| Problem::in_file(&*name, None, format!("cannot be read: {error}"));
    dotenvy::from_path_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(|error| match error {
            // The line may hold a secret: say where it is, not what it says.
            dotenvy::Error::LineParse(rest, _) => {
                let what = "is not NAME=value; quote a value that has spaces or a #";
                Problem::in_file(&*name, line_of(path, &rest), what.to_owned())
            }
            error => unreadable(error),
        })
}

/// Returns the number of the first line that ends like `rest`: a line, or what was left of it when it stopped making
/// sense.
fn line_of(path: &Path, rest: &str) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    let rest = rest.lines().next()?.trim();
    let ends_so = |line: &str| !rest.is_empty() && line.trim().ends_with(rest);
    Some(text.lines().position(ends_so)? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn a_secret_may_come_from_a_file_and_loses_its_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "sk-1\r\n").unwrap();
        let variables = map(&[
            ("KEY_FILE", path.to_str().unwrap()),
            ("LOST_FILE", "/nonexistent/key"),
            ("BOTH", "direct"),
            ("BOTH_FILE", "/nonexistent/key"),
        ]);
        let environment = Environment::new(&variables);
        assert_eq!(environment.value("KEY"), Ok(Some("sk-1".into())));
        assert_eq!(environment.value("BOTH"), Ok(Some("direct".into())));
        assert_eq!(environment.value("NONE"), Ok(None));
        let error = environment.value("LOST").unwrap_err();
        assert!(
            error.starts_with("cannot read /nonexistent/key (LOST_FILE): "),
            "{error}"
        );
    }

    #[test]
    fn a_secret_file_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "x".repeat(MAX_SECRET as usize)).unwrap();
        assert!(read_secret(file.path()).is_ok());
        fs::write(file.path(), "x".repeat(MAX_SECRET as usize + 1)).unwrap();
        assert!(read_secret(file.path()).is_err());
    }

    #[test]
    fn an_empty_setting_is_unset() {
        let variables = map(&[("A", " "), ("B", " 1 ")]);
        let environment = Environment::new(&variables);
        assert_eq!(environment.setting("A"), None);
        assert_eq!(environment.setting("B"), Some("1"));
    }

    #[test]
    fn dot_env_is_read_with_quotes_and_comments() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# c\nexport PROXY_PORT=1\nKEY='a b' # d\n").unwrap();
        let read = read_dot_env(file.path()).unwrap();
        assert_eq!(read, map(&[("PROXY_PORT", "1"), ("KEY", "a b")]));
    }

    #[test]
    fn a_bad_line_is_placed_but_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=1\nKEY=hunter2 hunter3\n").unwrap();
        let problem = read_dot_env(file.path()).unwrap_err().to_string();
        assert!(problem.contains(":2: is not NAME=value"), "{problem}");
        assert!(!problem.contains("hunter"), "{problem}");
    }
}
