//! How many connections, and streams of HTTP/2, are served at a time: all together, and for one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bits of an IPv6 address that tell one customer from another (RFC 6177 section 2).
const PREFIX: u32 = 64;

/// Gives clients places, within the bounds on their number.
#[derive(Debug)]
pub struct Places {
    max: usize,
    /// 0 stands for no limit.
    max_per_address: usize,
    taken: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The reason why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken.
    All,
    /// This address has as many as one may have.
    Address,
}

/// One place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    pub fn new(max: usize, max_per_address: usize) -> Arc<Places> {
        Arc::new(Places {
            max,
            max_per_address,
            taken: AtomicUsize::new(0),
            by_address: Mutex::default(),
        })
    }

    /// Takes a place for a client; without an address, it is one of a Unix socket.
    ///
    /// # Errors
    /// The bound that is reached, if there is no place.
    pub(crate) fn take(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Place, Full> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::All);
        }
        let mut place = Place {
            places: Arc::clone(self),
            address: None,
        };
        if let Some(address) = client.filter(|_| self.max_per_address > 0).and_then(party) {
            let mut by_address = self.addresses();
            let count = by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                drop(by_address);
                return Err(Full::Address);
            }
            *count += 1;
            place.address = Some(address);
        }
        Ok(place)
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else {
            return;
        };
        let mut by_address = self.places.addresses();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// Returns the address for which a client is counted; `None` for a loopback address, where a proxy with everybody behind it may
/// be.
fn party(address: IpAddr) -> Option<IpAddr> {
    Some(customer(address)).filter(|_| !address.to_canonical().is_loopback())
}

/// Returns the address that stands for all of one customer's.
pub(crate) fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let kept = u128::from(address) >> (128 - PREFIX) << (128 - PREFIX);
            Ipv6Addr::from(kept).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Places::new(5, 2);
        let mut held: Vec<_> = (0..2)
            .map(|_| places.take(at("10.0.0.1")).unwrap())
            .collect();
        assert_eq!(places.take(at("10.0.0.1")).err(), Some(Full::Address));
        assert_eq!(
            places.take(at("::ffff:10.0.0.1")).err(),
            Some(Full::Address)
        );
        held.push(places.take(at("10.0.0.2")).unwrap());
        held.push(places.take(at("2001:db8::1")).unwrap());
        held.push(places.take(at("2001:db8::2")).unwrap());
        assert_eq!(places.take(at("10.0.0.3")).err(), Some(Full::All));
        held.clear();
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
        assert!(places.addresses().is_empty(), "an address is kept for good");
        let one = places.take(at("2001:db8::1")).unwrap();
        let two = places.take(at("2001:db8:0:0:f::1")).unwrap();
        assert_eq!(places.take(at("2001:db8::3")).err(), Some(Full::Address));
        assert!(places.take(at("2001:db8:0:1::3")).is_ok());
        drop((one, two));
    }

    #[test]
    fn loopback_and_unix_sockets_are_bounded_together_alone() {
        let places = Places::new(4, 1);
        let held: Vec<_> = [at("127.0.0.1"), at("127.0.0.1"), at("::1"), None]
            .into_iter()
            .map(|client| places.take(client).unwrap())
            .collect();
        assert_eq!(places.take(None).err(), Some(Full::All));
        drop(held);
        let unbounded = Places::new(4, 0);
        let held: Vec<_> = (0..4).map(|_| unbounded.take(at("10.0.0.1"))).collect();
        assert!(held.iter().all(Result::is_ok));
    }
}
