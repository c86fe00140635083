//! Which models there are for clients at all: the operator's list, one pattern a line.
//!
//! A line is a name, with `*` and `?` for any characters; `!` before it excludes, `#` begins a comment. With no line but
//! exclusions all other models are there. An exclusion goes before whatever includes the model.

use super::pattern::{Pattern, folded};

/// The list as read; the default lets everything pass.
#[derive(Debug, Default)]
pub struct Filter {
    included: Vec<Pattern>,
    excluded: Vec<Pattern>,
}

impl Filter {
    /// Reads the file's text.
    pub fn new(text: &str) -> Filter {
        let mut filter = Filter::default();
        for line in text.lines() {
            let line = without_comment(line.trim_start_matches('\u{feff}')).trim();
            match line.strip_prefix('!') {
                _ if line.is_empty() => {}
                Some(pattern) => filter.excluded.push(Pattern::glob(pattern.trim())),
                None => filter.included.push(Pattern::glob(line)),
            }
        }
        filter
    }

    /// Returns whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.included.is_empty() && self.excluded.is_empty()
    }

    /// Returns whether a model passes that goes by these names at a provider: `gpt-5.4`, what the provider calls it,
    /// and each of them after `provider/`.
    pub fn admits(&self, provider: &str, names: &[&str]) -> bool {
        if self.is_empty() {
            return true;
        }
        let names = names.iter().map(|name| folded(name));
        let names: Vec<String> = names
            .flat_map(|name| {
                let full = format!("{}/{name}", provider.to_ascii_lowercase());
                [name, full]
            })
            .collect();
        let any = |patterns: &[Pattern]| {
            let mut pairs = patterns.iter();
            pairs.any(|pattern| names.iter().any(|name| pattern.matches(name)))
        };
        !any(&self.excluded) && (self.included.is_empty() || any(&self.included))
    }
}

/// Returns the line without its comment: no model's name has a space before a `#`.
fn without_comment(line: &str) -> &str {
    let begins = |at: &usize| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    let mut hashes = line.match_indices('#').map(|(at, _)| at);
    hashes.find(begins).map_or(line, |at| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_include_and_exclude() {
        let filter = Filter::new(
            "\u{feff}# what we pay for\r\n\r\ngpt-5*   # all of them\nllama3.?\n  claude-opus-5\n!gpt-5*-pro\n! openrouter/*\n",
        );
        assert!(!filter.is_empty());
        for (provider, name, is) in [
            ("openai", "gpt-5.4", true),
            ("openai", "GPT-5.4", true),
            ("openai", "gpt-5.4-pro", false),
            ("openai", "gpt-4.1", false),
            ("gpus", "llama3.2:latest", true),
            ("gpus", "llama3.12", false),
            ("anthropic", "claude-opus-5", true),
            ("anthropic", "claude-opus-5-5", false),
            ("openrouter", "gpt-5.4", false),
        ] {
            assert_eq!(filter.admits(provider, &[name]), is, "{provider}/{name}");
        }
        // Any of its names includes a model, and any excludes it.
        assert!(filter.admits("azure", &["my-gpt", "gpt-5.4"]));
        assert!(!filter.admits("azure", &["gpt-5.4", "gpt-5.4-pro"]));
    }

    #[test]
    fn exclusions_alone_leave_the_rest() {
        let filter = Filter::new("!gpt-3.5*\n");
        assert!(filter.admits("openai", &["gpt-5.4"]));
        assert!(!filter.admits("openai", &["gpt-3.5-turbo"]));
        let empty = Filter::new("\n # nothing\n#gpt\n");
        assert!(empty.is_empty() && empty.admits("a", &["b"]));
    }

    #[test]
    fn a_pattern_may_name_the_provider() {
        let filter = Filter::new("openai/*\n*/llama3.2");
        assert!(filter.admits("OpenAI", &["gpt-5.4"]));
        assert!(!filter.admits("azure", &["gpt-5.4"]));
        assert!(filter.admits("gpus", &["llama3.2:latest"]));
    }
}
