//! How a model's name is compared: by Ollama's rules where it is a name to them, else as it is in lower case.
//!
//! Providers have names that Ollama has not: ARNs, `accounts/fireworks/models/…`.

use remuda_formats::dialect::ollama::CanonicalKey;

/// A provider's name, a slash, and an ARN of 2,048 characters.
const MOST: usize = 64 + 1 + 2048;

/// Calls `look` with the form under which all spellings of `name` are found; `None` if no model has such a name, as it
/// is empty or too long. Nothing is allocated.
pub(super) fn with_key<T>(name: &str, look: impl FnOnce(&str) -> T) -> Option<T> {
    if let Ok(key) = CanonicalKey::new(name) {
        return Some(look(key.as_str()));
    }
    let name = without_latest(name.trim());
    if name.is_empty() || name.len() > MOST {
        return None;
    }
    let mut bytes = [0; MOST];
    let bytes = &mut bytes[..name.len()];
    bytes.copy_from_slice(name.as_bytes());
    bytes.make_ascii_lowercase();
    let key = str::from_utf8(bytes).expect("a change of ASCII letters leaves UTF-8 as it is");
    Some(look(key))
}

/// Clients of Ollama write the tag that they are shown.
fn without_latest(name: &str) -> &str {
    const LATEST: &str = ":latest";
    match name.len().checked_sub(LATEST.len()) {
        Some(start) if name.is_char_boundary(start) => match name.split_at(start) {
            (rest, tag) if tag.eq_ignore_ascii_case(LATEST) => rest,
            _ => name,
        },
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> String {
        with_key(name, str::to_owned).unwrap()
    }

    #[test]
    fn spellings_of_one_model_meet() {
        for (one, other) in [
            ("llama3.2", "Llama3.2:latest"),
            ("gpt-5.4", "GPT-5.4:latest"),
            ("openai/gpt-5.4", "OpenAI/gpt-5.4:latest"),
            (
                "meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "meta-llama/llama-3.3-70b-instruct-turbo",
            ),
            (
                "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                "US.anthropic.claude-haiku-4-5-20251001-v1:0",
            ),
            (
                "accounts/fireworks/models/Llama-v3p1",
                " accounts/fireworks/models/llama-v3p1:Latest\n",
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/x",
                "ARN:aws:bedrock:us-east-1:1:inference-profile/X",
            ),
        ] {
            assert_eq!(key(one), key(other));
        }
        for (one, other) in [
            ("a:1", "a:2"),
            ("openai/a", "a"),
            ("x/accounts/f/models/a", "accounts/f/models/a"),
        ] {
            assert_ne!(key(one), key(other));
        }
    }

    #[test]
    fn what_is_no_name_has_no_key() {
        assert!(with_key("", str::len).is_none());
        assert!(with_key(" \n", str::len).is_none());
        assert!(with_key(":latest", str::len).is_none());
        assert!(with_key(&"a/".repeat(MOST), str::len).is_none());
        assert!(with_key(&"ä".repeat(MOST / 2), str::len).is_some());
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(name in prop_oneof!["[a-zA-Z0-9/:._-]{1,40}", any::<String>()]) {
            // `a:latest:latest` is one of the names that lose a tag each time.
            prop_assume!(!name.to_ascii_lowercase().contains(":latest"));
            if let Some(once) = with_key(&name, str::to_owned) {
                prop_assert_eq!(key(&once), once);
            }
        }
    }
}
