//! `/api/usage` and its parts: what answers cost, by key, tag, model and provider.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::page::Page;
use crate::usage::{By, Ledger, Moment, Since, numbers};

const ROOT: &str = "/api/usage";

/// Returns whether the path is one of these pages.
pub(super) fn is_page(path: &str) -> bool {
    wanted(path).is_some()
}

/// Returns all four tables, or the one of `/api/usage/{keys,tags,models,providers}`.
fn wanted(path: &str) -> Option<&'static [By]> {
    let rest = path.strip_prefix(ROOT)?;
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Some(&By::ALL),
        None => None,
        Some(plural) => {
            let by = By::of_plural(plural)?;
            By::ALL
                .iter()
                .position(|one| *one == by)
                .map(|at| &By::ALL[at..=at])
        }
    }
}

/// Returns the page at `path`. The sums are made on another thread than the one that answers.
pub(super) async fn page(ledger: Option<&Arc<Ledger>>, path: &str, query: Option<&str>) -> Page {
    let Some(ledger) = ledger else {
        return Page::error(404, "usage is not counted: usage.enabled is false");
    };
    let since = match since(query, Moment::now()) {
        Ok(since) => since,
        Err(text) => return Page::error(400, &text),
    };
    let (ledger, tables) = (Arc::clone(ledger), wanted(path).unwrap_or_default());
    let made = tokio::task::spawn_blocking(move || render(&ledger, tables, since));
    match made.await {
        Ok(Ok(page)) => page,
        Ok(Err(error)) => {
            log::error!("usage cannot be read: {error}");
            Page::error(500, "usage cannot be read; the gateway's log says why")
        }
        Err(_) => Page::error(500, "usage cannot be read"),
    }
}

fn render(ledger: &Ledger, tables: &[By], since: Since) -> Result<Page, crate::usage::ReportError> {
    let mut page = Map::new();
    page.insert("since".into(), json!(since.shown()));
    for by in tables {
        let table = ledger.table(*by, since)?;
        // Each request is in one row of every table, so their sums are the same.
        page.insert("total".into(), Value::Object(numbers(&table.total())));
        page.insert(format!("{}s", by.name()), table.json());
    }
    Ok(Page::json(200, &page))
}

/// Reads the query `since=7d`.
fn since(query: Option<&str>, now: Moment) -> Result<Since, String> {
    let mut since = Since::EVER;
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "since" {
            return Err("unknown parameter; there is since, such as since=7d".to_owned());
        }
        since = Since::parse(&value.replace("%20", " ").replace('+', " "), now)
            .map_err(|error| format!("since: {error}; write it as 7d or 12h"))?;
    }
    Ok(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_one_for_all_and_one_for_each() {
        assert_eq!(wanted("/api/usage").map(<[By]>::len), Some(4));
        assert_eq!(wanted("/api/usage/models"), Some(&[By::Model][..]));
        for path in [
            "/api/usage/",
            "/api/usage/model",
            "/api/usages",
            "/api/usage/keys/a",
            "/api",
        ] {
            assert_eq!(wanted(path), None, "{path}");
        }
    }

    #[test]
    fn a_mistake_in_the_query_is_told() {
        let now = Moment::now();
        assert_eq!(since(None, now), Ok(Since::EVER));
        assert_eq!(
            since(Some("since=1d%2012h"), now),
            Since::parse("36h", now).map_err(|_| String::new())
        );
        for wrong in ["since=week", "since=", "until=7d"] {
            assert!(since(Some(wrong), now).is_err(), "{wrong}");
        }
    }
}
