//! Thought signatures: opaque to the caller, known to the simulated API by the part that they were issued for.

use ring::digest::{SHA256, digest};

use super::super::super::base64;
use super::super::super::chance::Dice;
use super::super::picture;

/// Hex digits of the random part.
const NONCE: usize = 8;

/// What Google lets stand in for a signature on calls that come from elsewhere.
const BYPASS: &str = "skip_thought_signature_validator";

/// A new signature for the call of `name`; for a text the name is empty.
pub(super) fn issue(name: &str, dice: &mut Dice) -> String {
    sealed(&dice.text(b"0123456789abcdef", NONCE), name)
}

/// Whether `signature` was issued for the call of `name`.
pub(super) fn is_of(signature: &str, name: &str) -> bool {
    if signature == BYPASS {
        return true;
    }
    let standard = signature.replace('-', "+").replace('_', "/");
    let Some(bytes) = picture::decode(&standard) else {
        return false;
    };
    let nonce = bytes
        .get(..NONCE)
        .and_then(|nonce| std::str::from_utf8(nonce).ok());
    let issued =
        nonce.is_some_and(|nonce| picture::decode(&sealed(nonce, name)) == Some(bytes.clone()));
    issued || bytes == BYPASS.as_bytes()
}

fn sealed(nonce: &str, name: &str) -> String {
    let hashed = digest(&SHA256, format!("thought:{nonce}:{name}").as_bytes());
    let mut bytes = nonce.as_bytes().to_vec();
    bytes.extend_from_slice(hashed.as_ref());
    base64::encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_belongs_to_its_call() {
        let signature = issue("f", &mut Dice::new(1));
        assert!(is_of(&signature, "f"));
        assert!(is_of(
            &signature
                .replace('+', "-")
                .replace('/', "_")
                .replace('=', ""),
            "f"
        ));
        assert!(!is_of(&signature, "g") && !is_of("CiQB", "f") && !is_of("", "f"));
        assert!(is_of(&base64::encode(BYPASS.as_bytes()), "f"));
    }
}
