use bpfman_model::{MapFacts, MapId, MapSpec, ProgramFacts, ProgramId};
use std::io;
use std::os::fd::OwnedFd;

use crate::linux::{
    LinuxKernel, attr::Command, copy_map, create_map, facts, grace, load, load_rights, map_access,
    map_access::DataMap, map_pages, slots, struct_ops, test_run, types,
};
use crate::map_access::is_one_constant;
use crate::{
    EntryRule, KernelError, KernelObjects, Loaded, MapEntry, MapPage, MapPlace, Probe, ProgramLoad,
    StructOpsSpec, TestRun, TestRunResult,
};

impl KernelObjects for LinuxKernel {
    type Handle = OwnedFd;

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

    fn open_map(&self, id: MapId) -> Result<OwnedFd, KernelError> {
        facts::open(Command::MapGetFdById, id.0)
            .map_err(|source| KernelError::call("open", format!("map {id}"), source))?
            .ok_or_else(|| {
                KernelError::call("open", format!("map {id}"), io::Error::from_raw_os_error(libc::ENOENT))
            })
    }

    fn open_map_to_read(&self, id: MapId) -> Result<OwnedFd, KernelError> {
        facts::open_map_to_read(id)
            .map_err(|source| KernelError::call("open for reading", format!("map {id}"), source))
    }

    fn descriptor_of(&self, handle: OwnedFd) -> Option<OwnedFd> {
        Some(handle)
    }

    fn open_program(&self, id: ProgramId) -> Result<Option<OwnedFd>, KernelError> {
        facts::open(Command::ProgGetFdById, id.0)
            .map_err(|source| KernelError::call("open", format!("program {id}"), source))
    }

    fn load_btf(&self, btf: &[u8]) -> Result<OwnedFd, KernelError> {
        types::load(btf)
    }

    fn create_map(&self, spec: &MapSpec, btf: Option<&OwnedFd>) -> Result<OwnedFd, KernelError> {
        create_map::create(spec, btf)
    }

    fn create_map_of_tenant(&self, spec: &MapSpec, btf: Option<&OwnedFd>) -> Result<OwnedFd, KernelError> {
        load_rights::without_perfmon(&format!("map {}", spec.name), || create_map::create(spec, btf))
    }

    fn program_in_slot(&self, map: &OwnedFd, slot: u32) -> Result<Option<ProgramId>, KernelError> {
        slots::program(map, slot)
    }

    fn bind_map(&self, program: &OwnedFd, map: &OwnedFd) -> Result<(), KernelError> {
        slots::bind(program, map)
    }

    fn fill_slot(&self, map: &OwnedFd, slot: u32, value: &OwnedFd) -> Result<(), KernelError> {
        slots::fill(map, slot, value)
    }

    fn create_struct_ops(&self, spec: &StructOpsSpec<'_>, btf: &OwnedFd) -> Result<OwnedFd, KernelError> {
        struct_ops::create(spec, btf, self.features.has(&Probe::STRUCT_OPS_LINKS))
    }

    fn fill_struct_ops(
        &self,
        map: &OwnedFd,
        value: &[u8],
        programs: &[(u32, &OwnedFd)],
    ) -> Result<(), KernelError> {
        // Without links, filling would register the struct_ops, and nothing would hold it.
        if !self.features.has(&Probe::STRUCT_OPS_LINKS) {
            return Ok(());
        }
        struct_ops::fill(map, value, programs)
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
        copy_map::entries(map, most, self.features.has(&Probe::MAP_BATCHES))
    }

    fn map_page(&self, map: &OwnedFd, from: &MapPlace) -> Result<MapPage, KernelError> {
        let map = DataMap::open_walk("read", map)?;
        map_pages::read(&map, from, self.features.has(&Probe::MAP_BATCHES)).map_err(map.fail("read"))
    }

    fn map_value(&self, map: &OwnedFd, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        DataMap::open_entry("read an entry of", map)?.value(key)
    }

    fn set_entry(&self, map: &OwnedFd, entry: &MapEntry, rule: EntryRule) -> Result<bool, KernelError> {
        DataMap::open_entry("write to", map)?.set(entry, rule)
    }

    fn frozen_value(&self, map: MapId) -> Result<Option<Vec<u8>>, KernelError> {
        let opened = facts::open(Command::MapGetFdById, map.0);
        let opened = opened.map_err(|source| KernelError::call("open", format!("map {map}"), source))?;
        let Some(opened) = opened else { return Ok(None) };
        let facts = self.map_of(&opened)?;
        if !is_one_constant(&facts) {
            return Ok(None);
        }
        Ok(self.map_entries(&opened, 1)?.pop().map(|entry| entry.value))
    }

    fn write_entry(&self, map: &OwnedFd, entry: &MapEntry) -> Result<(), KernelError> {
        DataMap::open("write to", map)?.write(entry)
    }

    fn remove_entry(&self, map: &OwnedFd, key: &[u8]) -> Result<bool, KernelError> {
        DataMap::open("remove an entry of", map)?.remove(key)
    }

    fn copy_map(&self, from: &OwnedFd, to: &OwnedFd) -> Result<usize, KernelError> {
        copy_map::copy(from, to, self.features.has(&Probe::MAP_BATCHES))
    }

    fn wait_for_readers(&self) -> Result<(), KernelError> {
        grace::wait()
    }

    fn test_run(&self, program: &OwnedFd, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
        test_run::run(&self.namespaces, program, run)
    }

    fn program_btf(&self, program: &OwnedFd) -> Result<Option<Vec<u8>>, KernelError> {
        types::of_program(program)
            .map_err(|source| KernelError::call("read", "the types of a program", source))
    }

    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<OwnedFd>, KernelError> {
        self.features.check_load(load)?;
        load::program(load)
    }
}
