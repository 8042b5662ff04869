//! Count of the runs of programs for a limited time.

use std::fmt::Debug;

/// While a value of it is held, the kernel counts and measures the runs of all programs of the machine, at a cost of
/// some ten nanoseconds per run.
pub trait RunClock: Debug + Send {}

impl<T: Debug + Send> RunClock for T {}
