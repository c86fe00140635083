//! `${VAR}` in the configuration: what a string becomes once its variables are filled in.
//!
//! `${VAR}`, `${VAR:-default}` (the default also serves where the variable is empty, as in a
//! shell), nesting in the name and in the default, and `$${` for a literal `${`.

/// Deeper nesting is a mistake.
const MAX_DEPTH: usize = 16;
/// Longer than any credential or address.
const MAX_LENGTH: usize = 64 << 10;

/// Why a string could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterpolationError {
    #[error(
        "variable {0} is not set; set it, or give it a default as in ${{{0}:-default}} \
         (a literal ${{ is written $${{)"
    )]
    Unset(String),
    #[error("{0}")]
    Lookup(String),
    #[error("${{ without its closing }}; a literal ${{ is written $${{")]
    Unclosed,
    #[error("${{…}} takes a variable's name, as in ${{VAR}} or ${{VAR:-default}}")]
    Name,
    #[error("${{…}} is nested more than {MAX_DEPTH} deep")]
    Depth,
    #[error("the value is longer than {MAX_LENGTH} bytes once its variables are filled in")]
    Length,
}

/// Fills in the variables of `text`. `lookup` answers `None` for an unset variable.
pub(super) fn interpolate(
    text: &str,
    lookup: impl Fn(&str) -> Result<Option<String>, String>,
) -> Result<String, InterpolationError> {
    let mut parser = Parser { rest: text, lookup };
    parser.text(true, 0)
}

struct Parser<'a, L> {
    rest: &'a str,
    lookup: L,
}

impl<L: Fn(&str) -> Result<Option<String>, String>> Parser<'_, L> {
    /// Reads up to the end, or inside `${…}` up to its `}`. A text that is not `live` is read over
    /// without looking anything up: the default of a variable that is set.
    fn text(&mut self, live: bool, depth: usize) -> Result<String, InterpolationError> {
        let mut out = String::new();
        while let Some(next) = self.rest.chars().next() {
            if self.take("$${") {
                out.push_str("${");
            } else if self.take("${") {
                out.push_str(&self.variable(live, depth + 1)?);
            } else if next == '}' && depth > 0 {
                break;
            } else {
                out.push(next);
                self.rest = &self.rest[next.len_utf8()..];
            }
            if out.len() > MAX_LENGTH {
                return Err(InterpolationError::Length);
            }
        }
        Ok(out)
    }

    /// Reads what follows `${`, with its `}`.
    fn variable(&mut self, live: bool, depth: usize) -> Result<String, InterpolationError> {
        if depth > MAX_DEPTH {
            return Err(InterpolationError::Depth);
        }
        let name = self.name(live, depth)?;
        let value = if live {
            (self.lookup)(&name).map_err(InterpolationError::Lookup)?
        } else {
            Some(String::new())
        };
        if self.take("}") {
            return value.ok_or(InterpolationError::Unset(name));
        }
        if !self.take(":-") {
            return Err(match self.rest {
                "" => InterpolationError::Unclosed,
                _ => InterpolationError::Name,
            });
        }
        let value = value.filter(|value| !value.is_empty() || !live);
        let default = self.text(live && value.is_none(), depth)?;
        if !self.take("}") {
            return Err(InterpolationError::Unclosed);
        }
        Ok(value.unwrap_or(default))
    }

    /// Reads a variable's name, of which parts may be variables themselves: `${${PREFIX}_KEY}`.
    fn name(&mut self, live: bool, depth: usize) -> Result<String, InterpolationError> {
        let mut name = String::new();
        let mut nested = false;
        loop {
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(self.rest.len());
            let (plain, rest) = self.rest.split_at(end);
            name.push_str(plain);
            self.rest = rest;
            if !self.take("${") {
                break;
            }
            nested = true;
            name.push_str(&self.variable(live, depth + 1)?);
        }
        // The name of a text that is not live may be unknown.
        let unknown = nested && !live;
        let valid = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match self.rest {
            "" => Err(InterpolationError::Unclosed),
            _ if valid || unknown => Ok(name),
            _ => Err(InterpolationError::Name),
        }
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(text: &str) -> Result<String, InterpolationError> {
        interpolate(text, |name| match name {
            "A" => Ok(Some("a".into())),
            "EMPTY" => Ok(Some(String::new())),
            "PREFIX" => Ok(Some("OPENAI".into())),
            "OPENAI_KEY" => Ok(Some("sk-1".into())),
            "LOOPS" => Ok(Some("${LOOPS}".into())),
            "BROKEN" => Err("cannot read BROKEN_FILE".into()),
            _ => Ok(None),
        })
    }

    #[test]
    fn fills_in_variables_defaults_and_nested_ones() {
        for (text, filled) in [
            ("", ""),
            ("plain $ text } { $A", "plain $ text } { $A"),
            ("${A}", "a"),
            ("x${A}y${A}z", "xayaz"),
            ("${NONE:-d}", "d"),
            ("${NONE:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${A:-d}", "a"),
            ("${NONE:-${A}}", "a"),
            ("${NONE:-${NONE:-${A}b}c}d", "abcd"),
            ("${A:-${NONE}}", "a"),
            ("${A:-${BROKEN}}", "a"),
            ("${A:-${${NONE}}}", "a"),
            ("${PREFIX}_KEY", "OPENAI_KEY"),
            ("${${PREFIX}_KEY}", "sk-1"),
            ("${${NONE:-PREFIX}}", "OPENAI"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$$", "$$"),
            ("${LOOPS}", "${LOOPS}"),
            ("http://${NONE:-gpu1}:${NONE:-11434}", "http://gpu1:11434"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        use InterpolationError::*;
        for (text, error) in [
            ("${NONE}", Unset("NONE".into())),
            ("${NONE:-${OTHER}}", Unset("OTHER".into())),
            ("${${NONE}_KEY}", Unset("NONE".into())),
            ("${BROKEN}", Lookup("cannot read BROKEN_FILE".into())),
            ("${A", Unclosed),
            ("${", Unclosed),
            ("${A:-x", Unclosed),
            ("${}", Name),
            ("${A-x}", Name),
            ("${1A}", Name),
            ("${A B}", Name),
            ("${${LOOPS}}", Name),
        ] {
            assert_eq!(fill(text), Err(error), "{text}");
        }
        assert_eq!(fill(&"${".repeat(100_000)), Err(Depth));
        let twice = interpolate("${A}${A}", |_| Ok(Some("x".repeat(40_000))));
        assert_eq!(twice, Err(Length));
    }

    proptest! {
        #[test]
        fn never_panics(text in "([$}{:A-]|\\$\\{|\\$\\$\\{|:-|A|é|NONE){0,40}") {
            let _ = fill(&text);
        }

        #[test]
        fn text_without_variables_is_left_alone(text in "[^$]{0,60}") {
            prop_assert_eq!(fill(&text), Ok(text));
        }

        #[test]
        fn an_escaped_text_comes_back(text in "[${}A:-]{0,30}") {
            prop_assume!(!text.contains("$${"));
            prop_assert_eq!(fill(&text.replace("${", "$${")), Ok(text));
        }
    }
}
