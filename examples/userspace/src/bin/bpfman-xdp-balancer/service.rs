use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, bail};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Service {
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

impl Service {
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&address_bytes(self.address));
        bytes[16..18].copy_from_slice(&self.port.to_be_bytes());
        bytes[18] = match self.protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        bytes[19] = family(self.address);
        bytes
    }

    pub fn from_bytes(bytes: &[u8; 20]) -> Result<Self> {
        let protocol = match bytes[18] {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            other => bail!("the map holds protocol {other}"),
        };
        let port = u16::from_be_bytes([bytes[16], bytes[17]]);
        Ok(Self { address: address_of(first_16(bytes), bytes[19])?, protocol, port })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{} {protocol}", SocketAddr::new(self.address, self.port))
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    #[default]
    Gone,
    Up,
    /// Keeps its connections, and gets no new ones.
    Draining,
    /// Failed its health checks: its connections go to other backends.
    Down,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backend {
    pub address: IpAddr,
    pub state: State,
    pub epoch: u32,
}

impl Backend {
    pub const NOBODY: Self =
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), state: State::Gone, epoch: 0 };

    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&address_bytes(self.address));
        bytes[16] = family(self.address);
        bytes[17] = self.state as u8;
        bytes[20..].copy_from_slice(&self.epoch.to_ne_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; 24]) -> Result<Self> {
        let state = match bytes[17] {
            0 => State::Gone,
            1 => State::Up,
            2 => State::Draining,
            3 => State::Down,
            other => bail!("the map holds state {other} of a backend"),
        };
        let epoch = u32::from_ne_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
        if bytes[16] == 0 {
            return Ok(Self { epoch, ..Self::NOBODY });
        }
        Ok(Self { address: address_of(first_16(bytes), bytes[16])?, state, epoch })
    }
}

pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn address_of(bytes: [u8; 16], family: u8) -> Result<IpAddr> {
    Ok(match family {
        AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        AF_INET6 => Ipv6Addr::from(bytes).into(),
        other => bail!("the map holds address family {other}"),
    })
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn first_16<const N: usize>(bytes: &[u8; N]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&bytes[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_service_is_read_back() {
        for address in ["198.51.100.1", "2001:db8::1"] {
            let address = address.parse().unwrap();
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let service = Service { address, protocol, port: 443 };
                assert_eq!(Service::from_bytes(&service.to_bytes()).unwrap(), service);
            }
            for state in [State::Gone, State::Up, State::Draining, State::Down] {
                let backend = Backend { address, state, epoch: 7 };
                assert_eq!(Backend::from_bytes(&backend.to_bytes()).unwrap(), backend);
            }
        }
        assert_eq!(Backend::from_bytes(&[0; 24]).unwrap(), Backend::NOBODY);
        assert!(Backend::from_bytes(&[9; 24]).is_err() && Service::from_bytes(&[9; 20]).is_err());
    }
}
