//! The real kernel.

mod access;
mod addresses;
mod attr;
mod clsact;
mod containers;
mod copy_map;
mod elf_symbols;
mod extension;
mod facts;
mod features;
mod filters;
mod grace;
mod holders;
mod hook_contents;
mod interfaces;
mod libraries;
mod links;
mod load;
mod map_access;
mod mapped;
mod mount_table;
mod mounts;
mod netlink;
mod netns;
mod network_watch;
mod perf;
mod pins;
mod processes;
mod runs;
mod slots;
mod symbols;
mod sys;
mod tcx;
mod test_run;
mod types;
mod watch;
mod xdp;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bpfmand_core::{
    AddressedInterface, ContainerFacts, Held, Holder, HookContents, HookKey, HookKind, Interface,
    InterfaceFacts, KernelLinkId, LinkFacts, MapFacts, MapId, MapSpec, Peer, ProgramFacts, ProgramId,
    RunCounts, WantedContainers, XdpRunsIn,
};

use self::attr::Command;
use self::map_access::DataMap;
use self::pins::Pins;
use crate::{
    Features, FilterPlace, FolderLock, InterfaceWatch, Kernel, KernelError, LinkTarget, Loaded, MapEntry,
    NetworkWatch, ProgramLoad, RunClock, TestRun, TestRunResult,
};

pub use self::features::release;
pub use self::mounts::LinuxMounts;
pub use self::sys::{peer_groups, trim_heap};
pub use self::test_run::test_run;

/// The kernel of this machine, with its pins below one folder.
#[derive(Debug)]
pub struct LinuxKernel {
    pins: Pins,
    features: Features,
}

impl LinuxKernel {
    /// Uses the bpffs at `root`, mounting one there if there is none, and looks at what the kernel can do.
    ///
    /// # Errors
    /// No bpffs can be mounted: no CAP_SYS_ADMIN, or the folder cannot be made.
    pub fn new(root: &Path) -> Result<Self, KernelError> {
        features::raise_memlock();
        Ok(Self { pins: Pins::open(root)?, features: features::probe() })
    }

    /// Makes this process the only one that changes the bpffs, for as long as the answer is kept. Waits some seconds for a
    /// daemon that is about to end.
    ///
    /// # Errors
    /// [`KernelError::HeldByOther`]: another daemon uses it.
    pub fn hold_pins_alone(&self) -> Result<FolderLock, KernelError> {
        self.pins.hold_alone()
    }
}

fn missing(action: &'static str, subject: String) -> KernelError {
    KernelError::call(action, subject, io::Error::from_raw_os_error(libc::ENOENT))
}

impl Kernel for LinuxKernel {
    type Handle = OwnedFd;

    fn features(&self) -> &Features {
        &self.features
    }

    fn boot(&self) -> Result<String, KernelError> {
        const PATH: &str = "/proc/sys/kernel/random/boot_id";
        let text = std::fs::read_to_string(PATH).map_err(|source| KernelError::call("read", PATH, source))?;
        Ok(text.trim().to_owned())
    }

