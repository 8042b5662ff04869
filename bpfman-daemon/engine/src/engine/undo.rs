//! Undo of an operation that fails halfway.

use crate::EngineError;
use crate::error::UndoFailure;

type Step<'a> = Box<dyn FnOnce() -> Result<(), UndoFailure> + 'a>;

pub struct Undo<'a> {
    steps: Vec<Step<'a>>,
}

/// Runs an operation up to its record and undoes it if it fails or panics. All undo steps run, even if some fail;
/// failures are added to the cause. Steps after the record do not belong here.
pub fn undoing<'a, T, E: Cause>(operation: impl FnOnce(&mut Undo<'a>) -> Result<T, E>) -> Result<T, E> {
    let mut undo = Undo { steps: Vec::new() };
    match operation(&mut undo) {
        Ok(done) => {
            undo.steps.clear();
            Ok(done)
        }
        Err(cause) => match undo.unwind() {
            failures if failures.is_empty() => Err(cause),
            failures => Err(cause.not_undone(failures)),
        },
    }
}

pub trait Cause {
    #[must_use]
    fn not_undone(self, failures: Vec<UndoFailure>) -> Self;
}

impl Cause for EngineError {
    fn not_undone(self, failures: Vec<UndoFailure>) -> Self {
        Self::NotUndone { cause: Box::new(self), failures }
    }
}

impl<'a> Undo<'a> {
    pub fn push(&mut self, step: impl FnOnce() -> Result<(), UndoFailure> + 'a) {
        self.steps.push(Box::new(step));
    }

    pub fn push_sure(&mut self, step: impl FnOnce() + 'a) {
        self.push(|| {
            step();
            Ok(())
        });
    }

    fn unwind(&mut self) -> Vec<UndoFailure> {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().rev().filter_map(|step| step().err()).collect()
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for UndoFailure { left, error } in self.unwind() {
                tracing::error!(%left, %error, "a step of an operation that panicked was not undone");
            }
        }
    }
}

/// Executes a step after the record, which cannot be undone: a failure, for example a momentary lack of memory, is
/// retried once. The step must be idempotent.
pub fn retry_once<T>(step: impl Fn() -> Result<T, EngineError>) -> Result<T, EngineError> {
    step().or_else(|error| {
        tracing::warn!(%error, "a step that has to follow a record failed and is tried again");
        step()
    })
}
