//! What the engine answers about programs, maps, links and chains.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpfmand_core::{
    AttachPoint, InterfaceMatch, KernelLinkId, LinkId, MapFacts, MatchingId, OrderIntent, ProceedOn,
    ProgramFacts, ProgramId, ProgramType, ProgramUid, PullPolicy, Role, Waiting,
};

use crate::state::Standing;

/// Where a program's bytecode came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSource {
    /// A file, by the path that the load named.
    File(PathBuf),
    /// None: someone else had loaded and attached it.
    Adopted {
        /// The link that attached it.
        link: KernelLinkId,
        /// Where that was pinned, if it was named so.
        pin: Option<PathBuf>,
    },
    /// An image.
    Image {
        /// Reference as asked for.
        url: String,
        /// As asked for.
        pull_policy: PullPolicy,
        /// `sha256:…`.
        digest: String,
        /// The rule and signer that let it in.
        verified_by: String,
        /// What was verified, in the words of the crate `image`.
        evidence: String,
    },
}

/// What the records say of a program of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedProgram {
    /// Our key.
    pub uid: ProgramUid,
    /// Function name, uncut.
    pub name: String,
    /// Exact type.
    pub program_type: ProgramType,
    /// Where it came from.
    pub source: ProgramSource,
    /// sha256 of the object file, 64 digits.
    pub bytecode_sha256: String,
    /// Licence of the object.
    pub license: String,
    /// The user's pairs.
    pub metadata: BTreeMap<String, String>,
    /// The user's global variables.
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// The owner of its maps, as asked for.
    pub map_owner: Option<ProgramId>,
    /// Folder of its maps, relative to the daemon's bpffs.
    pub map_folder: PathBuf,
    /// Its pin, relative to the daemon's bpffs.
    pub pin: PathBuf,
    /// Programs that share its map folder, itself among them.
    pub map_used_by: Vec<ProgramId>,
    /// Its links.
    pub links: Vec<LinkId>,
    /// Function or hook it was loaded for.
    pub target: Option<String>,
    /// The version before its last replacement, which can be taken back.
    pub previous: Option<PreviousVersion>,
    /// Who asked for it.
    pub caller_uid: u32,
    /// How it stands in the kernel.
    pub standing: Standing,
}

/// The version of a program before its last replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousVersion {
    /// The kernel's id, while it is still loaded.
    pub id: Option<ProgramId>,
    /// sha256 of the object file, 64 digits.
    pub bytecode_sha256: String,
}

/// A program: the kernel's facts, and ours if it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDetails {
    /// Kernel id.
    pub id: ProgramId,
    /// None if the kernel no longer has it.
    pub facts: Option<ProgramFacts>,
    /// None for programs of others.
    pub managed: Option<ManagedProgram>,
}

/// A map of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDetails {
    /// Name in the object, or the kernel's for maps of others.
    pub name: String,
    /// The kernel's facts.
    pub facts: MapFacts,
    /// Its pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// Programs of ours that use it.
    pub used_by: Vec<ProgramId>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDetails {
    /// Our id.
    pub id: LinkId,
    /// Which program.
    pub program: ProgramId,
    /// Its function name.
    pub program_name: String,
    /// Its type.
    pub program_type: ProgramType,
    /// Function or hook its program was loaded for.
    pub target: Option<String>,
    /// Where, as asked for.
    pub point: AttachPoint,
    /// The user's pairs.
    pub metadata: BTreeMap<String, String>,
    /// The program's pairs.
    pub program_metadata: BTreeMap<String, String>,
    /// Where among the others of its hook, besides its priority.
    pub order: OrderIntent,
    /// Of these, what nothing at the hook answers to now. It counts again when something does.
    pub waits_for: Vec<Waiting>,
    /// Place among the programs of its hook, 0 first.
    pub position: Option<u32>,
    /// The kernel's link.
    pub kernel_link: Option<KernelLinkId>,
    /// What the kernel runs there.
    pub running: Option<ProgramId>,
    /// The link's pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// The hook as commands name it.
    pub hook: Option<String>,
    /// How it stands in the kernel.
    pub standing: Standing,
}

/// A member of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainMemberDetails {
    /// Our link.
    pub link: LinkId,
    /// Kernel id of the member loaded alone.
    pub program: ProgramId,
    /// Function name.
    pub name: String,
    /// Place, 0 first.
    pub position: u32,
    /// As asked for.
    pub priority: i32,
    /// When the next member runs; none for tcx.
    pub proceed_on: Option<ProceedOn>,
    /// The word by which others can name it.
    pub role: Option<Role>,
    /// Why it stands where it stands: the intents that hold, then its priority, then the intents that wait.
    pub reason: String,
}

/// The chain of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainDetails {
    /// The hook as commands name it.
    pub hook: String,
    /// "direct", "splice" or "kernel".
    pub strategy: &'static str,
    /// Why.
    pub reason: String,
    /// The entry program; none for tcx.
    pub entry: Option<ProgramFacts>,
    /// The kernel's link of the entry.
    pub kernel_link: Option<KernelLinkId>,
    /// "xdp", "tcx" or "clsact": by which mechanism of the kernel the chain is entered.
    pub mode: &'static str,
    /// In the order they run.
    pub members: Vec<ChainMemberDetails>,
}

/// An attachment to every interface that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingDetails {
    /// Our id.
    pub id: MatchingId,
    /// Which program.
    pub program: ProgramId,
    /// Its function name.
    pub program_name: String,
    /// How it is attached. The interface in it has no name.
    pub point: AttachPoint,
    /// Which interfaces.
    pub interfaces: InterfaceMatch,
    /// Where among the others of each hook.
    pub order: OrderIntent,
    /// The user's pairs.
    pub metadata: BTreeMap<String, String>,
    /// The links that it made.
    pub links: Vec<LinkDetails>,
    /// Interfaces that match and have no link of it, each with the reason.
    pub failures: Vec<String>,
}

/// Something that runs at a hook, ours or another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEntryDetails {
    /// A chain or link of ours.
    pub ours: bool,
    /// The kernel's id; none for filters that are no BPF programs.
    pub program: Option<ProgramId>,
    /// The kernel's name of it.
    pub program_name: String,
    /// The kernel's tag of it, 16 digits.
    pub program_tag: String,
    /// "xdp link", "xdp netlink", "tcx link", "tcx program" or "filter".
    pub via: &'static str,
    /// For people: "native", "priority 1 handle 0x1 direct-action".
    pub detail: String,
    /// The kernel's link, where it is known which one it is.
    pub kernel_link: Option<KernelLinkId>,
    /// Processes that hold the program or its link, "name (pid, unit)".
    pub held_by: Vec<String>,
}
