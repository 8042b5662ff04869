//! IPv4 and IPv6 addresses, as `struct address` of the programs: IPv4 addresses are mapped (`::ffff:a.b.c.d`).

use std::net::{IpAddr, Ipv6Addr};

/// Returns the four words of an address, in network byte order.
pub fn to_words(address: IpAddr) -> [u32; 4] {
    let bytes = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

/// Returns the address of four words.
pub fn from_words(words: [u32; 4]) -> IpAddr {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_ne_bytes();
    }
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_from_their_words() {
        for text in ["192.0.2.7", "0.0.0.0", "2001:db8::7", "::", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(from_words(to_words(address)), address);
        }
        assert_eq!(to_words("1.2.3.4".parse().unwrap())[3].to_ne_bytes(), [1, 2, 3, 4]);
    }
}
