//! Counts of packets and bytes of the XDP examples.

use std::fmt;
use std::iter::Sum;

use serde_json::{Value, json};

/// Count in a map: packets, then bytes.
pub type RawCount = [u64; 2];

/// Count of packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    /// Length in bytes, from the Ethernet header on.
    pub bytes: u64,
}

impl Count {
    /// Returns the count as a JSON object `{"packets", "bytes"}`.
    pub fn to_json(self) -> Value {
        json!({ "packets": self.packets, "bytes": self.bytes })
    }
}

impl From<RawCount> for Count {
    fn from([packets, bytes]: RawCount) -> Self {
        Self { packets, bytes }
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            packets: sum.packets.wrapping_add(one.packets),
            bytes: sum.bytes.wrapping_add(one.bytes),
        })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12} packets {:>14} bytes", self.packets, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_cpus_add_up() {
        let sum: Count = [[1, 60], [0, 0], [2, 3000]].map(Count::from).into_iter().sum();
        assert_eq!(sum, Count { packets: 3, bytes: 3060 });
        assert_eq!(sum.to_json().to_string(), r#"{"bytes":3060,"packets":3}"#);
    }
}
