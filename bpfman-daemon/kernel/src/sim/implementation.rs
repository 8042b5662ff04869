//! The simulated kernel behind the trait.

use std::path::{Path, PathBuf};

use bpfmand_core::{
    AddressedInterface, ContainerFacts, Held, Holder, HookContents, HookKey, HookKind, Interface,
    InterfaceFacts, KernelLinkId, LinkFacts, MapFacts, MapId, MapSpec, Peer, ProgramFacts, ProgramId,
    RunCounts, WantedContainers, XdpRunsIn,
};

use super::errno::{self, EINVAL, ENOENT, EOPNOTSUPP, EPERM};
use super::network_watch::Networks;
use super::objects::{Body, LINK, MAP, PROGRAM};
use super::watch::Watch;
use super::{Counted, SimHandle, SimKernel, refuse};
use crate::{
    EXTENSION, Features, FilterPlace, FolderLock, InterfaceWatch, Kernel, KernelError, LinkTarget, Loaded,
    LogRequest, MapEntry, NetworkWatch, ProgramLoad, RunClock, TestRun, TestRunResult,
};

impl SimKernel {
    fn pin_error(action: &'static str, path: &Path) -> impl Fn(i32) -> KernelError {
        move |number| refuse(action, path.display().to_string(), number)
    }
}

impl Kernel for SimKernel {
    type Handle = SimHandle;

    fn features(&self) -> &Features {
        &self.features
    }

    fn boot(&self) -> Result<String, KernelError> {
        Ok(format!("boot-{}", self.enter("boot")?.objects.generation))
    }

