//! Rules of the program manager, without I/O: program types, attach points, the order at a hook, and requests.

#![warn(missing_docs)]

mod application;
mod attach;
mod audit_text;
mod cgroup_path;
mod container;
mod cpu;
mod deadline;
mod durations;
mod facts;
mod flat_text;
mod function_hints;
mod function_pattern;
mod glob;
mod group_path;
mod hexadecimal;
mod hint;
mod hook;
mod hook_facts;
mod hook_name;
mod ids;
mod insn;
mod interface_match;
mod interface_name;
mod kept_share;
mod map_memory;
mod map_spec;
mod netfilter;
mod netns_pattern;
mod optimisation;
mod order;
mod owner;
mod peer;
mod perf_event;
mod pod_relation;
pub mod printable;
mod proceed_on;
mod process_names;
mod program_text;
mod program_type;
mod pull_policy;
mod reason;
mod replaced_function;
mod request;
mod socket_hook;
mod target_identity;
mod tasks;
pub mod uapi;
pub mod verdicts;
mod written_point;

pub use application::{BadApplicationName, NamespaceName, OwningApplication, OwningApplicationName};
pub use attach::{AttachPoint, Interface, ProcessScope};
pub use audit_text::audit_text;
pub use cgroup_path::{BadCgroupPath, CgroupPath};
pub use container::{
    AmbiguousContainer, BadContainerId, ContainerFacts, ContainerId, FoundContainers, WantedContainers,
};
pub use cpu::{BadCpuAction, BadCpuShare, CpuAction, CpuExcess, CpuLimit, CpuShare};
pub use deadline::{BadTtl, Deadline, MachineTime};
pub use durations::{CountedDurations, DurationCounts};
pub use facts::{LinkFacts, MapFacts, ProgramFacts, RunCounts};
pub use flat_text::FlatText;
pub use function_hints::{FunctionHints, FunctionSearch};
pub use function_pattern::{BadFunctionPattern, FunctionPattern};
pub use glob::{BadGlob, Glob};
pub use group_path::{GroupPath, PodsRoot};
pub use hexadecimal::{from_hexadecimal, hexadecimal};
pub use hint::Hint;
pub use hook::{Direction, HookKey, HookKind, HookNetns, NetnsId, NetnsNumber, UnknownDirection};
pub use hook_facts::{
    AddressedInterface, FilterFacts, GroupContents, Held, Holder, HookAttachment, HookContents, HookEntry,
    InterfaceEvent, InterfaceFacts, XdpRunsIn,
};
pub use hook_name::{BadHook, HookName};
pub use ids::{
    BtfId, ClientLease, IfIndex, KernelLinkId, LinkId, MapId, MatchingId, OperationId, ProgramId, ProgramUid,
};
pub use insn::{Insn, op};
pub use interface_match::{BadMatch, InterfaceMatch};
pub use interface_name::BadInterfaceName;
pub use kept_share::{BadKeptShare, KeptShare};
pub use map_spec::{MapRole, MapSpec};
pub use netfilter::{BadNetfilterPlace, NetfilterFamily, NetfilterHook, NetfilterPlace};
pub use netns_pattern::NetnsPattern;
pub use optimisation::Optimisation;
pub use order::{
    Anchor, BadAnchor, Contradiction, ContradictionStep, Foreign, MAX_ANCHORS, MAX_CHAIN_MEMBERS, Moves,
    NeighbourPosition, Occupant, OrderIntent, OrderedEntry, Place, RankOrder, Role, Side, Solution, TcChain,
    Waiting, is_called, moves, order_chain, order_links, solve, solve_with_chain,
};
pub use owner::{BadOwner, Owner, Rank};
pub use peer::{HeldNetns, Peer, cgroup_in, cgroup_of, unified_cgroup_of};
pub use perf_event::{BadPerfEvent, PerfEvent, PerfEventPlace, PerfSource, SampleRate};
pub use pod_relation::{PodObstacle, PodRelation};
pub use proceed_on::{ProceedOn, UnknownVerdict, VerdictFamily};
pub use program_text::{BoundText, FuncInfo, FunctionSpan, JumpTable, LineInfo, ProgramText};
pub use program_type::{LoadTarget, ProgramType, SectionOption, TypeProof, TypeScope, UnknownProgramType};
pub use pull_policy::PullPolicy;
pub use reason::Reason;
pub use replaced_function::{BadReplacedFunction, ReplacedFunction};
pub use request::{
    AttachRequest, BytecodeSource, Credentials, LoadLimits, LoadRequest, LoadValues, MatchRequest,
    ProgramRequest, Selector, Sharing,
};
pub use socket_hook::SocketHook;
pub use target_identity::{
    FileIdentity, FileReader, ModuleIdentity, ProbeReader, ProcessIdentity, TargetIdentity, processes_of,
};
pub use tasks::{CallerGroup, ContainerTasks, TaskGroup, TaskScope, TenantRules};
pub use uapi::map_type;
pub use written_point::{BadWrittenPoint, WrittenPoint};
