//! Who may load object files of this machine, which nobody has signed.

use std::collections::BTreeSet;

/// The `[files]` table of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    users: BTreeSet<u32>,
}

impl Default for FileRule {
    /// Root only.
    fn default() -> Self {
        Self { users: BTreeSet::from([0]) }
    }
}

impl FileRule {
    /// These users; none of them means that no file may be loaded.
    #[must_use]
    pub fn users(users: impl IntoIterator<Item = u32>) -> Self {
        Self { users: users.into_iter().collect() }
    }

    /// True if this user may. Users other than root may load only files that belong to them.
    #[must_use]
    pub fn allows(&self, uid: u32) -> bool {
        self.users.contains(&uid)
    }

    /// The users, in order.
    pub fn allowed(&self) -> impl Iterator<Item = u32> {
        self.users.iter().copied()
    }
}
