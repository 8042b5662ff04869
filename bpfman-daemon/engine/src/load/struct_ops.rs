//! struct_ops: the member that each program implements, and the maps that hold the programs.

use bpfman_model::{MapSpec, ProgramId, ProgramRequest};
use bpfmand_kernel::{Kernel, StructOpsSpec};
use bpfmand_object::{KernelBtf, KernelStructOps, ObjectFacts, StructOpsMap};

use crate::load::maps::HeldMaps;
use crate::load::plan::{LoadPlan, TriedProgram};
use crate::{Engine, EngineError};

/// Returns `STRUCTURE.MEMBER`; `None` if no struct_ops map names the program, an error if two members do.
pub fn member_of(object: &ObjectFacts, program: &str) -> Result<Option<String>, EngineError> {
    let mut found: Option<String> = None;
    for ops in &object.struct_ops {
        for (_, member) in ops.programs().filter(|(named, _)| *named == program) {
            let member = format!("{}.{member}", ops.structure);
            match &found {
                Some(before) if *before != member => {
                    return Err(EngineError::Invalid(format!(
                        "program \"{program}\" is {before} and {member}: the kernel takes a program for one of them"
                    )));
                }
                _ => found = Some(member),
            }
        }
    }
    Ok(found)
}

/// Refuses to load only some of the programs of a struct_ops map: the map would lack functions.
pub fn check_whole(object: &ObjectFacts, programs: &[ProgramRequest]) -> Result<(), EngineError> {
    let is_loaded = |name: &str| programs.iter().any(|program| program.name == name);
    for ops in &object.struct_ops {
        let missing: Vec<&str> =
            ops.programs().map(|(program, _)| program).filter(|program| !is_loaded(program)).collect();
        if !missing.is_empty() && missing.len() < ops.programs().count() {
            return Err(EngineError::Invalid(format!(
                "map \"{}\" needs program {} too: programs of one struct_ops map are loaded together",
                object.maps().get(ops.map).map_or("", |map| map.name.as_str()),
                missing.join(", ")
            )));
        }
    }
    Ok(())
}

/// Refuses a map owner: its struct_ops map holds the owner's own programs.
pub fn check_own(
    object: &ObjectFacts,
    programs: &[ProgramRequest],
    owner: Option<ProgramId>,
) -> Result<(), EngineError> {
    let Some(owner) = owner else { return Ok(()) };
    let is_loaded = |name: &str| programs.iter().any(|program| program.name == name);
    let Some(ops) = object.struct_ops.iter().find(|ops| ops.programs().any(|(name, _)| is_loaded(name)))
    else {
        return Ok(());
    };
    Err(EngineError::MapOwner {
        owner,
        reason: format!(
            "map \"{}\" holds functions, and those of this load need one of their own: load them without the maps of others",
            object.maps().get(ops.map).map_or("", |map| map.name.as_str())
        ),
    })
}

pub fn member_number(program: &str, target: &str, kernel: &KernelBtf) -> Result<u32, EngineError> {
    let number =
        target.split_once('.').and_then(|(structure, member)| kernel.struct_ops(structure)?.function(member));
    number.ok_or_else(|| {
        EngineError::Invalid(format!(
            "the kernel has no struct_ops type with a member {target}, which program \"{program}\" is for"
        ))
    })
}

impl<K: Kernel> Engine<K> {
    pub(super) fn map_of_functions(
        &self,
        plan: &LoadPlan<'_>,
        ops: &StructOpsMap,
        spec: &MapSpec,
        btf: Option<&K::Handle>,
    ) -> Result<Option<K::Handle>, EngineError> {
        if let Some(owner) = &plan.owner {
            let map = owner.maps.iter().find(|map| map.name == spec.name).and_then(|map| map.id);
            return Ok(map.map(|id| self.kernel.open_map(id)).transpose()?);
        }
        if !is_wanted(plan, ops) {
            return Ok(None);
        }
        let kernel = functions_of_kernel(plan, ops)?;
        let btf = btf.ok_or_else(|| {
            let map = &spec.name;
            EngineError::Invalid(format!(
                "the kernel does not take the object's types, which map \"{map}\" needs"
            ))
        })?;
        let spec = StructOpsSpec { name: &spec.name, value: kernel.value, value_size: kernel.value_size };
        Ok(Some(self.kernel.create_struct_ops(&spec, btf)?))
    }

    pub(super) fn fill_functions(
        &self,
        plan: &LoadPlan<'_>,
        loaded: &[TriedProgram<K::Handle>],
        (handles, _): &HeldMaps<K::Handle>,
    ) -> Result<(), EngineError> {
        if plan.owner.is_some() {
            return Ok(());
        }
        for ops in plan.object.struct_ops.iter().filter(|ops| is_wanted(plan, ops)) {
            let Some(Some(map)) = handles.get(ops.map) else { continue };
            let laid = functions_of_kernel(plan, ops)?.lay_out(ops).map_err(EngineError::Invalid)?;
            let handle = |(at, name): &(u32, String)| {
                let found = loaded.iter().find(|(loaded, _)| loaded == name);
                let program = found.and_then(|(_, loaded)| loaded.as_ref().ok());
                let program = program.map(|program| (*at, &program.handle));
                program.ok_or_else(|| EngineError::Fault(format!("program \"{name}\" is not loaded")))
            };
            let programs = laid.programs.iter().map(handle).collect::<Result<Vec<_>, EngineError>>()?;
            self.step("load", "fill functions");
            self.kernel.fill_struct_ops(map, &laid.bytes, &programs)?;
        }
        Ok(())
    }
}

/// Returns whether the load uses the map: after a partial unload, a reload of the rest leaves it out.
fn is_wanted(plan: &LoadPlan<'_>, ops: &StructOpsMap) -> bool {
    let is_loaded = |name: &str| plan.object.programs.iter().any(|program| program.name == name);
    ops.programs().next().is_some() && ops.programs().all(|(name, _)| is_loaded(name))
}

fn functions_of_kernel(plan: &LoadPlan<'_>, ops: &StructOpsMap) -> Result<KernelStructOps, EngineError> {
    plan.object.types.btf()?.struct_ops(&ops.structure).ok_or_else(|| {
        EngineError::Invalid(format!("the kernel has no struct_ops type \"{}\"", ops.structure))
    })
}
