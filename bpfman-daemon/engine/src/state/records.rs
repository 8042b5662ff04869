//! What the store keeps, one record a program, link and hook.

use std::collections::BTreeMap;

use bpfmand_core::{
    AttachPoint, Deadline, FileReader, HookKey, HookKind, Interface, InterfaceMatch, LinkId, MatchingId,
    NetnsId, OperationId, OrderIntent, Owner, ProceedOn, ProgramId, ProgramUid, Sharing, TargetIdentity,
};
use bpfmand_store::Table;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::state::XdpPlacement;
use crate::state::chain_record::{ChainRecord, Folding, HookCounted, HookSettings};
use crate::state::guard_record::LinkGuard;
use crate::state::namespace_number::NamespaceNumber;

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
    /// Our id.
    pub id: LinkId,
    /// Which program.
    pub program: ProgramUid,
    /// The operation that made it.
    pub operation: OperationId,
    /// Where, as asked for.
    pub point: AttachPoint,
    /// The hook that the point was when it was attached.
    pub hook: Option<HookKey>,
    /// Where among the others of the hook, besides its priority.
    #[serde(default, skip_serializing_if = "OrderIntent::is_empty")]
    pub order: OrderIntent,
    /// How it shares its chain.
    #[serde(default, skip_serializing_if = "Sharing::is_plain")]
    pub sharing: Sharing,
    /// The user's pairs.
    pub metadata: BTreeMap<String, String>,
    /// Whose it is; none: whose its program is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Grows with every attachment.
    pub sequence: u64,
    /// The boot in which it was last attached.
    pub boot: String,
    /// The attachment to all interfaces that match which made this one.
    #[serde(default)]
    pub matching: Option<MatchingId>,
    /// Its program was attached by someone else, and so was its link, if it has one of its own.
    #[serde(default)]
    pub adopted: bool,
    /// While it waits for its interface: the network namespace where that was. A file of a process may lead to another
    /// one by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<NetnsId>,
    /// At a hook of a network namespace itself: which one its path led to when it was attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NetnsId>,
    /// Files, processes and modules that its point led to when it was attached. Records of earlier versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetIdentity>,
    /// The caller with whose rights the file that it probes is opened, also wherever it is attached again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<FileReader>,
    /// For whose tasks it lets its program run, if that is guarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<LinkGuard>,
    /// When it is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// On disk alone, of a shadow: see [`LinkRecord::on_disk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_on: Option<ProceedOn>,
}

impl LinkRecord {
    /// As the store keeps it. A daemon that knows no shadows takes them for normal members: in their points are all
    /// verdicts, so that it lets none of theirs end the chain, and their own sets are beside.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        if self.sharing.shadow {
            self.counts_on = self.point.widen();
        }
        self
    }

    /// The same back.
    #[must_use]
    pub fn from_disk(mut self) -> Self {
        self.point.narrow(self.counts_on.take());
        self
    }

    /// After which verdicts the chain goes on, as bits; of a shadow after all, those without a bit too.
    #[must_use]
    pub fn proceeds_on(&self) -> u32 {
        if self.sharing.shadow { u32::MAX } else { self.point.proceed_on().map_or(0, ProceedOn::mask) }
    }

    /// Whose it is: by default whose its program is.
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
            reader: None,
            guard: None,
            ends: None,
            counts_on: None,
        })
    }
}

/// An attachment to all interfaces that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchingRecord {
    /// Our id.
    pub id: MatchingId,
    /// Which program.
    pub program: ProgramUid,
    /// How to attach it. Its interface means nothing.
    pub point: AttachPoint,
    /// Which interfaces.
    pub interfaces: InterfaceMatch,
    /// Where among the others of each hook.
    #[serde(default)]
    pub order: OrderIntent,
    /// How its links share their chains.
    #[serde(default, skip_serializing_if = "Sharing::is_plain")]
    pub sharing: Sharing,
    /// The user's pairs, for every link.
    pub metadata: BTreeMap<String, String>,
    /// Whose it and its links are; none: whose the program is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// When it ends, with its links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// On disk alone, of shadows: as of links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_on: Option<ProceedOn>,
}

