use std::error::Error;
use std::io::{self, Read};

/// Maximum size of an unpacked layer, in bytes: the limit of a transfer, and space for headers.
pub(crate) const UNPACKED_LIMIT: u64 = 128 << 20;

pub(crate) fn is_over_limit(error: &io::Error) -> bool {
    // Tar readers wrap errors. The error inside an I/O error is not among its sources: look there, too.
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

/// Reader that fails after the limit, where `Read::take` would only end.
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
