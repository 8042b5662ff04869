//! Who shares maps by name: a name means one map for those that belong together, and another one for everybody else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfmand_core::{MapId, MapSpec, hexadecimal};
use bpfmand_kernel::Kernel;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::named_maps::{OWNER_KEY, PROGRAM_NAMESPACE_KEY};
use crate::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

/// Loads that share maps by name with each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MapGroup {
    /// Loads that no application asked for; and all loads of daemons that knew no groups.
    #[default]
    Machine,
    /// Cluster applications.
    Cluster,
    /// Applications of a namespace.
    Namespace(String),
}

impl MapGroup {
    /// The group of a load, by its metadata.
    pub fn of(metadata: &BTreeMap<String, String>) -> Self {
        match metadata.get(PROGRAM_NAMESPACE_KEY) {
            Some(namespace) => Self::Namespace(namespace.clone()),
            None if metadata.contains_key(OWNER_KEY) => Self::Cluster,
            None => Self::Machine,
        }
    }

    pub fn is_machine(&self) -> bool {
        *self == Self::Machine
    }

    /// The folder of the group's maps.
    pub fn folder(&self) -> PathBuf {
        let groups = PathBuf::from(paths::GROUPS);
        match self {
            Self::Machine => PathBuf::from(paths::SHARED),
            Self::Cluster => groups.join("cluster"),
            Self::Namespace(name) => groups.join(namespace_folder(name)),
        }
    }

    /// The pin of the map that the group shares by a name.
    pub fn pin(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

/// What is no name of a Kubernetes namespace may be no name of a folder either: a bpffs keeps dots for itself.
fn namespace_folder(name: &str) -> String {
    let is_label = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_label { format!("ns-{name}") } else { format!("other-{}", hexadecimal(&Sha256::digest(name))) }
}

impl MapRecord {
    /// Where the map is pinned for others that share it by name; none if it is not shared.
    pub fn shared_pin(&self) -> Option<PathBuf> {
        self.shared.then(|| self.group.pin(&self.name))
    }
}

impl<K: Kernel> Engine<K> {
    /// The map that a group shares by a name, and the group whose pin it is; none if nobody made it yet.
    ///
    /// A map that programs of this group shared before there were groups is theirs as long as one of them is there.
    pub(crate) fn find_shared_map(
        &self,
        spec: &MapSpec,
        group: &MapGroup,
    ) -> Result<Option<(K::Handle, MapGroup)>, EngineError> {
        if let Some(handle) = self.kernel.open_pin(&group.pin(&spec.name))? {
            return Ok(Some((handle, group.clone())));
        }
        let Some(id) = self.map_before_groups(&spec.name, group)? else { return Ok(None) };
        let Some(handle) = self.kernel.open_pin(&MapGroup::Machine.pin(&spec.name))? else { return Ok(None) };
        let is_theirs = self.kernel.map_of(&handle)?.id == id;
        Ok(is_theirs.then_some((handle, MapGroup::Machine)))
    }

    fn map_before_groups(&self, name: &str, group: &MapGroup) -> Result<Option<MapId>, EngineError> {
        let theirs: Vec<Arc<ProgramRecord>> = {
            let state = self.state();
            let of_group = |program: &&Arc<ProgramRecord>| MapGroup::of(&program.metadata) == *group;
            state.programs.values().filter(of_group).cloned().collect()
        };
        for program in theirs {
            let shared = |map: &&MapRecord| map.shared && map.group.is_machine() && map.name == name;
            let Some(map) = program.maps.iter().find(shared) else { continue };
            // After a reboot the ids of a record are those of others, until the program is loaded again.
            if self.kernel.program(program.id)?.is_some_and(|facts| facts.tag == program.tag) {
                return Ok(Some(map.id));
            }
        }
        Ok(None)
    }

    /// The group whose pin an inherited map has.
    pub(crate) fn group_of_inherited(
        &self,
        name: &str,
        id: MapId,
        group: &MapGroup,
    ) -> Result<MapGroup, EngineError> {
        for candidate in [group, &MapGroup::Machine] {
            if let Some(handle) = self.kernel.open_pin(&candidate.pin(name))?
                && self.kernel.map_of(&handle)?.id == id
            {
                return Ok(candidate.clone());
            }
        }
        Ok(group.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_load_belongs_to_its_namespace_or_the_cluster_or_the_machine() {
        assert_eq!(MapGroup::of(&metadata(&[("bpfman.io/ProgramName", "x")])), MapGroup::Machine);
        assert_eq!(MapGroup::of(&metadata(&[(OWNER_KEY, "1-2")])), MapGroup::Cluster);
        let tenant = metadata(&[(OWNER_KEY, "1-2"), (PROGRAM_NAMESPACE_KEY, "evil")]);
        assert_eq!(MapGroup::of(&tenant), MapGroup::Namespace("evil".to_owned()));
    }

    #[test]
    fn no_namespace_has_the_folder_of_another_group_and_none_is_outside() {
        let folder = |name: &str| MapGroup::Namespace(name.to_owned()).folder().display().to_string();
        assert_eq!(folder("evil"), "groups/ns-evil");
        for name in ["", ".", "..", "a/b", "a.b", "A", "../../shared", "cluster/", &"a".repeat(64)] {
            let path = folder(name);
            assert!(path.starts_with("groups/other-") && !path.contains('.'), "{name}: {path}");
            assert_eq!(path.matches('/').count(), 1, "{name}: {path}");
        }
        assert_ne!(folder("a.b"), folder("a/b"));
        assert_eq!(MapGroup::Cluster.pin("blocklist"), PathBuf::from("groups/cluster/blocklist"));
        assert_eq!(MapGroup::Machine.pin("blocklist"), PathBuf::from("shared/blocklist"));
    }

    #[test]
    fn a_record_from_before_groups_has_its_map_at_the_old_place() {
        let old = r#"{"name":"blocklist","id":7,"public":true,"shared":true}"#;
        let map: MapRecord = serde_json::from_str(old).unwrap();
        assert_eq!(map.shared_pin(), Some(PathBuf::from("shared/blocklist")));
        assert_eq!(serde_json::to_string(&map).unwrap(), old, "and an older daemon still reads it");
    }
}