impl MatchingRecord {
    /// As the store keeps it: as links are.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        if self.sharing.shadow {
            self.counts_on = self.point.widen();
        }
        self
    }

    /// The same back.
    #[must_use]
    pub fn from_disk(mut self) -> Self {
        self.point.narrow(self.counts_on.take());
        self
    }
}

/// How a hook is entered.
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

/// How a chain is made into one entry program.
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
    /// Members beside programs of others, each in a slot of libxdp's dispatcher.
    Dispatcher,
}

impl Strategy {
    /// As chain commands name it.
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

/// A program of ours that was loaded for a slot of libxdp's dispatcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionRecord {
    /// For which link.
    pub link: LinkId,
    /// The program that it stands for, as of this boot.
    pub of: ProgramId,
    /// The kernel's id of it, as of this boot.
    pub program: ProgramId,
    /// The kernel's tag of it.
    pub tag: [u8; 8],
}

/// The chain of a hook. Its members are the links with that hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    /// Which hook.
    pub key: HookKey,
    /// The interface as one of its links named it. The path of its namespace is where that is looked for first.
    pub interface: Interface,
    /// The operation that first attached it.
    pub operation: OperationId,
    /// The link that the last change added.
    pub newcomer: Option<LinkId>,
    /// How it is entered.
    pub entry: Entry,
    /// What runs there.
    pub strategy: Strategy,
    /// The kernel's id of it, as of this boot.
    pub program: ProgramId,
    /// The kernel's tag of it.
    pub tag: [u8; 8],
    /// What was loaded for it; none where a member is attached itself.
    #[serde(default)]
    pub chain: Option<ChainRecord>,
    /// Whose each member of that is.
    #[serde(default)]
    pub slots: Vec<LinkId>,
    /// What is to be counted from a chain that it ran before.
    #[serde(default)]
    pub folding: Option<Folding>,
    /// What was counted in the chains before.
    #[serde(default)]
    pub counted: HookCounted,
    /// Its switches.
    #[serde(default)]
    pub settings: HookSettings,
    /// Its link was made by someone else, who may hold it still.
    #[serde(default)]
    pub adopted_link: bool,
    /// Where it is entered by libxdp's dispatcher: what is in its slots for the members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionRecord>,
    /// Number of its network namespace, where it is entered without a link of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NamespaceNumber>,
    /// A tenant's program joined on the way out: by tcx it accepts nothing past what stands behind it, and runs before the
    /// machine's tcx links. So it stays, since the machine's would be skipped for a moment when it changed back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// At XDP: verdicts after which members of tenants drop instead, by bit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsent: u32,
    /// At XDP: where it runs. Records of earlier versions get it at the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<XdpPlacement>,
}

/// Leaves a field away.
pub const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl HookRecord {
    /// By which mechanism of the kernel it is entered.
    pub fn mode(&self) -> &'static str {
        match self.entry {
            Entry::Dispatcher => "xdp",
            Entry::Link if self.key.kind == HookKind::Xdp => "xdp",
            Entry::Link => "tcx",
            Entry::Filter { .. } => "clsact",
        }
    }
}

/// What a finished operation left to be removed from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverRecord {
    /// Links to be ended.
    pub links: Vec<String>,
    /// Pins of links that are given back: the links go on.
    #[serde(default)]
    pub released: Vec<String>,
    /// Links of others to be forced off.
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
    /// Where.
    pub interface: Interface,
    /// Where.
    pub key: HookKey,
    /// Which.
    pub priority: u16,
    /// Which.
    pub handle: u32,
    /// Only if it runs this program.
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

/// The store's key of a hook.
pub fn hook_key(key: &HookKey) -> Vec<u8> {
    let direction = key.kind.direction().map_or("", bpfmand_core::Direction::name);
    let NetnsId { inode, cookie } = key.netns.into();
    format!("{}:{direction}:{inode}:{cookie}:{}", key.kind.name(), key.ifindex).into_bytes()
}
