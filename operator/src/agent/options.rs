//! Flags and environment variables of `bpfman-operator agent`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::shared::LEFTOVER_GRACE;
use bpfman_runtime::certificate::GivenCertificate;
use bpfman_runtime::connect::Pings;
use bpfman_runtime::serve::{self, AddressError};

/// Flags of the agent. Those of the agent published before have the same names.
#[derive(Args, Clone, Debug)]
pub struct AgentOptions {
    /// Name of the node that this agent is for.
    #[arg(long, env = "KUBE_NODE_NAME")]
    pub node_name: String,
    /// Namespace of the operator, where revisions of cluster applications are.
    #[arg(long, env = "POD_NAMESPACE", default_value = "bpfman")]
    pub namespace: String,
    /// The daemon's socket.
    #[arg(
        long,
        env = bpfman_proto::SOCKET_PATH_VARIABLE,
        default_value = bpfman_proto::DEFAULT_SOCKET_PATH
    )]
    pub daemon_socket: PathBuf,
    /// Address of /healthz, /readyz and /figures; a port alone, as ":8175", means all addresses.
    #[arg(long, default_value = ":8175", value_parser = address)]
    pub health_probe_bind_address: SocketAddr,
    /// Address of /metrics, over TLS, for clients that the API server authorizes; 0 for none.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub metrics_bind_address: String,
    /// The certificate of /metrics.
    #[command(flatten)]
    pub metrics_certificate: GivenCertificate,
    /// Enables interfacesDiscoveryConfig.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_interfaces_discovery: bool,
    /// Socket for the CNI plugin. Absent: the plugin is not installed, and there is no socket.
    #[arg(long)]
    pub cni_socket: Option<PathBuf>,
    /// File of the state that the CNI plugin uses while no agent answers.
    #[arg(long, default_value = bpfman_cni::STATE_FILE)]
    pub cni_state_file: PathBuf,
    /// Seconds after which programs without a state object are unloaded, because its finalizer was removed. The agent
    /// searches for them at its start, and at twice that interval.
    #[arg(long, default_value_t = LEFTOVER_GRACE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub leftover_seconds: u64,
    /// Number of applications that are processed at a time. At most half of them, and at least one, belong to one
    /// namespace.
    #[arg(long, default_value_t = 4)]
    pub workers: usize,
    /// Detection of dead connections to the API server.
    #[command(flatten)]
    pub pings: Pings,
}

/// Disabling the probes is not allowed: the agent would count as dead.
fn address(text: &str) -> Result<SocketAddr, AddressError> {
    serve::address(text)?.ok_or_else(|| AddressError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: AgentOptions,
    }

    fn parse(words: &[&str]) -> Result<AgentOptions, clap::Error> {
        let all = ["agent", "--node-name", "node-a"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| cli.options)
    }

    #[test]
    fn flags_of_the_published_agent_are_taken_in_their_forms() {
        let options =
            parse(&["--health-probe-bind-address=:8175", "--enable-interfaces-discovery=false"]).unwrap();
        assert_eq!(options.health_probe_bind_address, "[::]:8175".parse().unwrap());
        assert!(!options.enable_interfaces_discovery);
        assert!(parse(&["--enable-interfaces-discovery"]).unwrap().enable_interfaces_discovery);
        assert!(parse(&[]).unwrap().enable_interfaces_discovery);
    }

    #[test]
    fn a_certificate_is_given_with_its_key_or_not_at_all() {
        let both = ["--metrics-certificate=/c/tls.crt", "--metrics-key=/c/tls.key"];
        assert!(parse(&both).unwrap().metrics_certificate.files().is_some());
        assert!(parse(&[]).unwrap().metrics_certificate.files().is_none());
        for (one, other) in [(both[0], "--metrics-key"), (both[1], "--metrics-certificate")] {
            let error = parse(&[one]).unwrap_err().to_string();
            assert!(error.contains(other), "{error}");
        }
    }

    #[test]
    fn an_address_that_is_none_says_what_one_looks_like() {
        let error = parse(&["--health-probe-bind-address=8175"]).unwrap_err().to_string();
        assert!(error.contains("write HOST:PORT, :PORT"), "{error}");
    }
}
