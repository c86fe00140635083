//! Sums as they are asked for and shown: by which name, since when, and as JSON, CSV or a table for people.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::{Counts, Moment, Tokens, Usd};

/// What rows are sums for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Key,
    Tag,
    Model,
    Provider,
}

impl By {
    pub const ALL: [By; 4] = [By::Key, By::Tag, By::Model, By::Provider];

    pub fn name(self) -> &'static str {
        match self {
            By::Key => "key",
            By::Tag => "tag",
            By::Model => "model",
            By::Provider => "provider",
        }
    }

    /// Reads `keys`, `tags` and the other plural names.
    pub fn of_plural(text: &str) -> Option<By> {
        By::ALL
            .into_iter()
            .find(|by| text.strip_suffix('s') == Some(by.name()))
    }

    /// Returns the columns of the store by which a row is named.
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            By::Key => &["key"],
            By::Tag => &["tag"],
            By::Model => &["provider", "model"],
            By::Provider => &["provider"],
        }
    }
}

/// The hour from which on a report counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(Option<i64>);

impl Since {
    /// Goes back as far as there is anything.
    pub const EVER: Since = Since(None);

    /// Returns the hour that `moment` is in, and all after it: sums are kept by the hour.
    pub fn of(moment: Moment) -> Since {
        Since(Some(moment.hour()))
    }

    /// Reads a length of time before `now`: `7d`, `12h`, `1h 30m`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, now: Moment) -> Result<Since, humantime::DurationError> {
        let ago = humantime::parse_duration(text)?;
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        Ok(Since::of(Moment::seconds(
            now.as_seconds().saturating_sub(ago),
        )))
    }

    pub(super) fn hour(self) -> i64 {
        self.0.unwrap_or(i64::MIN)
    }

    /// Returns the moment as RFC 3339 has it; `None` if it is for ever.
    pub fn shown(self) -> Option<String> {
        let at = DateTime::from_timestamp(Moment::of_hour(self.0?).as_seconds(), 0)?;
        Some(at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// One name, or two, and its sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The names in the order of the columns; an empty one stands for requests without a key or a tag.
    pub names: Vec<String>,
    pub counts: Counts,
}

/// Sums by one sort of name, the most expensive first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub by: By,
    pub rows: Vec<Row>,
}

/// A column of numbers.
struct Number {
    /// The column's name in JSON and CSV.
    name: &'static str,
    /// The column's title in the table for people.
    title: &'static str,
    of: fn(&Counts) -> u64,
}

const fn number(name: &'static str, title: &'static str, of: fn(&Counts) -> u64) -> Number {
    Number { name, title, of }
}

const NUMBERS: [Number; 9] = [
    number("requests", "requests", |counts| counts.requests),
    number("failed", "failed", |counts| counts.failed),
    number("estimated", "estimated", |counts| counts.estimated),
    number("unpriced", "unpriced", |counts| counts.unpriced),
    number("input_tokens", "input", |counts| counts.tokens.input),
    number("cached_tokens", "cached", |counts| counts.tokens.cache_read),
    number("cache_write_tokens", "cache write", |counts| {
        counts.tokens.cache_write
    }),
    number("output_tokens", "output", |counts| counts.tokens.output),
    number("reasoning_tokens", "reasoning", |counts| {
        counts.tokens.reasoning
    }),
];

impl Table {
    /// Returns the sum of all rows.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for row in &self.rows {
            total.add(&row.counts);
        }
        total
    }

    /// Returns the rows as an array of objects.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let names = self.by.columns().iter().zip(&row.names);
            let mut object: Map<String, Value> = names
                .map(|(column, name)| ((*column).to_owned(), name.as_str().into()))
                .collect();
            object.extend(numbers(&row.counts));
            Value::Object(object)
        });
        rows.collect()
    }

    /// Reads the table that [`Table::json`] was made of; `None` if it was made of none.
    pub fn of_json(by: By, json: &Value) -> Option<Table> {
        let row = |row: &Value| {
            let name = |column: &&str| row.get(*column)?.as_str().map(str::to_owned);
            Some(Row {
                names: by.columns().iter().map(name).collect::<Option<_>>()?,
                counts: counts(row)?,
            })
        };
        let rows = json.as_array()?.iter().map(row).collect::<Option<_>>()?;
        Some(Table { by, rows })
    }

    /// Returns the rows as RFC 4180 has them, with a line of names first.
    pub fn csv(&self) -> String {
        let numbers = NUMBERS.iter().map(|number| number.name);
        let columns = self.by.columns().iter().copied();
        let names: Vec<&str> = columns.chain(numbers).chain(["cost_usd"]).collect();
        let mut text = names.join(",") + "\r\n";
        for row in &self.rows {
            for name in &row.names {
                text.push_str(&quoted(name));
                text.push(',');
            }
            for number in &NUMBERS {
                let _ = write!(text, "{},", (number.of)(&row.counts));
            }
            let _ = write!(text, "{}\r\n", row.counts.cost);
        }
        text
    }

    /// Returns columns for people, with the sum of all rows last.
    pub fn text(&self) -> String {
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(self.rows.len() + 2);
        let numbers = NUMBERS.iter().map(|number| number.title.to_owned());
        let mut head = vec![self.by.columns().join("/")];
        head.extend(numbers.chain(["cost in USD".to_owned()]));
        lines.push(head);
        for row in &self.rows {
            let names = row.names.join("/");
            let name = if names.is_empty() {
                "(none)".to_owned()
            } else {
                names
            };
            lines.push(line(name, &row.counts));
        }
        lines.push(line("total".to_owned(), &self.total()));
        aligned(&lines)
    }
}

