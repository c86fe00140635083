//! Ids of tool calls as a provider takes them. They come from whoever answered before: Gemini's carry a signature, and
//! some servers' have points and colons.
//!
//! An id that does not fit is sent as what its text comes to. So a call and its result still belong together, in every
//! turn and at every gateway the same, and a provider's prompt cache holds. Nothing has to bring them back: a client
//! keeps its own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use crate::ir::Text;

/// What a provider takes for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallIds {
    /// Any text of so many bytes at most (OpenAI answers `string_above_max_length` otherwise).
    Short(usize),
    /// Letters, digits, `_` and `-`, so many of them at most (Anthropic, Bedrock).
    Plain(usize),
    /// Nine letters and digits (Mistral).
    Nine,
}

/// Bytes of a digest that are told: no two ids come to the same.
const TOLD: usize = 20;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl CallIds {
    pub fn fits(self, id: &str) -> bool {
        match self {
            CallIds::Short(longest) => id.len() <= longest,
            CallIds::Plain(longest) => {
                let is_plain =
                    |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                !id.is_empty() && id.len() <= longest && id.bytes().all(is_plain)
            }
            CallIds::Nine => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        }
    }

    /// Returns the id that is sent: the same each time, and different for different ids.
    pub fn sent<'a>(self, id: &Text<'a>) -> Text<'a> {
        if self.fits(id.as_escaped()) {
            return id.clone();
        }
        let digest = digest(&SHA256, id.decoded().as_bytes());
        let digest = digest.as_ref();
        Text::escaped(match self {
            CallIds::Nine => {
                let mut number = digest[..8]
                    .iter()
                    .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                let mut next = || {
                    let digit = DIGITS[usize::try_from(number % 62).unwrap_or_default()];
                    number /= 62;
                    char::from(digit)
                };
                (0..9).map(|_| next()).collect()
            }
            _ => format!("call_{}", URL_SAFE_NO_PAD.encode(&digest[..TOLD])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [CallIds; 4] = [
        CallIds::Short(40),
        CallIds::Short(64),
        CallIds::Plain(64),
        CallIds::Nine,
    ];

    #[test]
    fn an_id_that_fits_is_sent_as_it_is() {
        for (ids, id) in [
            (CallIds::Short(40), "functions.Bash:0"),
            (CallIds::Short(40), ""),
            (CallIds::Plain(64), "toolu_01-x"),
            (CallIds::Nine, "a1B2c3D4e"),
        ] {
            assert_eq!(ids.sent(&Text::escaped(id)).as_escaped(), id);
        }
    }

    #[test]
    fn it_is_the_same_at_every_gateway() {
        let id = Text::escaped("functions.Bash:0");
        let plain = CallIds::Plain(64).sent(&id);
        assert_eq!(plain.as_escaped(), "call_qX0VBx91-yBD2oDTgFIgr8Wr-rU");
        assert_eq!(CallIds::Nine.sent(&id).as_escaped().len(), 9);
    }

    proptest! {
        #[test]
        fn what_is_sent_fits_and_tells_ids_apart(one in any::<String>(), other in ".{30,90}") {
            for ids in ALL {
                let (one, other) = (Text::plain(&one), Text::plain(&other));
                let (sent, of_other) = (ids.sent(&one), ids.sent(&other));
                prop_assert!(ids.fits(sent.as_escaped()) && ids.fits(of_other.as_escaped()));
                prop_assert_eq!(one == other, sent == of_other);
                prop_assert_eq!(ids.sent(&sent), sent);
            }
        }
    }
}
