//! Memory of calls with large buffers: a user has a bounded number of them at a time, in all sessions together.

use std::sync::{Condvar, Mutex, PoisonError};

/// Maximum number of large calls of a user at a time. Others wait.
const MAX_LARGE: usize = 2;
/// Size of buffers above which a call is large, in bytes.
const LARGE: usize = 1 << 20;

/// Large calls of one user.
#[derive(Debug, Default)]
pub struct LargeCalls {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Place of a call; none while it is small.
#[derive(Debug)]
pub struct CallPlace<'a> {
    all: &'a LargeCalls,
    is_held: bool,
}

impl LargeCalls {
    /// Returns the place of a call that begins.
    pub const fn begin(&self) -> CallPlace<'_> {
        CallPlace { all: self, is_held: false }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPlace<'_> {
    /// Waits for a place if the call needs so many bytes and has none.
    pub fn take(&mut self, bytes: usize) {
        if bytes <= LARGE || self.is_held {
            return;
        }
        let running = self.all.running();
        let wait = self.all.ended.wait_while(running, |running| *running >= MAX_LARGE);
        *wait.unwrap_or_else(PoisonError::into_inner) += 1;
        self.is_held = true;
    }
}

impl Drop for CallPlace<'_> {
    fn drop(&mut self) {
        if self.is_held {
            *self.all.running() -= 1;
            self.all.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_calls_take_no_place_and_large_ones_give_theirs_back() {
        let all = LargeCalls::default();
        let mut small = all.begin();
        small.take(LARGE);
        assert_eq!(*all.running(), 0);
        let (mut first, mut second) = (all.begin(), all.begin());
        first.take(LARGE + 1);
        first.take(LARGE + 1);
        second.take(LARGE + 1);
        assert_eq!(*all.running(), MAX_LARGE);
        std::thread::scope(|scope| {
            let third = scope.spawn(|| all.begin().take(LARGE + 1));
            drop(first);
            third.join().unwrap_or_else(|_| panic!("it waits for a place"));
        });
        drop(second);
        assert_eq!(*all.running(), 0);
    }
}
