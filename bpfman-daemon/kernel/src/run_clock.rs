use std::fmt::Debug;

/// Run statistics for all programs of the machine while held, at a cost of some ten nanoseconds per run.
pub trait RunClock: Debug + Send {}

impl<T: Debug + Send> RunClock for T {}
