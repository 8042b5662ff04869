//! Where the kernel runs what an XDP hook was entered with.

use bpfmand_core::{HookContents, Via, XdpRunsIn};
use serde::{Deserialize, Serialize};

/// Mode in which a hook's chain runs, as decided when it was attached: the kernel has no change of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpPlacement {
    /// Driver, network stack or card.
    pub mode: XdpRunsIn,
    /// The driver's error, where the chain runs in the network stack because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl XdpPlacement {
    /// In the mode that was asked for, or found.
    pub const fn of(mode: XdpRunsIn) -> Self {
        Self { mode, refusal: None }
    }

    /// Returns the mode of the first program at a hook that `is_it` accepts.
    pub fn of_entry(
        contents: &HookContents,
        is_it: impl Fn(bpfmand_core::ProgramId) -> bool,
    ) -> Option<Self> {
        let entry = contents.entries.iter().find(|entry| entry.program.is_some_and(&is_it))?;
        Self::mode_of(&entry.via).map(Self::of)
    }

    /// Returns the mode of a program that is at a hook in this way; none if it is no XDP hook.
    pub const fn mode_of(via: &Via) -> Option<XdpRunsIn> {
        match via {
            Via::XdpLink { mode, .. } | Via::XdpNetlink { mode } => Some(*mode),
            Via::TcxLink { .. } | Via::TcxProgram | Via::Filter(_) => None,
        }
    }
}
