//! The nearest known name to one that is unknown, for "did you mean".

/// Names further off than this share nothing but letters.
const MIN_SIMILARITY: f64 = 0.7;
/// Longer names would only cost time: the distance is quadratic.
const MAX_NAME: usize = 64;

/// The known name that is most like `name`, if any is.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NAME {
        return None;
    }
    known
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Up to `most` known names that are like `name`, the nearest first, each once.
pub(crate) fn ranked<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    if name.len() > MAX_NAME {
        return Vec::new();
    }
    let mut found: Vec<(f64, &str)> = known
        .filter(|candidate| candidate.len() <= MAX_NAME)
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= MIN_SIMILARITY)
        .collect();
    found.sort_by(|(one, first), (other, second)| other.total_cmp(one).then(first.cmp(second)));
    found.dedup_by_key(|(_, candidate)| *candidate);
    found.truncate(most);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// From 0 to 1. Transpositions count once (Damerau), a common prefix counts extra (Jaro-Winkler).
fn likeness(one: &str, other: &str) -> f64 {
    let edits = strsim::normalized_damerau_levenshtein(one, other);
    edits.max(strsim::jaro_winkler(one, other) - 0.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_meant_and_nothing_far_fetched() {
        let known = [
            "discover",
            "backends",
            "max_concurrent",
            "max_concurrent_per_backend",
            "cost",
        ];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("discvoer"), Some("discover"));
        assert_eq!(near("backend"), Some("backends"));
        assert_eq!(near("max_concurent"), Some("max_concurrent"));
        assert_eq!(
            near("max_concurrent_per_server"),
            Some("max_concurrent_per_backend")
        );
        assert_eq!(near("zzz"), None);
        assert_eq!(near(&"discover".repeat(100)), None);
    }

    #[test]
    fn names_are_ranked() {
        let known = ["llama3.2", "gpt-5.5", "llama3.1", "llama3.1", "gemma3"];
        let near = |name, most| ranked(name, known.into_iter(), most);
        assert_eq!(near("lama3.1", 5), ["llama3.1", "llama3.2"]);
        assert_eq!(near("lama3.1", 1), ["llama3.1"]);
        assert_eq!(near("zzz", 5), [""; 0]);
    }
}
