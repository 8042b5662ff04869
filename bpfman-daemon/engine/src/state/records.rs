//! Records in the store: one for each program, link and hook.

use std::collections::BTreeMap;

use bpfman_model::{
    AttachPoint, Deadline, HookKey, HookKind, Interface, InterfaceMatch, KernelLinkId, LinkId, MatchingId,
    NetnsId, OperationId, OrderIntent, Owner, ProbeReader, ProceedOn, ProgramId, ProgramUid, Sharing,
    TargetIdentity,
};
use bpfmand_store::Table;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::state::chain_record::{ChainRecord, Folding, HookCounted, HookSettings};
use crate::state::guard_record::LinkGuard;
use crate::state::namespace_number::NamespaceNumber;
use crate::state::{Unsent, XdpPlacement};

pub use crate::state::declared_bytes::DeclaredBytes;
pub use crate::state::program_record::{KeptText, MapRecord, PreviousRecord, ProgramRecord, SourceRecord};

pub const PROGRAMS: Table = Table("programs");
pub const PREVIOUS: Table = Table("previous");
pub const LINKS: Table = Table("links");
pub const HOOKS: Table = Table("hooks");
pub const MATCHINGS: Table = Table("matchings");
pub const LEFTOVERS: Table = Table("leftovers");
pub const META: Table = Table("meta");
pub const COUNTER: &[u8] = b"counter";

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Id, which is never reused.
    pub id: LinkId,
    pub program: ProgramUid,
    /// Operation that created it.
    pub operation: OperationId,
    /// Attach point of the request.
    pub point: AttachPoint,
    /// Hook to which the attach point led when the link was attached.
    pub hook: Option<HookKey>,
    /// Ordering intent, in addition to the priority.
    #[serde(default, skip_serializing_if = "OrderIntent::is_empty")]
    pub order: OrderIntent,
    /// Way in which the link shares its chain.
    #[serde(default, skip_serializing_if = "Sharing::is_plain")]
    pub sharing: Sharing,
    pub metadata: BTreeMap<String, String>,
    /// Owner; `None`: the owner of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Number that orders links by their attachment: later ones have larger numbers.
    pub sequence: u64,
    /// The boot in which it was last attached.
    pub boot: String,
    /// Attachment to all matching interfaces that created this link.
    #[serde(default)]
    pub matching: Option<MatchingId>,
    /// True if a third party attached the program; this includes the link, if it has one of its own.
    #[serde(default)]
    pub adopted: bool,
    /// Former network namespace of the interface, while the link waits: a path in `/proc` may lead elsewhere by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<NetnsId>,
    /// Network namespace to which the path led when the link was attached, for hooks of a network namespace itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NetnsId>,
    /// Files, processes and modules that its point led to when attached; empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetIdentity>,
    /// Id of its cgroup, on disk only: older daemons refuse it among the targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Caller with whose rights the probed file is opened, also when it is attached again.
    #[serde(default, skip_serializing_if = "ProbeReader::is_unknown")]
    pub reader: ProbeReader,
    /// Tasks for which the link lets its program run, if the program is guarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<LinkGuard>,
    /// Time at which the link is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// Kernel link, if it has one: it may outlive its pin. `None` in records of earlier versions, and with one per CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_link: Option<LinkOfBoot>,
    /// Proceed-on set of a shadow, on disk only: see [`LinkRecord::on_disk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_on: Option<ProceedOn>,
}

