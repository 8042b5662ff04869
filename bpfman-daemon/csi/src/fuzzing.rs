//! Entry point for fuzzers of kubelet connections (feature `fuzzing`, tests/fuzz).

use crate::authority::Incoming;

/// Returns the bytes passed on from a connection that receives `bytes` in pieces of this size.
#[must_use]
pub fn passed_on(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut incoming, mut ready) = (Incoming::default(), Vec::new());
    bytes.chunks(piece.max(1)).for_each(|arrived| incoming.take(arrived, &mut ready));
    ready
}
