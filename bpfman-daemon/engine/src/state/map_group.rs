//! Map groups: loads of one group share maps by name; the same name in another group is another map.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bpfman_model::{
    BadApplicationName, NamespaceName, Owner, OwningApplication, OwningApplicationName, hexadecimal,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::paths;
use crate::state::records::MapRecord;

/// Metadata key of the name of an application's object in Kubernetes.
pub const PROGRAM_NAME_KEY: &str = "bpfman.io/ProgramName";
/// Metadata key of the namespace of the application's object. Cluster applications have none.
pub const PROGRAM_NAMESPACE_KEY: &str = "bpfman.io/ProgramNamespace";
/// Metadata key of the uid of the object that a program is loaded for; all programs of applications have it.
pub const OWNER_KEY: &str = "bpfman.io/uuid";

/// Error for metadata that claim an application by an invalid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata {key}: {source}")]
pub struct BadClaim {
    key: &'static str,
    source: BadApplicationName,
}

/// Returns the application that the metadata of a load claim. The caller's right to the claim is not checked here.
///
/// # Errors
/// A name is not valid in Kubernetes: joined with other names, it could be mistaken for another application.
pub fn application_claim(metadata: &BTreeMap<String, String>) -> Result<Option<OwningApplication>, BadClaim> {
    let of = |key| move |source| BadClaim { key, source };
    let Some((namespace, name)) = claimed(metadata) else { return Ok(None) };
    let namespace = namespace.map(NamespaceName::parse).transpose().map_err(of(PROGRAM_NAMESPACE_KEY))?;
    let name = name.map(OwningApplicationName::parse).transpose().map_err(of(PROGRAM_NAME_KEY))?;
    Ok(Some(OwningApplication { namespace, name }))
}

/// Returns the application that a program's recorded metadata name. Earlier versions accepted any text.
#[must_use]
pub fn recorded_application(metadata: &BTreeMap<String, String>) -> Option<OwningApplication> {
    let (namespace, name) = claimed(metadata)?;
    Some(OwningApplication::recorded(namespace, name.unwrap_or_default()))
}

fn claimed(metadata: &BTreeMap<String, String>) -> Option<(Option<&str>, Option<&str>)> {
    let value = |key| metadata.get(key).map(String::as_str);
    let (namespace, name) = (value(PROGRAM_NAMESPACE_KEY), value(PROGRAM_NAME_KEY));
    let claims = namespace.is_some() || name.is_some() || metadata.contains_key(OWNER_KEY);
    claims.then_some((namespace, name.filter(|name| !name.is_empty())))
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MapGroup {
    /// Loads of root, and all loads of daemons from before groups existed.
    #[default]
    Machine,
    User(u32),
    Grant(String),
    Cluster,
    Namespace(String),
}

impl MapGroup {
    /// Returns the group of an owner's load. In records of older daemons, only metadata name an application.
    pub fn of(owner: &Owner, metadata: &BTreeMap<String, String>) -> Self {
        match (owner, metadata.get(PROGRAM_NAMESPACE_KEY)) {
            (Owner::User(user), _) => Self::User(*user),
            (Owner::Grant(name), _) => Self::Grant(name.clone()),
            (Owner::Application(OwningApplication { namespace: Some(namespace), .. }), _) => {
                Self::Namespace(namespace.to_string())
            }
            (Owner::Root, Some(namespace)) => Self::Namespace(namespace.clone()),
            (Owner::Application(_), _) => Self::Cluster,
            (Owner::Root, None) if metadata.contains_key(OWNER_KEY) => Self::Cluster,
            (Owner::Root, None) => Self::Machine,
        }
    }

    pub const fn is_unlimited(&self) -> bool {
        matches!(self, Self::Machine | Self::Cluster)
    }

    pub fn is_machine(&self) -> bool {
        *self == Self::Machine
    }

    pub fn folder(&self) -> PathBuf {
        let groups = PathBuf::from(paths::GROUPS);
        match self {
            Self::Machine => PathBuf::from(paths::SHARED),
            Self::Cluster => groups.join("cluster"),
            Self::User(user) => groups.join(format!("user-{user}")),
            Self::Grant(name) => groups.join(named_folder("grant", name)),
            Self::Namespace(name) => groups.join(namespace_folder(name)),
        }
    }

    pub fn pin(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

fn namespace_folder(name: &str) -> String {
    if is_label(name) { named_folder("ns", name) } else { format!("other-{}", hashed(name)) }
}

/// Returns the name of a folder. Hashes a text that is not a label, because bpffs reserves dots.
fn named_folder(kind: &str, name: &str) -> String {
    if is_label(name) { format!("{kind}-{name}") } else { format!("{kind}s-{}", hashed(name)) }
}

fn is_label(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(is_plain)
}

fn hashed(name: &str) -> String {
    hexadecimal(&Sha256::digest(name))
}

impl fmt::Display for MapGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("root"),
            Self::Cluster => f.write_str("cluster applications"),
            Self::User(user) => write!(f, "user {user}"),
            Self::Grant(name) => write!(f, "grant \"{name}\""),
            Self::Namespace(name) => write!(f, "namespace \"{name}\""),
        }
    }
}