    fn btf(&self) -> Result<Vec<u8>, KernelError> {
        const PATH: &str = "/sys/kernel/btf/vmlinux";
        std::fs::read(PATH).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => KernelError::Unsupported {
                feature: "type information of itself (BTF): there is no /sys/kernel/btf/vmlinux",
                release: features::release(),
                needs: "fentry, fexit and LSM programs and CO-RE relocations need it; Linux 5.4 or later has it if it \
                        is built with CONFIG_DEBUG_INFO_BTF",
            },
            _ => KernelError::call("read", PATH, source),
        })
    }

    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        types::modules().map_err(|source| KernelError::call("read", types::FOLDER, source))
    }

    fn program_ids(&self) -> Result<Vec<ProgramId>, KernelError> {
        facts::program_ids().map_err(|source| KernelError::call("list", "programs", source))
    }

    fn program(&self, id: ProgramId) -> Result<Option<ProgramFacts>, KernelError> {
        self.open_program(id)?.map(|fd| self.program_of(&fd)).transpose()
    }

    fn map(&self, id: MapId) -> Result<Option<MapFacts>, KernelError> {
        facts::open(Command::MapGetFdById, id.0)
            .and_then(|fd| fd.map(|fd| facts::map(&fd)).transpose())
            .map_err(|source| KernelError::call("describe", format!("map {id}"), source))
    }

    fn program_of(&self, handle: &OwnedFd) -> Result<ProgramFacts, KernelError> {
        facts::program(handle).map_err(|source| KernelError::call("describe", "a program", source))
    }

    fn map_of(&self, handle: &OwnedFd) -> Result<MapFacts, KernelError> {
        facts::map(handle).map_err(|source| KernelError::call("describe", "a map", source))
    }

    fn link_of(&self, handle: &OwnedFd) -> Result<LinkFacts, KernelError> {
        facts::link(handle).map_err(|source| KernelError::call("describe", "a link", source))
    }

    fn open_map(&self, id: MapId) -> Result<OwnedFd, KernelError> {
        facts::open(Command::MapGetFdById, id.0)
            .map_err(|source| KernelError::call("open", format!("map {id}"), source))?
            .ok_or_else(|| missing("open", format!("map {id}")))
    }

    fn open_program(&self, id: ProgramId) -> Result<Option<OwnedFd>, KernelError> {
        facts::open(Command::ProgGetFdById, id.0)
            .map_err(|source| KernelError::call("open", format!("program {id}"), source))
    }

    fn load_btf(&self, btf: &[u8]) -> Result<OwnedFd, KernelError> {
        types::load(btf)
    }

    fn create_map(&self, spec: &MapSpec, btf: Option<&OwnedFd>) -> Result<OwnedFd, KernelError> {
        load::map(spec, btf)
    }

    fn fill_slot(&self, map: &OwnedFd, slot: u32, value: &OwnedFd) -> Result<(), KernelError> {
        slots::fill(map, slot, value)
    }

    fn clear_slot(&self, map: &OwnedFd, slot: u32) -> Result<(), KernelError> {
        slots::clear(map, slot)
    }

    fn read_per_cpu(&self, map: &OwnedFd, key: u32) -> Result<Vec<Vec<u8>>, KernelError> {
        map_access::read_per_cpu(map, key)
    }

    fn write_per_cpu(&self, map: &OwnedFd, key: u32, value: &[u8]) -> Result<(), KernelError> {
        map_access::write_per_cpu(map, key, value)
    }

    fn map_entries(&self, map: &OwnedFd, most: usize) -> Result<Vec<MapEntry>, KernelError> {
        copy_map::entries(map, most)
    }

    fn write_entry(&self, map: &OwnedFd, entry: &MapEntry) -> Result<(), KernelError> {
        DataMap::open("write to", map)?.write(entry)
    }

    fn remove_entry(&self, map: &OwnedFd, key: &[u8]) -> Result<bool, KernelError> {
        DataMap::open("remove an entry of", map)?.remove(key)
    }

    fn copy_map(&self, from: &OwnedFd, to: &OwnedFd) -> Result<usize, KernelError> {
        copy_map::copy(from, to)
    }

    fn wait_for_readers(&self) -> Result<(), KernelError> {
        grace::wait()
    }

    fn test_run(&self, program: &OwnedFd, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
        test_run::run(program, run)
    }

    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError> {
        let clock = runs::count();
        clock.map(|clock| Box::new(clock) as Box<dyn RunClock>).map_err(|source| {
            let subject = "the runs of programs (Linux 5.8 and later can)";
            KernelError::call("count", subject, source)
        })
    }

    fn run_counts(&self, program: &OwnedFd) -> Result<RunCounts, KernelError> {
        runs::of(program).map_err(|source| KernelError::call("read", "the runs of a program", source))
    }

    fn program_btf(&self, program: &OwnedFd) -> Result<Option<Vec<u8>>, KernelError> {
        types::of_program(program)
            .map_err(|source| KernelError::call("read", "the types of a program", source))
    }

    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<OwnedFd>, KernelError> {
        load::program(load)
    }

    fn make_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.pins.make_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.pins.remove_folder(path)
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError> {
        self.pins.list(path)
    }

    fn pin(&self, handle: &OwnedFd, path: &Path) -> Result<(), KernelError> {
        self.pins.pin(handle, path)
    }

    fn open_pin(&self, path: &Path) -> Result<Option<OwnedFd>, KernelError> {
        self.pins.get(path)
    }

    fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        self.pins.unpin(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        self.pins.rename(from, to)
    }

    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
        netns::find_hook(interface, kind)
    }

    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError> {
        hook_contents::read(netns, key)
    }

    fn containers(&self, wanted: &WantedContainers) -> Result<Vec<ContainerFacts>, KernelError> {
        containers::find(wanted).map_err(|source| KernelError::call("read", "/proc", source))
    }

    fn first_hidden(&self, peer: &Peer, paths: &[PathBuf], read: bool) -> Result<Option<usize>, KernelError> {
        access::first_hidden(peer, paths, read)
    }

    fn is_contained(&self, pid: u32) -> bool {
        access::is_contained(pid)
    }

    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError> {
        holders::find(of).map_err(|source| KernelError::call("read", "/proc", source))
    }

    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError> {
        facts::link_ids().map_err(|source| KernelError::call("list", "links", source))
    }

    fn open_link(&self, id: KernelLinkId) -> Result<Option<OwnedFd>, KernelError> {
        facts::open(Command::LinkGetFdById, id.0)
            .map_err(|source| KernelError::call("open", format!("link {id}"), source))
    }

    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError> {
        interfaces::list(netns)
    }

    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError> {
        watch::open(netns)
    }

    fn named_namespaces(&self) -> Vec<PathBuf> {
        network_watch::named()
    }

    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError> {
        addresses::list(netns)
    }

    fn watch_network(&self) -> Box<dyn NetworkWatch> {
        Box::<network_watch::Watch>::default()
    }

    fn attach(&self, program: &OwnedFd, target: &LinkTarget<'_>) -> Result<OwnedFd, KernelError> {
        links::attach(program, target)
    }

    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError> {
        links::find_target(target)
    }

    fn replace(&self, link: &OwnedFd, program: &OwnedFd, expected: &OwnedFd) -> Result<(), KernelError> {
        links::replace(link, program, expected)
    }

    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&OwnedFd>,
        expected: Option<&OwnedFd>,
    ) -> Result<(), KernelError> {
        xdp::replace_unlinked(netns, key, mode, program, expected)
    }

    fn is_link_at(&self, netns: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
        hook_contents::has_link(netns, key, link)
    }

    fn check_pins(&self) -> Result<(), KernelError> {
        self.pins.check_mounted()
    }

    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError> {
        self.pins.lock(path)
    }

    fn end_link(&self, path: &Path) -> Result<(), KernelError> {
        links::end(&self.pins, path)
    }

    fn add_filter(&self, at: &FilterPlace<'_>, program: &OwnedFd, name: &str) -> Result<(), KernelError> {
        netns::enter(at.netns, || clsact::add(at, program, name))
    }

    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &OwnedFd,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError> {
        netns::enter(at.netns, || clsact::replace(at, program, expected, name))
    }

    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError> {
        netns::enter(at.netns, || clsact::remove(at, expected))
    }

    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
        netns::enter(at.netns, || clsact::program(at))
    }
}
