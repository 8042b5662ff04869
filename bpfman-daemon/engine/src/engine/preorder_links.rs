//! Third-party links that were attached to cgroups with `BPF_F_PREORDER`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bpfman_model::KernelLinkId;

/// Known from refusals of the daemon's own links beside them, because the kernel does not report the flag. A link never
/// loses the flag, and no id is reused within a boot.
#[derive(Debug, Default)]
pub struct PreorderLinks(Mutex<BTreeSet<KernelLinkId>>);

impl PreorderLinks {
    pub fn insert(&self, link: KernelLinkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(link)
    }

    pub fn contains(&self, link: KernelLinkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&link)
    }
}
