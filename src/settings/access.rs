//! Who may ask for how much: client keys with their limits, where several gateways count together, and addresses.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Secret, Strategy};

/// Client keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    /// None: whoever reaches the listener may ask.
    pub keys: Vec<ClientKey>,
    /// Where limits are counted together with other gateways; `None`: here alone.
    pub shared: Option<Shared>,
}

/// One entry of `keys`: a credential, and what whoever has it may do.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientKey {
    /// As it appears in logs and metrics.
    pub name: Arc<str>,
    pub digest: KeyDigest,
    /// Patterns with `*` and `?` of the models that it may use, in lower case; none: all.
    pub models: Vec<Arc<str>>,
    /// Names of the providers that it may use; none: all.
    pub providers: Vec<Arc<str>>,
    /// The most that `X-Priority` can ask for, and what a request has that does not ask; `None` leaves it to the
    /// request.
    pub priority: Option<i32>,
    /// How the providers that have a model are ordered for its requests; `None`: as for those of others.
    pub strategy: Option<Strategy>,
    pub limits: Limits,
    /// The tag that usage is accounted under where a request has none.
    pub tag: Option<Arc<str>>,
}

impl ClientKey {
    /// Returns a key without limits.
    pub fn new(name: &str, digest: KeyDigest) -> ClientKey {
        ClientKey {
            name: name.into(),
            digest,
            models: Vec::new(),
            providers: Vec::new(),
            priority: None,
            strategy: None,
            limits: Limits::default(),
            tag: None,
        }
    }
}

/// SHA-256 of a key: all of it that is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl KeyDigest {
    pub fn of(key: &[u8]) -> KeyDigest {
        let digest = ring::digest::digest(&ring::digest::SHA256, key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        KeyDigest(bytes)
    }

    /// Reads a digest of 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<KeyDigest> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let value = |digit: u8| char::from(digit).to_digit(16);
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
        }
        Some(KeyDigest(bytes))
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest is no credential, but that of a short key is soon guessed.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(***)")
    }
}

/// What one key may do in a time; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    pub requests_per_day: Option<u64>,
    /// Tokens in and out.
    pub tokens_per_minute: Option<u64>,
    pub tokens_per_day: Option<u64>,
    /// Requests in flight.
    pub max_concurrent: Option<usize>,
    pub budget: Option<Budget>,
}

/// What a key's requests may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    pub per: Period,
}

/// When a budget begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// At midnight, UTC.
    Day,
    /// On the first of the month, UTC (default).
    Month,
    /// Never.
    Total,
}

/// A Redis or Valkey server at which several gateways count together.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: Secret,
    /// What all its keys begin with (default `remuda`): gateways with the same count together.
    pub prefix: Arc<str>,
}

/// Addresses with a common beginning, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits that count.
    length: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            // `parse` takes a sign, which no length has.
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().ok()?
            }
            Some(_) => return None,
            None => bits,
        };
        if length > bits {
            return None;
        }
        // What an IPv6 socket calls an IPv4 address (RFC 4291 section 2.5.5.2).
        Some(match address.to_canonical() {
            IpAddr::V4(mapped) if length >= bits - 32 => Network {
                address: mapped.into(),
                length: length - (bits - 32),
            },
            _ => Network { address, length },
        })
    }

    /// Returns whether the network has the address; an IPv4 address that came through an IPv6 socket counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - u32::from(self.length)) == Some(0) || self.length == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - u32::from(self.length)) == Some(0) || self.length == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_fips_180() {
        let digest = KeyDigest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(KeyDigest::from_hex(text), Some(digest));
        assert_eq!(KeyDigest::from_hex(&text.to_uppercase()), Some(digest));
        for bad in [
            &text[1..],
            "",
            &text.replace('b', "g"),
            &format!("{text}00"),
        ] {
            assert_eq!(KeyDigest::from_hex(bad), None, "{bad}");
        }
        assert_eq!(format!("{digest:?}"), "KeyDigest(***)");
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("10.1.2.3/31", "::ffff:10.1.2.2", "10.1.2.4"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(
                network.contains(inside.parse().unwrap()),
                "{network} {inside}"
            );
            assert!(
                !network.contains(outside.parse().unwrap()),
                "{network} {outside}"
            );
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "x/8",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
