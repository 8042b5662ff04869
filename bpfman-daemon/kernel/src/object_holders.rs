//! Who holds what.

use std::collections::BTreeMap;

use bpfmand_core::Holder;

/// Processes with open descriptors of programs and of links, by the kernel's ids; of one object the first eight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHolders {
    /// Of programs.
    pub programs: BTreeMap<u32, Vec<Holder>>,
    /// Of links.
    pub links: BTreeMap<u32, Vec<Holder>>,
}
