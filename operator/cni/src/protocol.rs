//! Messages between plugin and agent: one line of JSON in each direction.

use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of these messages. Fields may be added; a change of meaning needs a new version.
pub const VERSION: u32 = 1;

/// Maximum length of a line, in bytes.
pub const MAX_LINE: u64 = 64 << 10;

/// Purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// New pod network: the pod's programs are to be attached.
    Add,
    /// Check of the pod's attachments.
    Check,
    /// Removal of a pod's network.
    Del,
    /// Check of the agent itself.
    Status,
    /// Report that another program takes the plugin out of the node's configuration; agents before 0.7 refuse it.
    Displaced,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRequest {
    pub version: u32,
    /// Purpose of the request.
    pub verb: Verb,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub name: String,
    /// Uid of the pod, if the runtime provides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// File of the network namespace, with the runtime's path.
    #[serde(default)]
    pub netns: String,
    /// Interface that the previous plugins made.
    #[serde(default)]
    pub ifname: String,
    #[serde(default)]
    pub container: String,
    /// Configuration file that another program rewrites.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
}

impl PluginRequest {
    /// Returns a request about no pod.
    #[must_use]
    pub fn of(verb: Verb) -> Self {
        Self {
            version: VERSION,
            verb,
            namespace: String::new(),
            name: String::new(),
            uid: None,
            netns: String::new(),
            ifname: String::new(),
            container: String::new(),
            file: String::new(),
        }
    }
}

/// Missing attachment of a pod that starts nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginProblem {
    /// Value of the attachment's `onUnavailable`.
    pub on_unavailable: String,
    /// Application, program and cause.
    pub message: String,
}

/// Answer of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginAnswer {
    pub version: u32,
    /// Number of attachments in force.
    #[serde(default)]
    pub attached: usize,
    /// Missing attachments that the pod does not require.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<PluginProblem>,
    /// Reason why the pod must not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse: Option<String>,
    /// Reason why the agent cannot decide, as unknown labels; the plugin then decides by the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl PluginAnswer {
    /// Returns the answer that the agent cannot decide.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self { version: VERSION, unknown: Some(why.into()), ..Self::default() }
    }
}

pub fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a line of at most [`MAX_LINE`].
pub fn read<T: DeserializeOwned>(from: impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line)?;
    parse(&line)
}

/// Parses a received line; fails if it is incomplete or invalid.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line is not complete, or too long"));
    }
    Ok(serde_json::from_slice(line)?)
}

pub fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&line(message)?)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_line_that_is_cut_or_endless_is_none() {
        let request = br#"{"version":1,"verb":"add"}"#;
        assert!(read::<PluginRequest>(&request[..]).is_err());
        let whole: PluginRequest = read([&request[..], b"\n"].concat().as_slice()).unwrap();
        assert_eq!((whole.verb, whole.uid), (Verb::Add, None));
        assert!(read::<PluginRequest>(io::BufReader::new(io::repeat(b' '))).is_err());
    }
}
