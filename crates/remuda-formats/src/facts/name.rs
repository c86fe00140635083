//! The forms in which one model's name is looked up: vendors, regions, dates and versions are written around it.

/// A name as given, then without what surrounds it, the most exact form first; neighbours may be equal.
pub(super) struct Forms<'a>([&'a str; 5]);

impl<'a> Forms<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a str> + '_ {
        let mut last = None;
        self.0
            .iter()
            .copied()
            .filter(move |form| last.replace(*form) != Some(*form))
    }
}

/// Returns the forms of `name`, which is in lower case: `us.anthropic.claude-haiku-4-5-20251001-v1:0` is also
/// `claude-haiku-4-5-20251001-v1:0`, `claude-haiku-4-5-20251001-v1`, `claude-haiku-4-5-20251001` and
/// `claude-haiku-4-5`.
pub(super) fn forms<'a>(name: &'a str, prefixes: &[Box<str>]) -> Forms<'a> {
    let bare = bare(name, prefixes);
    let plain = bare.split_once(':').map_or(bare, |(plain, _)| plain);
    let unversioned = unversioned(plain);
    Forms([name, bare, plain, unversioned, undated(unversioned)])
}

/// Returns the name without all up to the last slash (`openai/`, `models/`, an ARN's) and without `prefixes`, as often
/// as they occur.
fn bare<'a>(name: &'a str, prefixes: &[Box<str>]) -> &'a str {
    let mut rest = name.rsplit_once('/').map_or(name, |(_, rest)| rest);
    while let Some(shorter) = prefixes
        .iter()
        .find_map(|prefix| rest.strip_prefix(&**prefix))
        .filter(|shorter| !shorter.is_empty())
    {
        rest = shorter;
    }
    rest
}

/// Returns the name without `-v1` at the end, as Bedrock writes it.
fn unversioned(name: &str) -> &str {
    let Some((front, version)) = name.rsplit_once("-v") else {
        return name;
    };
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { front } else { name }
}

/// Returns the name without `-2025-08-07`, `-20250807`, `@20250807`, `-latest` or `@latest` at the end.
fn undated(name: &str) -> &str {
    for latest in ["-latest", "@latest", "@default"] {
        if let Some(front) = name.strip_suffix(latest) {
            return front;
        }
    }
    ["-dddd-dd-dd", "-dddddddd", "@dddddddd"]
        .iter()
        .find_map(|shape| {
            let at = name.len().checked_sub(shape.len())?;
            let (front, date) = name.split_at_checked(at)?;
            let is_date = date.bytes().zip(shape.bytes()).all(|(byte, expected)| {
                if expected == b'd' {
                    byte.is_ascii_digit()
                } else {
                    byte == expected
                }
            });
            (is_date && !front.is_empty()).then_some(front)
        })
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes() -> Vec<Box<str>> {
        ["us.", "anthropic.", "ft:"].map(Box::from).into()
    }

    #[test]
    fn what_surrounds_a_name_is_cut() {
        for (name, last) in [
            ("gpt-5.4", "gpt-5.4"),
            ("gpt-5.4-2026-03-05", "gpt-5.4"),
            ("openai/gpt-5.4:free", "gpt-5.4"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
            (
                "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                "claude-haiku-4-5",
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
                "claude-haiku-4-5",
            ),
            ("ft:gpt-4o-mini-2024-07-18:org::id", "gpt-4o-mini"),
            ("chatgpt-4o-latest", "chatgpt-4o"),
            ("deepseek-v4-flash", "deepseek-v4-flash"),
            ("us.", "us."),
            ("-20250807", "-20250807"),
        ] {
            let prefixes = prefixes();
            let forms = forms(name, &prefixes);
            assert_eq!(forms.iter().last(), Some(last), "{name}");
            assert_eq!(forms.iter().next(), Some(name));
        }
    }

    proptest! {
        #[test]
        fn any_name_has_forms(name in "\\PC{0,40}") {
            let prefixes = prefixes();
            for form in forms(&name, &prefixes).iter() {
                prop_assert!(name.contains(form));
            }
        }
    }
}
