//! Signatures that were found, and what kept others from being found.

use crate::find_signatures::MAX_LAYERS;
use crate::signature::Signature;
use crate::{ImageError, Limits};

/// The signatures of one digest, as far as they were looked at.
#[derive(Debug, Default)]
pub(crate) struct FoundSignatures {
    pub(crate) signatures: Vec<Signature>,
    /// The first thing among them that cannot be read. Others may be good all the same: whoever may attach something to an
    /// image must not be able to make it unloadable.
    pub(crate) fault: Option<ImageError>,
    /// The first thing that the registry did instead of an answer. It matters only where the signatures that were found do not
    /// suffice.
    pub(crate) unanswered: Option<ImageError>,
    /// True if there are more than are looked at.
    pub(crate) cut: bool,
    /// Layers that were tried.
    pub(crate) tried: usize,
}

impl FoundSignatures {
    /// The limits for the next place, so that all places together are within those of one search.
    pub(crate) fn rest(&self, limits: &Limits) -> (Limits, usize) {
        let signatures = limits.signatures.saturating_sub(self.signatures.len());
        (Limits { signatures, ..*limits }, MAX_LAYERS.saturating_sub(self.tried))
    }

    /// Adds what was found at another place.
    pub(crate) fn add(&mut self, other: Self) {
        let new: Vec<_> = other.signatures.into_iter().filter(|one| !self.signatures.contains(one)).collect();
        self.signatures.extend(new);
        self.fault = self.fault.take().or(other.fault);
        self.unanswered = self.unanswered.take().or(other.unanswered);
        self.cut |= other.cut;
        self.tried += other.tried;
    }
}
