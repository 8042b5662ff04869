//! Programs and links in a few words, from the records alone: for histories.

use bpfmand_core::{LinkId, Owner, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::records::{ProgramRecord, SourceRecord};

/// What the records say of a program or a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSummary {
    /// The program.
    pub program: Option<ProgramId>,
    /// The hook of a link, as commands name it.
    pub hook: Option<String>,
    /// In words: "program 7 wall of sha256:… at xdp eth0, priority 50".
    pub text: String,
}

impl<K: Kernel> Engine<K> {
    /// What the records say of a program; nothing if there is none.
    #[must_use]
    pub fn summary_of_program(&self, id: ProgramId) -> RecordSummary {
        let state = self.state();
        let Some(program) = state.program(id) else { return RecordSummary::default() };
        let links = state.links.of_program(program.uid).count();
        let text = format!("{}, {links} links", in_words(program));
        RecordSummary { program: Some(id), hook: None, text }
    }

    /// The kernel's id of a program, what the records say of it, and whose it is; none if there is none.
    #[must_use]
    pub fn about_program(&self, uid: ProgramUid) -> Option<(ProgramId, String, Owner)> {
        let program = self.record(uid)?;
        Some((program.id, self.summary_of_program(program.id).text, program.owner()))
    }

    /// What the records say of a link; nothing if there is none.
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
