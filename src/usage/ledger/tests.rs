//! From a request to its sums, and over a restart.

use std::sync::Barrier;

use super::*;
use crate::settings::Period;
use crate::usage::Pricing;
use remuda_formats::facts::{Price, UsdPerMillion};

fn settings(path: Option<&std::path::Path>) -> settings::Usage {
    settings::Usage {
        path: path.map(Into::into),
        ..settings::Usage::default()
    }
}

fn open(path: Option<&std::path::Path>) -> (Arc<Ledger>, Arc<Metrics>) {
    let metrics = Metrics::new();
    let ledger = Ledger::open(&settings(path), &metrics, Moment::now()).unwrap();
    (ledger, metrics)
}

/// One cent for each token of output.
fn dear() -> Description {
    let mut price = Price::default();
    price.base.output = UsdPerMillion::parse("10000").unwrap();
    Description {
        provider: "openai".into(),
        model: "gpt".into(),
        pricing: Pricing::List(price),
    }
}

fn output(tokens: u64) -> ir::Usage {
    ir::Usage {
        prompt: Some(3),
        output: Some(tokens),
        ..ir::Usage::default()
    }
}

fn charge<'a>(account: &'a Arc<Account>, usage: Option<&'a ir::Usage>) -> Charge<'a> {
    Charge {
        account,
        key: Some("alice"),
        tag: None,
        usage,
        request: true,
        failed: false,
        estimated: false,
    }
}

#[test]
fn a_request_is_counted_everywhere_at_once() {
    let (ledger, metrics) = open(None);
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    let again = ledger.listed(ProviderId::at(0), ModelId(1), || {
        unreachable!("it is known")
    });
    assert!(Arc::ptr_eq(&account, &again));
    let (usage, now) = (output(5), Moment::now());
    let cost = ledger.record(&charge(&account, Some(&usage)), now);
    assert_eq!(cost, Some(Usd::nanos(50_000_000)));
    for period in [Period::Day, Period::Month, Period::Total] {
        assert_eq!(
            ledger.spent_by("alice").of(period, now),
            Usd::nanos(50_000_000)
        );
    }
    assert_eq!(ledger.spent_by("bob").of(Period::Total, now), Usd::ZERO);
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    for line in [
        r#"remuda_cost_usd_total{gen_ai_request_model="gpt",remuda_provider="openai"} 0.05"#,
        r#"remuda_key_cost_usd_total{remuda_key="alice",remuda_tag="none"} 0.05"#,
        r#"remuda_tokens_total{gen_ai_request_model="gpt",gen_ai_token_type="output",remuda_provider="openai"} 5"#,
        r#"remuda_key_tokens_total{gen_ai_token_type="input",remuda_key="alice",remuda_tag="none"} 3"#,
        r#"remuda_key_requests_total{remuda_key="alice",remuda_tag="none"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let table = ledger.table(By::Key, Since::EVER).unwrap();
    assert_eq!(table.rows[0].names, ["alice"]);
    assert_eq!(table.rows[0].counts.cost, Usd::nanos(50_000_000));
}

#[test]
fn an_unknown_price_is_counted_apart_and_own_servers_are_free() {
    let (ledger, _) = open(None);
    let with = |pricing| Description { pricing, ..dear() };
    let unknown = ledger.listed(ProviderId::at(0), ModelId(1), || with(Pricing::Unknown));
    let free = ledger.listed(ProviderId::at(0), ModelId(2), || with(Pricing::Free));
    let (usage, now) = (output(5), Moment::now());
    assert_eq!(ledger.record(&charge(&unknown, Some(&usage)), now), None);
    assert_eq!(
        ledger.record(&charge(&free, Some(&usage)), now),
        Some(Usd::ZERO)
    );
    // The provider itself told.
    let told = ir::Usage {
        cost: Some(0.25),
        ..usage
    };
    assert_eq!(
        ledger.record(&charge(&unknown, Some(&told)), now),
        Some(Usd::nanos(250_000_000))
    );
    // An image, whose price no list has; a failure, which has none.
    let listed = ledger.listed(ProviderId::at(0), ModelId(3), dear);
    assert_eq!(ledger.record(&charge(&listed, None), now), None);
    let failure = Charge {
        failed: true,
        ..charge(&listed, None)
    };
    assert_eq!(ledger.record(&failure, now), Some(Usd::ZERO));
    let total = ledger.table(By::Provider, Since::EVER).unwrap().total();
    assert_eq!((total.requests, total.unpriced, total.failed), (5, 2, 1));
    assert_eq!(total.tokens.output, 15);
}

#[test]
fn an_attempt_that_was_billed_costs_without_being_a_request() {
    let (ledger, _) = open(None);
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    let (usage, now) = (output(1), Moment::now());
    let attempt = Charge {
        request: false,
        failed: true,
        ..charge(&account, Some(&usage))
    };
    ledger.record(&attempt, now);
    ledger.record(&charge(&account, Some(&usage)), now);
    let total = ledger.table(By::Key, Since::EVER).unwrap().total();
    assert_eq!((total.requests, total.failed), (1, 0));
    assert_eq!(total.cost, Usd::nanos(20_000_000));
}

#[test]
fn what_was_spent_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    let (usage, now) = (output(7), Moment::now());
    let (ledger, _) = open(Some(&path));
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    ledger.record(&charge(&account, Some(&usage)), now);
    ledger.close();
    let (ledger, _) = open(Some(&path));
    assert_eq!(
        ledger.spent_by("alice").of(Period::Total, now),
        Usd::nanos(70_000_000)
    );
    assert_eq!(
        ledger.spent_by("alice").of(Period::Month, now),
        Usd::nanos(70_000_000)
    );
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    ledger.record(&charge(&account, Some(&usage)), now);
    assert_eq!(
        ledger.spent_by("alice").of(Period::Total, now),
        Usd::nanos(140_000_000)
    );
    assert_eq!(
        ledger.table(By::Key, Since::EVER).unwrap().total().requests,
        2
    );
}

