//! `bpfman apply`, `diff` and `delete`: manifests of applications, on this machine.

use std::path::PathBuf;

use bpfman_image_format::Credential;
use clap::Args;

use super::credential::{CredentialParser, REGISTRY_AUTH_VARIABLE};
use super::value::KeyValue;

/// Manifest flags.
#[derive(Args, Debug)]
pub struct Manifests {
    /// Manifests, YAML or JSON, with any number of documents; `-` reads standard input.
    #[arg(short, long = "filename", alias = "file", value_name = "FILE", required = true)]
    pub file: Vec<PathBuf>,
}

/// Node properties of this machine.
#[derive(Args, Debug)]
pub struct Machine {
    /// Label of this machine, for node selectors. `kubernetes.io/hostname`, `os` and `arch` are set already.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub label: Vec<KeyValue>,
    /// Credentials for registries: base64 of user:password, or - for the first line of standard input. Every user of this
    /// machine can read command lines. Default: the logins that docker and podman have stored.
    #[arg(short, long, value_name = "BASE64", env = REGISTRY_AUTH_VARIABLE, hide_env_values = true,
          value_parser = CredentialParser)]
    pub registry_auth: Option<Credential>,
}

/// `bpfman apply`.
#[derive(Args, Debug)]
pub struct Apply {
    /// Manifests to apply.
    #[command(flatten)]
    pub manifests: Manifests,
    /// Node properties of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// `bpfman diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// Manifests to compare with this machine.
    #[command(flatten)]
    pub manifests: Manifests,
    /// Node properties of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// `bpfman delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Names of applications that `apply` made, as `list applications` shows them.
    #[arg(value_name = "NAME", required_unless_present = "file")]
    pub name: Vec<String>,
    /// Manifests of the objects to delete; only their kinds and names are used. `-` reads standard input.
    #[arg(short, long = "filename", alias = "file", value_name = "FILE", conflicts_with = "name")]
    pub file: Vec<PathBuf>,
}
