//! Refused tokens by address: after many from one address, its further unknown tokens are reviewed one at a
//! time. They are not refused at once, because many users share the address of the API server's proxy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);
/// Maximum number of refusals in a window. A person who mistypes needs a few.
const MAX_REFUSALS: u32 = 10;
/// Maximum number of addresses with an entry of their own. All further ones share one.
const ADDRESSES: usize = 1024;
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Addresses with refused tokens, each with the start of its window and the number of refusals.
#[derive(Debug, Default)]
pub struct RefusedSources(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl RefusedSources {
    pub fn is_crowded(&self, source: IpAddr, now: Instant) -> bool {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |source| sources.get(source).filter(|(begun, _)| now.duration_since(*begun) < WINDOW);
        let entry = of(&source).or_else(|| of(&OTHERS).filter(|_| sources.len() >= ADDRESSES));
        entry.is_some_and(|(_, refused)| *refused >= MAX_REFUSALS)
    }

    pub fn count(&self, source: IpAddr, now: Instant) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|_, (begun, _)| now.duration_since(*begun) < WINDOW);
        let is_full = sources.len() >= ADDRESSES && !sources.contains_key(&source);
        let entry = sources.entry(if is_full { OTHERS } else { source }).or_insert((now, 0));
        entry.1 = entry.1.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_with_many_refused_tokens_is_crowded_alone() {
        let sources = RefusedSources::default();
        let (pod, person) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let now = Instant::now();
        for _ in 0..MAX_REFUSALS {
            assert!(!sources.is_crowded(pod, now));
            sources.count(pod, now);
        }
        assert!(sources.is_crowded(pod, now) && !sources.is_crowded(person, now));
        assert!(!sources.is_crowded(pod, now + WINDOW));
    }

    #[test]
    fn further_addresses_share_the_rest() {
        let sources = RefusedSources::default();
        let now = Instant::now();
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
        for number in 0..ADDRESSES as u32 + 2 * MAX_REFUSALS {
            sources.count(address(number), now);
        }
        assert!(sources.0.lock().unwrap().len() <= ADDRESSES + 1);
        assert!(!sources.is_crowded(address(0), now), "it has an entry of its own");
        assert!(sources.is_crowded(address(900_000), now));
    }
}
