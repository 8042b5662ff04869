use std::collections::BTreeMap;

use bpfman_model::Holder;

/// Processes with open descriptors of programs and of links, by the kernel's ids; the first eight of each object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHolders {
    pub programs: BTreeMap<u32, Vec<Holder>>,
    pub links: BTreeMap<u32, Vec<Holder>>,
}
