use std::path::Path;

use bpfman_image_format::TlsFailure;
use bpfman_model::Hint;

use crate::{AuthorizationError, ImageError};

impl ImageError {
    /// Returns what the user can do about the error, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<Hint> {
        self.hint_with(None)
    }

    /// Returns the same hint, for a policy in another file than the default one.
    #[must_use]
    pub fn hint_with(&self, policy: Option<&Path>) -> Option<Hint> {
        Some(match self {
            Self::NoRule { pattern, .. } => {
                Hint::AllowImage { pattern: pattern.clone(), policy: policy.map(Path::to_owned) }
            }
            Self::NoImportName { path, .. } => Hint::NameImage { path: path.clone() },
            Self::Unsigned { image, .. } => Hint::SignImage(image.clone()),
            Self::Untrusted { rule, .. } => format!(
                "its keys and identities stand at `pattern = \"{rule}\"` in the daemon's policy.toml; sign it with one of \
                 them, or name its signer there"
            )
            .into(),
            Self::SignaturesUnanswered { source, .. } => return source.hint(),
            Self::Revoked { .. } => "`[revoked]` in policy.toml names it; load another version".into(),
            Self::NotPinned { .. } => {
                "add its digest to the rule in policy.toml, if it is meant to run".into()
            }
            Self::WayBack { .. } => {
                "sign it with a higher value of the annotation, if going back is meant".into()
            }
            Self::Unauthorized { why, .. } => match &**why {
                // The text of the answer already explains the refusal.
                AuthorizationError::Refused(answer) if answer.status() == 403 && answer.explains() => return None,
                AuthorizationError::Refused(_) => {
                    "check the image's name: registries answer so, too, for what does not exist; --registry-auth takes the \
                     base64 of user:password"
                        .into()
                }
                _ => "--registry-auth takes the base64 of user:password for the registry".into(),
            },
            Self::RegistryRefused { answer, .. } if answer.status() == 429 => {
                "try again later; with --registry-auth many registries allow more".into()
            }
            Self::RegistryRefused { answer, .. } if !answer.may_pass() => return None,
            Self::NoRoom { .. } => {
                "try again when others have ended, or raise images.cache_mib in bpfman.toml".into()
            }
            Self::NotYours { .. } => {
                "give the registry's password, or use the pull policy IfNotPresent; an image that root imports is for all"
                    .into()
            }
            Self::Unreachable { registry, tls: Some(failure), .. } => {
                let setting = match failure {
                    TlsFailure::NoTls => "plain_http = true",
                    TlsFailure::Certificate => "ca_file = \"/etc/bpfman/registry-ca.pem\"",
                };
                format!("say in bpfman.toml how it is reached:\n[registries.\"{registry}\"]\n{setting}").into()
            }
            Self::Slow { .. }
            | Self::Unreachable { .. }
            | Self::RegistryRefused { .. }
            | Self::Timeout { .. } => {
                "check that the registry answers, then try again".into()
            }
            Self::NotCached { image, .. } => Hint::PullImage(image.clone()),
            Self::Worker { .. } => {
                "try again; if it fails for this image alone, something in the image ends who reads it: the daemon's log \
                 and the kernel's (SIGSYS, out of memory) say what"
                    .into()
            }
            Self::Client { .. } => {
                "install the package ca-certificates, or name a ca_file for the registry in bpfman.toml"
                    .into()
            }
            _ => return None,
        })
    }
}
