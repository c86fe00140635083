//! Which key a credential is, in a time that says nothing of any key.
//!
//! Keys are known by their SHA-256 alone, and the presented credential is hashed before it is compared, so no key's own
//! bytes are ever compared with a client's. The digests are looked up in a table whose hash is seeded at random when the
//! process starts: which digests share a place in it cannot be known or arranged from outside. Those that do are compared
//! in constant time. So neither the number of keys nor a common beginning of two digests shows in the time.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use ahash::RandomState;
use subtle::ConstantTimeEq;

use crate::settings::KeyDigest;

/// All keys by their digest.
pub struct Keyring {
    /// Positions in the configuration.
    places: HashMap<Compared, usize, RandomState>,
}

/// A digest that is compared in constant time.
struct Compared(KeyDigest);

impl PartialEq for Compared {
    fn eq(&self, other: &Compared) -> bool {
        self.0.0.ct_eq(&other.0.0).into()
    }
}

impl Eq for Compared {}

impl Hash for Compared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.0);
    }
}

impl Keyring {
    pub fn new(digests: impl IntoIterator<Item = KeyDigest>) -> Keyring {
        let digests = digests.into_iter().enumerate();
        Keyring {
            places: digests
                .map(|(place, digest)| (Compared(digest), place))
                .collect(),
        }
    }

    /// Returns the position of the key whose credential this is.
    pub fn find(&self, credential: &[u8]) -> Option<usize> {
        self.places
            .get(&Compared(KeyDigest::of(credential)))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_credential_finds_its_own_key() {
        let names: Vec<String> = (0..1000).map(|n| format!("key-{n}")).collect();
        let ring = Keyring::new(names.iter().map(|name| KeyDigest::of(name.as_bytes())));
        for (place, name) in names.iter().enumerate() {
            assert_eq!(ring.find(name.as_bytes()), Some(place));
            for wrong in [&name[1..], &format!("{name} "), &name.to_uppercase(), ""] {
                assert_eq!(ring.find(wrong.as_bytes()), None, "{wrong}");
            }
        }
        // Nor does a digest open what its key opens.
        let digest = KeyDigest::of(b"key-1");
        assert_eq!(ring.find(&digest.0), None);
        assert_eq!(ring.find(digest.to_string().as_bytes()), None);
    }
}
