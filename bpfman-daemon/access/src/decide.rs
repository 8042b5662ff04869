//! Decision about a call.

use bpfman_model::{Owner, Peer, TenantRules};

use crate::{AccessObject, AccessPolicy, AccessVerb, Denial, Grant, GrantLimits, OwnedObject, SocketGroup};

/// Reason why a call is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Root,
    Grant(String),
    /// Permission of every user of the socket.
    SocketGroup,
}

/// Permission for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub by: By,
    /// Owner of the objects that the call makes.
    pub owner: Owner,
    pub limits: GrantLimits,
    /// Restrictions of the programs that the call loads.
    pub tenant: Option<TenantRules>,
    /// True if pins and attachments of the grant's sessions stay after their commands.
    pub keep: bool,
    /// True if the grant that allows this very call is for all applications. Other grants of the caller do not count.
    pub speaks_for_all: bool,
}

impl Allowed {
    fn without_grant(by: By, owner: Owner) -> Self {
        Self { by, owner, limits: GrantLimits::default(), tenant: None, keep: false, speaks_for_all: false }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Grant(name) => f.write_str(name),
            Self::SocketGroup => f.write_str("socket group"),
        }
    }
}

impl AccessPolicy {
    /// Returns whether a caller may use a verb on an object, and on the programs and links of all owners.
    #[must_use]
    pub fn is_over_all(&self, peer: &Peer, verb: AccessVerb, object: &AccessObject<'_>) -> bool {
        // Only a grant over all owners covers objects of root.
        let all = AccessObject::Owned { thing: OwnedObject::All, owner: &Owner::Root };
        self.decide(peer, verb, &[object.clone(), all]).is_ok()
    }

    /// Decides a call. One grant has to allow the verb on all objects.
    pub fn decide(
        &self,
        peer: &Peer,
        verb: AccessVerb,
        objects: &[AccessObject<'_>],
    ) -> Result<Allowed, Denial> {
        if peer.uid == 0 {
            let owner = claimed(objects).unwrap_or(Owner::Root);
            return Ok(Allowed::without_grant(By::Root, owner));
        }
        if verb == AccessVerb::Administer {
            return Err(Denial::only_root(peer, objects));
        }
        let granted = self.grants_of(peer).find(|grant| grant.allows(peer, verb, objects));
        if let Some(grant) = granted {
            let owner = claimed(objects).unwrap_or_else(|| grant.owner());
            return Ok(Allowed {
                by: By::Grant(grant.name.clone()),
                owner,
                limits: grant.limits,
                tenant: grant.tenant.clone(),
                keep: grant.keep,
                speaks_for_all: grant.speaks_for_all(),
            });
        }
        let open = match self.socket_group {
            SocketGroup::Nothing => false,
            SocketGroup::Read => verb == AccessVerb::Read,
            // Third-party activity, and bytecode without a signature, need verbs of their own, as in a grant of `all`.
            SocketGroup::All => !matches!(verb, AccessVerb::Radar | AccessVerb::Raw),
        };
        if open {
            let owner = claimed(objects).unwrap_or(Owner::of_user(peer.uid));
            return Ok(Allowed::without_grant(By::SocketGroup, owner));
        }
        Err(Denial::new(self, peer, verb, objects))
    }
}

impl Grant {
    fn allows(&self, peer: &Peer, verb: AccessVerb, objects: &[AccessObject<'_>]) -> bool {
        // Raw bytecode runs without a guard, so a grant that restricts programs to tasks cannot allow it.
        let is_unguarded = verb == AccessVerb::Raw && self.tenant.is_some();
        self.verbs.contains(&verb)
            && !is_unguarded
            && objects.iter().all(|object| self.obstacle(peer, object).is_none())
    }
}

fn claimed(objects: &[AccessObject<'_>]) -> Option<Owner> {
    objects.iter().find_map(|object| match object {
        AccessObject::Application(name) => Some(Owner::Application((*name).clone())),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
