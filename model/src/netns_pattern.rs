//! Selection of network namespaces for an attachment, present and future.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{BadGlob, BadMatch, Glob};

/// Namespace file, or files of one folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub enum NetnsPattern {
    /// One file.
    File(PathBuf),
    /// Files of a folder.
    Files {
        /// Folder of the files.
        folder: PathBuf,
        /// Pattern of their names.
        names: Glob,
    },
}

impl NetnsPattern {
    /// Parses an absolute path; its last part may be a pattern.
    ///
    /// # Errors
    /// The path is not absolute, names no file, has a pattern elsewhere than at its end, or names a process by its PID,
    /// which may later be that of another process.
    pub fn parse(path: &Path) -> Result<Self, BadMatch> {
        let refusal = |reason| BadMatch::Netns(BadGlob { pattern: path.display().to_string(), reason });
        let bad = |reason| Err(refusal(reason));
        if !path.is_absolute() {
            return bad("is not an absolute path");
        }
        let parts: Vec<_> = path.components().collect();
        if parts.contains(&Component::ParentDir) {
            return bad("leads through \"..\"");
        }
        if let [_, Component::Normal(proc), Component::Normal(process), ..] = &parts[..]
            && *proc == "proc"
            && process.as_encoded_bytes().first().is_some_and(|c| c.is_ascii_digit() || b"*?[".contains(c))
        {
            return bad("names a process; its number is another's some day, so name a file that stays");
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return bad("names no file");
        };
        let has_wildcards = |text: &str| text.contains(['*', '?', '[']);
        if has_wildcards(&folder.to_string_lossy()) {
            return bad("has wildcards before its last part");
        }
        if !has_wildcards(name) {
            return Ok(Self::File(path.to_owned()));
        }
        let names = Glob::parse(name).map_err(|error| refusal(error.reason))?;
        Ok(Self::Files { folder: folder.to_owned(), names })
    }

    /// Returns whether the pattern matches a namespace file.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        match self {
            Self::File(own) => own == path,
            Self::Files { folder, names } => {
                path.parent() == Some(folder)
                    && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.matches(name))
            }
        }
    }
}

impl fmt::Display for NetnsPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", PathBuf::from(self.clone()).display())
    }
}

impl TryFrom<PathBuf> for NetnsPattern {
    type Error = BadMatch;

    fn try_from(path: PathBuf) -> Result<Self, BadMatch> {
        Self::parse(&path)
    }
}

impl From<NetnsPattern> for PathBuf {
    fn from(pattern: NetnsPattern) -> Self {
        match pattern {
            NetnsPattern::File(path) => path,
            NetnsPattern::Files { folder, names } => folder.join(names.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_chosen_by_file_or_pattern_and_kept_as_text() {
        let pods = NetnsPattern::parse(Path::new("/run/netns/cni-*")).unwrap();
        assert!(pods.matches(Path::new("/run/netns/cni-1")));
        assert!(!pods.matches(Path::new("/run/netns/other")) && !pods.matches(Path::new("/run/cni-1")));
        let one = NetnsPattern::parse(Path::new("/run/netns/blue")).unwrap();
        assert!(one.matches(Path::new("/run/netns/blue")) && !one.matches(Path::new("/run/netns/blues")));
        assert_eq!(NetnsPattern::try_from(PathBuf::from(pods.clone())), Ok(pods));
    }
}
