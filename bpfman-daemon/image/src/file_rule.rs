use std::collections::BTreeSet;

/// `[files]` table of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    users: BTreeSet<u32>,
}

impl Default for FileRule {
    fn default() -> Self {
        Self { users: BTreeSet::from([0]) }
    }
}

impl FileRule {
    /// Allows these users; an empty list forbids all files.
    #[must_use]
    pub fn users(users: impl IntoIterator<Item = u32>) -> Self {
        Self { users: users.into_iter().collect() }
    }

    /// Returns whether this user may load files. Users other than root may load only files that they own.
    #[must_use]
    pub fn allows(&self, uid: u32) -> bool {
        self.users.contains(&uid)
    }

    /// Returns the allowed users, in order.
    pub fn allowed(&self) -> impl Iterator<Item = u32> {
        self.users.iter().copied()
    }
}
