//! Accounts of callers: which places on the socket they have.

use bpfman_model::{KeptShare, Peer};
use bpfmand_access::{AccessPolicy, Grant};

use super::WantedIdentity;
use super::limits::{CONNECTIONS, CONNECTIONS_BESIDES_ROOT, CONNECTIONS_WITHOUT_GRANT};

const ROOT: u32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Other,
    Granted,
    Agent,
    Root,
}

impl Tier {
    pub const ALL: [Self; 4] = [Self::Other, Self::Granted, Self::Agent, Self::Root];

    const fn of(grant: &Grant) -> Self {
        if grant.applications.is_empty() { Self::Granted } else { Self::Agent }
    }

    /// Returns the maximum number of connections of this tier and those below it together.
    pub fn most(self, kept: KeptShare) -> usize {
        let of_others = kept.of_others(CONNECTIONS).min(CONNECTIONS_BESIDES_ROOT);
        match self {
            Self::Other => CONNECTIONS_WITHOUT_GRANT.min(of_others),
            Self::Granted => of_others,
            Self::Agent => CONNECTIONS_BESIDES_ROOT,
            Self::Root => CONNECTIONS,
        }
    }
}

/// User, alone or with a grant that does not name it: pods share users, and a pod's grant has its own places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub key: AccountKey,
    pub tier: Tier,
}

/// The user that connections count for, and the grant that has places for it.
pub type AccountKey = (u32, Option<String>);

impl Account {
    /// Returns the account by the user id alone; its connections count for the user `account_uid`.
    pub fn of_user(policy: &AccessPolicy, uid: u32, account_uid: u32) -> Self {
        let by_number = |grant: &&Grant| !grant.callers.beside_daemon && grant.callers.users.contains(&uid);
        let naming = policy.grants.iter().filter(by_number);
        let named = naming.map(Tier::of).max().unwrap_or(Tier::Other);
        Self { key: (account_uid, None), tier: if uid == ROOT { Tier::Root } else { named } }
    }

    pub fn of_peer(policy: &AccessPolicy, peer: &Peer, account_uid: u32) -> Self {
        let user = Self::of_user(policy, peer.uid, account_uid);
        // Of grants with the same tier, the first one counts: a caller uses the places of one grant.
        let grants = policy.grants_of(peer).filter(|grant| Tier::of(grant) > user.tier);
        let best = grants.reduce(|best, grant| if Tier::of(grant) > Tier::of(best) { grant } else { best });
        match best {
            Some(grant) => Self { key: (account_uid, Some(grant.name.clone())), tier: Tier::of(grant) },
            None => user,
        }
    }
}

/// Returns the facts besides the user id on which a caller's tier may depend; `None` if there are none.
pub fn needed_for_grants(policy: &AccessPolicy, uid: u32) -> Option<WantedIdentity> {
    let of_grant = |grant: &Grant| {
        let callers = &grant.callers;
        let is_agents = callers.beside_daemon && callers.users.contains(&uid);
        let of_process = !callers.units.is_empty() || !callers.pods.is_empty() || is_agents;
        match (!of_process, callers.groups.is_empty()) {
            (false, _) => Some(WantedIdentity::Process),
            (true, false) => Some(WantedIdentity::Groups),
            (true, true) => None,
        }
    };
    policy.grants.iter().filter_map(of_grant).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_share_changes_the_connections_of_users() {
        for (share, most) in [("90%", [51, 51]), ("50%", [128, 256]), ("0%", [128, 448])] {
            let kept = share.parse().unwrap();
            assert_eq!([Tier::Other, Tier::Granted].map(|tier| tier.most(kept)), most, "{share}");
            let above = [Tier::Agent, Tier::Root].map(|tier| tier.most(kept));
            assert_eq!(above, [CONNECTIONS_BESIDES_ROOT, CONNECTIONS], "{share}");
        }
    }
}
