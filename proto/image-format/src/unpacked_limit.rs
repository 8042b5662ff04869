//! The most that a layer may unpack to.

use std::error::Error;
use std::io::{self, Read};

/// Bytes that a layer may unpack to, whatever is in it: the most that are sent, and room for headers.
pub(crate) const UNPACKED_LIMIT: u64 = 128 << 20;

/// Returns whether a reader failed because more than the limit came.
pub(crate) fn is_over_limit(error: &io::Error) -> bool {
    // Readers of tars wrap errors in their own, with ours as the cause; what an I/O error wraps is not among its sources.
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Bomb>() {
            return true;
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}

#[derive(Debug, thiserror::Error)]
#[error("too much data")]
struct Bomb;

/// Fails, instead of ending quietly, once more than the limit was read.
pub(crate) struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R> Limited<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, left: UNPACKED_LIMIT }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(Bomb))?;
        Ok(read)
    }
}
