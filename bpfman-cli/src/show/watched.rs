//! Output of a command that `--watch` repeats in this process: answers when they changed, and each warning once.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Debug, Default)]
struct Watched {
    answer: String,
    warnings: HashSet<String>,
}

static WATCHED: OnceLock<Mutex<Watched>> = OnceLock::new();

fn watched() -> Option<MutexGuard<'static, Watched>> {
    WATCHED.get().map(|watched| watched.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Makes `answer` and `warn` skip output that was shown already.
pub fn begin() {
    let _first = WATCHED.get_or_init(Mutex::default);
}

pub fn is_on() -> bool {
    WATCHED.get().is_some()
}

/// Returns whether the answer differs from the last one.
pub fn is_new_answer(text: &str) -> bool {
    watched().is_none_or(|mut watched| {
        let is_new = watched.answer != text;
        text.clone_into(&mut watched.answer);
        is_new
    })
}

pub fn is_new_warning(text: &str) -> bool {
    watched().is_none_or(|mut watched| watched.warnings.insert(text.to_owned()))
}
