//! The real kernel.

mod attr;
mod clsact;
mod facts;
mod features;
mod links;
mod load;
mod netns;
mod perf;
mod pins;
mod symbols;
mod sys;
mod test_run;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use bpfmand_core::{
    HookKey, HookKind, Interface, LinkFacts, MapFacts, MapId, MapSpec, ProgramFacts, ProgramId,
};

use self::attr::Command;
use self::pins::Pins;
use crate::{Features, FilterPlace, Kernel, KernelError, LinkTarget, Loaded, ProgramLoad};

pub use self::features::release;
pub use self::sys::trim_heap;
pub use self::test_run::{TestRun, test_run};

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
        std::fs::read(PATH).map_err(|source| KernelError::call("read", PATH, source))
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
        load::btf(btf)
    }

    fn create_map(&self, spec: &MapSpec, btf: Option<&OwnedFd>) -> Result<OwnedFd, KernelError> {
        load::map(spec, btf)
    }

    fn fill_slot(&self, map: &OwnedFd, slot: u32, value: &OwnedFd) -> Result<(), KernelError> {
        load::slot(map, slot, value)
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

    fn attach(&self, program: &OwnedFd, target: &LinkTarget<'_>) -> Result<OwnedFd, KernelError> {
        links::attach(program, target)
    }

    fn replace(&self, link: &OwnedFd, program: &OwnedFd, expected: &OwnedFd) -> Result<(), KernelError> {
        links::replace(link, program, expected)
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
