//! What a record keeps of a hook's network namespace, so that its end can be known.

use bpfmand_core::{NetnsId, NetnsNumber};
use serde::{Deserialize, Serialize};

/// Number of the namespace in the table of the daemon's own.
///
/// A namespace can live on without any path. Without its number it could not be told then from one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceNumber {
    /// The boot that the number is of.
    pub boot: String,
    /// The daemon's own namespace at that time.
    pub table: NetnsId,
    /// From 0.
    pub number: u32,
}

impl NamespaceNumber {
    /// As the kernel knows it.
    #[must_use]
    pub const fn in_kernel(&self) -> NetnsNumber {
        NetnsNumber { table: self.table, number: self.number }
    }
}
