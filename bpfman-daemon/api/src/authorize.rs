//! Access control of calls.
//!
//! Only this module creates a [`Permit`], and starting a worker thread for a call requires one: a handler without an
//! access check does not compile.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{HeldNetns, Hint, Owner, Peer, TenantRules};
use bpfman_proto::Method;
use bpfmand_access::{AccessObject, AccessPolicy, AccessVerb, Allowed, Denial, GrantLimits};
use bpfmand_engine::{CallersNetwork, OwnedCounts};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::calls::{CallNeeds, row_of};
use crate::reservations::CallPlaces;
use crate::server::Api;
use crate::status::denied;
use crate::{audit, status};

pub trait AccessSource: Send + Sync {
    /// Returns the grants in force now.
    fn policy(&self) -> Arc<AccessPolicy>;
    /// Returns the state of the grants' file.
    fn health(&self) -> PolicyHealth {
        PolicyHealth::default()
    }
}

/// State of the file that the grants come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyHealth {
    pub file: PathBuf,
    /// The file, if `bpfman policy` does not use it by default.
    pub other_file: Option<PathBuf>,
    /// Mistakes of the file, each as `FILE:LINE: reason`; `None` if the file is in force.
    pub mistakes: Option<String>,
    /// Policy that is in force instead, and the consequences.
    pub in_force: String,
    /// True if no policy is in force: only root and the node agent may do anything.
    pub is_unknown: bool,
    /// Reason why the policy in force is not kept for the next start.
    pub copy_failure: Option<String>,
    /// Time of the file's removal; `None` if there is a file, or never was one.
    pub removed: Option<String>,
    /// Reason why earlier ranges of subordinate users are in use, if the files cannot be read.
    pub users_failure: Option<String>,
}

impl AccessSource for Arc<AccessPolicy> {
    fn policy(&self) -> Arc<AccessPolicy> {
        Arc::clone(self)
    }
}

#[derive(Debug)]
pub(crate) struct Permit {
    pub uid: u32,
    /// User whose limits the call counts against.
    pub account: u32,
    pub owner: Owner,
    pub limits: GrantLimits,
    /// Restrictions of the programs that the call loads; `None` if they may see the whole machine.
    pub tenant: Option<TenantRules>,
    /// True if the grant that allows the call is for all applications, as the node agent's grant is.
    pub speaks_for_all: bool,
    pub reserved: CallPlaces,
    /// The caller's network namespace, if the call is for a place in it: held until the call has acted.
    pub network: Option<HeldNetns>,
}

impl Permit {
    /// Returns `work` bound to the call's namespace, which is compared again where a path is opened.
    pub fn in_network<A, T, W: FnOnce(&A) -> T>(&self, work: W) -> impl FnOnce(&A) -> T + use<A, T, W> {
        let network = self.network.clone();
        move |api: &A| {
            let inode = network.as_ref().map(|network| network.id().inode);
            CallersNetwork::during(inode, || work(api))
        }
    }
}

/// Folders with files of network namespaces, where only root can create files.
const NETNS_FOLDERS: [&str; 2] = ["/run/netns", "/var/run/netns"];