/// Returns the numbers of a row or a sum, by name.
pub fn numbers(counts: &Counts) -> Map<String, Value> {
    let mut object: Map<String, Value> = NUMBERS
        .iter()
        .map(|number| (number.name.to_owned(), (number.of)(counts).into()))
        .collect();
    object.insert("cost_usd".into(), json!(counts.cost.dollars()));
    object.insert("cost_micro_usd".into(), counts.cost.micros().into());
    object
}

/// Reads an object that [`numbers`] has made.
fn counts(object: &Value) -> Option<Counts> {
    let number = |name: &str| object.get(name)?.as_u64();
    Some(Counts {
        requests: number("requests")?,
        failed: number("failed")?,
        estimated: number("estimated")?,
        unpriced: number("unpriced")?,
        tokens: Tokens {
            input: number("input_tokens")?,
            cache_read: number("cached_tokens")?,
            cache_write: number("cache_write_tokens")?,
            output: number("output_tokens")?,
            reasoning: number("reasoning_tokens")?,
            ..Tokens::default()
        },
        // The whole of many requests may be more than one can cost.
        cost: Usd::sum_of_dollars(object.get("cost_usd")?.as_f64()?),
    })
}

fn line(name: String, counts: &Counts) -> Vec<String> {
    let mut line = vec![name];
    line.extend(NUMBERS.iter().map(|number| (number.of)(counts).to_string()));
    line.push(counts.cost.to_string());
    line
}

/// Names to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let _ = write!(text, "{:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

/// Returns a field of CSV. A spreadsheet would take one that begins so for a formula; names of models are providers'
/// texts.
fn quoted(name: &str) -> String {
    let formula = name.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let name = if formula {
        format!("'{name}")
    } else {
        name.to_owned()
    };
    if name.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{Tokens, Usd};

    fn row(names: &[&str], nanos: u64) -> Row {
        Row {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            counts: Counts {
                requests: 2,
                failed: 1,
                estimated: 1,
                unpriced: 0,
                tokens: Tokens {
                    input: 100,
                    cache_read: 40,
                    output: 30,
                    reasoning: 7,
                    ..Tokens::default()
                },
                cost: Usd::nanos(nanos),
            },
        }
    }

    #[test]
    fn rows_are_objects_with_exact_amounts() {
        let table = Table {
            by: By::Model,
            rows: vec![row(&["openai", "gpt-5.4"], 1_234_567)],
        };
        assert_eq!(
            table.json(),
            json!([{"provider": "openai", "model": "gpt-5.4", "requests": 2, "failed": 1, "estimated": 1, "unpriced": 0,
                "input_tokens": 100, "cached_tokens": 40, "cache_write_tokens": 0, "output_tokens": 30,
                "reasoning_tokens": 7, "cost_usd": 0.001234567, "cost_micro_usd": 1235}])
        );
    }

    #[test]
    fn csv_quotes_what_would_be_misread() {
        let table = Table {
            by: By::Key,
            rows: vec![
                row(&[""], 0),
                row(&["a,\"b\""], 5_000),
                row(&["=1+1"], 1_000_000_000),
            ],
        };
        let csv = table.csv();
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!(
            lines[0],
            "key,requests,failed,estimated,unpriced,input_tokens,cached_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd"
        );
        assert_eq!(lines[1], ",2,1,1,0,100,40,0,30,7,0.000000");
        assert_eq!(lines[2], "\"a,\"\"b\"\"\",2,1,1,0,100,40,0,30,7,0.000005");
        assert_eq!(lines[3], "'=1+1,2,1,1,0,100,40,0,30,7,1.000000");
        assert_eq!(lines[4..], [""]);
    }

    #[test]
    fn a_table_is_aligned_and_ends_with_its_sum() {
        let table = Table {
            by: By::Tag,
            rows: vec![row(&["team-a"], 2_000_000_000), row(&[""], 0)],
        };
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[2].starts_with("(none)  "), "{text}");
        assert!(
            lines[3].starts_with("total ") && lines[3].ends_with("2.000000"),
            "{text}"
        );
        let widths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn since_is_the_hour_that_it_falls_in() {
        let now = Moment::seconds(1_709_251_199);
        let since = Since::parse("90m", now).unwrap();
        assert_eq!(since.hour(), now.hour() - 1);
        assert_eq!(since.shown().as_deref(), Some("2024-02-29T22:00:00Z"));
        assert_eq!(Since::EVER.shown(), None);
        assert!(Since::parse("week", now).is_err());
    }

    #[test]
    fn pages_are_named_in_the_plural() {
        for by in By::ALL {
            assert_eq!(By::of_plural(&format!("{}s", by.name())), Some(by));
            assert_eq!(By::of_plural(by.name()), None);
        }
    }
}
