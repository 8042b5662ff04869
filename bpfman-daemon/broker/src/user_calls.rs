//! Limits of one user's concurrent calls in all sessions: their number, long ones among them, and buffers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Maximum number of calls: each may hold 253 descriptors.
const MAX_CALLS: usize = 8;
/// Maximum number of calls that take a CPU for long: loads and test runs.
const MAX_LONG: usize = 2;
/// Maximum number of calls with large buffers.
const MAX_LARGE: usize = 2;
/// Size of buffers above which a call is large, in bytes.
const LARGE: usize = 1 << 20;

/// Calls of one user. Those above a maximum wait.
#[derive(Debug, Default)]
pub struct UserCalls {
    running: Mutex<RunningCalls>,
    ended: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RunningCalls {
    all: usize,
    long: usize,
    large: usize,
}

impl RunningCalls {
    const fn is_full(self) -> bool {
        self.all == MAX_CALLS || self.long == MAX_LONG || self.large == MAX_LARGE
    }
}

#[derive(Debug)]
pub struct CallPlace<'a> {
    all: &'a UserCalls,
    is_long: bool,
    is_large: bool,
}

impl UserCalls {
    /// Waits until one more call may run. Begin before the call is read, since reading takes descriptors.
    pub fn begin(&self) -> CallPlace<'_> {
        self.wait_until(|running| running.all < MAX_CALLS).all += 1;
        CallPlace { all: self, is_long: false, is_large: false }
    }

    fn wait_until(&self, fits: impl Fn(&RunningCalls) -> bool) -> MutexGuard<'_, RunningCalls> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.wait_while(running, |running| !fits(running)).unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPlace<'_> {
    /// Waits until buffers of this size may be held.
    pub fn take(&mut self, bytes: usize) {
        if bytes > LARGE && !self.is_large {
            self.all.wait_until(|running| running.large < MAX_LARGE).large += 1;
            self.is_large = true;
        }
    }

    /// Waits until a long call may begin.
    pub fn begin_long(&mut self) {
        if !self.is_long {
            self.all.wait_until(|running| running.long < MAX_LONG).long += 1;
            self.is_long = true;
        }
    }
}

impl Drop for CallPlace<'_> {
    fn drop(&mut self) {
        let was_full = {
            let mut running = self.all.running.lock().unwrap_or_else(PoisonError::into_inner);
            let was_full = running.is_full();
            running.all -= 1;
            running.long -= usize::from(self.is_long);
            running.large -= usize::from(self.is_large);
            was_full
        };
        // No call waits unless a maximum was reached. Each wake-up is a system call.
        if was_full {
            self.all.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_above_a_maximum_wait_and_places_come_back() {
        let all = UserCalls::default();
        let mut places: Vec<_> = (0..MAX_CALLS).map(|_| all.begin()).collect();
        for place in &mut places[..MAX_LONG] {
            place.begin_long();
            place.begin_long();
            place.take(LARGE);
            place.take(LARGE + 1);
            place.take(LARGE + 1);
        }
        let running = || *all.running.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(running(), RunningCalls { all: MAX_CALLS, long: MAX_LONG, large: MAX_LARGE });
        std::thread::scope(|scope| {
            let next = scope.spawn(|| {
                let mut place = all.begin();
                place.begin_long();
                place.take(LARGE + 1);
            });
            drop(places.swap_remove(0));
            next.join().unwrap_or_else(|_| panic!("it has all places"));
        });
        drop(places);
        assert_eq!(running(), RunningCalls::default());
    }

    #[test]
    fn each_of_many_waiting_calls_gets_a_place() {
        let all = UserCalls::default();
        let places: Vec<_> = (0..MAX_CALLS).map(|_| all.begin()).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 * MAX_CALLS {
                scope.spawn(|| all.begin().begin_long());
            }
            drop(places);
        });
        assert_eq!(*all.running.lock().unwrap_or_else(PoisonError::into_inner), RunningCalls::default());
    }
}
