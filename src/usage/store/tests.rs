//! The file: what is added up, found again, forgotten, and refused.

use super::*;
use crate::usage::Tokens;

fn counts(requests: u64, nanos: u64) -> Counts {
    Counts {
        requests,
        failed: 1,
        estimated: 2,
        unpriced: 3,
        tokens: Tokens {
            input: 10 * requests,
            cache_read: 4,
            cache_write: 5,
            cache_write_hour: 0,
            output: 6,
            reasoning: 2,
        },
        cost: Usd::nanos(nanos),
    }
}

fn names<'a>(hour: i64, key: &'a str, model: &'a str) -> Names<'a> {
    Names {
        hour,
        key,
        tag: "t",
        provider: "p",
        model,
    }
}

fn add(store: &mut Store, rows: &[(Names<'_>, Counts)]) {
    let rows = rows.iter().map(|(names, counts)| (*names, counts));
    store.add(rows).unwrap();
}

fn rows(table: &Table) -> Vec<(String, u64, u64)> {
    let row = |row: &crate::usage::Row| {
        (
            row.names.join("/"),
            row.counts.requests,
            row.counts.cost.as_nanos(),
        )
    };
    table.rows.iter().map(row).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage ?#%.db");
    (folder, path)
}

#[test]
fn what_is_added_is_found_by_every_name_and_since_any_hour() {
    let mut store = Store::in_memory().unwrap();
    add(
        &mut store,
        &[
            (names(10, "a", "m"), counts(1, 100)),
            (names(11, "a", "m"), counts(2, 200)),
            (names(11, "", "n"), counts(4, 1000)),
        ],
    );
    add(&mut store, &[(names(11, "a", "m"), counts(8, 7))]);
    let table = |by, since| rows(&store.table(by, since).unwrap());
    assert_eq!(
        table(By::Key, Since::EVER),
        [(String::new(), 4, 1000), ("a".into(), 11, 307)]
    );
    let later = Since::of(Moment::of_hour(11));
    assert_eq!(
        table(By::Model, later),
        [("p/n".into(), 4, 1000), ("p/m".into(), 10, 207)]
    );
    assert_eq!(table(By::Provider, Since::EVER), [("p".into(), 15, 1307)]);
    assert_eq!(table(By::Tag, Since::of(Moment::of_hour(12))), []);
    let total = store.table(By::Tag, Since::EVER).unwrap().total();
    assert_eq!((total.failed, total.estimated, total.unpriced), (4, 8, 12));
    assert_eq!((total.tokens.input, total.tokens.cache_read), (150, 16));
    assert_eq!((total.tokens.output, total.tokens.reasoning), (24, 8));
}

#[test]
fn sums_outlive_the_process_and_budgets_what_is_forgotten() {
    let (_folder, path) = folder();
    // 2024-02-29T12:00:00Z
    let now = Moment::seconds(1_709_208_000);
    let hour = now.hour();
    let mut store = Store::open(&path).unwrap();
    add(
        &mut store,
        &[
            (names(hour, "a", "m"), counts(1, 1)),
            (names(hour - 24, "a", "m"), counts(1, 20)),
            (names(hour - 24 * 40, "a", "m"), counts(1, 300)),
            (names(hour, "b", "m"), counts(1, 5)),
            (names(hour, "", "m"), counts(1, 9)),
        ],
    );
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let sums = |store: &Store| {
        let spent = store.spent(now).unwrap().into_iter();
        let figures = |sums: Sums| [sums.day.1, sums.month.1, sums.total].map(Usd::as_nanos);
        spent
            .map(|(key, sums)| (key, figures(sums)))
            .collect::<Vec<_>>()
    };
    let expected = [("a".to_owned(), [1, 21, 321]), ("b".to_owned(), [5, 5, 5])];
    assert_eq!(sums(&store), expected);
    assert_eq!(store.forget_before(hour - 24 * 30).unwrap(), 1);
    assert_eq!(sums(&store), expected);
    assert_eq!(rows(&store.table(By::Key, Since::EVER).unwrap())[1].2, 9);
}

#[test]
fn a_file_is_read_while_it_is_written_and_when_nobody_writes() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    add(&mut store, &[(names(1, "a", "m"), counts(1, 1))]);
    let reader = StoreReader::open(&path).unwrap();
    add(&mut store, &[(names(1, "a", "m"), counts(1, 1))]);
    assert_eq!(
        rows(&reader.table(By::Key, Since::EVER).unwrap()),
        [("a".into(), 2, 2)]
    );
    drop((reader, store));
    assert!(!read::beside(&path, "-wal").exists());
    let reader = StoreReader::open(&path).unwrap();
    assert_eq!(
        rows(&reader.table(By::Key, Since::EVER).unwrap()),
        [("a".into(), 2, 2)]
    );
}

#[test]
fn only_a_file_of_its_own_is_written_to() {
    let (_folder, path) = folder();
    std::fs::write(
        &path,
        "This is no database, but a text that somebody wants to keep.",
    )
    .unwrap();
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::Foreign { .. })
    ));
    assert!(matches!(
        StoreReader::open(&path),
        Err(StoreError::Foreign { .. })
    ));
    std::fs::remove_file(&path).unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(other);
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::Foreign { .. })
    ));
    std::fs::remove_file(&path).unwrap();

    drop(Store::open(&path).unwrap());
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { version: 99, .. }),
        "{error}"
    );
}

