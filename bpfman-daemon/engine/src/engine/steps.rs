//! Step boundaries, so that tests can end the daemon at each of them.

/// Hears of every step of every operation, just before it is done.
pub trait StepObserver: Send + Sync {
    /// The operation `operation` is about to do `step`.
    fn before(&self, operation: &'static str, step: &'static str);

    /// A start has `done` of `all` behind it: `what` says of what, and what happens to them.
    fn recovered(&self, what: &'static str, done: usize, all: usize) {
        let _nobody = (what, done, all);
    }
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl StepObserver for NoObserver {
    fn before(&self, _: &'static str, _: &'static str) {}
}
