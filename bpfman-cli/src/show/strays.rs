//! Strays, listed and removed.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::screen::Screen;
use super::table::Table;

/// The answer to `stray list`.
#[derive(Clone, Debug, Serialize)]
pub struct StrayList {
    /// As the daemon found them.
    pub strays: Vec<StrayRecord>,
}

/// The answer to `stray remove`.
#[derive(Clone, Debug, Serialize)]
pub struct StraysRemoved {
    /// Paths of their pins.
    pub removed: Vec<String>,
}

/// Something that is loaded or attached without a record.
#[derive(Clone, Debug, Serialize)]
pub struct StrayRecord {
    /// Path of its pin.
    pub pin: String,
    /// "link", "program", "filter" or "newer-chain".
    pub kind: &'static str,
    /// Kernel id of its program.
    pub program_id: u32,
    /// The kernel's name of it.
    pub program_name: String,
    /// The kernel's link, where it is one.
    pub kernel_link_id: Option<u32>,
    /// Index of the interface, where it is at one.
    pub ifindex: Option<u32>,
    /// What it is and what can be done.
    pub description: String,
}

impl From<&[ext::Stray]> for StrayList {
    fn from(strays: &[ext::Stray]) -> Self {
        Self { strays: strays.iter().map(StrayRecord::from).collect() }
    }
}

impl From<&ext::Stray> for StrayRecord {
    fn from(stray: &ext::Stray) -> Self {
        let some = |number: u32| (number != 0).then_some(number);
        Self {
            pin: stray.pin.clone(),
            kind: match stray.kind() {
                ext::StrayKind::Unspecified => "unknown",
                ext::StrayKind::Link => "link",
                ext::StrayKind::Program => "program",
                ext::StrayKind::Filter => "filter",
                ext::StrayKind::NewerChain => "newer-chain",
            },
            program_id: stray.program_id,
            program_name: stray.program_name.clone(),
            kernel_link_id: some(stray.kernel_link_id),
            ifindex: some(stray.ifindex),
            description: stray.description.clone(),
        }
    }
}

impl Answer for StrayList {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let mut table = Table::new(&["Kind", "Program ID", "Program", "Link ID", "Interface", "Pin"]);
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

impl Answer for StraysRemoved {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, _: Screen) -> String {
        self.removed.iter().map(|pin| format!("removed {pin}\n")).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.removed.clone()
    }
}
