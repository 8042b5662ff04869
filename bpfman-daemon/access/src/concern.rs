//! Permission to read the history of an owner.

use bpfman_model::{Owner, Peer};

use crate::AccessPolicy;

impl AccessPolicy {
    /// Returns whether objects of this owner concern a caller: to root, all do; to any other caller, its own,
    /// and those of its grants and of the applications that a grant lets it act for.
    #[must_use]
    pub fn concerns(&self, peer: &Peer, owner: &Owner) -> bool {
        peer.uid == 0
            || match owner {
                Owner::Root => false,
                Owner::User(uid) => *uid == peer.uid,
                Owner::Grant(name) => self.grants_of(peer).any(|grant| grant.name == *name),
                Owner::Application(name) => self.grants_of(peer).any(|grant| grant.speaks_for(name)),
            }
    }
}

#[cfg(test)]
mod tests {
    use bpfman_model::OwningApplication;

    use super::*;
    use crate::{Grant, GrantCallers};

    #[test]
    fn users_other_than_root_see_only_their_objects() {
        let users = [1000].into();
        let grant = Grant {
            name: "network".to_owned(),
            callers: GrantCallers { users, ..GrantCallers::default() },
            applications: vec!["shop/*".parse().unwrap()],
            ..Grant::default()
        };
        let policy = AccessPolicy { grants: vec![grant], ..AccessPolicy::default() };
        let application =
            |namespace: &str| Owner::Application(OwningApplication::parse(Some(namespace), "wall").unwrap());
        let owners = [
            Owner::Root,
            Owner::User(1000),
            Owner::User(2000),
            Owner::Grant("network".to_owned()),
            Owner::Grant("other".to_owned()),
            application("shop"),
            application("bank"),
        ];
        let concerned = |uid| {
            let peer = Peer { uid, ..Peer::default() };
            owners.each_ref().map(|owner| policy.concerns(&peer, owner))
        };
        assert_eq!(concerned(0), [true; 7]);
        assert_eq!(concerned(1000), [false, true, false, true, false, true, false]);
        assert_eq!(concerned(2000), [false, false, true, false, false, false, false]);
    }
}
