//! Signatures of thinking: opaque to callers, and known to the provider that issued them, for what it issued them for.

use ring::digest::{SHA256, digest};

use super::super::base64;
use super::super::chance::Dice;
use super::picture;

/// Hex digits of the random part.
const NONCE: usize = 8;

/// Returns a new signature for `text`, in base64; `purpose` keeps those of one kind apart from those of another.
pub(super) fn issue(purpose: &str, text: &str, dice: &mut Dice) -> String {
    sealed(purpose, &dice.text(b"0123456789abcdef", NONCE), text)
}

/// Returns whether `signature` was issued for `text`; it may be in either alphabet of base64.
pub(super) fn is_of(signature: &str, purpose: &str, text: &str) -> bool {
    let standard = signature.replace('-', "+").replace('_', "/");
    let Some(bytes) = picture::decode(&standard) else {
        return false;
    };
    let nonce = bytes
        .get(..NONCE)
        .and_then(|nonce| std::str::from_utf8(nonce).ok());
    nonce.is_some_and(|nonce| picture::decode(&sealed(purpose, nonce, text)) == Some(bytes.clone()))
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
        let signature = issue("thinking", "a plan", &mut dice);
        assert!(is_of(&signature, "thinking", "a plan"));
        assert!(!is_of(&signature, "thinking", "a plan "));
        assert!(!is_of(&signature, "call", "a plan"));
        assert!(!is_of("", "thinking", "") && !is_of("EqQB", "thinking", ""));
        let other = signature
            .replace('+', "-")
            .replace('/', "_")
            .replace('=', "");
        assert!(is_of(&other, "thinking", "a plan"));
    }
}
