//! Counting the runs of programs for a while.

use std::fmt::Debug;

/// While one is held, the kernel counts and times the runs of all programs of the machine, some ten nanoseconds a run.
pub trait RunClock: Debug + Send {}

impl<T: Debug + Send> RunClock for T {}
