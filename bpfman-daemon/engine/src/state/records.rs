//! Records in the store: one for each program, link and hook.

use std::collections::BTreeMap;

use bpfmand_core::{
    AttachPoint, Deadline, HookKey, HookKind, Interface, InterfaceMatch, LinkId, MatchingId, NetnsId,
    OperationId, OrderIntent, Owner, ProbeReader, ProceedOn, ProgramId, ProgramUid, Sharing, TargetIdentity,
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

/// Programs by uid.
pub const PROGRAMS: Table = Table("programs");
/// Versions of programs before their last replacement, by uid.
pub const PREVIOUS: Table = Table("previous");
/// Links by id.
pub const LINKS: Table = Table("links");
/// Hooks by key.
pub const HOOKS: Table = Table("hooks");
/// Attachments to all interfaces that match, by id.
pub const MATCHINGS: Table = Table("matchings");
/// Kernel objects of finished operations that are still to be removed, by operation.
pub const LEFTOVERS: Table = Table("leftovers");
/// The counter that ids come from.
pub const META: Table = Table("meta");
/// The one key of [`META`].
pub const COUNTER: &[u8] = b"counter";

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Id, which is never reused.
    pub id: LinkId,
    /// Attached program.
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
    /// Metadata of the user.
    pub metadata: BTreeMap<String, String>,
    /// Owner; `None`: the owner of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Grows with every attachment.
    pub sequence: u64,
    /// The boot in which it was last attached.
    pub boot: String,
    /// The attachment to all interfaces that match which made this one.
    #[serde(default)]
    pub matching: Option<MatchingId>,
    /// True if a third party attached the program; this includes the link, if it has one of its own.
    #[serde(default)]
    pub adopted: bool,
    /// Former network namespace of the interface, while the link waits for it. A path in `/proc` may lead to another
    /// namespace by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<NetnsId>,
    /// Network namespace to which the path led when the link was attached, for hooks of a network namespace itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NetnsId>,
    /// Files, processes and modules that its point led to when it was attached. Records of earlier versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetIdentity>,
    /// The caller with whose rights the file that it probes is opened, also wherever it is attached again. Records of earlier
    /// versions do not tell.
    #[serde(default, skip_serializing_if = "ProbeReader::is_unknown")]
    pub reader: ProbeReader,
    /// Tasks for which the link lets its program run, if the program is guarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<LinkGuard>,
    /// Time at which the link is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// Proceed-on set of a shadow, on disk only: see [`LinkRecord::on_disk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_on: Option<ProceedOn>,
}

impl LinkRecord {
    /// Returns the record in the store's form. A daemon that does not know shadows treats them as normal members: their
    /// points have all verdicts, so that none of theirs ends the chain, and their own sets are stored separately.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        if self.sharing.shadow {
            self.counts_on = self.point.widen();
        }
        self
    }

    /// Returns the record in the form of memory.
    #[must_use]
    pub fn from_disk(mut self) -> Self {
        self.point.narrow(self.counts_on.take());
        self
    }

    /// Returns the verdicts after which the chain continues, as bits; for a shadow all verdicts, including those
    /// without a bit.
    #[must_use]
    pub fn proceeds_on(&self) -> u32 {
        if self.sharing.shadow { u32::MAX } else { self.point.proceed_on().map_or(0, ProceedOn::mask) }
    }

    /// Returns the owner: by default the owner of the program.
    #[must_use]
    pub fn owner(&self, program: &ProgramRecord) -> Owner {
        self.owner.clone().unwrap_or_else(|| program.owner())
    }

    /// A new attachment of a program, by the operation that has its number.
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
            reader: ProbeReader::Unknown,
            guard: None,
            ends: None,
            counts_on: None,
        })
    }
}

/// An attachment to all interfaces that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchingRecord {
    /// Id, which is never reused.
    pub id: MatchingId,
    /// Program of its links.
    pub program: ProgramUid,
    /// Attach point of the links. Its interface is not used.
    pub point: AttachPoint,
    /// Selector of the interfaces.
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
    /// Proceed-on set of shadows, on disk only, as for links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_on: Option<ProceedOn>,
}

impl MatchingRecord {
    /// Returns the record in the store's form, as for links.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        if self.sharing.shadow {
            self.counts_on = self.point.widen();
        }
        self
    }

    /// Returns the record in the form of memory.
    #[must_use]
    pub fn from_disk(mut self) -> Self {
        self.point.narrow(self.counts_on.take());
        self
    }
}

/// Entry of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "lowercase")]
pub enum Entry {
    /// By a link, pinned at the hook's place.
    Link,
    /// By a clsact filter.
    Filter {
        /// Its priority.
        priority: u16,
        /// Its handle.
        handle: u32,
    },
    /// By slots of the dispatcher of libxdp that holds the hook.
    Dispatcher,
}

