use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

pub type RawEnd = [u8; 48];

/// Number of a network namespace, unique since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespaceCookie(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    pub namespace: NamespaceCookie,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl End {
    pub const fn other(self) -> Self {
        Self { namespace: self.namespace, local: self.remote, remote: self.local }
    }
}

/// Cannot fail: a map with another key size would not have been opened.
impl From<RawEnd> for End {
    fn from(raw: RawEnd) -> Self {
        let [mut local, mut remote] = [[0; 16]; 2];
        local.copy_from_slice(&raw[8..24]);
        remote.copy_from_slice(&raw[24..40]);
        let port = |at: usize| u16::from_ne_bytes(low_half([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]));
        let address = |bytes, port| SocketAddr::new(Ipv6Addr::from(bytes).to_canonical(), port);
        let mut namespace = [0; 8];
        namespace.copy_from_slice(&raw[..8]);
        Self {
            namespace: NamespaceCookie(u64::from_ne_bytes(namespace)),
            local: address(local, port(40)),
            remote: address(remote, port(44)),
        }
    }
}

const fn low_half(port: [u8; 4]) -> [u8; 2] {
    (u32::from_ne_bytes(port) as u16).to_ne_bytes()
}

impl fmt::Display for NamespaceCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_field_by_field_and_ipv4_is_shown_as_such() {
        let mut raw = [0; 48];
        raw[..8].copy_from_slice(&7_u64.to_ne_bytes());
        raw[18..24].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        raw[39] = 1;
        raw[40..44].copy_from_slice(&8080_u32.to_ne_bytes());
        raw[44..48].copy_from_slice(&40_000_u32.to_ne_bytes());
        let end = End::from(raw);
        assert_eq!(end.namespace, NamespaceCookie(7));
        assert_eq!(end.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(end.remote, "[::1]:40000".parse().unwrap());
        assert_eq!((end.other().local, end.other().other()), (end.remote, end));
    }
}
