//! Grant of permissions to callers.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bpfman_model::{
    CpuLimit, Glob, Owner, OwningApplication, Peer, PodObstacle, PodRelation, ProgramType, TenantRules,
};

use crate::pattern::takes_name;
use crate::{AccessObject, AccessVerb, ApplicationPattern, HookPattern, ImagePattern, TargetPattern};

/// Permissions of some callers in `policy.toml`. `None` restricts nothing. But if only one of `hooks` and
/// `targets` is set, the other allows nothing; and with `tenant`, types for kernel pointers must be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Name of the grant, which owns the objects that callers make by it.
    pub name: String,
    pub callers: GrantCallers,
    pub verbs: BTreeSet<AccessVerb>,
    /// Images that may be loaded.
    pub images: Option<Vec<ImagePattern>>,
    /// Files that may be loaded; the rules of `[files]` apply as well.
    pub files: Option<Vec<Glob>>,
    pub types: Option<BTreeSet<ProgramType>>,
    pub hooks: Option<Vec<HookPattern>>,
    pub targets: Option<Vec<TargetPattern>>,
    pub netns: Option<NetnsRule>,
    /// Priorities of members.
    pub priorities: Option<RangeInclusive<i32>>,
    /// Applications that callers may act for.
    pub applications: Vec<ApplicationPattern>,
    /// True if programs and links of other owners may be changed.
    pub over_all: bool,
    /// Limits of an owner under the grant.
    pub limits: GrantLimits,
    /// SHA-256 digests of the files that sessions may execute, as hexadecimal digits.
    pub executables: Option<BTreeSet<String>>,
    /// File with digests of the programs that sessions may load, recorded for each kernel.
    pub programs: Option<PathBuf>,
    /// True if pins and attachments of sessions stay after their commands.
    pub keep: bool,
    /// Restrictions of the callers' programs; `None`: they may see the whole machine.
    pub tenant: Option<TenantRules>,
}

/// Callers of a grant. One condition that matches is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantCallers {
    pub users: BTreeSet<u32>,
    /// Group ids, including supplementary ones.
    pub groups: BTreeSet<u32>,
    pub units: BTreeSet<String>,
    pub pods: BTreeSet<String>,
    /// True if callers must also run beside the daemon: if it is in a pod, in a pod of the same namespace.
    pub beside_daemon: bool,
}

/// Network namespaces in which interfaces may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsRule {
    /// The caller's own network namespace.
    Own,
    /// Namespaces with a matching file.
    Files(Vec<Glob>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantLimits {
    pub programs: Option<u64>,
    pub links: Option<u64>,
    /// Maximum kernel memory in bytes, for the maps of one load, and for all maps of the owner's sessions.
    pub map_memory: Option<u64>,
    /// Maximum number of instructions that the verifier may process for one load.
    pub verified_instructions: Option<u64>,
    /// Maximum number of calls that the daemon makes for the owner's sessions in a second.
    pub calls: Option<u64>,
    /// Share of a CPU for all programs of the owner together.
    pub cpu: Option<CpuLimit>,
}

impl GrantCallers {
    /// Returns whether the peer is one of the callers.
    #[must_use]
    pub fn include(&self, peer: &Peer) -> bool {
        self.are_beside(peer) && self.name_of(peer)
    }

    /// Returns why a listed peer is not accepted: its pod cannot be compared with the daemon's.
    #[must_use]
    pub fn obstacle<'p>(&self, peer: &'p Peer) -> Option<&'p PodObstacle> {
        match &peer.pod_relation {
            PodRelation::Unknown(obstacle) if self.beside_daemon && self.name_of(peer) => Some(obstacle),
            _ => None,
        }
    }

    fn are_beside(&self, peer: &Peer) -> bool {
        !self.beside_daemon || peer.pod_relation.is_beside_daemon()
    }

    fn name_of(&self, peer: &Peer) -> bool {
        self.users.contains(&peer.uid)
            || self.groups.contains(&peer.gid)
            || peer.groups.iter().any(|group| self.groups.contains(group))
            || peer.unit().is_some_and(|unit| self.units.contains(unit))
            || peer.pod().is_some_and(|pod| self.pods.contains(&canonical_pod(pod)))
    }
}

/// Returns a pod's UID with dashes, as Kubernetes writes it: systemd writes underscores in names of cgroups.
pub(crate) fn canonical_pod(uid: &str) -> String {
    uid.replace('_', "-")
}

