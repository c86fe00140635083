//! Tokens by which a client has an answer continued that broke off: each tells how much has been said.

use super::super::super::base64;
use super::super::picture;

/// Returns the token that continues an answer after its first `said` tokens.
pub(super) fn token(said: usize) -> String {
    base64::encode(format!("said:{said}").as_bytes())
}

/// Returns how many tokens had been said when `token` was given out; `None` if it never was.
pub(super) fn read_token(token: &str) -> Option<usize> {
    let bytes = picture::decode(&token.replace('-', "+").replace('_', "/"))?;
    let text = String::from_utf8(bytes).ok()?;
    text.strip_prefix("said:")?.parse().ok()
}
