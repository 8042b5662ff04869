//! Kernel interface: [`linux::LinuxKernel`] is the real kernel, [`sim::SimKernel`] a simulated one with the same rules,
//! for tests and fleet simulation.
//!
//! Only this crate and `bpfmand-notify` have `unsafe` code.

mod attach;
mod error;
mod features;
mod found_namespace;
mod inventory;
mod kernel;
#[cfg(feature = "linux")]
pub mod linux;
mod map_access;
mod mounts;
mod needs;
mod network_watch;
mod object_holders;
mod print_feed;
mod probe_target;
mod probes;
mod program;
mod run_clock;
mod search_once;
pub mod sim;
mod syscall_names;
mod test_run;
mod usdt_spec;
mod watch;

pub use attach::{
    Extends, FilterPlace, FolderLock, FoundFile, LinkTarget, ListAnchor, NewLink, PinIdentity, TcFilter,
    XdpMode,
};
pub use error::{KernelError, RefusalReason};
pub use features::Features;
pub use found_namespace::FoundNamespace;
pub use inventory::{HelperTypes, Inventory, TriedType};
pub use kernel::{Kernel, KernelFacts, KernelHooks, KernelNetwork, KernelObjects, KernelPins};
pub use map_access::{EntryRule, MapEntry, MapPage, MapPlace};
pub use mounts::{Mount, Mounts};
pub use network_watch::NetworkWatch;
pub use object_holders::ObjectHolders;
pub use print_feed::PrintFeed;
pub use probe_target::ProbeTargetError;
pub use probes::{PROBES, Probe, ProbedBy, UnknownProbe};
pub use program::{Device, EXTENSION, Loaded, LogRequest, ProgramKind, ProgramLoad, StructOpsSpec};
pub use run_clock::RunClock;
pub use search_once::SearchOnce;
pub use syscall_names::SYSCALL_WRAPPERS;
pub use test_run::{TestContext, TestRun, TestRunResult};
pub use usdt_spec::BadUsdtArgument;
pub use watch::InterfaceWatch;

/// Traits with the methods of a kernel of known type.
pub mod prelude {
    pub use crate::{
        KernelFacts as _, KernelHooks as _, KernelNetwork as _, KernelObjects as _, KernelPins as _,
    };
}
