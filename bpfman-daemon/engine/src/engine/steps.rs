//! Boundaries of steps, at which tests can end the daemon.

/// Observer that is called before every step of every operation.
pub trait StepObserver: Send + Sync {
    /// Called before the operation `operation` executes `step`.
    fn before(&self, operation: &'static str, step: &'static str);

    /// Called during recovery: `done` of `all` items are finished; `what` names the items and the action on them.
    fn recovered(&self, what: &'static str, done: usize, all: usize) {
        let _nobody = (what, done, all);
    }
}

/// Observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl StepObserver for NoObserver {
    fn before(&self, _: &'static str, _: &'static str) {}
}
