//! Freezes of hooks that do not hold off the work of this thread.

use std::cell::Cell;

/// Freezes that the work of this thread passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreezeExemption {
    /// None: a caller's work.
    #[default]
    None,
    /// Freezes that root did not make: root's own work.
    NotRoots,
    /// All freezes: a limit that the daemon enforces (revocation, expiry, a budget).
    All,
}

thread_local! {
    static EXEMPTION: Cell<FreezeExemption> = const { Cell::new(FreezeExemption::None) };
}

/// Puts the former exemption back, also when the work panics.
struct Former(FreezeExemption);

impl Drop for Former {
    fn drop(&mut self) {
        EXEMPTION.set(self.0);
    }
}

impl FreezeExemption {
    /// Does work with this exemption. Every operation is synchronous: all of it happens on this thread.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let _former = Former(EXEMPTION.replace(self));
        work()
    }

    /// Returns the exemption of this thread's work.
    pub(crate) fn current() -> Self {
        EXEMPTION.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemption_ends_with_its_work() {
        use FreezeExemption::{All, None, NotRoots};
        let current = FreezeExemption::current;
        let seen = NotRoots.during(|| (current(), All.during(current), current()));
        assert_eq!(seen, (NotRoots, All, NotRoots));
        assert_eq!(current(), None);
    }
}