    fn btf(&self) -> Result<Vec<u8>, KernelError> {
        let _world = self.enter("btf")?;
        self.btf.clone().ok_or_else(|| refuse("read", "the kernel's BTF", ENOENT))
    }

    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        Ok(Vec::new())
    }

    fn program_ids(&self) -> Result<Vec<ProgramId>, KernelError> {
        Ok(self.enter("program_ids")?.objects.ids(PROGRAM).map(ProgramId).collect())
    }

    fn program(&self, id: ProgramId) -> Result<Option<ProgramFacts>, KernelError> {
        let world = self.enter("program")?;
        world.objects.find(PROGRAM, id.0).map(|key| world.program_facts(key)).transpose()
    }

    fn map(&self, id: MapId) -> Result<Option<MapFacts>, KernelError> {
        let world = self.enter("map")?;
        world.objects.find(MAP, id.0).map(|key| world.map_facts(key)).transpose()
    }

    fn program_of(&self, handle: &SimHandle) -> Result<ProgramFacts, KernelError> {
        self.enter("program_of")?.program_facts(handle.key)
    }

    fn map_of(&self, handle: &SimHandle) -> Result<MapFacts, KernelError> {
        self.enter("map_of")?.map_facts(handle.key)
    }

    fn link_of(&self, handle: &SimHandle) -> Result<LinkFacts, KernelError> {
        self.enter("link_of")?.link_facts(handle.key)
    }

    fn open_map(&self, id: MapId) -> Result<SimHandle, KernelError> {
        let mut world = self.enter("open_map")?;
        let key = world.objects.find(MAP, id.0).ok_or_else(|| refuse("open", format!("map {id}"), ENOENT))?;
        Ok(self.handle(&mut world, key))
    }

    fn open_program(&self, id: ProgramId) -> Result<Option<SimHandle>, KernelError> {
        let mut world = self.enter("open_program")?;
        Ok(world.objects.find(PROGRAM, id.0).map(|key| self.handle(&mut world, key)))
    }

    fn load_btf(&self, btf: &[u8]) -> Result<SimHandle, KernelError> {
        let mut world = self.enter("load_btf")?;
        // The magic number of BTF in this machine's byte order, and a header behind it.
        if btf.len() < 24 || btf[..2] != 0xeb9f_u16.to_ne_bytes() {
            return Err(refuse("load", format!("BTF of {} bytes", btf.len()), EINVAL));
        }
        let key = world.objects.add(Body::Btf);
        Ok(self.handle(&mut world, key))
    }

    fn create_map(&self, spec: &MapSpec, _: Option<&SimHandle>) -> Result<SimHandle, KernelError> {
        let mut world = self.enter("create_map")?;
        let key = world.create_map(spec)?;
        Ok(self.handle(&mut world, key))
    }

    fn fill_slot(&self, map: &SimHandle, slot: u32, value: &SimHandle) -> Result<(), KernelError> {
        self.enter("fill_slot")?.fill_slot(map.key, slot, value.key)
    }

    fn clear_slot(&self, map: &SimHandle, slot: u32) -> Result<(), KernelError> {
        self.enter("clear_slot")?.clear_slot(map.key, slot)
    }

    fn read_per_cpu(&self, map: &SimHandle, key: u32) -> Result<Vec<Vec<u8>>, KernelError> {
        self.enter("read_per_cpu")?.read_per_cpu(map.key, key)
    }

    fn write_per_cpu(&self, map: &SimHandle, key: u32, value: &[u8]) -> Result<(), KernelError> {
        self.enter("write_per_cpu")?.write_per_cpu(map.key, key, value)
    }

    fn map_entries(&self, map: &SimHandle, most: usize) -> Result<Vec<MapEntry>, KernelError> {
        self.enter("map_entries")?.map_entries(map.key, most)
    }

    fn write_entry(&self, map: &SimHandle, entry: &MapEntry) -> Result<(), KernelError> {
        self.enter("write_entry")?.write_entry(map.key, entry)
    }

    fn remove_entry(&self, map: &SimHandle, key: &[u8]) -> Result<bool, KernelError> {
        self.enter("remove_entry")?.remove_entry(map.key, key)
    }

    fn copy_map(&self, from: &SimHandle, to: &SimHandle) -> Result<usize, KernelError> {
        self.enter("copy_map")?.copy_map(from.key, to.key)
    }

    fn wait_for_readers(&self) -> Result<(), KernelError> {
        // No packets, no readers.
        self.enter("wait_for_readers").map(drop)
    }

    fn test_run(&self, program: &SimHandle, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
        let world = self.enter("test_run")?;
        let facts = world.program_facts(program.key)?;
        world.runs.get(&facts.name).cloned().ok_or_else(|| {
            let subject = format!(
                "program \"{}\" on a packet of {} bytes: a simulated kernel runs no packets",
                facts.name,
                run.packet.len()
            );
            refuse("test-run", subject, EOPNOTSUPP)
        })
    }

    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError> {
        self.enter("count_runs").map(|_| Box::new(()) as Box<dyn RunClock>)
    }

    fn run_counts(&self, program: &SimHandle) -> Result<RunCounts, KernelError> {
        let mut world = self.enter("run_counts")?;
        let name = world.program_facts(program.key)?.name;
        Ok(world.counted.get_mut(&name).map(Counted::look).unwrap_or_default())
    }

    fn program_btf(&self, program: &SimHandle) -> Result<Option<Vec<u8>>, KernelError> {
        let world = self.enter("program_btf")?;
        match &world.object(program.key)?.body {
            Body::Program { types, .. } => Ok(types.as_deref().map(<[u8]>::to_vec)),
            _ => Err(refuse("read", "the types of a program", EINVAL)),
        }
    }

    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<SimHandle>, KernelError> {
        let mut world = self.enter("load_program")?;
        if load.device.is_some() && !self.features.device_bound {
            return Err(KernelError::Unsupported {
                feature: "XDP programs for one interface",
                release: self.features.release.clone(),
                needs: "Linux 6.3 or later has them",
            });
        }
        if load.kind == EXTENSION && !self.features.freplace {
            return Err(KernelError::Refused {
                program: load.text.0.name.clone(),
                summary: String::new(),
                log: String::new(),
                source: errno::error(EPERM),
            });
        }
        let key = world.load_program(load)?;
        let log = match load.log {
            LogRequest::OnFailure | LogRequest::StackDepths => String::new(),
            LogRequest::Always => format!("processed {} insns\n", load.text.0.insns.len()),
        };
        // No verifier, no depths: the engine then takes what the text itself shows.
        Ok(Loaded { program: self.handle(&mut world, key), log, stack_depths: None })
    }

    fn make_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.enter("make_folder")?.pins.make_folder(path).map_err(Self::pin_error("create folder", path))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.enter("remove_folder")?.pins.remove_folder(path).map_err(Self::pin_error("remove folder", path))
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError> {
        self.enter("list_folder")?.pins.list(path).map_err(Self::pin_error("list", path))
    }

    fn pin(&self, handle: &SimHandle, path: &Path) -> Result<(), KernelError> {
        let mut world = self.enter("pin")?;
        world.object(handle.key)?;
        world.pins.pin(handle.key, path).map_err(Self::pin_error("pin", path))?;
        world.objects.hold(handle.key);
        Ok(())
    }

    fn open_pin(&self, path: &Path) -> Result<Option<SimHandle>, KernelError> {
        let mut world = self.enter("open_pin")?;
        let found = world.pins.get(path).map_err(Self::pin_error("open pin", path))?;
        Ok(found.map(|key| self.handle(&mut world, key)))
    }

    fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        let mut world = self.enter("unpin")?;
        if let Some(key) = world.pins.unpin(path).map_err(Self::pin_error("remove pin", path))? {
            world.let_go(key);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        self.enter("rename")?.pins.rename(from, to).map_err(Self::pin_error("move pin to", to))
    }

    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
        self.enter("find_hook")?.network.find_hook(interface, kind)
    }

    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError> {
        self.enter("hook_contents")?.hook_contents(netns, key)
    }

    fn containers(&self, wanted: &WantedContainers) -> Result<Vec<ContainerFacts>, KernelError> {
        let world = self.enter("containers")?;
        let is_wanted = |found: &&ContainerFacts| !wanted.named_by(found.id.as_str()).is_empty();
        Ok(world.containers.iter().filter(is_wanted).cloned().collect())
    }

    fn first_hidden(&self, _: &Peer, _: &[PathBuf], _: bool) -> Result<Option<usize>, KernelError> {
        // There are no files to keep anyone from.
        Ok(None)
    }

    fn is_contained(&self, pid: u32) -> bool {
        self.enter("is contained")
            .is_ok_and(|world| world.containers.iter().any(|one| one.pids.contains(&pid)))
    }

    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError> {
        Ok(self.enter("holders")?.holders(of))
    }

    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError> {
        Ok(self.enter("link_ids")?.objects.ids(LINK).map(KernelLinkId).collect())
    }

    fn open_link(&self, id: KernelLinkId) -> Result<Option<SimHandle>, KernelError> {
        let mut world = self.enter("open_link")?;
        Ok(world.objects.find(LINK, id.0).map(|key| self.handle(&mut world, key)))
    }

    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError> {
        Ok(self.enter("interfaces")?.network.namespace(netns)?.list())
    }

    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError> {
        let world = self.enter("watch_interfaces")?;
        Ok(Box::new(Watch::open(&self.world, &self.changed, &world, netns)?))
    }

    fn named_namespaces(&self) -> Vec<PathBuf> {
        self.world().network.named()
    }

    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError> {
        Ok(self.enter("addressed_interfaces")?.network.namespace(netns)?.addressed())
    }

    fn watch_network(&self) -> Box<dyn NetworkWatch> {
        Box::new(Networks::new(&self.world, &self.changed))
    }

    fn attach(&self, program: &SimHandle, target: &LinkTarget<'_>) -> Result<SimHandle, KernelError> {
        let mut world = self.enter("attach")?;
        let key = world.attach(program.key, target, &self.features)?;
        Ok(self.handle(&mut world, key))
    }

    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError> {
        self.enter("find_target")?.find_target(target)
    }

    fn replace(
        &self,
        link: &SimHandle,
        program: &SimHandle,
        expected: &SimHandle,
    ) -> Result<(), KernelError> {
        self.enter("replace")?.replace(link.key, program.key, expected.key)
    }

    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&SimHandle>,
        expected: Option<&SimHandle>,
    ) -> Result<(), KernelError> {
        let key_of = |handle: &SimHandle| handle.key;
        self.enter("replace_unlinked_xdp")?.replace_unlinked_xdp(
            netns,
            key,
            mode,
            program.map(key_of),
            expected.map(key_of),
        )
    }

    fn check_pins(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError> {
        drop(self.enter("lock_folder")?);
        match self.list_folder(path)?.is_empty() && self.open_pin(path).is_ok() {
            // Neither a folder nor in one.
            true => Err(refuse("lock", path.display().to_string(), ENOENT)),
            false => Ok(FolderLock { _held: None }),
        }
    }

    fn end_link(&self, path: &Path) -> Result<(), KernelError> {
        self.enter("end_link")?.end_link(path)
    }

    fn add_filter(&self, at: &FilterPlace<'_>, program: &SimHandle, name: &str) -> Result<(), KernelError> {
        self.enter("add_filter")?.add_filter(at, program.key, name)
    }

    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &SimHandle,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError> {
        self.enter("replace_filter")?.replace_filter(at, program.key, expected, name)
    }

    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError> {
        self.enter("remove_filter")?.remove_filter(at, expected)
    }

    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
        self.enter("filter_program")?.filter_program(at)
    }
}
