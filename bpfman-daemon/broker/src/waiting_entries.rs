//! Journal entries that are written in the next pause between calls, since the caller of the next call would wait for them.

/// Maximum number of calls that entries wait: a command that never pauses would hide them.
const MAX_CALLS: usize = 16;

pub struct WaitingEntries<E, W: FnMut(E)> {
    entries: Vec<E>,
    /// Number of calls since the first of the entries.
    calls: usize,
    write_one: W,
}

impl<E, W: FnMut(E)> WaitingEntries<E, W> {
    pub const fn new(write_one: W) -> Self {
        Self { entries: Vec::new(), calls: 0, write_one }
    }

    /// Counts a call, and adds its entry.
    pub fn add(&mut self, entry: Option<E>) {
        self.entries.extend(entry);
        self.calls += usize::from(!self.entries.is_empty());
        if self.calls >= MAX_CALLS {
            self.write();
        }
    }

    pub fn write(&mut self) {
        self.calls = 0;
        self.entries.drain(..).for_each(&mut self.write_one);
    }
}

impl<E, W: FnMut(E)> Drop for WaitingEntries<E, W> {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn entries_wait_for_a_pause_for_some_calls_or_until_the_end() {
        let written = RefCell::new(Vec::new());
        let mut waiting = WaitingEntries::new(|entry: u8| written.borrow_mut().push(entry));
        (0..100).for_each(|_| waiting.add(None));
        waiting.add(Some(1));
        (0..MAX_CALLS - 2).for_each(|_| waiting.add(None));
        assert!(written.borrow().is_empty());
        waiting.add(Some(2));
        assert_eq!(written.take(), [1, 2]);
        waiting.add(Some(3));
        waiting.write();
        assert_eq!(written.take(), [3]);
        waiting.add(Some(4));
        drop(waiting);
        assert_eq!(written.take(), [4]);
    }
}
