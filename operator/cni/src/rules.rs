//! Rules for the time when the agent cannot be reached: written by the agent, read by the plugin.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::protocol::VERSION;
use crate::write;

const MAX_FILE: u64 = 16 << 20;

/// Rule that pods must not start without a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRule {
    /// Application, for people.
    pub application: String,
    /// Program that the pods require.
    pub program: String,
    /// `closed` or `lastKnown`.
    pub on_unavailable: String,
    /// Namespace of the pods; `None` means all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// True if the rule selects pods by labels, which only the API server knows.
    #[serde(default)]
    pub by_labels: bool,
}

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    pub version: u32,
    /// Namespace of the agent, which has a network of its own: a rule must not block the agent that would fulfil it.
    pub agent_namespace: String,
    /// Rules about pods that must not start without their programs.
    pub rules: Vec<PodRule>,
}

impl Rules {
    /// Reads the rules. Returns `None` without a file: no agent has ever known all applications of this node.
    pub fn read(file: &Path) -> io::Result<Option<Self>> {
        // The directory belongs to the agent, and this code runs as root: follow no links, do not block, and accept
        // only regular files.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match fs::File::options().read(true).custom_flags(flags.bits().cast_signed()).open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
        }
        let mut text = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut text)?;
        let rules: Self = serde_json::from_slice(&text)?;
        if rules.version != VERSION {
            let why = format!("it is of version {}, and this plugin of {VERSION}", rules.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(rules))
    }

    /// Writes the rules atomically for readers.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        write::json(file, self)
    }

    /// Returns the rule that forbids a pod to start. Labels are unknown, so a rule by labels applies to all pods.
    #[must_use]
    pub fn forbids(&self, namespace: &str) -> Option<&PodRule> {
        let means = |rule: &&PodRule| rule.namespace.as_deref().is_none_or(|only| only == namespace);
        // Prefer a rule that certainly applies, because it is the better explanation.
        let mut all: Vec<&PodRule> = self.rules.iter().filter(means).collect();
        all.sort_by_key(|rule| rule.by_labels);
        all.first().copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rustix::fs::FileType;

    use super::*;

    fn rule(program: &str, namespace: Option<&str>, by_labels: bool) -> PodRule {
        PodRule {
            program: program.into(),
            namespace: namespace.map(Into::into),
            by_labels,
            ..PodRule::default()
        }
    }

    #[test]
    fn possibly_selected_namespace_fails_closed() {
        let rules = Rules {
            version: VERSION,
            rules: vec![rule("perhaps", Some("shop"), true), rule("surely", Some("shop"), false)],
            ..Rules::default()
        };
        assert_eq!(rules.forbids("shop").unwrap().program, "surely");
        assert_eq!(rules.forbids("other"), None);
        let everywhere = Rules { rules: vec![rule("all", None, true)], ..rules };
        assert_eq!(everywhere.forbids("other").unwrap().program, "all");
    }

    #[test]
    fn rules_are_read_as_they_were_written_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("protect.json");
        assert_eq!(Rules::read(&file).unwrap(), None);
        let rules =
            Rules { version: VERSION, agent_namespace: "bpfman".into(), rules: vec![rule("a", None, true)] };
        rules.write(&file).unwrap();
        assert_eq!(Rules::read(&file).unwrap(), Some(rules.clone()));
        Rules { version: 7, ..rules }.write(&file).unwrap();
        assert!(Rules::read(&file).unwrap_err().to_string().contains("version 7"));
        fs::write(&file, "{").unwrap();
        assert!(Rules::read(&file).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn links_are_not_followed_and_pipes_do_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let (file, elsewhere) = (folder.path().join("protect.json"), folder.path().join("elsewhere"));
        let rules = Rules { version: VERSION, ..Rules::default() };
        rules.write(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(Rules::read(&file).is_err(), "a link");
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, FileType::Fifo, 0o644.into(), 0).unwrap();
        assert!(Rules::read(&file).unwrap_err().to_string().contains("no regular file"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(Rules::read(&file).is_err(), "a folder");
    }
}
