//! On whose behalf this thread works: a freeze holds off callers, but neither root nor the daemon's own limits.

use std::cell::Cell;

/// Party on whose behalf this thread changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Actor {
    /// A caller other than root.
    #[default]
    Caller,
    /// Root.
    Root,
    /// A limit that the daemon enforces by itself: revocation, expiry, a budget.
    Limit,
}

thread_local! {
    static ACTOR: Cell<Actor> = const { Cell::new(Actor::Caller) };
}

/// Puts the former actor back, also when the work panics.
struct Former(Actor);

impl Drop for Former {
    fn drop(&mut self) {
        ACTOR.set(self.0);
    }
}

impl Actor {
    /// Does work on behalf of this party. Every operation is synchronous: all of it happens on this thread.
    pub fn does<T>(self, work: impl FnOnce() -> T) -> T {
        let _former = Former(ACTOR.replace(self));
        work()
    }

    /// Returns the party on whose behalf this thread works.
    pub(crate) fn current() -> Self {
        ACTOR.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_with_the_former_actor() {
        let seen =
            Actor::Root.does(|| (Actor::current(), Actor::Limit.does(Actor::current), Actor::current()));
        assert_eq!(seen, (Actor::Root, Actor::Limit, Actor::Root));
        assert_eq!(Actor::current(), Actor::Caller);
    }
}
