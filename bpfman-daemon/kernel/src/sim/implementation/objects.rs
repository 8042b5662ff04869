use std::os::fd::OwnedFd;

use bpfman_model::{MapFacts, MapId, MapSpec, ProgramFacts, ProgramId};

use crate::sim::{
    SimHandle, SimKernel,
    errno::{self, EINVAL, ENOENT, EOPNOTSUPP, EPERM},
    objects::{Body, MAP, PROGRAM},
    refuse,
};
use crate::{
    EXTENSION, EntryRule, KernelError, KernelObjects, Loaded, LogRequest, MapEntry, MapPage, MapPlace, Probe,
    ProgramLoad, RefusalReason, StructOpsSpec, TestRun, TestRunResult,
};

impl KernelObjects for SimKernel {
    type Handle = SimHandle;

    fn program_ids(&self) -> Result<Vec<ProgramId>, KernelError> {
        Ok(self.enter("program_ids")?.objects.ids(PROGRAM).map(ProgramId).collect())
    }

    fn program(&self, id: ProgramId) -> Result<Option<ProgramFacts>, KernelError> {
        let state = self.enter("program")?;
        state.objects.find(PROGRAM, id.0).map(|key| state.program_facts(key)).transpose()
    }

    fn map(&self, id: MapId) -> Result<Option<MapFacts>, KernelError> {
        let state = self.enter("map")?;
        state.objects.find(MAP, id.0).map(|key| state.map_facts(key)).transpose()
    }

    fn program_of(&self, handle: &SimHandle) -> Result<ProgramFacts, KernelError> {
        self.enter("program_of")?.program_facts(handle.key)
    }

    fn map_of(&self, handle: &SimHandle) -> Result<MapFacts, KernelError> {
        self.enter("map_of")?.map_facts(handle.key)
    }

    fn open_map(&self, id: MapId) -> Result<SimHandle, KernelError> {
        let mut state = self.enter("open_map")?;
        let key = state.objects.find(MAP, id.0).ok_or_else(|| refuse("open", format!("map {id}"), ENOENT))?;
        Ok(self.handle(&mut state, key))
    }

    fn open_map_to_read(&self, id: MapId) -> Result<SimHandle, KernelError> {
        self.open_map(id)
    }

    fn descriptor_of(&self, _: SimHandle) -> Option<OwnedFd> {
        None
    }

    fn open_program(&self, id: ProgramId) -> Result<Option<SimHandle>, KernelError> {
        let mut state = self.enter("open_program")?;
        Ok(state.objects.find(PROGRAM, id.0).map(|key| self.handle(&mut state, key)))
    }

    fn load_btf(&self, btf: &[u8]) -> Result<SimHandle, KernelError> {
        let mut state = self.enter("load_btf")?;
        // The magic number in this machine's byte order, and the size of a header.
        if btf.len() < 24 || btf[..2] != 0xeb9f_u16.to_ne_bytes() {
            return Err(refuse("load", format!("BTF of {} bytes", btf.len()), EINVAL));
        }
        let key = state.objects.add(Body::Btf);
        Ok(self.handle(&mut state, key))
    }

    fn create_map(&self, spec: &MapSpec, _: Option<&SimHandle>) -> Result<SimHandle, KernelError> {
        let mut state = self.enter("create_map")?;
        let key = state.create_map(spec)?;
        Ok(self.handle(&mut state, key))
    }

    fn program_in_slot(&self, map: &SimHandle, slot: u32) -> Result<Option<ProgramId>, KernelError> {
        self.enter("program_in_slot")?.program_in_slot(map.key, slot)
    }

    fn bind_map(&self, program: &SimHandle, map: &SimHandle) -> Result<(), KernelError> {
        self.enter("bind_map")?.bind_map(program.key, map.key)
    }

    fn fill_slot(&self, map: &SimHandle, slot: u32, value: &SimHandle) -> Result<(), KernelError> {
        self.enter("fill_slot")?.fill_slot(map.key, slot, value.key)
    }

