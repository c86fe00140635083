//! What is wrong with a configuration: where, which key, what, and the remedy, one line each.

use std::error::Error;
use std::fmt;

/// No more are collected: a reader mends these and looks again.
pub(super) const MAX_PROBLEMS: usize = 50;

/// The way to a value: `providers[0].discover.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

impl KeyPath {
    pub(super) fn key(&self, key: &str) -> KeyPath {
        self.with(Step::Key(key.to_owned()))
    }

    pub(super) fn item(&self, index: usize) -> KeyPath {
        self.with(Step::Item(index))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn with(&self, step: Step) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(step);
        KeyPath(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) => write!(f, ".{}", key.escape_debug())?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// One thing to mend, as `remuda.yaml:12: server.listen: expected …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A file, or `environment`.
    pub place: String,
    /// From 1.
    pub line: Option<usize>,
    /// The dotted key or the variable; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl Problem {
    /// Returns a problem with a file as a whole, or with one of its lines.
    pub(super) fn in_file(place: impl Into<String>, line: Option<usize>, what: String) -> Problem {
        Problem {
            place: place.into(),
            line,
            key: String::new(),
            what,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.place)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.what)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Never empty.
    pub problems: Vec<Problem>,
    /// What was taken in a way that may not have been meant.
    pub warnings: Vec<Problem>,
}

impl From<Problem> for Report {
    fn from(problem: Problem) -> Report {
        Report {
            problems: vec![problem],
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{problem}")?;
        }
        match self.problems.len() {
            MAX_PROBLEMS.. => f.write_str("\nand perhaps more"),
            _ => Ok(()),
        }
    }
}

impl Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(key: &str) -> Problem {
        Problem {
            place: "remuda.yaml".into(),
            line: Some(1),
            key: key.into(),
            what: "is wrong".into(),
        }
    }

    #[test]
    fn a_problem_is_one_line_with_place_key_and_text() {
        let path = KeyPath::default().key("providers").item(0).key("a\nb");
        assert_eq!(path.to_string(), "providers[0].a\\nb");
        assert_eq!(problem("x").to_string(), "remuda.yaml:1: x: is wrong");
        let mut problem = problem("");
        assert_eq!(problem.to_string(), "remuda.yaml:1: is wrong");
        problem.line = None;
        assert_eq!(problem.to_string(), "remuda.yaml: is wrong");
    }

    #[test]
    fn a_report_is_one_line_a_problem() {
        let mut report = Report::from(problem("x"));
        report.problems.push(problem("y"));
        assert_eq!(
            report.to_string(),
            "remuda.yaml:1: x: is wrong\nremuda.yaml:1: y: is wrong"
        );
    }
}
