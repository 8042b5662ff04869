use bpfman_image_format::TlsFailure;

use crate::{AuthorizationError, ImageError};

impl ImageError {
    /// Returns what the user can do about the error, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.hint_with("")
    }

    /// Returns the same, with an option for the command that changes the policy: `--policy=FILE`, or nothing.
    #[must_use]
    pub fn hint_with(&self, policy: &str) -> Option<String> {
        let space = if policy.is_empty() { "" } else { " " };
        Some(match self {
            Self::NoRule { pattern, .. } => format!(
                "for any image of this name have root run: bpfman policy allow {pattern} --unsigned{space}{policy}; for \
                 signed ones give --key FILE or --identity ISSUER SUBJECT in place of --unsigned"
            ),
            Self::NoImportName { path, .. } => {
                format!("give it a name: bpfman image load {path} --name REGISTRY/REPOSITORY:TAG")
            }
            Self::Unsigned { .. } => "sign it with `bpfman image sign`".to_owned(),
            Self::Untrusted { rule, .. } => format!(
                "its keys and identities stand at `pattern = \"{rule}\"` in the daemon's policy.toml; sign it with one of \
                 them, or name its signer there"
            ),
            Self::SignaturesUnanswered { source, .. } => return source.hint(),
            Self::Revoked { .. } => "`[revoked]` in policy.toml names it; load another version".to_owned(),
            Self::NotPinned { .. } => {
                "add its digest to the rule in policy.toml, if it is meant to run".to_owned()
            }
            Self::WayBack { .. } => {
                "sign it with a higher value of the annotation, if going back is meant".to_owned()
            }
            Self::Unauthorized { why, .. } => match &**why {
                // The text of the answer already explains the refusal.
                AuthorizationError::Refused(answer) if answer.status() == 403 && answer.explains() => return None,
                AuthorizationError::Refused(_) => {
                    "check the image's name: registries answer so, too, for what does not exist; --registry-auth takes the \
                     base64 of user:password"
                        .to_owned()
                }
                _ => "--registry-auth takes the base64 of user:password for the registry".to_owned(),
            },
            Self::RegistryRefused { answer, .. } if answer.status() == 429 => {
                "try again later; with --registry-auth many registries allow more".to_owned()
            }
            Self::RegistryRefused { answer, .. } if !answer.may_pass() => return None,
            Self::NoRoom { .. } => {
                "try again when others have ended, or raise images.cache_mib in bpfman.toml".to_owned()
            }
            Self::NotYours { .. } => {
                "give the registry's password, or use the pull policy IfNotPresent; an image that root imports is for all"
                    .to_owned()
            }
            Self::Unreachable { registry, tls: Some(failure), .. } => {
                let setting = match failure {
                    TlsFailure::NoTls => "plain_http = true",
                    TlsFailure::Certificate => "ca_file = \"/etc/bpfman/registry-ca.pem\"",
                };
                format!("say in bpfman.toml how it is reached:\n[registries.\"{registry}\"]\n{setting}")
            }
            Self::Slow { .. }
            | Self::Unreachable { .. }
            | Self::RegistryRefused { .. }
            | Self::Timeout { .. } => {
                "check that the registry answers, then try again".to_owned()
            }
            Self::NotCached { .. } => "`bpfman image pull` fetches it".to_owned(),
            Self::Worker { .. } => {
                "try again; if it fails for this image alone, something in the image ends who reads it: the daemon's log \
                 and the kernel's (SIGSYS, out of memory) say what"
                    .to_owned()
            }
            Self::Client { .. } => {
                "install the package ca-certificates, or name a ca_file for the registry in bpfman.toml"
                    .to_owned()
            }
            _ => return None,
        })
    }
}
