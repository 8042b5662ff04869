//! Mode in which the kernel runs the chain of an XDP hook.

use bpfman_model::{HookAttachment, HookContents, XdpRunsIn};
use serde::{Deserialize, Serialize};

/// Mode in which a hook's chain runs, chosen when it was attached: the kernel cannot change it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpPlacement {
    /// Driver, network stack (generic) or network card (offload).
    pub mode: XdpRunsIn,
    /// Error of the driver, if the chain runs in the network stack because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl XdpPlacement {
    /// Creates the placement for a requested or observed mode.
    pub const fn of(mode: XdpRunsIn) -> Self {
        Self { mode, refusal: None }
    }

    /// Returns the mode of the first program at a hook that `is_it` accepts.
    pub fn of_entry(
        contents: &HookContents,
        is_it: impl Fn(bpfman_model::ProgramId) -> bool,
    ) -> Option<Self> {
        let entry = contents.entries.iter().find(|entry| entry.program.is_some_and(&is_it))?;
        Self::mode_of(&entry.via).map(Self::of)
    }

    /// Returns the mode of an entry of a hook; `None` if the hook is not an XDP hook.
    pub const fn mode_of(via: &HookAttachment) -> Option<XdpRunsIn> {
        match via {
            HookAttachment::XdpLink { mode, .. } | HookAttachment::XdpNetlink { mode } => Some(*mode),
            HookAttachment::TcxLink { .. } | HookAttachment::TcxProgram | HookAttachment::Filter(_) => None,
        }
    }
}
