//! Containers, as container runtimes name them and their cgroups.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::PathBuf;

use crate::NetnsId;

/// Id of a container, assigned by a runtime: usually 64 hexadecimal digits, or a text that can be the name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

/// Invalid id of a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("container id \"{id}\" {reason}")]
pub struct BadContainerId {
    /// Id as given, cut to a length that can be shown.
    id: String,
    reason: &'static str,
}

/// Minimum length of a shortened id: shorter ones may be ambiguous. docker shows this many digits.
const MIN_DIGITS: usize = 12;
/// Length of a complete id, in all runtimes.
const ALL_DIGITS: usize = 64;
const MAX_BYTES: usize = 128;

impl ContainerId {
    /// Parses an id as in the status of a Pod: with or without the prefix of a runtime (`containerd://`).
    ///
    /// # Errors
    /// The id is empty, too long or too short, or has other characters than letters, digits, `_`, `.` and `-`.
    pub fn parse(text: &str) -> Result<Self, BadContainerId> {
        let refuse = |reason| {
            let shown = text.chars().filter(|c| !c.is_control()).take(MAX_BYTES).collect();
            Err(BadContainerId { id: shown, reason })
        };
        let id = match text.split_once("://") {
            Some((runtime, _)) if runtime.is_empty() || !runtime.bytes().all(is_of_runtime) => {
                return refuse("has no runtime's name before \"://\"");
            }
            Some((_, id)) => id,
            None => text,
        };
        if id.is_empty() {
            return refuse("is empty");
        }
        if id.len() > MAX_BYTES {
            return refuse("is longer than 128 characters");
        }
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
            return refuse("has other characters than letters, digits, \"_\", \".\" and \"-\"");
        }
        if !id.as_bytes()[0].is_ascii_alphanumeric() {
            return refuse("does not begin with a letter or digit");
        }
        if id.len() < MIN_DIGITS {
            return refuse("is shorter than 12 characters: it could be that of several containers");
        }
        Ok(Self(id.to_owned()))
    }

    /// Returns the id without the runtime's prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_hexadecimal(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

const fn is_of_runtime(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Processes of a container, and its network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Id of the container.
    pub id: ContainerId,
    /// PIDs of its processes, the oldest first.
    pub pids: Vec<u32>,
    /// File of its network namespace, below `/proc/PID` of a process that was in it.
    pub netns: PathBuf,
    /// Identity of the namespace.
    pub identity: NetnsId,
}

/// Containers with processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundContainers {
    /// Containers and their processes.
    pub containers: Vec<ContainerFacts>,
    /// Containers whose processes are uncertain, because several cgroups have the id in their names.
    pub ambiguous: Vec<AmbiguousContainer>,
}

/// Container with an id that occurs in the names of several cgroups with processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} are named like it and have processes; name the container by its whole id, or end the processes of the cgroup \
     that no container runtime made (its cgroup.procs lists them)",
    groups.iter().map(|group| group.display().to_string()).collect::<Vec<_>>().join(" and ")
)]
pub struct AmbiguousContainer {
    /// Id, as requested.
    pub id: ContainerId,
    /// Paths of the cgroups, from the root of their hierarchy.
    pub groups: Vec<PathBuf>,
}

/// Ids to be searched for among the names of cgroups.
#[derive(Debug, Default)]
pub struct WantedContainers {
    whole: HashSet<ContainerId>,
    /// Lengths of ids that may be prefixes of longer ones.
    lengths: BTreeSet<usize>,
}

