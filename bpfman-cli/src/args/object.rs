//! Arguments that are an object file, or an image with one.

use bpfman_image_format::Credential;
use bpfman_model::PullPolicy;
use clap::Args;

use super::credential::{CredentialParser, REGISTRY_AUTH_VARIABLE};
use super::load::pull_policies;

/// An object file or an image, as the first argument of a command.
#[derive(Args, Debug)]
pub struct ObjectArgument {
    /// Object file, or image with its registry, for example quay.io/acme/filter:v1. A file of that name wins.
    #[arg(value_name = "FILE|IMAGE")]
    pub source: String,
    /// Credentials for the registry: base64 of user:password, or - for the first line of standard input. Every user of
    /// this machine can read command lines.
    #[arg(short, long, value_name = "BASE64", env = REGISTRY_AUTH_VARIABLE, hide_env_values = true,
          value_parser = CredentialParser)]
    pub registry_auth: Option<Credential>,
    /// Condition for pulling the image from the registry.
    #[arg(long, value_name = "POLICY", value_parser = pull_policies(), default_value = "IfNotPresent")]
    pub pull_policy: PullPolicy,
}