/// Way in which a chain becomes one entry program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The member itself.
    Direct,
    /// Members joined into one program.
    Splice,
    /// Members joined into several programs, each of which ends with a tail call of the next.
    Cut,
    /// No member, and a program that passes everything.
    Empty,
    /// Members beside third-party programs, each in a slot of libxdp's dispatcher.
    Dispatcher,
}

impl Strategy {
    /// Returns the name in chain commands.
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

/// Program that the daemon loaded for a slot of libxdp's dispatcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionRecord {
    /// Link of the program.
    pub link: LinkId,
    /// Managed program from which it was loaded, as of this boot.
    pub of: ProgramId,
    /// The kernel's id of it, as of this boot.
    pub program: ProgramId,
    /// The kernel's tag of it.
    pub tag: [u8; 8],
}

/// The chain of a hook. Its members are the links with that hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    pub key: HookKey,
    /// Interface, as one of its links named it. The path is the first place in which its namespace is searched.
    pub interface: Interface,
    /// The operation that first attached it.
    pub operation: OperationId,
    /// The link that the last change added.
    pub newcomer: Option<LinkId>,
    pub entry: Entry,
    /// Way in which the chain was built.
    pub strategy: Strategy,
    /// Kernel id of the entry program, as of this boot.
    pub program: ProgramId,
    /// Kernel tag of the entry program.
    pub tag: [u8; 8],
    /// Objects of the chain; `None` if a member is attached directly.
    #[serde(default)]
    pub chain: Option<ChainRecord>,
    /// Link of each member of the chain, in order.
    #[serde(default)]
    pub slots: Vec<LinkId>,
    /// Former chain whose counters have to be added.
    #[serde(default)]
    pub folding: Option<Folding>,
    /// Sums of the counters of former chains.
    #[serde(default)]
    pub counted: HookCounted,
    /// Its switches.
    #[serde(default)]
    pub settings: HookSettings,
    /// True if a third party created the link, and may still hold it.
    #[serde(default)]
    pub adopted_link: bool,
    /// Programs in the slots of libxdp's dispatcher, if that is the entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionRecord>,
    /// Number of its network namespace, where it is entered without a link of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NamespaceNumber>,
    /// A tenant's program joined on the way out: by tcx it accepts nothing past what stands behind it, and runs before the
    /// machine's tcx links. So it stays, since the machine's would be skipped for a moment when it changed back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Ways to send packets that its members of tenants are without.
    #[serde(default, skip_serializing_if = "Unsent::is_empty")]
    pub unsent: Unsent,
    /// Members of tenants that its chain leaves out, because it could not be built so that they send nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<LinkId>,
    /// At XDP: where it runs. Records of earlier versions get it at the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<XdpPlacement>,
}

/// Leaves a field away.
pub const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl HookRecord {
    /// Returns the kernel mechanism of the entry.
    pub fn mode(&self) -> &'static str {
        match self.entry {
            Entry::Dispatcher => "xdp",
            Entry::Link if self.key.kind == HookKind::Xdp => "xdp",
            Entry::Link => "tcx",
            Entry::Filter { .. } => "clsact",
        }
    }
}

/// Leftovers of a finished operation, to be removed from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverRecord {
    /// Links to be ended.
    pub links: Vec<String>,
    /// Pins of links that are given back: the links stay attached.
    #[serde(default)]
    pub released: Vec<String>,
    /// Third-party links to be detached by force.
    #[serde(default)]
    pub adopted_links: Vec<String>,
    /// Pins to be removed.
    pub pins: Vec<String>,
    /// Folders to be removed, with their pins.
    pub folders: Vec<String>,
    /// Filters to be removed.
    pub filters: Vec<LeftoverFilter>,
}

/// A filter to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverFilter {
    /// Interface of the filter.
    pub interface: Interface,
    /// Hook of the filter.
    pub key: HookKey,
    pub priority: u16,
    pub handle: u32,
    /// Program of the filter: it is removed only if it runs this one.
    pub program: ProgramId,
    /// Number of the network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NamespaceNumber>,
}

impl LeftoverFilter {
    /// Returns whether both are one filter of the kernel.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.key, self.priority, self.handle) == (other.key, other.priority, other.handle)
    }
}

/// Returns the store's key of a hook.
pub fn hook_key(key: &HookKey) -> Vec<u8> {
    let direction = key.kind.direction().map_or("", bpfmand_core::Direction::name);
    let NetnsId { inode, cookie } = key.netns.into();
    format!("{}:{direction}:{inode}:{cookie}:{}", key.kind.name(), key.ifindex).into_bytes()
}