impl<K: Kernel> Api<K> {
    pub(crate) fn authorize(&self, objects: &[AccessObject<'_>]) -> Result<Permit, Status> {
        match row_of(called()?).needs {
            CallNeeds::Nothing => {
                let peer = audit::caller()?;
                let (uid, account) = (peer.uid, peer.account());
                let (owner, limits) = (Owner::of_user(uid), GrantLimits::default());
                let reserved = CallPlaces::default();
                Ok(Permit {
                    uid,
                    account,
                    owner,
                    limits,
                    tenant: None,
                    speaks_for_all: false,
                    reserved,
                    network: None,
                })
            }
            CallNeeds::Verb(verb) => self.authorize_verb(verb, objects),
        }
    }

    pub(crate) fn authorize_verb(
        &self,
        verb: AccessVerb,
        objects: &[AccessObject<'_>],
    ) -> Result<Permit, Status> {
        let (peer, call) = (audit::caller()?, called()?);
        if !row_of(call).has(verb, objects.iter().map(AccessObject::class)) {
            tracing::error!(?call, %verb, ?objects, "the row of the call lacks the right that it asks for");
            return Err(Status::internal(
                "this call asks for a right that the daemon has no rule for; its log has more",
            ));
        }
        // Note the owners before the decision: the entry of a denied call concerns them, too.
        for object in objects {
            if let AccessObject::Owned { owner, .. } = object {
                audit::owner(owner);
            }
        }
        let decided = self.policy_for(&peer).decide(&peer, verb, objects);
        let decided = decided.map_err(|denial| status::denial(&self.with_mistakes(verb, denial)));
        let Allowed { by, owner, limits, tenant, speaks_for_all, keep: _ } = decided?;
        audit::allowed_by(&by);
        audit::owner(&owner);
        let reserved = CallPlaces::default();
        // A grant for only the caller's own namespace allows no call that also names another one.
        let is_own = objects.iter().any(AccessObject::is_in_callers_netns)
            && !objects.iter().any(AccessObject::is_in_other_netns);
        Ok(Permit {
            uid: peer.uid,
            account: peer.account(),
            owner,
            limits,
            tenant,
            speaks_for_all,
            reserved,
            network: peer.netns.filter(|_| is_own),
        })
    }

    /// Returns whether the caller has the right to a verb on an object over all owners. Journals nothing.
    pub(crate) fn has_over_all(&self, verb: AccessVerb, object: &AccessObject<'_>) -> Result<bool, Status> {
        let peer = audit::caller()?;
        Ok(self.policy_for(&peer).is_over_all(&peer, verb, object))
    }

    /// Returns whether the caller has the right to the verb of its call on these objects. Journals nothing.
    pub(crate) fn may(&self, objects: &[AccessObject<'_>]) -> Result<bool, Status> {
        let peer = audit::caller()?;
        Ok(self.policy_for(&peer).decide(&peer, called_verb()?, objects).is_ok())
    }

    /// Returns the grants that decide about a caller. Root's calls do not wait for the file.
    pub(crate) fn policy_for(&self, peer: &Peer) -> Arc<AccessPolicy> {
        if peer.uid == 0 { Arc::default() } else { self.access.policy() }
    }

    /// Adds the policy file to a denial, or that it has mistakes: a grant in it may allow the call.
    pub(crate) fn with_mistakes(&self, verb: AccessVerb, mut denial: Denial) -> Denial {
        if verb == AccessVerb::Administer {
            return denial;
        }
        let health = self.access.health();
        if let (Hint::AllowCall(arguments), Some(file)) = (&mut denial.hint, &health.other_file) {
            arguments.push(format!("--policy={}", file.display()));
        }
        let state = if health.is_unknown {
            "no earlier policy is known: only root and the node agent may do anything"
        } else if health.mistakes.is_some() {
            "an earlier policy is in force"
        } else {
            return denial;
        };
        denial.hint = Hint::Lines(vec![
            format!("policy.toml has mistakes, and {state}").into(),
            Hint::CheckPolicy(health.other_file),
        ]);
        denial
    }

    pub(crate) fn ensure_within(&self, permit: &Permit, programs: u64, links: u64) -> Result<(), Status> {
        self.ensure_within_of(&permit.owner, permit, programs, links)
    }

    /// Checks these limits for the objects of an owner for which the caller acts.
    pub(crate) fn ensure_within_of(
        &self,
        owner: &Owner,
        permit: &Permit,
        programs: u64,
        links: u64,
    ) -> Result<(), Status> {
        let GrantLimits { programs: most_programs, links: most_links, .. } = permit.limits;
        if most_programs.is_none() && most_links.is_none() {
            return Ok(());
        }
        let check = |has: OwnedCounts, others: OwnedCounts| {
            let of_programs = ("programs", has.programs, others.programs, programs, most_programs);
            let of_links = ("links", has.links, others.links, links, most_links);
            for (what, has, others, more, most) in [of_programs, of_links] {
                let Some(most) = most.filter(|most| more > 0 && has + others + more > *most) else {
                    continue;
                };
                let others =
                    if others == 0 { String::new() } else { format!(", makes {others} in other calls,") };
                return Err(status::too_large(format!(
                    "{owner} has {has} {what}{others} and wants {more} more; its grant allows {most}: remove some, or have \
                     root raise limits.{what} of the grant in policy.toml",
                )));
            }
            Ok(())
        };
        let reserved = self.engine.with_owned_counts(owner, |has| {
            self.reservations().reserve(owner, OwnedCounts { programs, links }, |others| check(has, others))
        })?;
        permit.reserved.hold(reserved);
        Ok(())
    }

    /// Returns whether a namespace is certainly the caller's own; reads it only if a grant requires that.
    pub(crate) async fn is_callers_netns(&self, path: Option<&Path>) -> Result<bool, Status> {
        let Some(peer) = audit::peer().filter(|peer| peer.uid != 0) else { return Ok(false) };
        let (Some(own), policy) = (peer.netns.clone(), self.access.policy()) else { return Ok(false) };
        let mut grants = policy.grants_of(&peer);
        if !grants.any(|grant| grant.netns == Some(bpfmand_access::NetnsRule::Own)) {
            return Ok(false);
        }
        let file = match path {
            None => None,
            Some(path) if is_below_root_folder(path) => Some(path.to_owned()),
            Some(_) => return Ok(false),
        };
        let engine = Arc::clone(&self.engine);
        // The caller's namespace is held open, so no other namespace has its inode.
        let is_own = tokio::task::spawn_blocking(move || engine.kernel().leads_to(file.as_deref(), own.id()));
        Ok(is_own.await.unwrap_or(false))
    }
}

fn called() -> Result<Method, Status> {
    audit::method().ok_or_else(|| denied("this daemon does not know the call"))
}

pub(crate) fn called_verb() -> Result<AccessVerb, Status> {
    match row_of(called()?).needs {
        CallNeeds::Verb(verb) => Ok(verb),
        CallNeeds::Nothing => Err(denied("this call is about no object")),
    }
}

/// Returns whether only root can redirect the path.
fn is_below_root_folder(path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    plain
        && path.parent().is_some_and(|parent| NETNS_FOLDERS.iter().any(|folder| parent == Path::new(folder)))
}

pub(crate) fn everybody(policy: &AccessPolicy, peer: &Peer) -> Vec<AccessVerb> {
    let nobody_else = AccessPolicy { grants: Vec::new(), socket_group: policy.socket_group };
    let may = |verb: &AccessVerb| nobody_else.decide(peer, *verb, &[]).is_ok();
    AccessVerb::GRANTABLE.into_iter().filter(may).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_root_makes_say_whose_a_namespace_is() {
        for (path, is) in [
            ("/run/netns/blue", true),
            ("/var/run/netns/blue", true),
            ("/run/netns/../../home/ada/ns", false),
            ("/run/netns/a/b", false),
            ("/proc/7/ns/net", false),
            ("/home/ada/ns", false),
        ] {
            assert_eq!(is_below_root_folder(Path::new(path)), is, "{path}");
        }
    }
}
