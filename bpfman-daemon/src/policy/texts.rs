//! Texts of a policy and its named files, and the result of parsing them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bpfman_proto::printable::one_line;
use bpfmand_access::{AccessPolicy, AccountNames};
use bpfmand_image::PolicyFile;
use serde::{Deserialize, Serialize};

use crate::group;

/// Maximum size of all files that a policy names together, in bytes: they are kept with it.
const MAX_NAMED: usize = 16 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTexts {
    /// The policy itself; `None` if root removed the file: then the default policy is in force.
    pub policy: Option<String>,
    pub named: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub struct ParsedPolicy {
    pub images: Option<PolicyFile>,
    pub access: AccessPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyMistake {
    /// Line, from 1; `None` for a mistake of the file as a whole.
    pub line: Option<usize>,
    pub reason: String,
}

impl PolicyMistake {
    pub fn of_file(reason: impl ToString) -> Self {
        Self { line: None, reason: reason.to_string() }
    }

    pub fn at(&self, file: &Path) -> String {
        match self.line {
            Some(line) => format!("{}:{line}: {}", file.display(), self.reason),
            None => format!("{}: {}", file.display(), self.reason),
        }
    }
}

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
    pub fn parse(
        text: &str,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<PolicyMistake>> {
        Self::of(text, read, &Accounts { may_have_gone: false })
    }

    /// Parses texts that were accepted once; fails with all mistakes, since versions know different options.
    /// Users and groups that are gone match no caller; keys and roots that are broken verify nothing.
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
        let parse = if accounts.may_have_gone { PolicyFile::parse_accepted } else { PolicyFile::parse };
        let (images, access) = (parse(text, read), AccessPolicy::parse(text, accounts));
        match (images, access) {
            (Ok(images), Ok(access)) => Ok(Self { images: Some(images), access }),
            (images, access) => {
                // Both parsers report invalid TOML.
                let found = [images.err(), access.err()].into_iter().flatten().flat_map(|found| found.0);
                let mut mistakes: Vec<_> = found
                    .map(|defect| PolicyMistake {
                        line: Some(defect.line),
                        // The reason may quote text of the file.
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
    pub fn kept(&self, path: &Path) -> Option<&str> {
        self.named.get(path.to_str()?).map(String::as_str)
    }

    /// Keeps the text of a file that the policy names. Returns an error if all files together are too large.
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
