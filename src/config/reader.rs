//! Reads sections into settings: the file where it states a key, else the environment, else the
//! default; and collects what is wrong on the way.

use std::path::Path;

use super::environment::Environment;
use super::field::Field;
use super::locate::line_of;
use super::problem::{KeyPath, MAX_PROBLEMS, Problem, Report, Step};
use super::scalar::Scalar;
use super::yaml::Value;
use crate::settings::{HealthCheck, Secret};

/// What OptiLLM's proxy plugin calls its file.
pub(super) const OPTILLM: [&str; 2] = ["proxy_config.yaml", "proxy_config.yml"];

/// Longer values are cut in messages.
const MAX_QUOTED: usize = 60;

/// A YAML text and what to call it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

/// What has been read so far, and what was wrong with it.
pub(super) struct Reader<'a> {
    file: Option<Source<'a>>,
    /// The file before its variables were filled in, so that no message shows what they hold.
    written: Value,
    pub(super) environment: Environment<'a>,
    /// What `routing.health_check` says, for the providers that say nothing themselves.
    pub(super) health_check: HealthCheck,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Values of which nothing more can be said.
    given_up: Vec<KeyPath>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: Option<Source<'a>>,
        written: Value,
        environment: Environment<'a>,
    ) -> Reader<'a> {
        Reader {
            file,
            written,
            environment,
            health_check: HealthCheck::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
            given_up: Vec::new(),
        }
    }

    /// Returns whether the file is that of OptiLLM's plugin, by its name: keys that it leaves out have OptiLLM's
    /// defaults.
    pub(super) fn is_optillm(&self) -> bool {
        let name = self.file.and_then(|file| Path::new(file.name).file_name());
        name.is_some_and(|name| OPTILLM.iter().any(|own| name == *own))
    }

    pub(super) fn section(&mut self, key: &str) -> Section<'_, 'a> {
        Section {
            path: KeyPath::default().key(key),
            reader: self,
        }
    }

    pub(super) fn problem(&mut self, path: &KeyPath, what: impl Into<String>) {
        // Finding a line costs a walk through the file.
        if !self.has_given_up(path) && self.problems.len() < MAX_PROBLEMS {
            let problem = self.at(path, what.into());
            add(&mut self.problems, problem);
        }
    }

    /// Reports a problem as [`Reader::problem`] does; whatever else is wrong with this value follows from it and is not
    /// reported.
    pub(super) fn give_up(&mut self, path: &KeyPath, what: impl Into<String>) {
        self.problem(path, what);
        self.given_up.push(path.clone());
    }

    pub(super) fn warning(&mut self, path: &KeyPath, what: impl Into<String>) {
        if !self.has_given_up(path) {
            let warning = self.at(path, what.into());
            add(&mut self.warnings, warning);
        }
    }

    /// Returns whether whatever is wrong with the value follows from what was said of it.
    fn has_given_up(&self, path: &KeyPath) -> bool {
        let mut given_up = self.given_up.iter();
        given_up.any(|above| path.steps().starts_with(above.steps()))
    }

    /// Reports a problem with a variable of the environment.
    pub(super) fn variable_problem(&mut self, name: &str, what: impl Into<String>) {
        let problem = in_environment(name, what.into());
        add(&mut self.problems, problem);
    }

    pub(super) fn variable_warning(&mut self, name: &str, what: impl Into<String>) {
        let warning = in_environment(name, what.into());
        add(&mut self.warnings, warning);
    }

    /// Returns a setting of the environment, if it is set and can be read.
    pub(super) fn variable<T: Scalar>(&mut self, name: &str) -> Option<T> {
        let text = self.environment.setting(name)?;
        match T::read(&text.into()) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.variable_problem(name, with_value(&expected, &quoted(&text.into())));
                None
            }
        }
    }

    /// Returns the first of these credentials that the environment has, in the variable itself or in the file that its
    /// `_FILE` names. No message shows what it holds.
    pub(super) fn secret_variable<S: AsRef<str>>(&mut self, names: &[S]) -> Option<Secret> {
        let mut names = names.iter().map(S::as_ref);
        let name = names.find(|name| self.environment.has_secret(name))?;
        let read = self.environment.secret(name);
        let read = read.and_then(|text| Secret::read(&text.unwrap_or_default().into()));
        read.inspect_err(|what| self.variable_problem(name, what))
            .ok()
    }

    /// Returns the warnings, or a report of all that is wrong.
    pub(super) fn finish(self) -> Result<Vec<Problem>, Report> {
        let mut problems = self.problems;
        if problems.is_empty() {
            return Ok(self.warnings);
        }
        // As an editor goes through them; what has no line comes last.
        problems.sort_by_key(|problem| (problem.line.is_none(), problem.line));
        Err(Report {
            problems,
            warnings: self.warnings,
        })
    }

    /// Returns all problems that were found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn at(&self, path: &KeyPath, what: String) -> Problem {
        Problem {
            place: self.file.map_or("environment", |file| file.name).to_owned(),
            line: self.file.and_then(|file| line_of(file.text, path)),
            key: path.to_string(),
            what,
        }
    }

    /// Returns `, got "x"` with the value as it is written in the file.
    fn got(&self, path: &KeyPath) -> String {
        let mut value = Some(&self.written);
        for step in path.steps() {
            value = value.and_then(|value| match step {
                // A bare string that stands for a mapping.
                Step::Key(_) if value.is_string() => Some(value),
                Step::Key(key) => value.get(key),
                Step::Item(item) => value.get(item),
            });
        }
        value.map(quoted).unwrap_or_default()
    }
}

