use std::collections::HashMap as Table;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use bpfman_examples::prefix::Prefix;

use crate::compile::{Compiled, decision};
use crate::rule::Rule;

pub type ClassValue = [u32; 7];
pub type KeyV4 = [u16; 4];
pub type KeyV6 = [u32; 5];
pub type DetailKey = [u16; 4];

#[derive(Default)]
pub struct Contents {
    pub v4: Table<KeyV4, ClassValue>,
    pub v6: Table<KeyV6, ClassValue>,
    pub details: Table<DetailKey, [u32; 2]>,
}

impl Contents {
    pub fn new(rules: &[(Rule, u32)], compiled: &Compiled) -> Self {
        let mut contents = Self::default();
        for (direction, prefix, class) in &compiled.prefixes {
            let (value, direction) = (class.to_value(rules), *direction as u16);
            let length = prefix.length() as u16;
            match prefix {
                Prefix::V4(address, _) => {
                    let [a, b, c, d] = address.octets();
                    let [high, low] = [[a, b], [c, d]].map(u16::from_ne_bytes);
                    contents.v4.insert([high, low, length, direction], value);
                }
                Prefix::V6(address, _) => {
                    let [[a, b], [c, d]] = [length, direction].map(u16::to_ne_bytes);
                    let mut key = [u32::from_ne_bytes([a, b, c, d]); 5];
                    for (word, bytes) in key.iter_mut().zip(address.octets().as_chunks().0) {
                        *word = u32::from_ne_bytes(*bytes);
                    }
                    contents.v6.insert(key, value);
                }
            }
        }
        for (detail, rule) in &compiled.details {
            let [a, b, c, d] = detail.class.to_ne_bytes();
            let [low, high] = [[a, b], [c, d]].map(u16::from_ne_bytes);
            let key = [low, high, detail.protocol, detail.port];
            contents.details.insert(key, decision(rules, Some(*rule)));
        }
        contents
    }

    /// Returns a hash of all entries, never 0. Another version of this program may compute a different one.
    pub fn sum(&self) -> u64 {
        let sum = sum(4, &self.v4) ^ sum(6, &self.v6) ^ sum(0, &self.details);
        sum.max(1)
    }
}

fn sum<K: Hash, V: Hash>(table: u8, entries: &Table<K, V>) -> u64 {
    entries.iter().fold(0, |sum, entry| {
        let mut hasher = DefaultHasher::new();
        (table, entry).hash(&mut hasher);
        sum ^ hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;
    use crate::list::parse;

    fn contents(text: &str, first_counter: u32) -> Contents {
        let rules = parse(text, "x").unwrap();
        let compiled = compile(&rules).unwrap();
        Contents::new(&rules.into_iter().zip(first_counter..).collect::<Vec<_>>(), &compiled)
    }

    #[test]
    fn the_sum_tells_contents_apart() {
        let texts = [
            "",
            "drop src 10.0.0.0/8\n",
            "drop dst 10.0.0.0/8\n",
            "drop src 10.0.0.0/9\n",
            "allow src 10.0.0.0/8\n",
            "drop src ::/8\n",
            "drop proto udp dport 53\n",
        ];
        let mut sums: Vec<u64> = texts.iter().map(|text| contents(text, 0).sum()).collect();
        assert_eq!(sums, texts.map(|text| contents(text, 0).sum()), "and is the same for the same");
        sums.push(contents(texts[1], 1).sum());
        let different: std::collections::HashSet<u64> = sums.iter().copied().collect();
        assert!(different.len() == sums.len() && !different.contains(&0), "{sums:?}");
    }

    #[test]
    fn keys_have_the_address_the_length_and_the_direction() {
        let contents = contents("drop dst 10.1.2.0/24\ndrop src 2001:db8::/32\n", 0);
        let v4: Vec<u8> = contents.v4.keys().flatten().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(v4[..4], [10, 1, 2, 0]);
        assert_eq!((u16::from_ne_bytes([v4[4], v4[5]]), u16::from_ne_bytes([v4[6], v4[7]])), (24, 1));
        let v6: Vec<u8> = contents.v6.keys().flatten().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(v6[..4], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!((u16::from_ne_bytes([v6[16], v6[17]]), u16::from_ne_bytes([v6[18], v6[19]])), (32, 0));
    }
}
