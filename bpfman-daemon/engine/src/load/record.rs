//! Builds the records of loaded programs.

use bpfman_model::{LoadRequest, OperationId, ProgramUid};

use crate::load::Bytecode;
use crate::load::plan::{LoadPlan, LoadedProgram};
use crate::state::budget_record::ProgramBudget;
use crate::state::records::{KeptText, ProgramRecord};

pub struct LoadRecorder<'a> {
    pub operation: OperationId,
    pub load: &'a LoadRequest,
    pub bytecode: &'a Bytecode,
    pub plan: &'a LoadPlan<'a>,
    pub budget: ProgramBudget,
    pub boot: &'a str,
}

impl LoadRecorder<'_> {
    pub fn record<H>(
        &self,
        uid: ProgramUid,
        program: &LoadedProgram<H>,
        text: Option<KeptText>,
    ) -> ProgramRecord {
        let owner = self.plan.owner.as_deref();
        ProgramRecord {
            uid,
            operation: self.operation,
            origin: None,
            name: program.name.clone(),
            program_type: program.program_type,
            source: self.bytecode.source.clone(),
            blob: self.bytecode.blob.id().clone(),
            license: self.plan.object.license().to_owned(),
            metadata: self.load.metadata.clone(),
            global_data: self.plan.globals.clone(),
            global_texts: self.plan.object.global_texts(&self.plan.globals),
            map_sizes: self.plan.object.map_sizes().clone(),
            map_owner: self.load.map_owner,
            map_owner_uid: owner.map(|owner| owner.uid),
            target: program.target.clone(),
            caller_uid: self.load.caller_uid,
            owner: Some(self.load.owner.clone()),
            boot: self.boot.to_owned(),
            id: program.facts.id,
            tag: program.facts.tag,
            map_folder: owner.map_or(program.facts.id, |owner| owner.map_folder),
            maps: program.maps.clone(),
            stack_depths: program.stack_depths.clone(),
            guard: program.guard.clone(),
            text,
            declared: Some(self.plan.object.declared()),
            budget: self.budget.clone(),
            extends: program.extends.clone(),
            warnings: program.warnings.clone(),
        }
    }
}