impl Grant {
    /// Returns the owner of the objects that callers make by the grant.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::Grant(self.name.clone())
    }

    /// Returns the key of the grant that denies the object; `None` if the grant allows it.
    pub(crate) fn obstacle(&self, peer: &Peer, object: &AccessObject<'_>) -> Option<&'static str> {
        let allowed_by = |key: &'static str, allowed: bool| (!allowed).then_some(key);
        let among = |list: &Option<Vec<Glob>>, text: &str| {
            list.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| takes_name(pattern, text)))
        };
        match object {
            AccessObject::Type(of) => {
                // Programs of these types follow kernel pointers: a tenant's grant has to list the types.
                let unwritten = !(self.tenant.is_some() && of.needs_load_target());
                allowed_by("types", self.types.as_ref().map_or(unwritten, |types| types.contains(of)))
            }
            AccessObject::UnnamedType(_) => {
                allowed_by("types", self.types.is_none() && self.tenant.is_none())
            }
            AccessObject::Image(reference) => {
                let listed = |patterns: &Vec<ImagePattern>| patterns.iter().any(|one| one.matches(reference));
                allowed_by("images", self.images.as_ref().is_none_or(listed))
            }
            AccessObject::File(path) => {
                allowed_by("files", path.to_str().is_some_and(|path| among(&self.files, path)))
            }
            AccessObject::Hook { kind, interface, in_callers_netns } => {
                let hook = self.some_hook(|pattern| pattern.matches(*kind, &interface.name));
                let netns = self.takes_netns(interface.netns.as_deref(), *in_callers_netns);
                allowed_by("hooks", hook).or(allowed_by("netns", netns))
            }
            AccessObject::Netns { netns, in_callers_netns } => {
                allowed_by("netns", self.takes_netns(*netns, *in_callers_netns))
            }
            AccessObject::AnyHook => {
                let unrestricted = self.hooks.is_none() && self.targets.is_none() && self.netns.is_none();
                allowed_by("hooks", unrestricted)
            }
            AccessObject::Hooks { kind, interfaces } => {
                let covers = |names: &Glob| self.some_hook(|hook| hook.covers(*kind, names));
                let any_name = Glob::parse("*").is_ok_and(|any| covers(&any));
                let by_name = interfaces.indexes().is_empty();
                let hooks = any_name || by_name && interfaces.patterns().iter().all(covers);
                let netns = match &self.netns {
                    None => true,
                    Some(NetnsRule::Own) => false,
                    Some(NetnsRule::Files(files)) => {
                        let covered = |pattern: &bpfman_model::NetnsPattern| {
                            let pattern = Glob::parse(&pattern.to_string());
                            pattern.is_ok_and(|pattern| files.iter().any(|file| file.covers(&pattern)))
                        };
                        !interfaces.netns().is_empty() && interfaces.netns().iter().all(covered)
                    }
                };
                allowed_by("hooks", hooks).or(allowed_by("netns", netns))
            }
            AccessObject::Target { kind, name } => {
                let listed = match (&self.targets, &self.hooks) {
                    (Some(targets), _) => targets.iter().any(|target| target.matches(kind, name)),
                    (None, hooks) => hooks.is_none(),
                };
                allowed_by("targets", listed)
            }
            AccessObject::Targets { kind, names } => {
                let listed = match (&self.targets, &self.hooks) {
                    (Some(targets), _) => targets.iter().any(|target| target.covers(kind, names)),
                    (None, hooks) => hooks.is_none(),
                };
                allowed_by("targets", listed)
            }
            AccessObject::Priority(priority) => {
                let within = self.priorities.as_ref().is_none_or(|range| range.contains(priority));
                allowed_by("priorities", within)
            }
            AccessObject::Position => allowed_by("priorities", self.priorities.is_none()),
            // A role lets others run first, and `before` moves a member ahead of others: both evade
            // priorities.
            AccessObject::Order(order) => {
                let moves = order.role.is_some() || !order.before.is_empty();
                allowed_by("priorities", !moves || self.priorities.is_none())
            }
            AccessObject::Owned { owner, .. } => allowed_by("over", self.has_over(peer, owner)),
            AccessObject::Application(name) => allowed_by("applications", self.speaks_for(name)),
            AccessObject::Executable(digest) => {
                let listed = |all: &BTreeSet<String>| digest.is_some_and(|digest| all.contains(digest));
                allowed_by("executables", self.executables.as_ref().is_none_or(listed))
            }
            AccessObject::Instructions { listed, .. } => {
                allowed_by("programs", self.programs.as_ref().is_none_or(|list| listed.contains(list)))
            }
        }
    }

    fn takes_netns(&self, netns: Option<&Path>, in_callers_netns: bool) -> bool {
        match (&self.netns, netns) {
            (None, _) => true,
            (Some(NetnsRule::Own), _) => in_callers_netns,
            (Some(NetnsRule::Files(_)), None) => false,
            (Some(NetnsRule::Files(files)), Some(path)) => {
                path.to_str().is_some_and(|path| files.iter().any(|file| takes_name(file, path)))
            }
        }
    }

    fn some_hook(&self, fits: impl Fn(&HookPattern) -> bool) -> bool {
        match (&self.hooks, &self.targets) {
            (Some(hooks), _) => hooks.iter().any(fits),
            (None, targets) => targets.is_none(),
        }
    }

    fn has_over(&self, peer: &Peer, owner: &Owner) -> bool {
        self.over_all
            || match owner {
                Owner::Root => false,
                Owner::User(uid) => *uid == peer.uid,
                Owner::Grant(name) => *name == self.name,
                Owner::Application(name) => self.speaks_for(name),
            }
    }

    /// Returns the pattern that would restore access to an application; `None` if no old pattern covered it.
    pub(crate) fn successor_for(&self, name: &OwningApplication) -> Option<String> {
        self.applications.iter().find_map(|application| application.successor(name))
    }

    pub(crate) fn speaks_for_all(&self) -> bool {
        self.applications.iter().any(ApplicationPattern::is_any)
    }

    pub(crate) fn speaks_for(&self, name: &OwningApplication) -> bool {
        self.applications.iter().any(|application| application.matches(name))
    }
}
