//! Maglev hashing (NSDI 2016, section 3.4): adding or removing a backend moves few entries of others.

use std::net::IpAddr;

use crate::service::address_bytes;

/// A prime: `TABLE_SIZE` of the program.
pub const TABLE_SIZE: u32 = 4099;
pub const NO_BACKEND: u32 = u32::MAX;
/// Maximum weight of a backend: with a larger one, others would get hardly any entries.
pub const MAX_WEIGHT: u32 = 100;

pub struct Candidate {
    pub number: u32,
    /// Address, which alone determines the entries: the index has no effect.
    pub address: IpAddr,
    pub weight: u32,
}

pub fn table(mut candidates: Vec<Candidate>) -> Vec<u32> {
    let size = TABLE_SIZE as usize;
    let mut places = vec![NO_BACKEND; size];
    if candidates.is_empty() {
        return places;
    }
    // Sort, so that the result does not depend on the order in the file.
    candidates.sort_by_key(|candidate| candidate.address);
    let mut orders: Vec<Order> = candidates.iter().map(|candidate| Order::of(candidate.address)).collect();
    let mut left = size;
    loop {
        for (candidate, order) in candidates.iter().zip(&mut orders) {
            for _ in 0..candidate.weight {
                let place = loop {
                    let place = order.next();
                    if places[place] == NO_BACKEND {
                        break place;
                    }
                };
                places[place] = candidate.number;
                left -= 1;
                if left == 0 {
                    return places;
                }
            }
        }
    }
}

/// Permutation by a backend's preference. It visits every entry once because the size is a prime.
struct Order {
    at: u32,
    skip: u32,
}

impl Order {
    fn of(address: IpAddr) -> Self {
        let hash = |seed: u64| {
            address_bytes(address)
                .into_iter()
                .fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        let [first, second] =
            [0xcbf2_9ce4_8422_2325, 0x8422_2325_cbf2_9ce4].map(|seed| (hash(seed) >> 32) as u32);
        Self { at: first % TABLE_SIZE, skip: second % (TABLE_SIZE - 1) + 1 }
    }

    fn next(&mut self) -> usize {
        let place = self.at;
        self.at = (self.at + self.skip) % TABLE_SIZE;
        place as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        (0..)
            .zip(weights)
            .map(|(number, &weight)| Candidate {
                number,
                address: [10, 0, 0, number as u8 + 1].into(),
                weight,
            })
            .collect()
    }

    fn share(table: &[u32], number: u32) -> f64 {
        table.iter().filter(|place| **place == number).count() as f64 / table.len() as f64
    }

    #[test]
    fn shares_follow_weights() {
        assert!(table(Vec::new()).iter().all(|place| *place == NO_BACKEND));
        let even = table(candidates(&[1; 10]));
        assert!((0..10).all(|number| (share(&even, number) - 0.1).abs() < 0.001));
        let uneven = table(candidates(&[1, 3]));
        assert!((share(&uneven, 1) - 0.75).abs() < 0.001);
    }

    #[test]
    fn a_backend_that_goes_moves_few_places_of_others() {
        let before = table(candidates(&[1; 10]));
        let mut left = candidates(&[1; 10]);
        left.remove(4);
        let after = table(left);
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != 4 && old != new).count();
        assert!(moved < TABLE_SIZE as usize / 10, "{moved} of {TABLE_SIZE}");
    }

    #[test]
    fn numbers_and_the_order_of_the_file_do_not_matter() {
        let mut other = candidates(&[1, 2, 3]);
        other.reverse();
        assert_eq!(table(candidates(&[1, 2, 3])), table(other));
    }
}
