//! Answer to `map pin`.

use serde::Serialize;

use super::CommandOutput;

/// Map, and its new pin.
#[derive(Clone, Debug, Serialize)]
pub struct Pinned {
    pub map_id: u32,
    /// Map's name in the object.
    pub name: String,
    pub pin_path: String,
}

impl CommandOutput for Pinned {
    fn ids(&self) -> Vec<String> {
        vec![self.pin_path.clone()]
    }
}
