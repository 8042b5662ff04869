use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether IANA's special-purpose registries list an address, or an IPv4 address embedded in it.
pub(crate) fn is_private_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // This network; carrier-grade NAT; protocol assignments; benchmarks; reserved, and broadcast.
        || a == 0
        || a == 100 && (64..128).contains(&b)
        || (a, b, c) == (192, 0, 0)
        || a == 198 && (b == 18 || b == 19)
        || a >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
        // IPv4-compatible, NAT64 (both), discard, protocol assignments with Teredo, 6to4, site-local, documentation.
        || segments[..6] == [0; 6]
        || segments[..2] == [0x64, 0xff9b]
        || segments[0] == 0x100
        || segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8)
        || segments[0] == 0x2002
        || segments[0] & 0xffc0 == 0xfec0
        || segments[0] == 0x3fff
}

pub(crate) fn is_private_host(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => is_private_address(address),
        Err(_) => host.is_empty() || host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_networks_are_private() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "2001::1",
            "2002:a00:1::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_private_address(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(!is_private_address(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn local_names_are_private_with_and_without_trailing_dot() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "a.localhost.",
            "127.0.0.1",
            "[::1]",
            "[64:ff9b::1]",
            "",
        ] {
            assert!(is_private_host(host), "{host}");
        }
        for host in ["quay.io", "localhost.example.com", "1.1.1.1"] {
            assert!(!is_private_host(host), "{host}");
        }
    }
}
