use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::protocol::Protocol;
use serde::Deserialize;

use crate::event::JobAction;

/// Policy of a job. An omitted list allows everything, an empty list nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    exec: Option<Vec<PathPattern>>,
    connect: Option<Vec<Destination>>,
    write: Option<Vec<PathPattern>>,
    pub enforce: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct PathPattern(String);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    to: Network,
    port: Option<u16>,
    protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Network(Prefix);

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.starts_with('/') || text.split('/').any(|part| part == ".." || part == ".") {
            return Err(format!("{text:?} is no absolute path"));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: anyhow::Error| format!("{text:?} is no prefix: {error:#}"))
    }
}

impl PathPattern {
    fn covers(&self, path: &str) -> bool {
        path == self.0 || (self.0.ends_with('/') && path.starts_with(&self.0))
    }
}

impl Destination {
    fn covers(self, address: IpAddr, port: u16, protocol: u32) -> bool {
        let address = match address {
            IpAddr::V4(address) => Prefix::V4(address, 32),
            IpAddr::V6(address) => Prefix::V6(address, 128),
        };
        self.to.0.contains(address)
            && self.port.is_none_or(|own| own == port)
            && self.protocol.is_none_or(|own| u32::from(own.0) == protocol)
    }
}

impl Policy {
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        serde_norway::from_str(&text).map_err(|error| {
            let line =
                error.location().map(|location| format!(", line {}", location.line())).unwrap_or_default();
            Failure::invalid(format!("{name}{line}: {error}"), "the command was not started").into()
        })
    }

    pub fn expects(&self, deed: &JobAction, workspace: &str) -> bool {
        let listed = |list: &Option<Vec<PathPattern>>, path: &Option<String>| match (list, path) {
            (None, _) => true,
            (Some(list), Some(path)) => list.iter().any(|one| one.covers(path)),
            (Some(_), None) => false,
        };
        match deed {
            JobAction::Exec { path, .. } => listed(&self.exec, path),
            JobAction::Connect { address, port, protocol } => {
                let covers = |one: &Destination| one.covers(*address, *port, *protocol);
                self.connect.as_ref().is_none_or(|list| list.iter().any(covers))
            }
            JobAction::Write { path } => {
                path.as_deref().is_some_and(|path| Path::new(path).starts_with(workspace))
                    || listed(&self.write, path)
            }
            JobAction::Exit => true,
        }
    }
}
