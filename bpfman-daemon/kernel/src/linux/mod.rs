//! The real kernel.

mod access;
mod addresses;
mod arena;
mod attr;
pub mod brokered;
mod build_config;
mod callers;
mod cgroup;
mod cgroup_namespace;
mod clsact;
mod containers;
mod copy_map;
mod cpus;
mod create_map;
mod debug_files;
mod definitions;
mod elf_binary;
mod elf_notes;
mod elf_places;
mod elf_symbols;
mod executables;
mod extension;
mod facts;
mod feature_checks;
mod features;
mod filters;
mod fork;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grace;
mod held_namespaces;
mod held_processes;
mod hierarchies;
mod holders;
mod hook_contents;
mod implementation;
mod interfaces;
mod inventory;
mod iterator;
mod jump_tables;
mod kallsyms;
mod libraries;
mod links;
mod load;
mod load_rights;
mod map_access;
mod map_pages;
mod map_refusal;
mod mapped;
mod modules;
mod mount_table;
mod mounts;
mod multi_probes;
mod namespaces;
mod netkit;
mod netlink;
mod netns;
mod netns_links;
mod netns_numbers;
mod network_watch;
mod perf;
mod perf_events;
mod pins;
mod pod_namespaces;
mod prints;
mod probe_place;
mod process_facts;
mod process_groups;
mod processes;
mod ring;
mod runs;
mod runtimes;
mod sealed;
mod settings;
mod slots;
mod sockmap;
mod struct_ops;
mod symbols;
mod sys;
mod syscalls;
mod target_root;
mod tasks;
mod tcx;
mod test_run;
mod types;
mod unwind_table;
mod usdt;
mod verifier_log;
mod watch;
mod xdp;

use std::path::Path;

use self::namespaces::NamespaceFinder;
use self::pins::Bpffs;
use crate::{Features, FolderLock, KernelError, Mount, Mounts as _, Probe};

pub use self::callers::{CallerProcess, caller_process};
pub use self::cgroup_namespace::enter_cgroup_namespace_of_node;
pub use self::executables::{ExecutableId, executable};
pub use self::extension::may_load;
pub use self::features::{raise_memlock, release};
pub use self::fork::{ForkedProcess, fork_alone};
pub use self::mounts::LinuxMounts;
pub use self::pod_namespaces::{DEFAULT_POD_LOGS, PodEnvironment, PodNamespaces};
pub use self::process_facts::{ProcessFacts, ProcessStart, process_facts};
pub use self::process_groups::ProcessGroups;
pub use self::ring::RingFeed;
pub use self::sealed::{SealedMapping, seal};
pub use self::sys::{close_on_execute, trim_heap, unread_by_peer};
pub use self::tasks::of_group as tasks_of_group;
pub use self::test_run::test_run;
pub use bpfmand_notify::peer_groups;

/// Kernel of this machine, with pins below one folder.
#[derive(Debug)]
pub struct LinuxKernel {
    pins: Bpffs,
    features: Features,
    namespaces: NamespaceFinder,
}

/// Mounts a bpffs at `root` if there is none; it stays when this process ends. Needs CAP_SYS_ADMIN.
pub fn mount_pins(root: &Path) -> Result<(), KernelError> {
    Bpffs::open(root).map(drop)
}

impl LinuxKernel {
    /// Opens or mounts the bpffs at `root` (CAP_SYS_ADMIN), and detects features. Later, only [`LinuxMounts`] mounts.
    pub fn new(root: &Path) -> Result<Self, KernelError> {
        features::raise_memlock();
        let pins = Bpffs::open(root)?;
        perf::mount_tracefs();
        prints::remove_left_behind();
        let features = features::probe();
        let namespaces = NamespaceFinder::new(features.netns_cookies);
        Ok(Self { pins, features, namespaces })
    }

    /// Checks that a bpffs mounted by this process, and so its pins, outlive the process: [`KernelError::PrivatePins`].
    pub fn check_pins_outlive_process(&self) -> Result<(), KernelError> {
        // Without CAP_SYS_PTRACE, the first process's mount table is unknown: refuse nothing on a guess.
        let Ok(first) = LinuxMounts.table_of_the_first_process() else { return Ok(()) };
        let is_first = std::process::id() == 1;
        if !self.pins.is_new || Mount::outlives(&LinuxMounts.table()?, self.pins.root(), &first, is_first) {
            return Ok(());
        }
        Err(KernelError::PrivatePins { root: self.pins.root().display().to_string() })
    }

    /// Unmounts the bpffs if this process mounted it.
    pub fn unmount_pins(&self) -> Result<(), KernelError> {
        if self.pins.is_new { LinuxMounts.unmount(self.pins.root()) } else { Ok(()) }
    }

    /// Disables a feature.
    pub fn switch_off(&mut self, probe: &Probe) {
        self.features.switch_off(probe);
        self.namespaces.has_cookies = self.features.netns_cookies;
    }

    /// Locks the bpffs while the result is held. [`KernelError::HeldByOther`]: the lock is not free after some seconds.
    pub fn hold_pins_alone(&self) -> Result<FolderLock, KernelError> {
        self.pins.hold_alone()
    }
}
