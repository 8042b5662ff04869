//! Command-line flags of the controller.

use clap::{ArgAction, Args};

/// Flags of `bpfman-operator controller`.
#[derive(Args, Clone, Debug)]
pub struct ControllerFlags {
    /// Address of /healthz and /readyz; 0 for none
    #[arg(long, default_value = ":8175", value_name = "ADDRESS")]
    pub health_probe_bind_address: String,
    /// Address of /metrics; 0 for none
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub metrics_bind_address: String,
    /// Serve /metrics over TLS, and only to clients that the API server authorizes; false: in plain text, to all
    /// clients
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set)]
    pub metrics_secure: bool,
    /// Address on which to serve the console's data over TLS, to clients that the API server authorizes to see the
    /// fleet; 0 for none
    #[arg(long, default_value = "0", value_name = "ADDRESS")]
    pub console_bind_address: String,
    /// Act only while holding the lease, so that several controllers may run
    #[arg(long)]
    pub leader_elect: bool,
    /// Seconds after which others take over the lease of a controller that is gone
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=600))]
    pub lease_seconds: u64,
    /// Namespace of the controller: its lease, the agents and their configuration
    #[arg(long, env = "POD_NAMESPACE", default_value = "bpfman", value_name = "NAMESPACE")]
    pub namespace: String,
    /// Do not deploy daemon and agent
    #[arg(long)]
    pub no_deploy: bool,
    /// Agents are not pods of this cluster: every node counts as having one
    #[arg(long)]
    pub assume_agents: bool,
    /// Reviews of applications and state objects
    #[command(flatten)]
    pub admission: crate::admission::AdmissionFlags,
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn the_flags_go_together_with_those_of_admission() {
        ControllerFlags::augment_args(Command::new("controller")).debug_assert();
    }
}
