//! Following what programs print.

use std::time::Duration;

use crate::KernelError;

/// What programs of the machine print by `bpf_printk`, from the moment on when this was made. It takes nothing from other
/// readers.
pub trait PrintFeed: Send {
    /// The next bytes, whole lines of them, or none if none came within so long.
    ///
    /// # Errors
    /// They cannot be read.
    fn next(&mut self, timeout: Duration) -> Result<Vec<u8>, KernelError>;
}
