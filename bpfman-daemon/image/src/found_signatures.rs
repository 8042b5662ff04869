use crate::signature::Signature;
use crate::signature_place::MAX_LAYERS;
use crate::{ImageError, Limits};

/// Signatures of one digest, as far as they were searched.
#[derive(Debug, Default)]
pub struct FoundSignatures {
    /// Signatures found, each once.
    pub signatures: Vec<Signature>,
    /// First faulty content. Other signatures may be valid: attaching something to an image must not block its load.
    pub fault: Option<ImageError>,
    /// First unanswered request. It matters only if the signatures found do not suffice.
    pub unanswered: Option<ImageError>,
    /// Set if there are more signatures than the limits allow to read.
    pub cut: bool,
    /// Number of layers that were tried.
    pub tried: usize,
}

impl FoundSignatures {
    pub(crate) fn rest(&self, limits: &Limits) -> (Limits, usize) {
        let signatures = limits.signatures.saturating_sub(self.signatures.len());
        (Limits { signatures, ..*limits }, MAX_LAYERS.saturating_sub(self.tried))
    }

    pub(crate) fn add(&mut self, other: Self) {
        let new: Vec<_> = other.signatures.into_iter().filter(|one| !self.signatures.contains(one)).collect();
        self.signatures.extend(new);
        self.fault = self.fault.take().or(other.fault);
        self.unanswered = self.unanswered.take().or(other.unanswered);
        self.cut |= other.cut;
        self.tried += other.tried;
    }
}
