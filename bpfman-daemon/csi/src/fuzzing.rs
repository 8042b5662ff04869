//! What reads a kubelet's bytes, for fuzzers (feature `fuzzing`, tests/fuzz).

use crate::authority::Incoming;

/// The bytes of a connection as they are passed on, if they arrive in pieces of so many.
#[must_use]
pub fn passed_on(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut incoming, mut ready) = (Incoming::default(), Vec::new());
    bytes.chunks(piece.max(1)).for_each(|arrived| incoming.take(arrived, &mut ready));
    ready
}
