//! Protocol and port, as text of a rule and as a value of maps.

use std::fmt;
use std::num::NonZeroU16;
use std::str::SplitWhitespace;

use anyhow::{Result, bail, ensure};

use crate::protocol::Protocol;
use crate::rule_file::next_word;

const ANY_PROTOCOL: u16 = 0xffff;

/// Protocol and port of packets; `None` stands for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Protocol over IP.
    pub protocol: Option<Protocol>,
    /// Destination port.
    pub port: Option<NonZeroU16>,
}

impl Service {
    /// Parses `[proto NAME [dport PORT]]` at the end of a rule.
    pub fn parse(words: &mut SplitWhitespace<'_>) -> Result<Self> {
        let mut service = Self::default();
        match words.next() {
            None => return Ok(service),
            Some("proto") => service.protocol = Some(next_word(words, "proto")?.parse()?),
            Some("dport") => bail!("dport needs proto tcp, udp or sctp before it"),
            Some(other) => bail!("{other:?} is neither proto nor dport"),
        }
        match words.next() {
            None => return Ok(service),
            Some("dport") => {
                let text = next_word(words, "dport")?;
                let port = text.parse();
                service.port = Some(port.map_err(|_| anyhow::anyhow!("{text:?} is no port: 1 to 65535"))?);
            }
            Some(other) => bail!("{other:?} is not dport"),
        }
        ensure!(service.protocol.is_some_and(Protocol::has_ports), "dport needs proto tcp, udp or sctp");
        Ok(service)
    }

    /// Encodes protocol and port, 16 bits each.
    pub fn to_word(self) -> u32 {
        let protocol = self.protocol.map_or(ANY_PROTOCOL, |protocol| protocol.0.into());
        let [a, b] = protocol.to_ne_bytes();
        let [c, d] = self.port.map_or(0, NonZeroU16::get).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = self.protocol {
            write!(f, " proto {protocol}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, " dport {port}"))
    }
}