impl WantedContainers {
    /// Creates a search for these ids.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = ContainerId>) -> Self {
        let whole: HashSet<ContainerId> = ids.into_iter().collect();
        let lengths = whole.iter().filter(|id| id.is_hexadecimal()).map(|id| id.0.len());
        let lengths = lengths.filter(|length| *length < ALL_DIGITS).collect();
        Self { whole, lengths }
    }

    /// Returns the containers that a cgroup of this name belongs to: `<id>` by the driver "cgroupfs",
    /// `cri-containerd-<id>.scope`, `crio-<id>.scope`, `docker-<id>.scope` by the driver "systemd". The cgroup of a
    /// container's monitor (`crio-conmon-<id>.scope`) does not belong to the container.
    #[must_use]
    pub fn named_by<'a>(&'a self, group: &'a str) -> BTreeSet<&'a ContainerId> {
        let stem = group.strip_suffix(".scope").unwrap_or(group);
        let parts = stem.match_indices(['-', ':']).map(|(at, _)| (&stem[..at], &stem[at + 1..]));
        let is_monitor = |before: &str| before == "conmon" || before.ends_with("-conmon");
        std::iter::once(("", stem))
            .chain(parts)
            .filter(|(before, _)| !is_monitor(before))
            .flat_map(|(_, id)| {
                let whole = self.whole.get(&ContainerId(id.to_owned()));
                let digits = id.bytes().all(|byte| byte.is_ascii_hexdigit());
                let shorter = self.lengths.iter().filter(move |length| digits && **length < id.len());
                let begins =
                    shorter.filter_map(|length| self.whole.get(&ContainerId(id[..*length].to_owned())));
                whole.into_iter().chain(begins)
            })
            .collect()
    }

    /// Returns whether a cgroup of this name belongs to any container, as runtimes name them.
    #[must_use]
    pub fn is_a_containers(group: &str) -> bool {
        let stem = group.strip_suffix(".scope").unwrap_or(group);
        let (before, id) = stem.rsplit_once(['-', ':']).unwrap_or(("", stem));
        let is_monitor = before == "conmon" || before.ends_with("-conmon");
        !is_monitor && id.len() == ALL_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Returns all ids.
    pub fn iter(&self) -> impl Iterator<Item = &ContainerId> {
        self.whole.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ContainerId {
        ContainerId::parse(text).unwrap()
    }

    #[test]
    fn ids_are_read_with_and_without_the_runtime() {
        let digits = "3f".repeat(32);
        for runtime in ["", "containerd://", "cri-o://", "docker://"] {
            assert_eq!(id(&format!("{runtime}{digits}")).as_str(), digits);
        }
        assert_eq!(id("my-own_container.1").as_str(), "my-own_container.1");
    }

    #[test]
    fn invalid_container_id_is_refused_with_reason() {
        for (text, why) in [
            ("", "is empty"),
            ("containerd://", "is empty"),
            ("://0123456789ab", "no runtime"),
            ("a/b://0123456789ab", "no runtime"),
            ("0123456789a", "shorter than 12"),
            ("containerd://../../../etc/passwd", "other characters"),
            ("..0123456789ab", "does not begin"),
            ("0123456789ab\n", "other characters"),
            (&"a".repeat(129), "longer than 128"),
        ] {
            let error = ContainerId::parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn groups_of_all_runtimes_are_known_by_their_names() {
        let whole = id(&"3f".repeat(32));
        let other = id(&"77".repeat(32));
        let wanted = WantedContainers::new([whole.clone(), other]);
        for (before, after) in [
            ("", ""),
            ("cri-containerd-", ".scope"),
            ("crio-", ".scope"),
            ("docker-", ".scope"),
            ("libpod-", ".scope"),
            ("kubepods-burstable-pod12.slice:cri-containerd:", ""),
        ] {
            let group = format!("{before}{whole}{after}");
            assert_eq!(wanted.named_by(&group), BTreeSet::from([&whole]), "{group}");
            assert!(WantedContainers::is_a_containers(&group), "{group}");
        }
        for group in [
            format!("crio-conmon-{whole}.scope"),
            format!("x{whole}"),
            format!("{whole}0"),
            format!("{whole}.mount"),
            "kubepods.slice".to_owned(),
        ] {
            assert_eq!(wanted.named_by(&group), BTreeSet::new(), "{group}");
            assert!(!WantedContainers::is_a_containers(&group), "{group}");
        }
    }

    #[test]
    fn a_short_id_finds_the_container_that_begins_with_it() {
        let short = id("3f3f3f3f3f3f");
        let named = id("my-container-of-tests");
        let wanted = WantedContainers::new([short.clone(), named.clone()]);
        assert_eq!(wanted.named_by(&format!("docker-{}.scope", "3f".repeat(32))), BTreeSet::from([&short]));
        assert_eq!(wanted.named_by("my-container-of-tests"), BTreeSet::from([&named]));
        assert_eq!(wanted.named_by("my-container-of-tests-2"), BTreeSet::new(), "names are whole");
    }
}
