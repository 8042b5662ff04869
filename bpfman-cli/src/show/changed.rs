//! Changes in place: updated links, replaced programs, removed attachments by pattern.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::block::Block;
use super::json::{LinkJson, ProgramJson};
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct Updated {
    /// `changed` or `unchanged`.
    pub outcome: String,
    pub link: LinkJson,
}

impl CommandOutput for Updated {
    fn table(&self, screen: Screen) -> String {
        self.link.table(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.link.link_id.to_string()]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Replaced {
    pub program: ProgramJson,
    /// Version that `--rollback` restores.
    pub previous_program_id: Option<u32>,
    pub links_switched: u32,
    pub map_outcomes: Vec<MapOutcomeJson>,
}

json_shape! {
    pub struct MapOutcomeJson(map: &ext::MapOutcome) {
        name: String = map.name.clone(),
        /// `kept`, `copied` or `new`.
        outcome: String = map.outcome.clone(),
        entries: u64 = map.entries,
    }
}

impl Replaced {
    /// Converts the daemon's answer; none if it lacks the program.
    #[must_use]
    pub fn new(answer: &ext::ReplaceProgramResponse) -> Option<Self> {
        Some(Self {
            program: ProgramJson::new(answer.program.as_ref()?),
            previous_program_id: answer.previous_program_id,
            links_switched: answer.links_switched,
            map_outcomes: answer.maps.iter().map(MapOutcomeJson::new).collect(),
        })
    }
}

impl CommandOutput for Replaced {
    fn table(&self, screen: Screen) -> String {
        let mut block = Block::new("Replaced");
        block
            .line("BPF Function", &self.program.name)
            .line("Program ID", self.program.program_id)
            .optional("Previous Program ID", self.previous_program_id)
            .line("Links Switched", self.links_switched);
        let mut text = block.render(screen);
        if !self.map_outcomes.is_empty() {
            let mut maps = TextTable::new(&["Map", "Outcome", "Copied Entries"]);
            for map in &self.map_outcomes {
                maps.row(vec![map.name.clone(), map.outcome.clone(), map.entries.to_string()]);
            }
            text.push_str(&maps.render(screen));
            text.push('\n');
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        vec![self.program.program_id.to_string()]
    }
}

#[cfg(test)]
mod tests {
    use bpfman_proto::v1;

    use super::*;

    #[test]
    fn replacement_lists_outcomes_of_maps_and_possible_rollback() {
        let map = |name: &str, outcome: &str, entries| ext::MapOutcome {
            name: name.into(),
            outcome: outcome.into(),
            entries,
        };
        let answer = ext::ReplaceProgramResponse {
            program: Some(ext::Program {
                info: Some(v1::ProgramInfo { name: "wall".into(), ..Default::default() }),
                kernel_info: Some(v1::KernelProgramInfo { id: 9, ..Default::default() }),
                ..Default::default()
            }),
            previous_program_id: Some(7),
            maps: vec![map("rules", "copied", 12), map("stats", "kept", 0)],
            links_switched: 2,
            values_set: true,
        };
        let replaced = Replaced::new(&answer).unwrap();
        assert_eq!(
            replaced.table(Screen::PLAIN),
            " Replaced
 BPF Function:         wall
 Program ID:           9
 Previous Program ID:  7
 Links Switched:       2

 Map    Outcome  Copied Entries
 rules  copied   12
 stats  kept     0

"
        );
        assert_eq!(replaced.ids(), ["9"]);
        assert!(Replaced::new(&ext::ReplaceProgramResponse::default()).is_none());
    }
}