#[test]
fn nothing_is_lost_or_counted_twice_between_threads() {
    let (ledger, _) = open(None);
    let (threads, each) = (8, 2000);
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (ledger, start) = (&ledger, &start);
            scope.spawn(move || {
                start.wait();
                let usage = output(1);
                for number in 0..each {
                    let model = ModelId(number % 3);
                    let account = ledger.listed(ProviderId::at(thread % 2), model, dear);
                    let tag = ["a", "b"][thread % 2];
                    let charge = Charge {
                        tag: Some(tag),
                        ..charge(&account, Some(&usage))
                    };
                    ledger.record(&charge, Moment::now());
                }
            });
        }
    });
    let all = threads as u64 * u64::from(each);
    for by in By::ALL {
        let total = ledger.table(by, Since::EVER).unwrap().total();
        assert_eq!((total.requests, total.tokens.output), (all, all), "{by:?}");
    }
    let spent = ledger.spent_by("alice").of(Period::Total, Moment::now());
    assert_eq!(spent, Usd::nanos(10_000_000 * all));
    let tags = ledger.table(By::Tag, Since::EVER).unwrap();
    let tags: Vec<_> = tags
        .rows
        .iter()
        .map(|row| (row.names[0].clone(), row.counts.requests))
        .collect();
    assert_eq!(tags, [("a".to_owned(), all / 2), ("b".to_owned(), all / 2)]);
}

#[test]
fn models_that_are_nowhere_any_more_have_no_account() {
    let (ledger, _) = open(None);
    for number in 0..10_000 {
        let id = ModelId(number);
        ledger.listed(ProviderId::at(0), id, dear);
        ledger.listed(ProviderId::at(1), id, dear);
        ledger.forget_models(&[id]);
    }
    assert_eq!(ledger.accounts.listed_len(), 0);
    let kept = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    ledger.forget_models(&[ModelId(2)]);
    let again = ledger.listed(ProviderId::at(0), ModelId(1), || {
        unreachable!("it is known")
    });
    assert!(Arc::ptr_eq(&kept, &again));
}

#[test]
fn endless_names_of_models_share_one_row_and_no_label() {
    let (ledger, metrics) = open(None);
    let usage = output(1);
    for number in 0..1100 {
        let name = format!("made-up-{number}");
        let account = ledger.unlisted(ProviderId::at(0), &name, || Description {
            model: (&*name).into(),
            ..dear()
        });
        ledger.record(&charge(&account, Some(&usage)), Moment::now());
    }
    let table = ledger.table(By::Model, Since::EVER).unwrap();
    assert_eq!(table.rows.len(), 1001);
    assert_eq!(table.total().cost, Usd::nanos(1100 * 10_000_000));
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    assert!(!text.contains("made-up"), "{text}");
}

#[test]
fn a_store_that_cannot_be_had_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let missing = folder.path().join("missing/usage.db");
    assert!(Ledger::open(&settings(Some(&missing)), &metrics, Moment::now()).is_err());
}

#[test]
fn a_thread_that_does_not_keep_up_costs_the_store_and_nobody_else() {
    let metrics = Metrics::new();
    let (channel, mut taken) = mpsc::channel(3);
    let ledger = Ledger::over(
        Parties::default(),
        7,
        &metrics,
        channel,
        std::thread::current(),
    );
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    let (usage, now) = (output(1), Moment::now());
    for _ in 0..10 {
        ledger.record(&charge(&account, Some(&usage)), now);
    }
    assert_eq!(metrics.usage.lost.get(), 7);
    // Budgets miss nothing.
    let spent = ledger.spent_by("alice").of(Period::Total, now);
    assert_eq!(spent, Usd::nanos(100_000_000));
    assert!(taken.try_recv().is_ok());
}

#[test]
fn what_cannot_be_written_is_held_and_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    let (ledger, metrics) = open(Some(&path));
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    let (usage, now) = (output(1), Moment::now());
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("ALTER TABLE usage RENAME TO away")
        .unwrap();
    for _ in 0..3 {
        ledger.record(&charge(&account, Some(&usage)), now);
    }
    assert!(ledger.table(By::Key, Since::EVER).is_err());
    assert!(metrics.usage.write_errors.get() > 0);
    other
        .execute_batch("ALTER TABLE away RENAME TO usage")
        .unwrap();
    let total = ledger.table(By::Key, Since::EVER).unwrap().total();
    assert_eq!((total.requests, total.tokens.output), (3, 3));
    assert_eq!(metrics.usage.lost.get(), 0);
}

#[test]
fn rows_that_are_too_old_are_forgotten_but_not_what_was_spent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    let now = Moment::now();
    let long_ago = Moment::seconds(now.as_seconds() - 500 * 24 * 3600);
    let (ledger, _) = open(Some(&path));
    let account = ledger.listed(ProviderId::at(0), ModelId(1), dear);
    let usage = output(1);
    ledger.record(&charge(&account, Some(&usage)), long_ago);
    assert_eq!(
        ledger.table(By::Key, Since::EVER).unwrap().total().requests,
        1
    );
    ledger.close();
    let (ledger, _) = open(Some(&path));
    assert_eq!(ledger.table(By::Key, Since::EVER).unwrap().rows, []);
    let spent = ledger.spent_by("alice");
    assert_eq!(spent.of(Period::Total, now), Usd::nanos(10_000_000));
    assert_eq!(spent.of(Period::Month, now), Usd::ZERO);
}