impl MapRecord {
    pub fn shared_pin(&self) -> Option<PathBuf> {
        self.shared.then(|| self.group.pin(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn load_belongs_to_its_namespace_the_cluster_or_the_machine() {
        let of_root = |pairs: &[(&str, &str)]| MapGroup::of(&Owner::Root, &metadata(pairs));
        assert_eq!(of_root(&[("bpfman.io/ProgramName", "x")]), MapGroup::Machine);
        assert_eq!(of_root(&[(OWNER_KEY, "1-2")]), MapGroup::Cluster);
        let tenant = [(OWNER_KEY, "1-2"), (PROGRAM_NAMESPACE_KEY, "evil")];
        assert_eq!(of_root(&tenant), MapGroup::Namespace("evil".to_owned()));
    }

    #[test]
    fn each_owner_has_a_group_and_a_folder_of_its_own() {
        let of = |owner: &str| MapGroup::of(&owner.parse().unwrap(), &metadata(&[]));
        let folders: Vec<String> = [
            "root",
            "user:4711",
            "grant:team",
            "grant:team.a",
            "grant:",
            "application:team",
            "application:team/app",
            "application:team.a/app",
        ]
        .iter()
        .map(|owner| of(owner).folder().display().to_string())
        .collect();
        assert_eq!(folders[..3], ["shared", "groups/user-4711", "groups/grant-team"]);
        let all: std::collections::BTreeSet<&String> = folders.iter().collect();
        assert_eq!(all.len(), folders.len(), "{folders:?}");
        assert!(folders.iter().all(|folder| !folder.contains('.')), "{folders:?}");
        let claims = metadata(&[(PROGRAM_NAMESPACE_KEY, "evil")]);
        assert_eq!(MapGroup::of(&Owner::User(7), &claims), MapGroup::User(7));
    }

    #[test]
    fn claim_of_what_is_no_name_is_refused() {
        let claim = |namespace: Option<&str>, name: &str| {
            let pairs = [("bpfman.io/ProgramName", name)].into_iter();
            let pairs: Vec<_> = pairs.chain(namespace.map(|name| (PROGRAM_NAMESPACE_KEY, name))).collect();
            application_claim(&metadata(&pairs)).map(|claim| claim.unwrap().to_string())
        };
        assert_eq!(claim(Some("shop"), "wall").as_deref(), Ok("shop/wall"));
        assert_eq!(claim(None, "wall").as_deref(), Ok("wall"));
        for (namespace, name, key) in [
            (None, "shop/wall", PROGRAM_NAME_KEY),
            (Some("shop"), "../wall", PROGRAM_NAME_KEY),
            (Some("shop/x"), "wall", PROGRAM_NAMESPACE_KEY),
            (Some(""), "wall", PROGRAM_NAMESPACE_KEY),
        ] {
            let error = claim(namespace, name).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        assert_eq!(application_claim(&metadata(&[("other", "x/y")])), Ok(None));
        let old = metadata(&[("bpfman.io/ProgramName", "My App")]);
        assert_eq!(recorded_application(&old).unwrap().to_string(), "My App");
    }

    #[test]
    fn folders_of_map_groups_are_distinct_and_inside_the_root() {
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

    #[test]
    fn omitted_map_is_recorded_with_the_invalid_id() {
        let old = r#"{"name":"unused","id":0,"public":false,"shared":false}"#;
        let map: MapRecord = serde_json::from_str(old).unwrap();
        assert_eq!(map.id, None);
        assert_eq!(serde_json::to_string(&map).unwrap(), old);
    }
}