#[test]
fn books_keep_their_number_and_those_of_an_older_version_get_one() {
    let (_folder, path) = folder();
    let books = Store::open(&path).unwrap().books().unwrap();
    assert_eq!(Store::open(&path).unwrap().books().unwrap(), books);
    assert_ne!(Store::in_memory().unwrap().books().unwrap(), books);
    let older = Connection::open(&path).unwrap();
    let sql = "DROP TABLE books; PRAGMA user_version = 1";
    older.execute_batch(sql).unwrap();
    drop(older);
    let books = Store::open(&path).unwrap().books().unwrap();
    assert_eq!(Store::open(&path).unwrap().books().unwrap(), books);
}

#[test]
fn a_damaged_file_is_told_from_a_good_one() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    let models: Vec<String> = (0..2000).map(|number| format!("model-{number}")).collect();
    let rows: Vec<_> = models
        .iter()
        .map(|model| (names(1, "a", model), counts(1, 1)))
        .collect();
    add(&mut store, &rows);
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0x5A);
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("put it aside"), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/usage.db");
    let error = Store::open(&missing).unwrap_err().to_string();
    assert!(error.contains("missing/usage.db"), "{error}");
    assert!(StoreReader::open(&missing).is_err());
    assert!(!missing.exists());
    let error = Store::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
}

#[test]
fn rows_in_memory_are_bounded_by_their_age() {
    let mut store = Store::in_memory().unwrap();
    for hour in 0..20 {
        add(
            &mut store,
            &[
                (names(hour, "a", "m"), counts(1, 1)),
                (names(hour, "a", "n"), counts(1, 1)),
            ],
        );
    }
    store.keep_at_most(10, 19).unwrap();
    let left = store.table(By::Key, Since::EVER).unwrap().total();
    assert_eq!(left.requests, 10);
    // The hour of now stays whatever it holds.
    store.keep_at_most(0, 19).unwrap();
    let left = store.table(By::Key, Since::EVER).unwrap().total();
    assert_eq!(left.requests, 2);
}

#[test]
fn others_cannot_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
    drop(Store::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    // One of an older version is closed to others; the group is the operator's to say.
    for (before, after) in [(0o644, 0o640), (0o660, 0o660)] {
        set(before).unwrap();
        drop(Store::open(&path).unwrap());
        assert_eq!(mode(), after);
    }
}
