use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAX_CONNECTIONS: usize = 1024;
/// Maximum per address. The API server calls admission from one address, for all writes of a fleet.
const MAX_OF_PEER: usize = 256;
/// Bits of an IPv6 address that count as one client: the owner of an address has the whole network.
const PREFIX: u32 = 64;

/// Free slots of a listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerPlaces(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Slot of a connection, released on drop.
#[derive(Debug)]
pub struct ListenerPlace {
    places: ListenerPlaces,
    peer: IpAddr,
}

impl ListenerPlaces {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a slot for a connection from an address, or `None` if a limit is reached.
    #[must_use]
    pub fn take(&self, peer: IpAddr) -> Option<ListenerPlace> {
        let peer = network_of(peer);
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let of_peer = taken.get(&peer).copied().unwrap_or(0);
        if all >= MAX_CONNECTIONS || of_peer >= MAX_OF_PEER {
            return None;
        }
        taken.insert(peer, of_peer + 1);
        Some(ListenerPlace { places: self.clone(), peer })
    }
}

impl Drop for ListenerPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.peer)),
        }
    }
}

fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() >> (128 - PREFIX) << (128 - PREFIX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_to_others() {
        let places = ListenerPlaces::default();
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut held: Vec<ListenerPlace> = (0..MAX_OF_PEER).filter_map(|_| places.take(address(1))).collect();
        assert_eq!(held.len(), MAX_OF_PEER);
        assert!(places.take(address(1)).is_none());
        let mapped = Ipv6Addr::from_bits(0xffff_0a00_0001).into();
        assert!(places.take(mapped).is_none());
        assert!(places.take(address(2)).is_some());
        held.pop();
        assert!(places.take(address(1)).is_some(), "a place that was left is free");
        drop(held);
        assert!(places.lock().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn addresses_of_one_network_are_one_peer_and_all_have_an_end() {
        let places = ListenerPlaces::default();
        let address = |network: u128, last: u128| {
            IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + (network << 64) + last))
        };
        let held: Vec<ListenerPlace> = (0..300).filter_map(|last| places.take(address(1, last))).collect();
        assert_eq!(held.len(), MAX_OF_PEER);
        let others: Vec<ListenerPlace> =
            (0..4000).filter_map(|network| places.take(address(2 + network, 1))).collect();
        assert_eq!(held.len() + others.len(), MAX_CONNECTIONS);
    }
}
