//! Errors of the engine's operations.

mod about;
mod adopt;
mod conflict;
mod extension;
mod guard;
mod hint;
mod image;
mod interference;
mod kind;
mod paused;
mod undo_failure;
mod verified;

use std::time::Duration;

use bpfman_model::{
    Anchor, Contradiction, Hint, KernelLinkId, LinkId, MapId, MatchingId, ProgramId, ProgramType, Side,
};
use bpfmand_kernel::KernelError;
use bpfmand_object::ObjectError;
use bpfmand_splice::SpliceError;
use bpfmand_store::{FileError, StoreError};

use about::{in_the_way, maps_that_are_there, or_ends};

pub use about::if_there;
pub use adopt::AdoptRefusal;
pub use conflict::{Attached, Dispatcher, DispatcherProgram, HookConflict};
pub use extension::ExtensionRefusal;
pub use guard::GuardRefusal;
pub use image::ImageFailure;
pub use interference::Interference;
pub use paused::PausedFor;
pub use undo_failure::{Remainder, UndoFailure};
pub use verified::VerifiedLimit;

/// Error of an operation. Nothing was changed, unless the error reports that undoing failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A tenant's program that cannot run for its tenant alone.
    #[error(transparent)]
    Guard(Box<GuardRefusal>),
    /// An extension, or the program with the replaced function, does not allow it.
    #[error(transparent)]
    Extension(Box<ExtensionRefusal>),
    /// The load exceeds the owner's limit of verified instructions.
    #[error(transparent)]
    Verified(#[from] VerifiedLimit),
    #[error("program {0} does not exist or is not managed by bpfman")]
    NoProgram(ProgramId),
    #[error("program {0} does not exist")]
    NoKernelProgram(ProgramId),
    #[error("link {0} does not exist")]
    NoLink(LinkId),
    #[error("attachment {0} to matching interfaces does not exist")]
    NoMatching(MatchingId),
    /// The program is already attached at a hook that an attachment to matching interfaces also covers.
    #[error("program {program} is already attached at {hook}, by link {link}")]
    AlreadyThere {
        program: ProgramId,
        /// Hook as the user named it.
        hook: String,
        link: LinkId,
    },
    /// A repeated attachment, which the caller can request explicitly.
    #[error(
        "program {program} is already attached at {hook}, by link {link}; once more, it runs twice for each packet"
    )]
    Repeated {
        program: ProgramId,
        /// The hook, as the user named it.
        hook: String,
        /// Link that attaches it there.
        link: LinkId,
    },
    /// The hook accepts one program, and the daemon has attached one.
    #[error("hook {hook} takes one program, and {} is there", in_the_way(*link))]
    HeldByOurs {
        hook: String,
        /// The link; none for users who may not detach it.
        link: Option<LinkId>,
    },
    #[error("the kernel has no link {0}")]
    NoKernelLink(KernelLinkId),
    /// The object at the pin has a record, or does not exist.
    #[error("there is no stray {pin}: nothing is pinned there, or a record names it")]
    NoStray { pin: String },
    /// The hook runs a chain that is newer than the records.
    #[error(
        "{hook} runs program {program}, which was made later than the records of this state folder; it is left as it is"
    )]
    OlderRecords { hook: String, program: ProgramId },
    /// A link without a record occupies the place of the chain's link.
    #[error("link {link} is at {hook} without a record: the records of bpfman were lost, or are older")]
    StrayAtHook { hook: String, link: KernelLinkId },
    #[error("program {program} has no map \"{map}\"; {}", maps_that_are_there(there))]
    NoMap {
        program: ProgramId,
        /// Map as the user named it.
        map: String,
        there: Vec<String>,
    },
    #[error("no program of bpfman uses a map {0}")]
    NoMapOfOurs(MapId),
    /// An inner map of the daemon's map of maps is also used by third-party programs.
    #[error(
        "map {map} lies in a map of maps of bpfman's programs, but program {program}, which is not bpfman's, uses it itself"
    )]
    InnerMapOfOthers {
        map: MapId,
        /// Third-party program that may own the map.
        program: ProgramId,
    },
    #[error("map {map} (\"{name}\") has no entry with this key")]
    NoMapEntry { map: MapId, name: String },
    #[error("entries of map {map} (\"{name}\") cannot be changed: {why}")]
    MapReadOnly { map: MapId, name: String, why: String },
    #[error("nothing is pinned at {path}")]
    NoPin { path: String },
    #[error("no program of bpfman is attached at {hook}")]
    NoChain {
        /// Hook as the user named it.
        hook: String,
    },
    #[error("\"{member}\" is no member of the chain of {hook}; there are: {there}")]
    NoMember {
        /// Member as the user named it.
        member: String,
        hook: String,
        there: String,
    },
    /// An invalid request.
    #[error("{0}")]
    Invalid(String),
    /// The engine contradicts itself, or has used up its numbers.
    #[error("{0}")]
    Fault(String),
    /// A link that cannot be adopted as it is now.
    #[error(transparent)]
    Adopt(#[from] AdoptRefusal),
    /// The program was never replaced, or its old version was not kept.
    #[error(
        "program {0} has no earlier version that could be taken back; a load that was replaced as a whole goes back by \
         being replaced as a whole with the earlier bytecode"
    )]
    NoEarlierVersion(ProgramId),
    #[error(
        "program {0} (\"{1}\") could not be loaded again after a reboot, so there is nothing to replace; unload \
         it and load the new version"
    )]
    NothingToReplace(ProgramId, String),
    #[error("the chain is empty")]
    EmptyChain,
    /// An owner, or several together, reached the limit of attachments to matching interfaces.
    #[error("{of} have {count} attachments to matching interfaces, and the limit is {limit}: end one first")]
    MaxMatchings { of: String, count: usize, limit: usize },
    /// An owner has as many links as its grant allowed to the attachment to matching interfaces.
    #[error("{of} has as many links as its grant allows, {most}")]
    MaxLinks { of: String, most: u64 },
    #[error("{of}: {} again in {} s", .why.excess(), .left.as_secs().max(1))]
    Paused { of: String, why: PausedFor, left: Duration },
    /// Another tool blocks the change, or has altered objects of the daemon.
    #[error(transparent)]
    Interference(#[from] Interference),
    #[error("program {program} is of type {program_type} and cannot be attached to a point of type {point}")]
    WrongPoint { program: ProgramId, program_type: ProgramType, point: &'static str },
    /// A third-party program occupies a hook that accepts only one.
    #[error("{0}")]
    HookHeld(Box<HookConflict>),
    /// The libxdp dispatcher that holds a hook cannot be changed as requested.
    #[error("the dispatcher of libxdp at {hook} cannot take it: {reason}")]
    Dispatcher { hook: String, reason: String, hint: Hint },
    #[error("{hook} already runs {limit} programs, the most one chain takes")]
    ChainFull { hook: String, limit: usize },
    /// A hook has no room for owners other than root and cluster applications.
    #[error(
        "{hook} already runs {limit} programs of users, grants and namespaces: its other places are kept for root and for cluster applications"
    )]
    KeptPlaces { hook: String, limit: usize },
    #[error("{owner} would have {used} {what} on {hook}: {limit} are allowed")]
    OverBudget { hook: String, owner: String, what: &'static str, used: u64, limit: u64 },
    /// An intent names something that is not at the hook.
    #[error("{side} {anchor} names nothing at {hook}; {}", if there.is_empty() { "nothing else runs there".to_owned() } else { format!("there are: {}", there.join(", ")) })]
    NoAnchor {
        side: Side,
        anchor: Anchor,
        hook: String,
        /// Names that exist at the hook.
        there: Vec<String>,
    },
    #[error("the order at {hook} would contradict itself: {contradiction}")]
    Contradiction { hook: String, contradiction: Box<Contradiction> },
    /// The intents require another link to move, at a hook where links keep their positions.
    #[error("this order would move link {other} at {hook}, where links keep their positions")]
    InBetween { hook: String, other: LinkId },
    /// The hook has no way to order against third-party programs.
    #[error("{anchor} cannot be ordered against at {hook}: {reason}")]
    NoForeignOrder { anchor: Anchor, hook: String, reason: &'static str },
    /// A tenant's tcx program would run before the tc chain, because a clsact filter runs the chain.
    #[error(
        "a tcx program of a tenant cannot be attached at {hook}: the tc chain is entered by a clsact filter there, tcx runs \
         before filters, and its verdict would count for the machine's programs; load it as type tc"
    )]
    TcxBeforeFilter { hook: String },
    /// A tenant's tcx program that may return PASS or REDIRECT, in front of the machine's programs.
    #[error(
        "program \"{program}\" of a tenant cannot be attached at {hook}: it would run before the machine's programs there, and \
         may take packets past them: it calls bpf_redirect, bpf_clone_redirect or one of their kind, or bpf_tail_call, or was loaded \
         by an earlier version; load it as type tc"
    )]
    NotNarrowed { program: String, hook: String },
    /// A tenant's program that can send packets out of an interface on whose egress the machine has a program.
    #[error(
        "program \"{program}\" of a tenant cannot be attached at {hook}: it may {way} out of {interface}, where the machine has \
         link {link} on egress; verdicts and targets that are no constants count as any"
    )]
    SendsToGuarded {
        program: String,
        hook: String,
        /// Way in which the program can send packets.
        way: &'static str,
        interface: String,
        link: LinkId,
    },
    /// A tenant's member at egress would run after the machine's tcx programs, because a filter runs the chain.
    #[error(
        "a tc program of a tenant cannot be attached at {hook}: the tc chain is entered by a clsact filter there, and would \
         change what link {other} of type tcx has judged, which runs before filters; load it as type tcx"
    )]
    FilterBehindTcx { hook: String, other: LinkId },
    /// The maps to be shared do not exist, or do not fit.
    #[error("cannot share the maps of program {owner}: {reason}")]
    MapOwner { owner: ProgramId, reason: String },
    /// A map pinned by name that exists with another shape.
    #[error("map \"{name}\" is shared by name and exists with another shape: {reason}")]
    SharedMap { name: String, reason: String },
    /// The new version of a program would have a different map.
    #[error("program {program} cannot keep its map \"{map}\": {why}")]
    MapDiffers { program: ProgramId, map: String, why: String },
    /// Programs of other loads share maps that the new version would not keep.
    #[error("program {owner} cannot be replaced so: {sharers} of another load shares its maps, and {why}")]
    MapsShared {
        owner: ProgramId,
        sharers: String,
        /// Effect of the replacement on the maps.
        why: String,
    },
    /// Access denied.
    #[error("{0}")]
    Denied(String),
    #[error("cannot read bytecode {path}: {source}")]
    Bytecode { path: String, source: std::io::Error },
    #[error("{what} has {size} bytes; the limit is {limit}")]
    TooLarge { what: String, size: u64, limit: u64 },
    #[error(
        "the maps of the load would take {mib} MiB of kernel memory, of which {largest_mib} MiB are of map \"{largest}\" \
         with {entries} entries (per-CPU maps count for {cpus} CPUs); the limit is {limit_mib} MiB"
    )]
    MapMemory {
        mib: u64,
        limit_mib: u64,
        largest: String,
        entries: u32,
        /// Memory of the largest map, in MiB.
        largest_mib: u64,
        /// Number of CPUs for which per-CPU maps have values.
        cpus: u64,
    },
    /// The maps would exceed the memory limit of an owner.
    #[error(
        "the maps of {owner} take {used_mib} MiB of kernel memory, and those of the load would take {more_mib} MiB more; \
         the limit is {limit_mib} MiB ({setting})"
    )]
    OwnersMapMemory {
        owner: String,
        /// Memory that their maps take, in MiB.
        used_mib: u64,
        /// Memory that the load would add, in MiB.
        more_mib: u64,
        limit_mib: u64,
        setting: &'static str,
    },
    /// The image cannot be fetched, verified or read.
    #[error(transparent)]
    Image(#[from] ImageFailure),
    /// The object reader could not be started, ended early, or returned an invalid result.
    #[error("the reader of object files did not do its work: {0}")]
    Reader(String),
    /// An object file that lacks what the request needs.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An object error with the origin of the file.
    #[error("{origin}: {source}")]
    Bytes {
        /// File or image.
        origin: String,
        source: Box<ObjectError>,
    },
    /// The program needs a type, field or function that this kernel does not have.
    #[error("{origin}{what}")]
    NotInKernel {
        /// File or image with a colon, where it is known.
        origin: String,
        /// Program, section, function, instruction, type and field, and the reason.
        what: String,
        source: Box<KernelError>,
    },
    #[error("cannot build the chain of {hook}: {source}")]
    Chain { hook: String, source: Box<SpliceError> },
    /// An error after planning; the engine adds the hook.
    #[error(transparent)]
    Unplanned(Box<SpliceError>),
    /// The verifier refused every plan for members that it accepts one by one.
    #[error(
        "the verifier refused the chain of {hook} in each of {ways} ways{}: {}",
        member.as_ref().map_or_else(String::new, |member| format!(", the first time in program \"{member}\"")),
        source.rejection().map_or_else(|| source.to_string(), ToString::to_string)
    )]
    ChainRefused {
        hook: String,
        /// Function name of the member that the verifier was in, if its log shows it.
        member: Option<String>,
        /// Number of ways that were tried.
        ways: usize,
        /// Error of the kernel for the first way.
        source: Box<KernelError>,
    },
    /// The interface has packets in several buffers, which some members do not handle.
    #[error(
        "{hook}: packets there may come in several buffers (its MTU is large), which {} {} not handle: {source}",
        members.join(" and "),
        if members.len() == 1 { "does" } else { "do" }
    )]
    NoFrags {
        hook: String,
        /// Function names of the members that do not handle them.
        members: Vec<String>,
        source: Box<EngineError>,
    },
    #[error("{hook} is frozen by {by}: its chain is not changed until it is released{}", or_ends(*left))]
    HookOnHold {
        hook: String,
        by: String,
        /// Time until the freeze ends; none if it has no time limit.
        left: Option<Duration>,
    },
    /// The program was attached meanwhile, at a place where the caller may not replace it.
    #[error("program {program} was attached in another place while its replacement was prepared")]
    NewPlace { program: ProgramId },
    /// The hook was frozen again: the caller's permission is for the former freeze.
    #[error("{hook} was frozen by another caller while this was being allowed")]
    OtherFreeze { hook: String },
    /// The hook has a new member for which the caller's permission was not checked.
    #[error("{hook} has another member than it had when this was allowed")]
    NewMember { hook: String },
    #[error("a trace runs \"{member}\" of {hook} for real, and it may send packets: {why}")]
    TraceMaySend { hook: String, member: String, why: &'static str },
    /// The members of the chain changed during every attempt to read them.
    #[error("the members of {hook} were replaced each time that they were read")]
    MembersChange { hook: String },
    /// Not supported by this version, or not by this kernel.
    #[error("{0}")]
    Unsupported(String),
    /// Error of the kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Error of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A change failed, and its state on disk is unknown.
    #[error(
        "an earlier change was not saved for certain, and the store cannot be written yet, so nothing is changed"
    )]
    StoreUnsure,
    /// A lost attach point names a process by its PID, which another process may have by now.
    #[error("{point} names a process, whose number may be another one's by now; link {link} stays off")]
    EarlierProcess { link: LinkId, point: String },
    /// A program that could not be loaded again after a reboot.
    #[error("program \"{program}\", which link {link} attaches, could not be loaded again: {why}")]
    Lost {
        link: LinkId,
        program: String,
        /// The failure of the last try.
        why: String,
    },
    /// A file of bytecode, or the text of a record, cannot be read or written.
    #[error(transparent)]
    Files(#[from] FileError),
    /// A failure after which some steps could not be undone either.
    #[error("{cause}; and undoing it failed: {}", undo_failure::joined(failures))]
    NotUndone {
        cause: Box<EngineError>,
        /// Steps that could not be undone.
        failures: Vec<UndoFailure>,
    },
}
