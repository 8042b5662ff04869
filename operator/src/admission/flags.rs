//! Command-line flags of admission.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of `bpfman-operator controller` about admission.
#[derive(Args, Clone, Debug)]
// An explicit id, since the controller's flags are a group too.
#[group(id = "admission")]
pub struct AdmissionFlags {
    /// Where reviews are answered, over TLS; 0 for nowhere
    #[arg(long, default_value = "0", value_name = "ADDRESS")]
    pub admission_bind_address: String,
    /// Name or address by which the API server asks for reviews, besides the Service bpfman-admission; repeatable
    #[arg(long, value_name = "NAME")]
    pub admission_name: Vec<String>,
    /// Certificates of authorities, PEM: only clients with a certificate of one of them are answered. The API server has
    /// one for its webhooks where its AdmissionConfiguration names a kubeConfigFile; absent: whoever asks is answered
    #[arg(long, value_name = "FILE")]
    pub admission_client_ca: Option<PathBuf>,
    /// Whether applications are taken (open) or refused (closed) while nobody answers; absent: as the configuration of
    /// the webhook says. State objects are always refused then
    #[arg(long, value_name = "POLICY")]
    pub admission_failure_policy: Option<FailurePolicy>,
    /// Seconds for which a certificate is valid
    #[arg(long, default_value_t = 90 * 86_400, value_name = "SECONDS", hide = true,
          value_parser = clap::value_parser!(u64).range(2..=315_360_000))]
    pub admission_certificate_seconds: u64,
}

/// What becomes of applications while nobody reviews them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailurePolicy {
    /// They are taken: schemas and agents still refuse most of what is wrong.
    Open,
    /// They are refused.
    Closed,
}

impl FailurePolicy {
    /// Returns the word in a webhook's configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "Ignore",
            Self::Closed => "Fail",
        }
    }
}
