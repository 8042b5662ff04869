//! Network configuration, which the container runtime writes to the plugin's standard input.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{CniError, INCOMPATIBLE_VERSION, INVALID_CONFIGURATION, NOT_DECODED};
use crate::{EXEMPT, SOCKET, STATE_FILE};

/// Supported versions of the specification. Those before 0.4.0 have no CHECK; ADD and DEL are the same in all.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

pub const NEWEST: &str = "1.1.0";

const MAX_TIMEOUT: u64 = 600;

/// Network configuration of the plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodNetwork {
    #[serde(default)]
    pub cni_version: String,
    #[serde(default = "socket")]
    pub agent_socket: PathBuf,
    /// Timeout for the agent's answer, in seconds.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
    /// File of the agent's rules.
    #[serde(default = "state_file")]
    pub state_file: PathBuf,
    /// Namespaces whose pods may start while the agent does not answer.
    #[serde(default = "exempt")]
    pub exempt_namespaces: Vec<String>,
    #[serde(default)]
    pub prev_result: Option<Value>,
}

fn socket() -> PathBuf {
    SOCKET.into()
}

fn timeout() -> u64 {
    20
}

fn state_file() -> PathBuf {
    STATE_FILE.into()
}

fn exempt() -> Vec<String> {
    EXEMPT.map(str::to_owned).into()
}

impl PodNetwork {
    /// Parses a configuration; fails for invalid JSON, a wrong field, or an unknown version.
    pub fn read(text: &[u8]) -> Result<Self, CniError> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            CniError::new(NOT_DECODED, "the network configuration is no JSON", error.to_string())
        })?;
        let wrong = |details: String| {
            CniError::new(INVALID_CONFIGURATION, "the network configuration of bpfman-cni is wrong", details)
        };
        let network: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if !VERSIONS.contains(&network.cni_version.as_str()) {
            return Err(CniError::new(
                INCOMPATIBLE_VERSION,
                format!("cniVersion {:?} is not known", network.cni_version),
                format!("bpfman-cni knows {}", VERSIONS.join(", ")),
            ));
        }
        if network.timeout_seconds == 0 || network.timeout_seconds > MAX_TIMEOUT {
            return Err(wrong(format!("timeoutSeconds is {}: 1 to {MAX_TIMEOUT}", network.timeout_seconds)));
        }
        for (name, path) in [("agentSocket", &network.agent_socket), ("stateFile", &network.state_file)] {
            if !path.is_absolute() {
                return Err(wrong(format!("{name} is {path:?}: it has to be an absolute path")));
            }
        }
        Ok(network)
    }

    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}
