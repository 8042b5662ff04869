//! Tables of `bpfman drops`.

use super::CommandOutput;
use super::amounts::{UNKNOWN, rate};
use super::screen::Screen;
use super::table::TextTable;
use crate::drops::{CountedDrop, Drops, UncountedProgram};

/// Maximum number of programs without counts in a table: a machine may have hundreds.
const MAX_UNCOUNTED: usize = 20;

impl CommandOutput for Drops {
    fn table(&self, screen: Screen) -> String {
        let mut text = if self.programs.is_empty() {
            "no counted program dropped packets\n".to_owned()
        } else {
            counted(&self.programs).render(screen)
        };
        if !self.uncounted.is_empty() {
            text.push_str("\nPrograms that may drop packets without a count:\n");
            text.push_str(&uncounted(&self.uncounted).render(screen));
        }
        if let Some(more @ 1..) = self.uncounted.len().checked_sub(MAX_UNCOUNTED) {
            text.push_str(&format!(" and {more} more: `bpfman drops -o json` has all\n"));
        }
        if let Some(kernel) = &self.kernel {
            text.push_str("\nPackets that the kernel dropped, of programs too, by its reason:\n");
            let mut table = TextTable::new(&["Reason", "Packets/s"]);
            kernel.iter().for_each(|row| table.row(vec![row.reason.clone(), rate(row.packets_per_second)]));
            text.push_str(&match kernel[..] {
                [] => " none\n".to_owned(),
                _ => table.render(screen),
            });
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<u32> = self.programs.iter().filter_map(|row| row.program_id).collect();
        ids.dedup();
        ids.iter().map(u32::to_string).collect()
    }
}

fn counted(rows: &[CountedDrop]) -> TextTable {
    let mut table = TextTable::new(&["Hook", "Program", "Verdict", "Packets/s", "Packets", "Owner", "Rules"]);
    let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
    for row in rows {
        table.row(vec![
            row.hook.clone(),
            row.program_name.clone().unwrap_or_else(|| "(lost by a tail call)".to_owned()),
            row.verdict.clone(),
            rate(row.packets_per_second),
            row.packets.map_or_else(|| UNKNOWN.to_owned(), |packets| packets.to_string()),
            unknown(&row.owner),
            unknown(&row.rules),
        ]);
    }
    table
}

fn uncounted(rows: &[UncountedProgram]) -> TextTable {
    let mut table = TextTable::new(&["ID", "Program", "Type", "Attached", "Owner", "Not counted, because"]);
    for row in rows.iter().take(MAX_UNCOUNTED) {
        let why = match row.kernel_reasons {
            [] => row.why.clone(),
            reasons => format!("{}; the kernel has them under {}", row.why, reasons.join(", ")),
        };
        table.row(vec![
            row.program_id.to_string(),
            row.program_name.clone(),
            row.program_type.clone(),
            row.place.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            row.owner.clone().unwrap_or_else(|| "(others)".to_owned()),
            why,
        ]);
    }
    table
}
