use std::time::Duration;

use crate::KernelError;

/// Output of `bpf_printk` of all programs, from now on; other readers still get it.
pub trait PrintFeed: Send {
    /// Returns the next bytes, in whole lines; empty after the timeout.
    fn next(&mut self, timeout: Duration) -> Result<Vec<u8>, KernelError>;
}