    fn create_struct_ops(&self, spec: &StructOpsSpec<'_>, btf: &SimHandle) -> Result<SimHandle, KernelError> {
        let mut state = self.enter("create_struct_ops")?;
        let key = state.create_struct_ops(spec, btf.key)?;
        Ok(self.handle(&mut state, key))
    }

    fn fill_struct_ops(
        &self,
        map: &SimHandle,
        value: &[u8],
        programs: &[(u32, &SimHandle)],
    ) -> Result<(), KernelError> {
        let programs: Vec<_> = programs.iter().map(|(at, program)| (*at, program.key)).collect();
        let mut state = self.enter("fill_struct_ops")?;
        if !self.features.has(&Probe::STRUCT_OPS_LINKS) {
            return Ok(());
        }
        state.fill_struct_ops(map.key, value, &programs)
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

    fn frozen_value(&self, map: MapId) -> Result<Option<Vec<u8>>, KernelError> {
        self.enter("frozen_value")?.frozen_value(map)
    }

    fn map_page(&self, map: &SimHandle, from: &MapPlace) -> Result<MapPage, KernelError> {
        self.enter("map_page")?.map_page(map.key, from)
    }

    fn map_value(&self, map: &SimHandle, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.enter("map_value")?.map_value(map.key, key)
    }

    fn set_entry(&self, map: &SimHandle, entry: &MapEntry, rule: EntryRule) -> Result<bool, KernelError> {
        self.enter("set_entry")?.set_entry(map.key, entry, rule)
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
        let mut state = self.enter("wait_for_readers")?;
        if state.empties_arrays {
            state.empty_arrays();
        }
        Ok(())
    }

    fn test_run(&self, program: &SimHandle, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
        let state = self.enter("test_run")?;
        let facts = state.program_facts(program.key)?;
        state.runs.get(&facts.name).cloned().ok_or_else(|| {
            let subject = format!(
                "program \"{}\" on a packet of {} bytes: a simulated kernel runs no packets",
                facts.name,
                run.packet.len()
            );
            refuse("test-run", subject, EOPNOTSUPP)
        })
    }

    fn program_btf(&self, program: &SimHandle) -> Result<Option<Vec<u8>>, KernelError> {
        let state = self.enter("program_btf")?;
        match &state.object(program.key)?.body {
            Body::Program { types, .. } => Ok(types.as_deref().map(<[u8]>::to_vec)),
            _ => Err(refuse("read", "the types of a program", EINVAL)),
        }
    }

    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<SimHandle>, KernelError> {
        let mut state = self.enter("load_program")?;
        self.features.check_load(load)?;
        if load.kind == EXTENSION && !self.features.freplace {
            return Err(KernelError::Refused {
                program: load.text.0.name.clone(),
                why: RefusalReason::Unsaid,
                log: String::new(),
                source: errno::error(EPERM),
            });
        }
        let key = match state.load_program(load) {
            Ok(key) => key,
            Err(error) => {
                let took = state.refusal_time;
                state.clock.since_boot += took;
                return Err(match (error, load.log) {
                    (KernelError::Refused { program, source, .. }, LogRequest::Never(left)) => {
                        let why = RefusalReason::no_log(left);
                        KernelError::Refused { program, why, log: String::new(), source }
                    }
                    (error, _) => error,
                });
            }
        };
        let took = state.verification_time;
        state.clock.since_boot += took;
        let log = match load.log {
            LogRequest::OnFailure
            | LogRequest::StackDepths
            | LogRequest::UnlessTooComplex
            | LogRequest::Never(_) => String::new(),
            LogRequest::Always => format!("processed {} insns\n", load.text.0.insns.len()),
        };
        // Without a verifier there are no depths: the engine then uses the text itself.
        Ok(Loaded { program: self.handle(&mut state, key), log, stack_depths: None, warnings: Vec::new() })
    }
}
