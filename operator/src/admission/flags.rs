//! Command-line flags of admission.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of `bpfman-operator controller` about admission.
#[derive(Args, Clone, Debug)]
// An explicit id, since the controller's flags are a group too.
#[group(id = "admission")]
pub struct AdmissionFlags {
    /// Address on which to serve reviews, over TLS; 0 for none
    #[arg(long, default_value = "0", value_name = "ADDRESS")]
    pub admission_bind_address: String,
    /// Name or address by which the API server requests reviews, besides the Service bpfman-admission; repeatable
    #[arg(long, value_name = "NAME")]
    pub admission_name: Vec<String>,
    /// Certificates of authorities, PEM: only clients with a certificate of one of them are served. The API server has
    /// one for its webhooks if its AdmissionConfiguration names a kubeConfigFile; absent: all clients are served
    #[arg(long, value_name = "FILE")]
    pub admission_client_ca: Option<PathBuf>,
    /// Admission of applications while no webhook answers: accepted (open) or refused (closed); absent: the webhook
    /// configuration is left as it is. State objects are always refused then
    #[arg(long, value_name = "POLICY")]
    pub admission_failure_policy: Option<FailurePolicy>,
    /// Seconds for which a certificate is valid
    #[arg(long, default_value_t = 90 * 86_400, value_name = "SECONDS", hide = true,
          value_parser = clap::value_parser!(u64).range(2..=315_360_000))]
    pub admission_certificate_seconds: u64,
}

/// Admission of applications while no webhook answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailurePolicy {
    /// Applications are accepted: schemas and agents still refuse most mistakes.
    Open,
    /// Applications are refused.
    Closed,
}

impl FailurePolicy {
    /// Returns the value of `failurePolicy` in a webhook's configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "Ignore",
            Self::Closed => "Fail",
        }
    }
}
