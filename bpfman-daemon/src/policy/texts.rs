//! A policy as text, with the files that it names, and what it means.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bpfman_proto::printable::one_line;
use bpfmand_access::{AccessPolicy, AccountNames};
use bpfmand_image::PolicyFile;
use serde::{Deserialize, Serialize};

use crate::group;

/// Most bytes of all files that a policy names together: they are kept with it.
const MAX_NAMED: usize = 16 << 20;

/// Texts of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTexts {
    /// The policy itself; none where root removed the file, which is the default policy.
    pub policy: Option<String>,
    /// Keys and trusted roots, by path.
    pub named: BTreeMap<String, String>,
}

/// Meaning of a policy.
#[derive(Debug, Default)]
pub struct ParsedPolicy {
    /// Signature rules; none without a file.
    pub images: Option<PolicyFile>,
    /// Grants.
    pub access: AccessPolicy,
}

/// One mistake: its line, if it has one, and its reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyMistake {
    /// From 1; none for what is wrong with the file as a whole.
    pub line: Option<usize>,
    /// In one line.
    pub reason: String,
}

impl PolicyMistake {
    /// A mistake that has no line.
    pub fn of_file(reason: impl ToString) -> Self {
        Self { line: None, reason: reason.to_string() }
    }

    /// Returns `FILE:LINE: reason`.
    pub fn at(&self, file: &Path) -> String {
        match self.line {
            Some(line) => format!("{}:{line}: {}", file.display(), self.reason),
            None => format!("{}: {}", file.display(), self.reason),
        }
    }
}

/// Users and groups of this machine.
struct Accounts {
    may_have_gone: bool,
}

impl AccountNames for Accounts {
    fn user(&self, name: &str) -> Option<u32> {
        group::find_user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        group::find(name).ok()
    }

    fn may_have_gone(&self) -> bool {
        self.may_have_gone
    }
}

impl ParsedPolicy {
    /// Parses the text of a policy; `read` reads the files that it names.
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(
        text: &str,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<PolicyMistake>> {
        Self::of(text, read, &Accounts { may_have_gone: false })
    }

    /// Parses what was accepted before. Users and groups that have gone since name no caller.
    ///
    /// # Errors
    /// All mistakes: another version may have accepted what this one does not know.
    pub fn parse_again(texts: &PolicyTexts) -> Result<Self, Vec<PolicyMistake>> {
        let Some(text) = &texts.policy else { return Ok(Self::default()) };
        let mut read = |path: &Path| {
            texts.kept(path).map(str::to_owned).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        Self::of(text, &mut read, &Accounts { may_have_gone: true })
    }

    fn of(
        text: &str,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
        accounts: &Accounts,
    ) -> Result<Self, Vec<PolicyMistake>> {
        let (images, access) = (PolicyFile::parse(text, read), AccessPolicy::parse(text, accounts));
        match (images, access) {
            (Ok(images), Ok(access)) => Ok(Self { images: Some(images), access }),
            (images, access) => {
                // What is no TOML is found by both.
                let found = [images.err(), access.err()].into_iter().flatten().flat_map(|found| found.0);
                let mut mistakes: Vec<_> = found
                    .map(|defect| PolicyMistake {
                        line: Some(defect.line),
                        // Texts of the file stand in it.
                        reason: one_line(&defect.reason).into_owned(),
                    })
                    .collect();
                mistakes.sort();
                mistakes.dedup();
                Err(mistakes)
            }
        }
    }
}

impl PolicyTexts {
    /// Returns the text of a file that is kept.
    pub fn kept(&self, path: &Path) -> Option<&str> {
        self.named.get(path.to_str()?).map(String::as_str)
    }

    /// Keeps a file that the policy names.
    ///
    /// # Errors
    /// It is too much together with the others.
    pub fn keep(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let kept: usize = self.named.values().map(String::len).sum();
        if kept + text.len() > MAX_NAMED {
            return Err(io::Error::other(format!(
                "all named files have more than {MAX_NAMED} bytes together"
            )));
        }
        self.named.insert(path.to_string_lossy().into_owned(), text.to_owned());
        Ok(())
    }
}
