use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::address::from_words;
use bpfman_examples::protocol::Protocol;
use bpfman_examples::source::MapSource;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::compile::PortIndex;
use crate::rule::{Direction, Phase, PortName};
use crate::switch::{generation_of, port_names};

type RawKey = [u32; 11];
type RawConnection = [u64; 4];
type Connections = HashMap<MapData, RawKey, RawConnection>;

#[derive(Clone, Debug)]
pub struct Connection {
    pub port: PortName,
    pub protocol: Protocol,
    /// For ICMP echo, the port numbers are its identifier.
    pub own: SocketAddr,
    pub peer: SocketAddr,
    pub begun: Direction,
    pub state: &'static str,
    pub packets: [u64; 2],
    pub idle: u64,
}

pub fn connections(maps: &MapSource) -> Result<Vec<Connection>> {
    let names = port_names(maps)?;
    let map: Connections = maps.open("connections", MapAccess::Read)?;
    let timeouts: Array<MapData, [u32; 3]> = maps.open("timeouts", MapAccess::Read)?;
    let generation = generation_of(&maps.open("active", MapAccess::Read)?)?;
    let timeouts = timeouts.get(&(generation & 1), 0).context("cannot read the timeouts")?;
    // Same clock as `bpf_ktime_get_boot_ns`.
    let now = clock_gettime(ClockId::Boottime);
    let now = u64::try_from(now.tv_sec)? * 1_000_000_000 + u64::try_from(now.tv_nsec)?;
    let mut found = Vec::new();
    for key in map.keys() {
        let key = key.context("cannot read the connections")?;
        match map.get(&key, 0) {
            Ok(raw) => found.extend(parse(&key, &raw, &names, timeouts, now)),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("cannot read the connections"),
        }
    }
    found.sort_by_key(|one| (one.port.clone(), one.protocol, one.own, one.peer));
    found.dedup_by_key(|one| (one.port.clone(), one.protocol, one.own, one.peer));
    Ok(found)
}

/// Removes all connections, and returns their number. Later frames must be allowed by rules again.
pub fn flush(maps: &MapSource) -> Result<usize> {
    let mut map: Connections = maps.open("connections", MapAccess::Write)?;
    let keys = map.keys().collect::<Result<Vec<_>, _>>().context("cannot read the connections")?;
    for key in &keys {
        match map.remove(key) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("cannot end a connection"),
        }
    }
    Ok(keys.len())
}

fn parse(
    key: &RawKey,
    raw: &RawConnection,
    names: &BTreeMap<PortIndex, PortName>,
    timeouts: [u32; 3],
    now: u64,
) -> Option<Connection> {
    let [own, peer] = [key.first_chunk()?, key[4..].first_chunk()?].map(|words| from_words(*words));
    let ports = key[9].to_ne_bytes();
    let [own_port, peer_port] = [[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_ne_bytes);
    let protocol = Protocol(u8::try_from(key[10]).ok()?);
    let [last, out, back, flags] = *raw;
    let [closed_out, closed_in, reset, begun, ..] = flags.to_ne_bytes().map(|byte| byte != 0);
    let (state, phase) = if protocol != Protocol::TCP {
        ("active", Phase::Other)
    } else if reset || (closed_out && closed_in) {
        ("closing", Phase::Opening)
    } else if out > 0 && back > 0 {
        ("established", Phase::Established)
    } else {
        ("opening", Phase::Opening)
    };
    let idle = now.saturating_sub(last);
    (idle <= u64::from(timeouts[phase as usize]) * 1_000_000_000).then_some(())?;
    Some(Connection {
        port: names.get(&PortIndex(key[8]))?.clone(),
        protocol,
        own: SocketAddr::new(own, own_port),
        peer: SocketAddr::new(peer, peer_port),
        begun: if begun { Direction::In } else { Direction::Out },
        state,
        packets: [out, back],
        idle: idle / 1_000_000_000,
    })
}

impl Connection {
    pub fn to_json(&self) -> Value {
        let end = |end: SocketAddr| -> Value {
            if self.protocol.has_ports() { end.to_string().into() } else { end.ip().to_string().into() }
        };
        json!({
            "port": self.port.0, "protocol": self.protocol.to_string(), "own": end(self.own), "peer": end(self.peer),
            "begun": if self.begun == Direction::Out { "out" } else { "in" }, "state": self.state,
            "packets_out": self.packets[0], "packets_in": self.packets[1], "idle_seconds": self.idle,
        })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, protocol, own, peer, begun, state, packets: [out, back], idle } = self;
        let end =
            |end: &SocketAddr| if protocol.has_ports() { end.to_string() } else { end.ip().to_string() };
        let arrow = if *begun == Direction::Out { "->" } else { "<-" };
        write!(
            f,
            "{port:<15} {protocol:<6} {:<22} {arrow} {:<22} {state:<12} {out:>8} out {back:>8} in {idle:>5} s",
            end(own),
            end(peer)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn parsed(packets: [u64; 2], flags: [u8; 8], idle: u64) -> Option<Connection> {
        let words = |text: &str| bpfman_examples::address::to_words(text.parse::<IpAddr>().unwrap());
        let ports =
            u32::from_ne_bytes([1000_u16, 80].map(u16::to_ne_bytes).as_flattened().try_into().unwrap());
        let key = [&words("10.0.0.1")[..], &words("10.0.0.2"), &[7, ports, 6]].concat();
        let raw = [50_000_000_000 - idle * 1_000_000_000, packets[0], packets[1], u64::from_ne_bytes(flags)];
        let names = BTreeMap::from([(PortIndex(7), PortName("web".to_owned()))]);
        parse(key.first_chunk().unwrap(), &raw, &names, [3, 9, 5], 50_000_000_000)
    }

    #[test]
    fn states_have_timeouts_of_their_own() {
        let state = |packets, flags, idle| parsed(packets, flags, idle).map(|one| one.state);
        assert_eq!(state([1, 0], [0; 8], 3), Some("opening"));
        assert_eq!(state([1, 0], [0; 8], 4), None);
        assert_eq!(state([1, 1], [0; 8], 9), Some("established"));
        assert_eq!(state([1, 1], [1, 0, 0, 0, 0, 0, 0, 0], 9), Some("established"));
        assert_eq!(state([1, 1], [1, 1, 0, 0, 0, 0, 0, 0], 3), Some("closing"));
        assert_eq!(state([1, 1], [0, 0, 1, 0, 0, 0, 0, 0], 4), None);
        let one = parsed([2, 3], [0, 0, 0, 1, 0, 0, 0, 0], 1).unwrap();
        let expected = json!({
            "port": "web", "protocol": "tcp", "own": "10.0.0.1:1000", "peer": "10.0.0.2:80", "begun": "in",
            "state": "established", "packets_out": 2, "packets_in": 3, "idle_seconds": 1,
        });
        assert_eq!(one.to_json(), expected);
    }
}