impl LinkRecord {
    /// Returns the record in the store's form. An older daemon treats shadows as members: their points have all
    /// verdicts, so that none ends the chain, and their own sets are stored separately.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        self.cgroup_id = self.group();
        self.targets.retain(|target| !matches!(target, TargetIdentity::Group { .. }));
        if self.sharing.shadow {
            self.counts_on = self.point.widen();
        }
        self
    }

    /// Returns the record in its in-memory form.
    #[must_use]
    pub fn from_disk(mut self) -> Self {
        self.targets.extend(self.cgroup_id.take().map(|id| TargetIdentity::Group { id }));
        self.point.narrow(self.counts_on.take());
        self
    }

    /// Returns the id of the cgroup that it was attached to, if it is known.
    #[must_use]
    pub fn group(&self) -> Option<u64> {
        self.targets.iter().find_map(|target| match target {
            TargetIdentity::Group { id } => Some(*id),
            _ => None,
        })
    }

    /// Returns whether it is a member of a chain, and so has no kernel link of its own.
    #[must_use]
    pub fn is_in_chain(&self) -> bool {
        matches!(self.point.hook(), Some((_, HookKind::Xdp | HookKind::Tc(_))))
    }

    /// Returns whether exactly one kernel link is its own.
    #[must_use]
    pub fn has_kernel_link(&self) -> bool {
        !self.is_in_chain() && !self.point.is_per_cpu()
    }

    /// Returns the network namespace that it is attached in, or waits in; `None` outside of networks.
    #[must_use]
    pub fn home(&self) -> Option<NetnsId> {
        self.hook.and_then(|key| key.netns.id()).or(self.waits_in).or(self.namespace)
    }

    /// Returns the verdicts after which the chain continues, as bits; for a shadow all, including those without a bit.
    #[must_use]
    pub fn proceeds_on(&self) -> u32 {
        if self.sharing.shadow { u32::MAX } else { self.point.proceed_on().map_or(0, ProceedOn::mask) }
    }

    /// Returns the owner: by default the owner of the program.
    #[must_use]
    pub fn owner(&self, program: &ProgramRecord) -> Owner {
        self.owner.clone().unwrap_or_else(|| program.owner())
    }

    /// Creates an attachment by the operation that has this number.
    ///
    /// # Errors
    /// All numbers of links are used up: they have 32 bits on the wire.
    pub fn new(
        number: u64,
        program: &ProgramRecord,
        boot: &str,
        point: AttachPoint,
    ) -> Result<Self, EngineError> {
        let id = u32::try_from(number)
            .map_err(|_| EngineError::Fault("this daemon has used up all link ids".to_owned()))?;
        Ok(Self {
            id: LinkId(id),
            program: program.uid,
            operation: OperationId(number),
            point,
            hook: None,
            order: OrderIntent::default(),
            sharing: Sharing::default(),
            metadata: BTreeMap::new(),
            owner: None,
            sequence: number,
            boot: boot.to_owned(),
            matching: None,
            adopted: false,
            waits_in: None,
            namespace: None,
            targets: Vec::new(),
            cgroup_id: None,
            reader: ProbeReader::Unknown,
            guard: None,
            ends: None,
            kernel_link: None,
            counts_on: None,
        })
    }
}

/// Attachment to all matching interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchingRecord {
    /// Id, which is never reused.
    pub id: MatchingId,
    pub program: ProgramUid,
    /// Attach point of the links. Its interface is not used.
    pub point: AttachPoint,
    pub interfaces: InterfaceMatch,
    /// Ordering intent at each hook.
    #[serde(default)]
    pub order: OrderIntent,
    /// Way in which its links share their chains.
    #[serde(default, skip_serializing_if = "Sharing::is_plain")]
    pub sharing: Sharing,
    /// Metadata of the user, for every link.
    pub metadata: BTreeMap<String, String>,
    /// Owner of the attachment and its links; `None`: the owner of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Time at which the attachment and its links end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// Maximum number of links of its owner, from the grant that allowed the attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_links: Option<u64>,
    /// Proceed-on set of shadows, on disk only: see [`LinkRecord::on_disk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_on: Option<ProceedOn>,
}

