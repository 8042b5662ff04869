//! Access to a registry from this process, without the daemon.

use std::path::PathBuf;

use bpfman_image_format::Credential;
use clap::Args;

use super::credential::{CredentialParser, REGISTRY_AUTH_VARIABLE};

/// Password, TLS and authorities of the registry.
#[derive(Args, Debug)]
pub struct RegistryFlags {
    /// Credentials for the registry: base64 of user:password, or - for the first line of standard input. Every user of
    /// this machine can read command lines.
    #[arg(short, long, value_name = "BASE64", env = REGISTRY_AUTH_VARIABLE, hide_env_values = true,
          value_parser = CredentialParser)]
    pub registry_auth: Option<Credential>,
    /// Reach the registry without TLS: others on the network can read password and image. bpfman.toml, section registries,
    /// has the default for each registry; those on this machine are reached without TLS.
    #[arg(long, conflicts_with = "ca_file")]
    pub plain_http: bool,
    /// Certificate authorities of the registry, PEM, instead of those of this machine. The section
    /// registries of bpfman.toml has the default for each.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}
