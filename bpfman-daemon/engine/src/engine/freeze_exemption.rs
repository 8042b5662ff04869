//! Exemption of the current thread from freezes of hooks.

use std::cell::Cell;

/// Freezes that do not apply to the current thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreezeExemption {
    /// None: the thread works for a caller.
    #[default]
    None,
    /// Freezes that root did not make: the thread works for root.
    NotRoots,
    /// All freezes: the daemon enforces a limit (revocation, expiry, a budget).
    All,
}

thread_local! {
    static EXEMPTION: Cell<FreezeExemption> = const { Cell::new(FreezeExemption::None) };
}

struct ExemptionGuard(FreezeExemption);

impl Drop for ExemptionGuard {
    fn drop(&mut self) {
        EXEMPTION.set(self.0);
    }
}

impl FreezeExemption {
    /// Runs `work` with this exemption. Operations are synchronous, so all of the work happens on this thread.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let _former = ExemptionGuard(EXEMPTION.replace(self));
        work()
    }

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
