//! Identities of signers without a key of their own: an issuer certifies them at the time of signing.

use std::fmt;

use crate::pattern::glob;

/// Identities that a rule trusts: issuer and subject, each exact or with `*` for any characters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrustedIdentity {
    issuer: String,
    subject: String,
}

/// Identity in a policy that could never match, or would match by accident.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {field} of an identity is {why}")]
pub struct IdentityError {
    /// `issuer` or `subject`.
    pub field: &'static str,
    pub why: &'static str,
}

impl TrustedIdentity {
    /// Creates an identity from issuer and subject. A lone `*` matches any identity, and has to be written explicitly.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, IdentityError> {
        for (field, text) in [("issuer", issuer), ("subject", subject)] {
            if text.is_empty() {
                return Err(IdentityError { field, why: "empty; write \"*\" if any will do" });
            }
            if text.trim() != text || text.chars().any(char::is_control) {
                return Err(IdentityError {
                    field,
                    why: "not one word: there is white space in or around it",
                });
            }
        }
        Ok(Self { issuer: issuer.to_owned(), subject: subject.to_owned() })
    }

    /// Returns whether issuer and subject match.
    #[must_use]
    pub fn covers(&self, issuer: &str, subject: &str) -> bool {
        glob(self.issuer.as_bytes(), issuer.as_bytes()) && glob(self.subject.as_bytes(), subject.as_bytes())
    }

    /// Returns whether this matches one identity only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.issuer.contains('*') && !self.subject.contains('*')
    }
}

impl fmt::Display for TrustedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.subject, self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_exact_unless_a_star_is_written() {
        let exact = TrustedIdentity::new("https://issuer.example", "a@example.com").unwrap();
        assert!(exact.is_exact() && exact.covers("https://issuer.example", "a@example.com"));
        for (issuer, subject) in [
            ("https://issuer.example", "A@example.com"),
            ("https://issuer.example", "a@example.com.evil.io"),
            ("https://issuer.example", "ba@example.com"),
            ("https://issuer.example/", "a@example.com"),
            ("http://issuer.example", "a@example.com"),
        ] {
            assert!(!exact.covers(issuer, subject), "{issuer} {subject}");
        }
        let pattern = TrustedIdentity::new("https://i", "https://forge.example/team/*@refs/tags/v*").unwrap();
        assert!(!pattern.is_exact());
        assert!(pattern.covers("https://i", "https://forge.example/team/app@refs/tags/v1"));
        assert!(!pattern.covers("https://i", "https://forge.example/team2/app@refs/tags/v1"));
        assert!(!pattern.covers("https://i", "https://forge.example/team/app@refs/heads/main"));
    }

    #[test]
    fn identity_of_anybody_has_to_be_written_out() {
        assert!(TrustedIdentity::new("", "a@example.com").is_err());
        assert!(TrustedIdentity::new("https://i", "").is_err());
        assert!(TrustedIdentity::new("https://i ", "a").is_err());
        assert!(TrustedIdentity::new("*", "*").unwrap().covers("https://i", "a"));
    }
}
