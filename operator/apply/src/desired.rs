//! What an application wants on one machine.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::check::SpecProblem;
use bpfman_application::place::{LinkOrder, OnUnavailable};
use bpfman_application::state::node::NodeFailure;
use bpfman_proto::ext::v1::LoadValues;
use bpfman_proto::v1::LoadRequest;

use crate::wanted_point::WantedPoint;

/// Which application, and which of its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramOwner {
    /// Of a namespaced application.
    pub namespace: Option<String>,
    /// Name of the application.
    pub name: String,
    /// What the programs of one application on one node have in common, and no others: the uid of the node's state
    /// object, or a name-made one without a cluster. Written to the metadata `bpfman.io/uuid`.
    pub uid: String,
}

/// What an application wants on one machine. Compared with what the daemon has, it gives the calls to make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Whose it is.
    pub owner: ProgramOwner,
    /// Absent: nothing is to be loaded here, and what is loaded has to go.
    pub load: Option<Load>,
    /// Why the spec cannot be acted on at all, each with the path of the field. If there is anything, nothing is
    /// changed: what runs stays, whatever `load` says.
    pub refused: Vec<SpecProblem>,
    /// Uids of owners before this one: their programs are taken for an older version of these, and replaced.
    pub predecessors: Vec<String>,
}

impl Desired {
    /// Nothing of this owner is wanted here.
    #[must_use]
    pub const fn nothing(owner: ProgramOwner) -> Self {
        Self { owner, load: None, refused: Vec::new(), predecessors: Vec::new() }
    }
}

/// One load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The call; its metadata names owner, application and content.
    pub request: LoadRequest,
    /// What is set of the object besides; none if nothing is.
    pub values: Option<LoadValues>,
    /// Over all that makes another version of the programs: bytecode, policy, globals, list. Not credentials.
    pub content: String,
    /// When the registry is to be asked for the image, as declared, on the wire; the request may ask less often.
    pub pull_policy: i32,
    /// The programs, in the order of the spec.
    pub programs: Vec<Program>,
    /// Why it is not to be loaded now, though it is wanted: a try before failed. What runs stays, as after a failure.
    pub held: Option<NodeFailure>,
    /// sha256 of the object file, in hexadecimal, where the caller can read it: another file below the same path is
    /// another version too.
    pub object_sha256: Option<String>,
}

/// One program, and where it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Function name.
    pub name: String,
    /// Name of the type in the spec: `XDP`, `UProbe`, ...
    pub program_type: &'static str,
    /// Attachments, by identity: what is equal in all that identifies an attachment is one.
    pub links: BTreeMap<LinkKey, WantedLink>,
    /// What could not be found out, for people: an interface that is not there, a pattern that is none. The other
    /// links stand.
    pub problems: Vec<String>,
    /// Attachments whose selector means no pod, or none of its containers, that is here now: the field and what it
    /// lacks. No problem on one machine, since the others may have them.
    pub unmatched: Vec<String>,
    /// Where attachments may be wanted that are not among `links`: those that are there stay as they are.
    pub unknown: BTreeSet<UnknownPlace>,
}

/// A place of which it is not known now what is wanted there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnknownPlace {
    /// Every place.
    All,
    /// The network of the pod with this uid.
    Pod(String),
    /// The container with this id.
    Container(String),
}

impl UnknownPlace {
    /// Whether an attachment is at this place.
    #[must_use]
    pub fn holds(&self, key: &LinkKey) -> bool {
        match self {
            Self::All => true,
            Self::Pod(uid) => key.at_pod().is_some_and(|(_, of)| of == uid),
            Self::Container(id) => {
                let at = format!(" in {id}");
                // Behind it there may be a number of one of several at the same place.
                key.0.split(" #").next().is_some_and(|key| key.ends_with(&at))
            }
        }
    }
}

impl LinkKey {
    /// The interface, and the uid of the pod that it is for, without the namespace that the pod's network is; none where
    /// it is for no pod's network.
    fn at_pod(&self) -> Option<(&str, &str)> {
        self.0.split_once(" net:")?.0.split_once(" in pod ")
    }

    /// What it is in: the pod, the container, or, where it names neither, the node.
    fn is_in(&self) -> Option<&str> {
        let at_pod = self.at_pod().map(|(_, pod)| pod);
        let without_number = self.0.split(" #").next().unwrap_or_default();
        let container =
            || without_number.rsplit_once(" in ").map(|(_, id)| id).filter(|id| !id.starts_with('/'));
        at_pod.or_else(container)
    }

    /// Whether both are of the node, or of the same pod or container: one may be wanted in the place of the other.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        self.is_in() == other.is_in()
    }

    /// Whether both are for one interface of one pod, whatever its network is now.
    #[must_use]
    pub fn is_of_same_pod(&self, other: &Self) -> bool {
        self.at_pod().is_some() && self.at_pod() == other.at_pod()
    }
}

impl Program {
    /// Whether an attachment is wanted at the same interface of the same pod, in what is its network now. The one that
    /// is there stays as long as its own network does: that a pod is found in another network is no reason to leave the
    /// one that it is guarded in.
    #[must_use]
    pub fn moves(&self, key: &LinkKey) -> bool {
        self.links.keys().any(|wanted| wanted.is_of_same_pod(key))
    }

    /// Whether an attachment that is not wanted may be wanted after all, once more is known.
    #[must_use]
    pub fn keeps(&self, key: &LinkKey) -> bool {
        self.unknown.iter().any(|unknown| unknown.holds(key))
    }
}

/// What makes two attachments of one program the same: hook or target, not its place there. Written to the link's
/// metadata, so that it is found again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey(pub String);

/// One attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedLink {
    /// Where, as the call has it.
    pub point: WantedPoint,
    /// Place by intent.
    pub order: Option<LinkOrder>,
    /// What becomes of a pod for which it cannot be made.
    pub on_unavailable: OnUnavailable,
    /// Uid of the pod it is for, if it is for one.
    pub pod: Option<String>,
}
