//! Desired state of an application on one machine.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::check::SpecProblem;
use bpfman_application::place::{LinkOrder, OnUnavailable};
use bpfman_application::state::node::NodeFailure;
use bpfman_proto::WirePoint;
use bpfman_proto::ext::v1::LoadValues;
use bpfman_proto::v1::LoadRequest;

/// Owner of programs: an application, and its state object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramOwner {
    /// Namespace of a namespaced application.
    pub namespace: Option<String>,
    pub name: String,
    /// Uid of the state object; without a cluster, derived from the name. Programs have it in the metadata
    /// `bpfman.io/uuid`.
    pub uid: String,
}

/// Desired state of an application on one machine. The difference to the daemon's state determines the calls to make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    pub owner: ProgramOwner,
    /// Programs to load; `None` means that nothing is wanted and all programs of the owner must be unloaded.
    pub load: Option<Load>,
    /// Reasons against the whole spec, by field path. If there is any, nothing is changed, whatever `load` contains.
    pub refused: Vec<SpecProblem>,
    /// Uids of earlier owners: their programs count as an older version of these and are replaced.
    pub predecessors: Vec<String>,
}

impl Desired {
    /// Returns the desired state that nothing of this owner is loaded.
    #[must_use]
    pub const fn nothing(owner: ProgramOwner) -> Self {
        Self { owner, load: None, refused: Vec::new(), predecessors: Vec::new() }
    }
}

/// Programs of one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Load request; its metadata names owner, application and content.
    pub request: LoadRequest,
    /// Globals by type and map sizes, if any.
    pub values: Option<LoadValues>,
    /// Hash of the version: bytecode, policy, globals, list of programs. Credentials are excluded.
    pub content: String,
    /// Declared pull policy, by its number in the API; the request may contain one that pulls less often.
    pub pull_policy: i32,
    /// Programs, in the order of the spec.
    pub programs: Vec<Program>,
    /// Reason why the load is put off: an earlier attempt failed. The running programs stay, as after a failure.
    pub held: Option<NodeFailure>,
    /// Sha256 of the object file, hexadecimal, if readable: another file at the same path is another version.
    pub object_sha256: Option<String>,
}

/// Program with its wanted attachments.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub name: String,
    /// Name of the type in the spec: `XDP`, `UProbe`, ...
    pub program_type: &'static str,
    /// Wanted attachments. Attachments with the same identity are one.
    pub links: BTreeMap<AttachmentKey, WantedLink>,
    /// Problems in determining attach points, for people. Other links are not affected.
    pub problems: Vec<String>,
    /// Selectors that match no pod or container on this machine, which is no problem; by field.
    pub unmatched: Vec<String>,
    /// Scopes in which more attachments may be wanted than `links` has: existing attachments there are kept.
    pub unknown: BTreeSet<UnknownPlace>,
}

/// Scope in which the wanted attachments are currently unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnknownPlace {
    /// The whole machine.
    All,
    /// The network of the pod with this uid.
    Pod(String),
    /// The container with this id.
    Container(String),
}

impl UnknownPlace {
    /// Returns whether an attachment is in this scope.
    #[must_use]
    pub fn holds(&self, key: &AttachmentKey) -> bool {
        match self {
            Self::All => true,
            Self::Pod(uid) => key.at_pod().is_some_and(|(_, of)| of == uid),
            Self::Container(id) => {
                let at = format!(" in {id}");
                // The key may end in a number that distinguishes several attachments at one place.
                key.0.split(" #").next().is_some_and(|key| key.ends_with(&at))
            }
        }
    }
}

impl AttachmentKey {
    fn at_pod(&self) -> Option<(&str, &str)> {
        self.0.split_once(" net:")?.0.split_once(" in pod ")
    }

    fn pod_or_container(&self) -> Option<&str> {
        let at_pod = self.at_pod().map(|(_, pod)| pod);
        let without_number = self.0.split(" #").next().unwrap_or_default();
        let container =
            || without_number.rsplit_once(" in ").map(|(_, id)| id).filter(|id| !id.starts_with('/'));
        at_pod.or_else(container)
    }

    /// Returns whether both are on the node, or in the same pod or container, so that one may replace the other.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        self.pod_or_container() == other.pod_or_container()
    }

    /// Returns whether both are for the same interface of the same pod, in whichever network the pod is.
    #[must_use]
    pub fn is_of_same_pod(&self, other: &Self) -> bool {
        self.at_pod().is_some() && self.at_pod() == other.at_pod()
    }
}

impl Program {
    /// Returns whether the pod's new network has the attachment too: the old one stays while its network
    /// exists.
    #[must_use]
    pub fn moves(&self, key: &AttachmentKey) -> bool {
        self.links.keys().any(|wanted| wanted.is_of_same_pod(key))
    }

    /// Returns whether an attachment that is not among the wanted ones may turn out to be wanted.
    #[must_use]
    pub fn keeps(&self, key: &AttachmentKey) -> bool {
        self.unknown.iter().any(|unknown| unknown.holds(key))
    }
}

/// Identity of an attachment: hook or target, but not the order there. Written to the link's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentKey(pub String);

#[derive(Clone, Debug, PartialEq)]
pub struct WantedLink {
    /// Attach point, as in the API call.
    pub point: WirePoint,
    /// Order relative to other programs, by name.
    pub order: Option<LinkOrder>,
    /// Treatment of pods for which the attachment cannot be made.
    pub on_unavailable: OnUnavailable,
    /// Uid of the pod, if the attachment is for one.
    pub pod: Option<String>,
}
