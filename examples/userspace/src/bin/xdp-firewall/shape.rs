//! Which lengths IPv4 prefixes have: of few, a table finds them; of many, a trie does.

use std::collections::BTreeSet;

use bpfman_examples::prefix::Prefix;

use crate::compile::Compiled;
use crate::rule::Direction;

/// `MAX_LENGTHS`.
const MAX_LENGTHS: usize = 4;
/// `NO_LENGTH`.
const NO_LENGTH: u8 = 0xff;
/// `IN_TRIE`.
const IN_TRIE: u8 = 0xfe;

/// `struct shape`.
pub struct Shape([[u8; MAX_LENGTHS]; 2]);

impl Shape {
    /// That of some rules.
    pub fn of(compiled: &Compiled) -> Self {
        Self([Direction::Source, Direction::Destination].map(|wanted| {
            let lengths: BTreeSet<u8> = compiled
                .prefixes
                .iter()
                .filter(|(direction, ..)| *direction == wanted)
                .filter_map(|(_, prefix, _)| match prefix {
                    Prefix::V4(_, length) => Some(*length as u8),
                    Prefix::V6(..) => None,
                })
                .collect();
            if lengths.len() > MAX_LENGTHS {
                return [IN_TRIE; MAX_LENGTHS];
            }
            let mut longest_first = lengths.into_iter().rev().chain(std::iter::repeat(NO_LENGTH));
            std::array::from_fn(|_| longest_first.next().unwrap_or(NO_LENGTH))
        }))
    }

    /// Whether IPv4 prefixes of a direction are in the trie.
    pub const fn is_in_trie(&self, direction: Direction) -> bool {
        self.0[direction as usize][0] == IN_TRIE
    }

    /// As it lies in the map `shapes`.
    pub fn to_bytes(&self) -> [u8; 2 * MAX_LENGTHS] {
        let [source, destination] = &self.0;
        std::array::from_fn(|at| if at < MAX_LENGTHS { source[at] } else { destination[at - MAX_LENGTHS] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;
    use crate::list::parse;

    #[test]
    fn few_lengths_are_listed_from_the_longest_on_and_many_are_in_the_trie() {
        let few = "drop src 10.0.0.0/8\ndrop src 10.1.0.0/16\ndrop src 0.0.0.0/0\ndrop src 2001:db8::/32\n";
        let many = "drop dst 10.0.0.0/8\ndrop dst 10.0.0.0/9\ndrop dst 10.0.0.0/10\ndrop dst 10.0.0.0/11\n\
                    drop dst 10.0.0.0/12\n";
        let shape = Shape::of(&compile(&parse(&format!("{few}{many}"), "x").unwrap()).unwrap());
        assert_eq!(shape.to_bytes(), [16, 8, 0, 255, 254, 254, 254, 254]);
        assert!(!shape.is_in_trie(Direction::Source));
        assert!(shape.is_in_trie(Direction::Destination));
    }
}
