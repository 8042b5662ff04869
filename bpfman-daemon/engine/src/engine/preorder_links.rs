//! Third-party links that were attached to cgroups with `BPF_F_PREORDER`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bpfmand_core::KernelLinkId;

/// Links beside which one of the daemon's links was refused. The kernel does not report the flag, a link never loses
/// it, and no id is reused within a boot.
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
