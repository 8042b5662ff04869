//! Links of others that were attached to cgroups with `BPF_F_PREORDER`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bpfmand_core::KernelLinkId;

/// Links that refused to have one of ours beside them. The kernel reports the flag of none, a link keeps it for good, and no id
/// is given twice in a boot.
#[derive(Debug, Default)]
pub struct PreorderLinks(Mutex<BTreeSet<KernelLinkId>>);

impl PreorderLinks {
    /// Remembers a link. Returns whether it was not known before.
    pub fn insert(&self, link: KernelLinkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(link)
    }

    /// Returns whether a link is known.
    pub fn contains(&self, link: KernelLinkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&link)
    }
}
