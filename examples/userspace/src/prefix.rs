//! Address prefixes as text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// IPv4 or IPv6 prefix; all bits after its length are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prefix {
    /// Address and length in bits, 0 to 32.
    V4(Ipv4Addr, u32),
    /// Address and length in bits, 0 to 128.
    V6(Ipv6Addr, u32),
}

impl Prefix {
    /// Returns the length in bits.
    pub const fn length(self) -> u32 {
        match self {
            Self::V4(_, length) | Self::V6(_, length) => length,
        }
    }

    /// Returns the prefix, shortened to at most `most` bits.
    pub fn shortened(self, most: u32) -> Self {
        match self {
            Self::V4(address, length) => {
                let length = length.min(most);
                Self::V4(Ipv4Addr::from_bits(address.to_bits() & mask_v4(length)), length)
            }
            Self::V6(address, length) => {
                let length = length.min(most);
                Self::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(length)), length)
            }
        }
    }

    /// Returns whether this prefix contains all addresses of the other.
    pub fn contains(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(own, length), Self::V4(other, longer)) => {
                length <= longer && (own.to_bits() ^ other.to_bits()).leading_zeros() >= length
            }
            (Self::V6(own, length), Self::V6(other, longer)) => {
                length <= longer && (own.to_bits() ^ other.to_bits()).leading_zeros() >= length
            }
            _ => false,
        }
    }
}

/// Returns the mask of a prefix length, at most 32.
pub const fn mask_v4(length: u32) -> u32 {
    match u32::MAX.checked_shl(32 - length) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Returns the mask of a prefix length, at most 128.
pub const fn mask_v6(length: u32) -> u128 {
    match u128::MAX.checked_shl(128 - length) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Parses a prefix, or an address, which is a prefix of full length.
impl FromStr for Prefix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().with_context(|| format!("`{address}` is not an IP address"))?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => widest,
            Some(text) => text.parse().with_context(|| format!("`{text}` is not a prefix length"))?,
        };
        if length > widest {
            bail!("the prefix length {length} is more than the {widest} bits of {address}");
        }
        let whole = match address {
            IpAddr::V4(address) => Self::V4(address, widest),
            IpAddr::V6(address) => Self::V6(address, widest),
        };
        let prefix = whole.shortened(length);
        // `10.0.0.1/8` is more likely a mistake than a wish to block sixteen million hosts.
        match prefix {
            Self::V4(masked, _) if masked != address => bail!("{text} has bits behind its length: {prefix}?"),
            Self::V6(masked, _) if masked != address => bail!("{text} has bits behind its length: {prefix}?"),
            _ => Ok(prefix),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address, length) => write!(f, "{address}/{length}"),
            Self::V6(address, length) => write!(f, "{address}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_print_as_they_were_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "2001:db8::/32", "::/0", "::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_address_alone_is_a_prefix_of_full_length() {
        assert_eq!("192.0.2.7".parse::<Prefix>().unwrap().to_string(), "192.0.2.7/32");
        assert_eq!("fd00::1".parse::<Prefix>().unwrap().to_string(), "fd00::1/128");
    }

    #[test]
    fn a_prefix_contains_itself_and_longer_ones() {
        let contains = |wide: &str, narrow: &str| {
            wide.parse::<Prefix>().unwrap().contains(narrow.parse::<Prefix>().unwrap())
        };
        for (wide, narrow) in
            [("0.0.0.0/0", "255.0.0.0/8"), ("10.0.0.0/8", "10.0.0.0/8"), ("::/0", "::1/128")]
        {
            assert!(contains(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in
            [("10.0.0.0/8", "11.0.0.0/8"), ("10.0.0.0/8", "10.0.0.0/7"), ("::/0", "0.0.0.0/0")]
        {
            assert!(!contains(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn invalid_prefix_is_refused_with_reason() {
        for (text, reason) in [
            ("10.0.0.1/8", "10.0.0.0/8?"),
            ("2001:db8::1/32", "2001:db8::/32?"),
            ("10.0.0.0/33", "33 is more than the 32 bits"),
            ("::/129", "129 is more than the 128 bits"),
            ("10.0.0/8", "`10.0.0` is not an IP address"),
            ("10.0.0.0/x", "`x` is not a prefix length"),
        ] {
            let error = text.parse::<Prefix>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
