//! Limit on the connections of each user of this machine.
//!
//! Every user of the machine can connect to a loopback port, and a token is checked only after a request was received.
//! `/proc/net/tcp` (proc_pid_net(5)) lists the user at the other end of a connection.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MAX_OF_USER: usize = 24;

/// State `ESTABLISHED` in include/net/tcp_states.h.
const ESTABLISHED: &str = "01";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connected {
    local: SocketAddr,
    remote: SocketAddr,
    user: u32,
}

/// Returns whether the peer's user has more than its share of the connections; true if the user is unknown.
pub fn has_more_than_share(own: SocketAddr, peer: SocketAddr) -> io::Result<bool> {
    let table = if own.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let mut users = Vec::new();
    let mut whose = None;
    for line in BufReader::new(File::open(table)?).lines() {
        let Some(end) = Connected::parse(&line?).filter(|end| end.remote == own) else { continue };
        users.push(end.user);
        if end.local == peer {
            whose = Some(end.user);
        }
    }
    Ok(whose.is_none_or(|user| users.iter().filter(|other| **other == user).count() > MAX_OF_USER))
}

impl Connected {
    /// Parses a line of the table; none for the head, and for sockets that are not connected.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let local = address(words.next()?)?;
        let remote = address(words.next()?)?;
        if words.next()? != ESTABLISHED {
            return None;
        }
        // Skip queues, timer and retransmissions.
        let user = words.nth(3)?.parse().ok()?;
        Some(Self { local, remote, user })
    }
}

/// Parses `0100007F:1F90`: the address as 32-bit numbers in this machine's byte order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let number = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(number(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&number(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(Connected::parse(head), None);
        if cfg!(target_endian = "little") {
            let line = "   3: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 48913 1";
            let found = Connected::parse(line).unwrap();
            assert_eq!((found.local, found.user), ("127.0.0.1:50000".parse().unwrap(), 1000));
            assert_eq!(found.remote, "127.0.0.1:8080".parse().unwrap());
            let six = "00000000000000000000000001000000:1F90";
            assert_eq!(address(six), Some("[::1]:8080".parse().unwrap()));
        }
        for wrong in ["", "   3: zz:zz 0100007F:1F90 01", "   3: 0100007F 0100007F:1F90 01 a b c d", "x"] {
            assert_eq!(Connected::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn user_with_full_share_gets_no_connection() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            // The machine may lack IPv6.
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let own = listener.local_addr().unwrap();
            let connections: Vec<TcpStream> =
                (0..=MAX_OF_USER).map(|_| TcpStream::connect(own).unwrap()).collect();
            let peer = |at: usize| connections[at].local_addr().unwrap();
            assert!(has_more_than_share(own, peer(0)).unwrap());
            drop(connections);
            let one = TcpStream::connect(own).unwrap();
            assert!(!has_more_than_share(own, one.local_addr().unwrap()).unwrap());
            let gone = "127.0.0.1:1".parse().unwrap();
            assert!(has_more_than_share(own, gone).unwrap());
        }
    }
}