fn in_environment(name: &str, what: String) -> Problem {
    Problem {
        place: "environment".to_owned(),
        line: None,
        key: name.to_owned(),
        what,
    }
}

/// Adds a problem, but once only for a variable that several providers use.
fn add(problems: &mut Vec<Problem>, problem: Problem) {
    if problems.len() < MAX_PROBLEMS && !problems.contains(&problem) {
        problems.push(problem);
    }
}

/// Joins what was expected, what came, and only then any further hint.
fn with_value(expected: &str, got: &str) -> String {
    match expected.split_once("; ") {
        Some((expected, hint)) => format!("{expected}{got}; {hint}"),
        None => format!("{expected}{got}"),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        // A user name with its password, or a query or a fragment, which may hold a key.
        Value::String(text) if text.contains(['@', '?', '#']) => String::new(),
        Value::String(text) => {
            let cut: String = text.chars().take(MAX_QUOTED).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!(", got {cut:?}{more}")
        }
        Value::Number(number) => format!(", got {number}"),
        Value::Bool(truth) => format!(", got {truth}"),
        Value::Sequence(_) => ", got a list".to_owned(),
        Value::Mapping(_) => ", got a mapping".to_owned(),
        Value::Null | Value::Tagged(_) => String::new(),
    }
}

/// One mapping of the file, with its path.
pub(super) struct Section<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    path: KeyPath,
}

impl<'a> Section<'_, 'a> {
    pub(super) fn section(&mut self, key: &str) -> Section<'_, 'a> {
        Section {
            path: self.path.key(key),
            reader: self.reader,
        }
    }

    pub(super) fn item(&mut self, index: usize) -> Section<'_, 'a> {
        Section {
            path: self.path.item(index),
            reader: self.reader,
        }
    }

    /// Returns what the file states.
    pub(super) fn stated<T: Scalar>(&mut self, key: &str, field: Field<T>) -> Option<T> {
        self.read(key, field, true)
    }

    /// Returns what the file states, without repeating a bad value in the message.
    pub(super) fn secret<T: Scalar>(&mut self, key: &str, field: Field<T>) -> Option<T> {
        self.read(key, field, false)
    }

    /// Returns what the file states, else the first of these variables that is set.
    pub(super) fn stated_or_first<T: Scalar, S: AsRef<str>>(
        &mut self,
        key: &str,
        field: Field<T>,
        names: &[S],
    ) -> Option<T> {
        let environment = &self.reader.environment;
        let mut names = names.iter().map(S::as_ref);
        let set = names.find(|name| environment.setting(name).is_some());
        match (field, set) {
            (Field::Absent, Some(name)) => self.reader.variable(name),
            (field, _) => self.stated(key, field),
        }
    }

    /// Returns what the file states, else what the environment does.
    pub(super) fn stated_or<T: Scalar>(
        &mut self,
        key: &str,
        field: Field<T>,
        name: &str,
    ) -> Option<T> {
        match field {
            Field::Absent => self.reader.variable(name),
            field => self.stated(key, field),
        }
    }

    /// Sets `to` to what the file states, and leaves it as it is where it states nothing. The field is taken.
    pub(super) fn set<T, U>(&mut self, key: &str, field: &mut Field<T>, to: &mut U)
    where
        T: Scalar + Into<U>,
    {
        if let Some(value) = self.stated(key, field.take()) {
            *to = value.into();
        }
    }

    /// Does what [`Section::set`] does, where the environment may state what the file does not.
    pub(super) fn set_or<T, U>(&mut self, key: &str, field: &mut Field<T>, name: &str, to: &mut U)
    where
        T: Scalar + Into<U>,
    {
        if let Some(value) = self.stated_or(key, field.take(), name) {
            *to = value.into();
        }
    }

    /// Returns the plain values of the list at `key`, without those that could not be read.
    pub(super) fn stated_list<T: Scalar>(&mut self, key: &str, list: Vec<Field<T>>) -> Vec<T> {
        let mut at = self.section(key);
        let items = list.into_iter().enumerate();
        items
            .filter_map(|(index, item)| at.stated_item(index, item))
            .collect()
    }

    /// Returns one item of a list of plain values, if it could be read.
    pub(super) fn stated_item<T: Scalar>(&mut self, index: usize, field: Field<T>) -> Option<T> {
        self.read_at(&self.path.item(index), field, true)
    }

    /// Does what [`Section::stated_item`] does, without repeating a bad value in the message.
    pub(super) fn secret_item<T: Scalar>(&mut self, index: usize, field: Field<T>) -> Option<T> {
        self.read_at(&self.path.item(index), field, false)
    }

    fn read<T: Scalar>(&mut self, key: &str, field: Field<T>, show: bool) -> Option<T> {
        self.read_at(&self.path.key(key), field, show)
    }

    fn read_at<T: Scalar>(&mut self, path: &KeyPath, field: Field<T>, show: bool) -> Option<T> {
        match field {
            Field::Absent => None,
            Field::Stated(value) => Some(value),
            Field::Bad(expected) => {
                let got = if show {
                    self.reader.got(path)
                } else {
                    String::new()
                };
                self.reader.problem(path, with_value(&expected, &got));
                None
            }
        }
    }

    pub(super) fn problem(&mut self, key: &str, what: impl Into<String>) {
        self.reader.problem(&self.path.key(key), what);
    }

    /// Reports a problem with the section itself.
    pub(super) fn problem_here(&mut self, what: impl Into<String>) {
        self.reader.problem(&self.path, what);
    }

    pub(super) fn warning(&mut self, key: &str, what: impl Into<String>) {
        self.reader.warning(&self.path.key(key), what);
    }
}
