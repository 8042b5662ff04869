//! Steps back.

use crate::EngineError;

type Step<'a> = Box<dyn FnOnce() -> Result<(), EngineError> + 'a>;

/// What an operation has to do to leave no trace, newest last.
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<Step<'a>>,
}

impl<'a> Undo<'a> {
    /// Adds the way back from a step that was just done.
    pub fn push(&mut self, step: impl FnOnce() -> Result<(), EngineError> + 'a) {
        self.steps.push(Box::new(step));
    }

    /// The operation succeeded: nothing is to be undone.
    pub fn forget(&mut self) {
        self.steps.clear();
    }

    /// Goes back all the way, whatever fails, and adds what failed to the cause.
    pub fn run(mut self, cause: EngineError) -> EngineError {
        let failures = self.go_back();
        if failures.is_empty() { cause } else { EngineError::NotUndone { cause: Box::new(cause), failures } }
    }
}

impl Undo<'_> {
    fn go_back(&mut self) -> Vec<String> {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().rev().filter_map(|step| step().err()).map(|error| error.to_string()).collect()
    }
}

/// A panic in the middle of an operation undoes it too.
impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for failure in self.go_back() {
                tracing::error!(failure, "a step of an operation that panicked was not undone");
            }
        }
    }
}

/// Does what follows a record. The operation has happened then and cannot be undone any more, so a step that fails, such
/// as for a moment's want of memory, is tried once more. The step must be one that may run twice.
pub fn insist<T>(step: impl Fn() -> Result<T, EngineError>) -> Result<T, EngineError> {
    step().or_else(|error| {
        tracing::warn!(%error, "a step that has to follow a record failed and is tried again");
        step()
    })
}
