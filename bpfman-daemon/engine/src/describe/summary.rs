//! One-line summaries of programs and links from the records, for the audit log.

use std::sync::Arc;

use bpfman_model::{LinkId, Owner, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::records::{ProgramRecord, SourceRecord};

/// Summary of a program or a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSummary {
    /// Kernel id of the program.
    pub program: Option<ProgramId>,
    /// Hook of a link, as commands name it.
    pub hook: Option<String>,
    /// Text such as "program 7 wall of sha256:… at xdp eth0, priority 50".
    pub text: String,
}

impl<K: Kernel> Engine<K> {
    /// Returns programs that a new load would refuse for their loops or tail calls, each with the reason.
    #[must_use]
    pub fn unbounded_programs(&self) -> Vec<(ProgramId, String)> {
        let state = self.state();
        let unbounded =
            |program: &Arc<ProgramRecord>| Some((program.id, program.guard.as_ref()?.unbounded.clone()?));
        state.programs.values().filter_map(unbounded).collect()
    }

    /// Returns the summary of a program; empty if there is none.
    #[must_use]
    pub fn summary_of_program(&self, id: ProgramId) -> RecordSummary {
        let state = self.state();
        let Some(program) = state.program(id) else { return RecordSummary::default() };
        let links = state.links.of_program(program.uid).count();
        let text = format!("{}, {links} links", in_words(program));
        RecordSummary { program: Some(id), hook: None, text }
    }

    /// Returns the kernel id, the summary and the owner of a program; `None` if there is no record.
    #[must_use]
    pub fn about_program(&self, uid: ProgramUid) -> Option<(ProgramId, String, Owner)> {
        let program = self.record(uid)?;
        Some((program.id, self.summary_of_program(program.id).text, program.owner()))
    }

    /// Returns the summary of a link; empty if there is none.
    #[must_use]
    pub fn summary_of_link(&self, id: LinkId) -> RecordSummary {
        let state = self.state();
        let Some(link) = state.links.get(&id) else { return RecordSummary::default() };
        let program = state.programs.get(&link.program);
        let mut text = program.map(|program| in_words(program)).unwrap_or_default();
        text.push_str(&format!(" at {} {}", link.point.type_name(), link.point));
        text.extend(link.point.priority().map(|priority| format!(", priority {priority}")));
        let hook = link.point.hook().map(|(interface, kind)| kind.at(interface));
        RecordSummary { program: program.map(|program| program.id), hook, text }
    }
}

fn in_words(program: &ProgramRecord) -> String {
    let bytecode = match &program.source {
        SourceRecord::Image { digest, .. } => digest.clone(),
        _ => format!("sha256:{}", program.bytecode_sha256()),
    };
    format!("program {} {} of {bytecode}", program.id, program.name)
}
