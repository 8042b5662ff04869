//! A rule about signers, with its trusted root parsed once for all signatures.

use std::cell::OnceCell;

use bpfman_image_format::causes;
use bpfmand_image::{SignatureError, Signers, TrustRoot};
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};

/// Rule about signers. Its trusted root is parsed at first use.
pub(super) struct VerifyingRule<'r> {
    pub(super) rule: &'r Signers,
    root: OnceCell<Result<VerifyingRoot, SignatureError>>,
}

impl<'r> VerifyingRule<'r> {
    pub(super) const fn new(rule: &'r Signers) -> Self {
        Self { rule, root: OnceCell::new() }
    }

    /// Returns the trusted root, without which identities and log entries cannot be verified.
    pub(super) fn root(&self) -> Result<&VerifyingRoot, SignatureError> {
        self.root.get_or_init(|| VerifyingRoot::of(self.rule)).as_ref().map_err(Clone::clone)
    }
}

pub(super) struct VerifyingRoot {
    pub(super) verifier: Verifier,
    /// False for private roots without a certificate log: their certificates carry no SCT.
    pub(super) has_certificate_log: bool,
}

impl VerifyingRoot {
    fn of(rule: &Signers) -> Result<Self, SignatureError> {
        let root = rule.root.as_ref().ok_or(SignatureError::NoRoot)?;
        let text = match root {
            TrustRoot::PublicGood => SIGSTORE_PRODUCTION_TRUSTED_ROOT,
            TrustRoot::Json(text) => text,
        };
        let malformed = |error: &dyn std::error::Error| SignatureError::Malformed {
            part: "the trusted root of the policy".into(),
            why: causes(error),
        };
        let root = TrustedRoot::from_json(text).map_err(|error| malformed(&error))?;
        let verifier = Verifier::new(&root).map_err(|error| malformed(&error))?;
        Ok(Self { verifier, has_certificate_log: !root.ctlogs.is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_root_is_parsed() {
        let rule = Signers { root: Some(TrustRoot::PublicGood), ..Signers::default() };
        assert!(VerifyingRoot::of(&rule).is_ok_and(|root| root.has_certificate_log));
        assert!(matches!(VerifyingRoot::of(&Signers::default()), Err(SignatureError::NoRoot)));
    }
}