impl MatchingRecord {
    /// Returns the record in the store's form: see [`LinkRecord::on_disk`].
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        if self.sharing.shadow {
            self.counts_on = self.point.widen();
        }
        self
    }

    /// Returns the record in its in-memory form.
    #[must_use]
    pub fn from_disk(mut self) -> Self {
        self.point.narrow(self.counts_on.take());
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "lowercase")]
pub enum Entry {
    Link,
    Filter {
        priority: u16,
        handle: u32,
    },
    /// Slots of the libxdp dispatcher that holds the hook.
    Dispatcher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    Direct,
    Splice,
    /// Members joined into several programs, each of which tail-calls the next.
    Cut,
    /// A program that passes everything.
    Empty,
    Dispatcher,
}

impl Strategy {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Splice => "splice",
            Self::Cut => "cut",
            Self::Empty => "empty",
            Self::Dispatcher => "dispatcher",
        }
    }
}

/// Kernel link: ids start over with each boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOfBoot {
    pub boot: String,
    pub id: KernelLinkId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionRecord {
    pub link: LinkId,
    /// Managed program from which it was loaded, as of this boot.
    pub of: ProgramId,
    pub program: ProgramId,
    pub tag: [u8; 8],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    pub key: HookKey,
    /// Interface as one of its links named it; the path is the first place searched for its namespace.
    pub interface: Interface,
    pub operation: OperationId,
    pub newcomer: Option<LinkId>,
    pub entry: Entry,
    pub strategy: Strategy,
    pub program: ProgramId,
    pub tag: [u8; 8],
    #[serde(default)]
    pub chain: Option<ChainRecord>,
    #[serde(default)]
    pub slots: Vec<LinkId>,
    #[serde(default)]
    pub folding: Option<Folding>,
    #[serde(default)]
    pub counted: HookCounted,
    #[serde(default)]
    pub settings: HookSettings,
    /// True if a third party created the link and may still hold it.
    #[serde(default)]
    pub adopted_link: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionRecord>,
    /// Number of its network namespace, if no kernel link enters it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NamespaceNumber>,
    /// True once a tenant's program joined at egress: the tcx link of the chain then runs before the machine's tcx links, and
    /// its accepting verdicts do not skip them. It stays true, since changing back would skip the machine's for a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Ways to send packets, denied to the tenants' members of its chain.
    #[serde(default, skip_serializing_if = "Unsent::is_empty")]
    pub unsent: Unsent,
    /// Tenants' members left out of its chain, because no chain could be built that keeps them from sending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<LinkId>,
    /// Mode of an XDP chain; `None` in records of earlier versions until the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<XdpPlacement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_link: Option<LinkOfBoot>,
}

pub const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl HookRecord {
    pub fn mode(&self) -> &'static str {
        match self.entry {
            Entry::Dispatcher => "xdp",
            Entry::Link if self.key.kind == HookKind::Xdp => "xdp",
            Entry::Link => "tcx",
            Entry::Filter { .. } => "clsact",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverRecord {
    pub links: Vec<String>,
    /// Pins of links that are given back: the links stay attached.
    #[serde(default)]
    pub released: Vec<String>,
    #[serde(default)]
    pub adopted_links: Vec<String>,
    pub pins: Vec<String>,
    pub folders: Vec<String>,
    pub filters: Vec<LeftoverFilter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverFilter {
    pub interface: Interface,
    pub key: HookKey,
    pub priority: u16,
    pub handle: u32,
    /// Program of the filter, which is removed only if it still runs this program.
    pub program: ProgramId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NamespaceNumber>,
}

impl LeftoverFilter {
    pub fn is_same(&self, other: &Self) -> bool {
        (self.key, self.priority, self.handle) == (other.key, other.priority, other.handle)
    }
}

pub fn hook_key(key: &HookKey) -> Vec<u8> {
    let direction = key.kind.direction().map_or("", bpfman_model::Direction::name);
    let NetnsId { inode, cookie } = key.netns.into();
    format!("{}:{direction}:{inode}:{cookie}:{}", key.kind.name(), key.ifindex).into_bytes()
}
