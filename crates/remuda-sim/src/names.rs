//! Model names by Ollama's rules: `[host/][namespace/]model[:tag]`, `latest` by default, case ignored.

/// A model name with its tag, in lower case: equal names mean the same model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(String);

impl Name {
    /// Reads a name; `None` for what Ollama calls an `invalid model name`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let short = lower.strip_prefix("registry.ollama.ai/").unwrap_or(&lower);
        let short = short.strip_prefix("library/").unwrap_or(short);
        let start = short.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match short[start..].rfind(':') {
            Some(colon) => (&short[..start + colon], &short[start + colon + 1..]),
            None => (short, "latest"),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let good = parts.len() <= 3 && parts.iter().chain([&tag]).all(|part| is_part(part));
        good.then(|| Self(format!("{path}:{tag}")))
    }

    /// The name with its tag.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its tag.
    pub(super) fn base(&self) -> &str {
        self.0.rsplit_once(':').map_or(&self.0, |(base, _)| base)
    }

    /// The whole name as error texts about capabilities print it.
    pub(super) fn qualified(&self) -> String {
        match self.0.matches('/').count() {
            0 => format!("registry.ollama.ai/library/{}", self.0),
            1 => format!("registry.ollama.ai/{}", self.0),
            _ => self.0.clone(),
        }
    }
}

fn is_part(part: &str) -> bool {
    let mut bytes = part.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first
        && part.len() <= 80
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_by_tag_and_case() {
        let plain = Name::parse("llama3.2").unwrap();
        assert_eq!(plain.as_str(), "llama3.2:latest");
        for same in [
            "LLAMA3.2:Latest",
            "library/llama3.2",
            "registry.ollama.ai/library/llama3.2:latest",
        ] {
            assert_eq!(Name::parse(same).unwrap(), plain);
        }
        assert_ne!(Name::parse("llama3.2:1b").unwrap(), plain);
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", ":", "a:", "/a", "a b", "a/b/c/d", "-a", "a:b:c"] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_of_a_name() {
        let name = Name::parse("someone/thing:7b").unwrap();
        assert_eq!(name.base(), "someone/thing");
        assert_eq!(name.qualified(), "registry.ollama.ai/someone/thing:7b");
    }
}
