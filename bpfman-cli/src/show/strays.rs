//! Lists of strays, and of removed ones.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct StrayList {
    /// Strays, in the daemon's order.
    pub strays: Vec<StrayJson>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StraysRemoved {
    /// Paths of the removed pins.
    pub removed: Vec<String>,
}

json_shape! {
    /// Loaded or attached object without a record.
    pub struct StrayJson(stray: &ext::Stray) {
        pin: String = stray.pin.clone(),
        /// "link", "program", "filter" or "newer-chain".
        kind: &'static str = kind_name(stray.kind()),
        program_id: u32 = stray.program_id,
        /// Kernel's name of the program.
        program_name: String = stray.program_name.clone(),
        kernel_link_id: Option<u32> = unless_zero(stray.kernel_link_id),
        /// Index of the interface, if it has one.
        ifindex: Option<u32> = unless_zero(stray.ifindex),
        description: String = stray.description.clone(),
    }
}

const fn kind_name(kind: ext::StrayKind) -> &'static str {
    match kind {
        ext::StrayKind::Unspecified => "unknown",
        ext::StrayKind::Link => "link",
        ext::StrayKind::Program => "program",
        ext::StrayKind::Filter => "filter",
        ext::StrayKind::NewerChain => "newer-chain",
    }
}

fn unless_zero(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}

impl CommandOutput for StrayList {
    fn table(&self, screen: Screen) -> String {
        let mut table = TextTable::new(&["Kind", "Program ID", "Program", "Link ID", "Interface", "Pin"]);
        let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        for stray in &self.strays {
            table.row(vec![
                stray.kind.to_owned(),
                stray.program_id.to_string(),
                stray.program_name.clone(),
                text(stray.kernel_link_id),
                text(stray.ifindex),
                stray.pin.clone(),
            ]);
        }
        table.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        self.strays.iter().map(|stray| stray.pin.clone()).collect()
    }
}

impl CommandOutput for StraysRemoved {
    fn table(&self, _: Screen) -> String {
        self.removed.iter().map(|pin| format!("removed {pin}\n")).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.removed.clone()
    }
}
