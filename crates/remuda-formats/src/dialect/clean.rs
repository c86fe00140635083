//! What of a provider's error message a client may see: its words, without addresses, credentials and account names.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};

/// Characters of a message that are kept.
const LONGEST: usize = 1000;
const HIDDEN: &str = "[hidden]";

/// Beginnings of credentials and of names of accounts, as providers shape them.
const MARKED: &[&str] = &[
    "sk-", "sk_", "pk-", "org-", "proj_", "proj-", "user-", "gsk_", "xai-", "pplx-", "hf_", "AIza",
    "ya29.", "AKIA", "ASIA", "arn:", "eyJ",
];

/// Returns `message` on one line, bounded, with what is nobody's business replaced.
pub fn clean(message: &str) -> String {
    let mut cleaned = String::with_capacity(message.len().min(LONGEST));
    let mut after_bearer = false;
    for word in message.split_whitespace() {
        if cleaned.len() >= LONGEST {
            break;
        }
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(&shown(word, after_bearer));
        after_bearer = word.eq_ignore_ascii_case("bearer");
    }
    if let Some((end, _)) = cleaned.char_indices().nth(LONGEST) {
        cleaned.truncate(end);
    }
    cleaned
}

/// Returns a word with what stands in quotes or brackets around it.
fn shown(word: &str, after_bearer: bool) -> Cow<'_, str> {
    let bare = word.trim_matches(|character: char| {
        !character.is_alphanumeric() && !matches!(character, '_' | '-' | '/' | '*')
    });
    // Such as `key=…` and `api_key:'…'`.
    let value = bare
        .rsplit([':', '=', '\'', '"', '`'])
        .next()
        .unwrap_or(bare);
    if after_bearer || [bare, value].into_iter().any(is_private) {
        Cow::Owned(word.replacen(bare, HIDDEN, 1))
    } else {
        Cow::Borrowed(word)
    }
}

fn is_private(word: &str) -> bool {
    let is_opaque =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'*' | b'=');
    let marked = word.len() > 6 && MARKED.iter().any(|mark| word.starts_with(mark));
    // A key of Azure's, or what is left of another's.
    let opaque = word.len() >= 32
        && word.bytes().all(is_opaque)
        && word.bytes().any(|byte| byte.is_ascii_digit());
    // An AWS account.
    let account = word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_digit());
    // Where a server runs, or what it talks to.
    let address = word.parse::<SocketAddr>().is_ok() || word.parse::<Ipv4Addr>().is_ok();
    address || word.contains("://") || word.contains("arn:aws") || marked || opaque || account
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay() {
        for message in [
            "The model `gpt-6-sol` does not exist or you do not have access to it.",
            "This model's maximum context length is 8192 tokens, however you requested 123456789.",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "meta-llama/llama-4-maverick-17b-128e-instruct-fp8 is overloaded (503)",
        ] {
            assert_eq!(clean(message), message);
        }
        assert_eq!(clean(" a\n\tb "), "a b");
    }

    #[test]
    fn what_is_private_goes() {
        for (message, shown) in [
            (
                "Incorrect API key provided: sk-ab**********xyz. Find it at https://platform.openai.com/account/api-keys.",
                "Incorrect API key provided: [hidden]. Find it at [hidden].",
            ),
            (
                "Rate limit reached in organization org-AbC123 on tokens",
                "Rate limit reached in organization [hidden] on tokens",
            ),
            (
                "User: arn:aws:iam::123456789012:user/x is not authorized",
                "User: [hidden] is not authorized",
            ),
            ("account 123456789012, please", "account [hidden], please"),
            (
                "dial tcp 127.0.0.1:41235: connect: connection refused (10.1.2.3)",
                "dial tcp [hidden]: connect: connection refused ([hidden])",
            ),
            ("bad key 'AIzaSyA1234567890'", "bad key '[hidden]'"),
            ("api_key=0123456789abcdef0123456789abcdef!", "[hidden]!"),
            (
                "Authorization: Bearer secret",
                "Authorization: Bearer [hidden]",
            ),
        ] {
            assert_eq!(clean(message), shown);
        }
    }

    #[test]
    fn messages_are_bounded() {
        assert_eq!(clean(&"é".repeat(5000)).chars().count(), LONGEST);
        assert!(clean(&"ab ".repeat(5000)).len() <= LONGEST + 3);
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(message in any::<String>()) {
            prop_assert!(clean(&message).chars().count() <= LONGEST);
        }
    }
}
