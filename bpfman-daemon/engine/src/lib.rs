//! The engine, which owns the state: validates requests, executes their steps with undo, and records results.
//!
//! Every operation is synchronous: when it returns, it has happened and is on disk, or it has been undone.
//!
//! - An operation collects its new kernel objects below `pending/<operation>` in the daemon's bpffs, writes **one**
//!   durable record, and renames the objects into place. After a crash, [`Engine::recover`] moves objects in `pending`
//!   into place if the record exists, and removes them otherwise.
//! - An operation collects its changes of records in `state::Changes`; only `Engine::commit` writes and applies them.
//!   Until then, `engine::undo::undoing` reverts the operation if a step fails.
//! - Changes of a hook reach the kernel before the record. After a crash between the two, recovery compares the hook
//!   with the record and restores the recorded chain.
//!
//! Folders are layers, each of which uses only those before it: `error`; `state` (records and their indexes in memory);
//! `engine` (the type itself, locks, undo, commit); `standing` (status of attached objects), `order`, `trace`,
//! `libxdp`, `strays`; `chain`; `describe`; `guard`; `load`, `attach`; `replace`, `adopt`, `follow`, `dry_run`;
//! `recover`.

mod adopt;
mod attach;
mod break_glass;
mod budget;
mod chain;
mod describe;
mod dry_run;
mod engine;
mod error;
mod follow;
mod guard;
mod libxdp;
mod load;
mod order;
mod recover;
mod replace;
mod standing;
mod state;
mod strays;
mod trace;

use state::paths;

pub use adopt::{AdoptRequest, AdoptWhat};
pub use attach::SlotConcern;
pub use attach::update::{Outcome, UpdateLinkRequest};
pub use break_glass::{DetachRank, OrderedAttachment, OrderedAttachments, find_attached};
pub use budget::{
    CpuOutcome, CpuReadings, CpuUse, Ending, Expired, OverLimit, TrapLimit, excesses, trap_excesses,
};
pub use chain::{
    ChainCounters, DEFAULT_FREEZE_SECONDS, HookChange, HookSwitches, LinkCounters, MAX_FREEZE_SECONDS,
    MemberTime, SwitchCaller, SwitchRight,
};
pub use describe::details::{
    HookEntryDetails, LinkDetails, ManagedProgram, MapDetails, MatchingDetails, PreviousVersion,
    ProgramDetails,
};
pub use describe::details_chains::{ChainDetails, ChainMember};
pub use describe::entry_counts::{EntryCount, has_countable_entries};
pub use describe::figures::{
    ChainFigures, Figures, MapFigures, MemberFigures, ProgramFigures, ProgramPlaces,
};
pub use describe::figures_cache::FiguresCache;
pub use describe::group_programs::{GroupProgram, GroupPrograms};
pub use describe::list_hooks::HookSummary;
pub use describe::open_maps::{UsedMap, WantedMap};
pub use describe::own_objects::{OwnObjects, OwnPlace};
pub use describe::owners::OwnedCounts;
pub use describe::record_counts::RecordCounts;
pub use describe::replaced::ProgramToReplace;
pub use describe::shown_maps::{ShownMap, ShownMaps};
pub use describe::summary::RecordSummary;
pub use describe::verify::{ChainVerification, VerifiedPart};
pub use describe::writable_maps::{MapRecipients, recipients_for_writing};
pub use dry_run::{DryRunAttachment, DryRunOutcome, DryRunPart, DryRunRequest};
pub use engine::bytecode::{FetchedImage, ImageAsk, Images, NoImages, Revocation};
pub use engine::callers_network::CallersNetwork;
pub use engine::change_count::ChangeListener;
pub use engine::client_measurements::Measurement;
pub use engine::freeze_exemption::FreezeExemption;
pub use engine::held_network::HookChanges;
pub use engine::kernel_types::KernelTypes;
pub use engine::objects::{EbpfObject, LinkAhead, LinkPrograms, ReadHere, ReadObjects};
pub use engine::recorded_counts::{RecordedCounts, ReservedObjects};
pub use engine::steps::{NoObserver, StepObserver};
pub use engine::swap_counts::ChainSwaps;
pub use engine::{
    CountersMode, DEFAULT_MAP_BYTES, DEFAULT_OWNERS_MAP_BYTES, Engine, EngineOptions, LeasesTaken,
    MAX_LEASES, MAX_LEASES_OF_ONE, OwnerBudget, RecoveryReport, WorkCounters, XdpModes,
};
pub use error::{
    AdoptRefusal, Attached, Dispatcher, DispatcherProgram, EngineError, ExtensionRefusal, GuardRefusal,
    HookConflict, ImageFailure, Interference, PausedFor, Remainder, UndoFailure, VerifiedLimit,
};
pub use follow::FollowReport;
pub use load::LoadOutcome;
pub use order::move_link::OrderReport;

pub use replace::{
    AllowedPlaces, MapFate, MapOutcome, MapPolicy, ReplaceLoadRequest, ReplaceOutcome, ReplaceRequest,
};
pub use standing::drift::{CheckReport, DriftedPlace};
pub use standing::reconcile::HookCheck;
pub use state::budget_record::ProgramBudget;
pub use state::chain_record::{ChainId, Savings, SegmentRecord};
pub use state::cpu_time::is_tenants_probe;
pub use state::guard_record::{FoundBy, LinkGuard, ProgramGuard};
pub use state::records::{LinkRecord, MatchingRecord, ProgramRecord, SourceRecord};
pub use state::{
    BadClaim, GonePlace, HookConcern, HookPart, Loss, MIGRATIONS, OWNER_KEY, PROGRAM_NAME_KEY,
    PROGRAM_NAMESPACE_KEY, SCHEMA, Standing, Stray, StrayKind, XdpPlacement, application_claim,
    recorded_application,
};
pub use trace::{ChainTrace, PacketTrace, TraceLimits, TracePacket, TraceStep};
