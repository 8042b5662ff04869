use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use bpfman_examples::failure::Failure;

use crate::maglev::MAX_WEIGHT;
use crate::service::{Protocol, Service};

pub const GRAMMAR: &str = "`source ADDRESS`, `mtu BYTES`, `service ADDRESS tcp|udp PORT`, and under a service \
                           `backend ADDRESS [weight N] [draining]`";
const MAX_SERVICES: usize = 64;
const MAX_BACKENDS: usize = 1024;
const MIN_MTU: u32 = 1280;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    pub source_v4: Option<IpAddr>,
    pub source_v6: Option<IpAddr>,
    pub mtu: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { source_v4: None, source_v6: None, mtu: 1500 }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    pub address: IpAddr,
    pub weight: u32,
    pub draining: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    pub settings: Settings,
    pub services: Vec<(Service, Vec<Member>)>,
}

impl Config {
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let mut config = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> =
                line.split('#').next().unwrap_or_default().split_ascii_whitespace().collect();
            if let Err(error) = config.line(&words) {
                let hint = format!("nothing was changed; a line is {GRAMMAR}");
                return Err(Failure::invalid(format!("{name}, line {number}: {error:#}"), hint).into());
            }
        }
        config.check().map_err(|error| {
            anyhow::Error::from(Failure::invalid(format!("{name}: {error:#}"), "nothing was changed"))
        })?;
        Ok(config)
    }

    fn line(&mut self, words: &[&str]) -> Result<()> {
        match words {
            [] => {}
            ["source", address] => {
                let address = parse_address(address)?;
                let source = if address.is_ipv4() {
                    &mut self.settings.source_v4
                } else {
                    &mut self.settings.source_v6
                };
                ensure!(source.is_none(), "there is a source of that family already");
                *source = Some(address);
            }
            ["mtu", bytes] => {
                self.settings.mtu = bytes.parse().context("the mtu is a number of bytes")?;
                ensure!(
                    (MIN_MTU..=65_535).contains(&self.settings.mtu),
                    "the mtu is from {MIN_MTU} to 65535"
                );
            }
            ["service", address, protocol, port] => self.service(address, protocol, port)?,
            ["backend", address, rest @ ..] => self.backend(address, rest)?,
            [word, ..] => bail!("`{}` begins no line, or has too few or too many words", word.escape_debug()),
        }
        Ok(())
    }

    fn service(&mut self, address: &str, protocol: &str, port: &str) -> Result<()> {
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => bail!("`{}` is neither tcp nor udp", other.escape_debug()),
        };
        let port: u16 = port.parse().context("the port is a number up to 65535")?;
        ensure!(port > 0, "port 0 is none");
        let service = Service { address: parse_address(address)?, protocol, port };
        ensure!(self.services.iter().all(|(known, _)| *known != service), "{service} is there already");
        ensure!(self.services.len() < MAX_SERVICES, "there is room for {MAX_SERVICES} services");
        self.services.push((service, Vec::new()));
        Ok(())
    }

    fn backend(&mut self, address: &str, rest: &[&str]) -> Result<()> {
        let (weight, draining) = match rest {
            [] => ("1", false),
            ["draining"] => ("1", true),
            ["weight", weight] => (*weight, false),
            ["weight", weight, "draining"] => (*weight, true),
            [word, ..] => bail!("`{}` is neither `weight N` nor `draining`", word.escape_debug()),
        };
        let weight: u32 = weight.parse().context("the weight is a number")?;
        ensure!((1..=MAX_WEIGHT).contains(&weight), "the weight is from 1 to {MAX_WEIGHT}");
        let address = parse_address(address)?;
        let Some((_, members)) = self.services.last_mut() else { bail!("a backend stands under a service") };
        ensure!(members.iter().all(|member| member.address != address), "{address} is there already");
        members.push(Member { address, weight, draining });
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let addresses: HashSet<IpAddr> =
            self.services.iter().flat_map(|(_, members)| members).map(|member| member.address).collect();
        ensure!(addresses.len() <= MAX_BACKENDS, "there is room for {MAX_BACKENDS} backends");
        for (wanted, source, example) in [
            (addresses.iter().any(IpAddr::is_ipv4), self.settings.source_v4, "source 192.0.2.10"),
            (addresses.iter().any(IpAddr::is_ipv6), self.settings.source_v6, "source 2001:db8::10"),
        ] {
            ensure!(
                !wanted || source.is_some(),
                "its backends need a source of their family, as `{example}`"
            );
        }
        Ok(())
    }
}

fn parse_address(word: &str) -> Result<IpAddr> {
    let address: IpAddr =
        word.parse().with_context(|| format!("`{}` is no IP address", word.escape_debug()))?;
    ensure!(!address.is_unspecified() && !address.is_multicast(), "{address} is no address of one machine");
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "source 192.0.2.10\nmtu 9000\nservice 198.51.100.1 tcp 443 # the web\n\
                        backend 10.0.0.1 weight 2\n  backend 10.0.0.2 draining\n\nservice 2001:db8::1 udp 53\n";

    #[test]
    fn a_file_is_read() {
        let config = Config::parse(GOOD, "f").unwrap();
        assert_eq!(config.settings.mtu, 9000);
        let (service, members) = &config.services[0];
        assert_eq!(service.to_string(), "198.51.100.1:443 tcp");
        assert_eq!(
            members.iter().map(|member| (member.weight, member.draining)).collect::<Vec<_>>(),
            [(2, false), (1, true)]
        );
        assert_eq!(config.services[1].1, []);
    }

    #[test]
    fn a_bad_line_is_named_with_the_reason() {
        for (line, reason) in [
            ("servise 1.1.1.1 tcp 1", "f, line 8: `servise` begins no line"),
            ("service 1.1.1.1 tcp", "begins no line, or has too few"),
            ("service 1.1.1 tcp 1", "`1.1.1` is no IP address"),
            ("service 1.1.1.1 sctp 1", "neither tcp nor udp"),
            ("service 1.1.1.1 tcp 0", "port 0"),
            ("service 198.51.100.1 tcp 443", "is there already"),
            ("backend 10.0.0.9 weight 0", "from 1 to 100"),
            ("backend 10.0.0.9 heavy", "`heavy` is neither"),
            ("backend 224.0.0.1", "no address of one machine"),
            ("mtu 100", "from 1280"),
            ("source 192.0.2.11", "already"),
            ("backend fd00::1", "need a source of their family, as `source 2001:db8::10`"),
        ] {
            let error = Config::parse(&format!("{GOOD}{line}\n"), "f").unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
        let alone = Config::parse("backend 10.0.0.1", "f").unwrap_err().to_string();
        assert!(alone.contains("stands under a service"), "{alone}");
    }
}
