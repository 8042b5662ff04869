//! Detection of status fields that the API server drops due to older CRDs: the agent must not write forever.

use std::time::{Duration, Instant};

use crate::agent::objects::state::Status;
use crate::agent::status::same;

const AGAIN: Duration = Duration::from_secs(600);

/// Last written status of a state object and the stored one, if they differ.
#[derive(Debug, Default)]
pub struct LastWritten(Option<Last>);

#[derive(Debug)]
struct Last {
    written: Status,
    kept: Status,
    at: Instant,
}

impl LastWritten {
    /// Records a written status. Returns whether fields were dropped for the first time for this object.
    pub fn wrote(&mut self, written: &Status, kept: Option<&Status>, at: Instant) -> bool {
        let kept = kept.filter(|kept| !same(written, kept));
        let last = kept.map(|kept| Last { written: written.clone(), kept: kept.clone(), at });
        let before = std::mem::replace(&mut self.0, last);
        self.0.is_some() && before.is_none()
    }

    /// Returns whether the stored status is the result of writing this same status.
    #[must_use]
    pub fn is_kept(&self, status: &Status, there: &Status, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|last| {
            let old = now.saturating_duration_since(last.at) >= AGAIN;
            !old && same(&last.written, status) && same(&last.kept, there)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::agent::status::{ReconcileOutcome, StatusContext};

    fn status(kernel: Option<&str>, count: i64) -> Status {
        let about = StatusContext { kernel: kernel.map(str::to_owned), ..StatusContext::default() };
        let mut new = crate::agent::status::status(&ReconcileOutcome::Pending("it begins"), &about, None);
        new.node.update_count = count;
        new
    }

    #[test]
    fn fields_that_the_server_drops_are_not_rewritten() {
        let (last, now) = (RefCell::new(LastWritten::default()), Instant::now());
        let wrote = |status: Status, kept: Status| last.borrow_mut().wrote(&status, Some(&kept), now);
        let is_kept = |status: Status, there: Status| last.borrow().is_kept(&status, &there, now);
        assert!(wrote(status(Some("6.1"), 1), status(None, 1)));
        assert!(is_kept(status(Some("6.1"), 0), status(None, 7)));
        assert!(!is_kept(status(Some("6.12"), 0), status(None, 1)), "something else is to be said");
        assert!(!is_kept(status(Some("6.1"), 0), status(Some("5.4"), 1)), "somebody wrote it");
        assert!(!LastWritten::default().is_kept(&status(Some("6.1"), 0), &status(None, 1), now));
        assert!(!last.borrow().is_kept(&status(Some("6.1"), 0), &status(None, 1), now + AGAIN));
        assert!(!wrote(status(Some("6.12"), 2), status(None, 2)), "it is known already");
        assert!(!wrote(status(Some("6.12"), 3), status(Some("6.12"), 3)));
        assert!(!is_kept(status(Some("6.12"), 3), status(None, 2)));
    }
}
