//! Output of programs as it arrives.

use std::time::Duration;

use crate::KernelError;

/// Output of programs of the machine by `bpf_printk`, from the creation of this value on. Other readers still get it
/// too.
pub trait PrintFeed: Send {
    /// Returns the next bytes, in whole lines. Empty if there was no output within the timeout. Fails if the output
    /// cannot be read.
    fn next(&mut self, timeout: Duration) -> Result<Vec<u8>, KernelError>;
}
