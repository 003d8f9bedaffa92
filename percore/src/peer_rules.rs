//! Rules for peers: which of them are proxies, and how many connections each other may have.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::networks::Networks;
use crate::sync::Mutex;

/// The rules of one server, which its cores share.
#[derive(Clone, Debug, Default)]
pub struct PeerRules {
    proxies: Option<Arc<Networks>>,
    places: Option<Arc<PeerPlaces>>,
}

/// The connections of each address.
#[derive(Debug)]
struct PeerPlaces {
    limit: usize,
    /// Addresses with connections: no more than there are connections.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub struct PeerPlace {
    places: Arc<PeerPlaces>,
    address: IpAddr,
}

/// The peer has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl PeerRules {
    /// Returns the rules of a server that believes these proxies what they say of their clients,
    /// and lets an address have so many connections.
    #[must_use]
    pub fn new(proxies: Option<Arc<Networks>>, connections_max: Option<usize>) -> Self {
        let places = connections_max.map(|limit| PeerPlaces { limit, taken: Mutex::default() });
        Self { proxies, places: places.map(Arc::new) }
    }

    /// Returns true if there is no rule.
    #[must_use]
    pub const fn are_none(&self) -> bool {
        self.proxies.is_none() && self.places.is_none()
    }

    /// Returns true if a peer is a proxy; one without an address is on a Unix socket.
    #[must_use]
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        self.proxies.as_ref().is_some_and(|proxies| proxies.contains(peer))
    }

    /// Takes a place for a connection; `None` where none is needed.
    ///
    /// # Errors
    ///
    /// Its address has no more.
    pub fn take_place(&self, peer: Option<IpAddr>) -> Result<Option<PeerPlace>, TooMany> {
        let (Some(places), Some(address)) = (&self.places, peer) else {
            return Ok(None);
        };
        let address = network_of(address);
        let mut taken = places.taken.lock();
        let count = taken.entry(address).or_default();
        if *count >= places.limit {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(PeerPlace { places: Arc::clone(places), address }))
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.places.taken.lock().entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Returns the address by which a peer is known. One of IPv6 has a network of its own, in which it
/// may choose.
#[must_use]
pub fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let rules = PeerRules::new(None, Some(2));
        let take = |address: &str| rules.take_place(Some(address.parse().unwrap()));
        let first = take("192.0.2.1").unwrap();
        let second = take("::ffff:192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), TooMany);
        let other = take("192.0.2.2").unwrap();
        drop(first);
        let third = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), TooMany);
        // Addresses of one network count together.
        let networks = [take("2001:db8::1").unwrap(), take("2001:db8::ffff").unwrap()];
        assert_eq!(take("2001:db8::2").unwrap_err(), TooMany);
        assert!(rules.take_place(None).unwrap().is_none());
        drop((second, third, other, networks));
        assert!(rules.places.unwrap().taken.lock().is_empty());
        assert!(PeerRules::default().take_place(None).unwrap().is_none());
    }

    #[test]
    fn only_those_that_are_named_are_proxies() {
        let networks = Networks::parse("10.0.0.0/8,unix").unwrap();
        let rules = PeerRules::new(Some(Arc::new(networks)), None);
        let trusts = |address: &str| rules.trusts(Some(address.parse().unwrap()));
        assert!(trusts("10.1.2.3") && !trusts("11.1.2.3") && rules.trusts(None));
        assert!(!rules.are_none() && PeerRules::default().are_none());
        assert!(!PeerRules::default().trusts(None));
    }
}
