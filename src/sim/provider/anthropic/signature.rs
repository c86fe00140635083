//! Signatures of thinking: the simulated API knows those that it issued, for exactly the text that it issued them for.

use ring::digest::{SHA256, digest};

use super::super::super::base64;
use super::super::super::chance::Dice;

/// Hex digits of the random part.
const NONCE: usize = 8;

/// A new signature of `thinking`; the text may be empty, as with `display: "omitted"`.
pub(super) fn issue(thinking: &str, dice: &mut Dice) -> String {
    sealed("thinking", &nonce(dice), thinking)
}

/// Whether `signature` was issued for `thinking`.
pub(super) fn is_of(signature: &str, thinking: &str) -> bool {
    matches(signature, "thinking", thinking)
}

/// What stands in place of thinking that is not to be read.
pub(super) fn redacted(dice: &mut Dice) -> String {
    sealed("redacted", &nonce(dice), "")
}

/// Whether `data` was issued in place of thinking.
pub(super) fn is_redacted(data: &str) -> bool {
    matches(data, "redacted", "")
}

fn nonce(dice: &mut Dice) -> String {
    dice.text(b"0123456789abcdef", NONCE)
}

fn matches(signature: &str, purpose: &str, text: &str) -> bool {
    let nonce = super::super::picture::decode(signature)
        .and_then(|bytes| bytes.get(..NONCE).map(<[u8]>::to_vec))
        .and_then(|bytes| String::from_utf8(bytes).ok());
    nonce.is_some_and(|nonce| sealed(purpose, &nonce, text) == signature)
}

/// base64(nonce, SHA-256 over purpose, nonce and text).
fn sealed(purpose: &str, nonce: &str, text: &str) -> String {
    let hashed = digest(&SHA256, format!("{purpose}:{nonce}:{text}").as_bytes());
    let mut bytes = nonce.as_bytes().to_vec();
    bytes.extend_from_slice(hashed.as_ref());
    base64::encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_its_text_alone() {
        let mut dice = Dice::new(1);
        let signature = issue("a plan", &mut dice);
        assert!(is_of(&signature, "a plan"));
        assert!(!is_of(&signature, "a plan "));
        assert!(!is_of("", "a plan") && !is_of("EqQB", ""));
        assert!(is_of(&issue("", &mut dice), ""));
        let data = redacted(&mut dice);
        assert!(is_redacted(&data) && !is_of(&data, ""));
    }
}
