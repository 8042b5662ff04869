//! One line of JSON each way.

use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of these messages. Fields are only added; another meaning is another version.
pub const VERSION: u32 = 1;

/// Longest line, in bytes.
pub const LONGEST_LINE: u64 = 64 << 10;

/// What the plugin wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// A pod's network is made: its programs are to be attached.
    Add,
    /// Is everything still there?
    Check,
    /// A pod's network goes.
    Del,
    /// Does anybody answer?
    Status,
}

/// What the plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRequest {
    /// [`VERSION`].
    pub version: u32,
    /// What for.
    pub verb: Verb,
    /// The pod's namespace.
    #[serde(default)]
    pub namespace: String,
    /// The pod's name.
    #[serde(default)]
    pub name: String,
    /// The pod's uid, where the runtime tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// File of the network namespace, as the runtime names it.
    #[serde(default)]
    pub netns: String,
    /// Interface that the plugins before made.
    #[serde(default)]
    pub ifname: String,
    /// Id of the sandbox.
    #[serde(default)]
    pub container: String,
}

/// An attachment that is missing, in a pod that starts nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginProblem {
    /// The attachment's `onUnavailable`.
    pub on_unavailable: String,
    /// Application, program and cause.
    pub message: String,
}

/// What the agent answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginAnswer {
    /// [`VERSION`].
    pub version: u32,
    /// Attachments that are in force.
    #[serde(default)]
    pub attached: usize,
    /// Attachments that are missing, and need not be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<PluginProblem>,
    /// The pod must not start: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse: Option<String>,
    /// The agent cannot tell, for example as it does not know the pod's labels: why. The plugin decides by the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl PluginAnswer {
    /// The agent cannot tell.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self { version: VERSION, unknown: Some(why.into()), ..Self::default() }
    }
}

/// A message as a line.
///
/// # Errors
/// It cannot be written as JSON, which none of these messages is.
pub fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a line of at most [`LONGEST_LINE`].
///
/// # Errors
/// The other side broke off, or said something else.
pub fn read<T: DeserializeOwned>(from: impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    parse(&line)
}

/// Reads a line that was received.
///
/// # Errors
/// It is none.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line is not complete, or too long"));
    }
    Ok(serde_json::from_slice(line)?)
}

/// Writes a line.
///
/// # Errors
/// The other side went away.
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
