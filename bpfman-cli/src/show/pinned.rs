//! The answer to `map pin`.

use serde::Serialize;

use super::CommandOutput;

/// A map, and where it is pinned now.
#[derive(Clone, Debug, Serialize)]
pub struct Pinned {
    /// The kernel's id.
    pub map_id: u32,
    /// Name in the object.
    pub name: String,
    /// The new pin.
    pub pin_path: String,
}

impl CommandOutput for Pinned {
    fn ids(&self) -> Vec<String> {
        vec![self.pin_path.clone()]
    }
}
