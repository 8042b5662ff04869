//! The one owner of state: validates a request, plans its steps, executes them with undo, and records the outcome.
//!
//! Every operation is synchronous: when it returns, it has happened and is on disk, or it has been undone.
//!
//! - An operation collects its new kernel objects below `pending/<operation>` in the daemon's bpffs, writes **one**
//!   durable record, and renames them into place. What a crash leaves in `pending` is moved into place if the record
//!   is there, and removed if it is not ([`Engine::recover`]).
//! - Changes of a hook reach the kernel before the record. After a crash between the two, recovery compares the hook
//!   with the record and puts the recorded chain back.

mod adopt;
mod adopt_access;
mod adopt_settle;
mod attach;
mod blobs;
mod bytecode;
mod chain;
mod change_count;
mod conflict;
mod containers;
mod describe;
mod describe_chains;
mod describe_links;
mod detach;
mod details;
mod details_chains;
mod doubts;
mod dry_run;
mod engine;
mod error;
mod foreign;
mod held_network;
mod hooks;
mod interface_back;
mod interface_gone;
mod interface_moved;
mod interface_names;
mod interfaces;
mod judge;
mod kernel_types;
mod leftovers;
mod libxdp;
mod list_hooks;
mod load;
mod load_maps;
mod load_plan;
mod locks;
mod map_group;
mod map_memory;
mod matching;
mod matching_follow;
mod members;
mod named_maps;
mod namespaces;
mod network;
mod open_programs;
mod order;
mod order_move;
mod order_tcx;
mod paths;
mod pin_again;
mod records;
mod recover;
mod recover_chains;
mod recover_hooks;
mod recover_links;
mod recover_moves;
mod recover_pending;
mod recover_programs;
mod replace;
mod replace_load;
mod replace_load_maps;
mod replace_load_pairs;
mod replace_load_record;
mod replace_maps;
mod replace_switch;
mod run_sample;
mod standing;
mod state;
mod steps;
mod strays;
mod trace;
mod trace_changes;
mod type_support;
mod undo;
mod unfinished;
mod unload;
mod update;

pub use adopt::{AdoptRequest, AdoptWhat};
pub use bytecode::{
    FetchedImage, ImageAsk, ImageFailure, ImageFailureKind, Images, NoImages, PastBytecode, PastSource,
    Revocation,
};
pub use chain::record::{CarriedBy, ChainId};
pub use chain::{
    ChainCounters, ChainVerification, CountersMode, HookChange, HookSwitches, LinkCounters, MemberTime,
    OwnerBudget, VerifiedPart,
};
pub use change_count::ChangeListener;
pub use conflict::{Attached, Dispatcher, DispatcherProgram, HookConflict};
pub use details::{
    ChainDetails, ChainMemberDetails, HookEntryDetails, LinkDetails, ManagedProgram, MapDetails,
    MatchingDetails, PreviousVersion, ProgramDetails, ProgramSource,
};
pub use details_chains::{ChainView, MemberView, SegmentView};
pub use dry_run::{DryRunAttachment, DryRunOutcome, DryRunPart, DryRunRequest};
pub use engine::{Engine, EngineOptions, XdpModes};
pub use error::{EngineError, ErrorKind};
pub use held_network::HookChanges;
pub use interfaces::FollowReport;
pub use list_hooks::HookSummary;
pub use load::LoadOutcome;
pub use map_memory::DEFAULT_MAP_BYTES;
pub use named_maps::{NamedMap, NamedMapsError, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY};
pub use network::{NetworkFollower, NetworkState};
pub use order_move::OrderReport;
pub use records::SCHEMA;
pub use recover::RecoveryReport;
pub use replace::{MapFate, MapOutcome, MapPolicy, ReplaceOutcome, ReplaceRequest};
pub use replace_load::{ReplaceLoadOutcome, ReplaceLoadRequest};
pub use run_sample::RunSample;
pub use standing::drift::CheckReport;
pub use standing::{HookCheck, Loss, Part, Standing};
pub use steps::{NoObserver, StepObserver};
pub use strays::{Stray, StrayKind};
pub use trace::{ChainTrace, PacketTrace, TracePacket, TraceStep};
pub use type_support::Support;
pub use update::{Outcome, UpdateLinkRequest};
