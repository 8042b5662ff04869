//! Objects of permission checks: the resources that requests name.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_image_name::ReferenceError;
use bpfman_model::{
    AttachPoint, AttachRequest, BytecodeSource, CallerGroup, FunctionPattern, Glob, HookKind, Interface,
    LinkId, LoadLimits, LoadRequest, LoadTarget, MatchRequest, MatchingId, OrderIntent, Owner,
    OwningApplication, ProgramId, ProgramRequest, ProgramType,
};
use bpfmand_access::{AccessObject, AccessVerb, OwnedObject};
use bpfmand_engine::{AdoptRequest, EngineError, UpdateLinkRequest, application_claim};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::audit;
use crate::authorize::{Permit, called_verb};
use crate::replaced::load_target;
use crate::server::{Api, fail};
use crate::status::{denied, invalid};

/// Returns the object of a source. Images are matched by parsed names, whatever their spelling.
pub(crate) fn source(source: &BytecodeSource) -> Result<AccessObject<'_>, Status> {
    Ok(match source {
        BytecodeSource::File(path) => AccessObject::File(path),
        BytecodeSource::Image { url, .. } => {
            AccessObject::Image(url.parse().map_err(|error: ReferenceError| invalid(error.to_string()))?)
        }
    })
}

fn claimed(metadata: &BTreeMap<String, String>) -> Result<Option<OwningApplication>, Status> {
    application_claim(metadata).map_err(|error| invalid(error.to_string()))
}

fn place<'a>(priority: Option<i32>, order: &'a OrderIntent) -> impl Iterator<Item = AccessObject<'a>> {
    let order = (!order.is_empty()).then_some(AccessObject::Order(order));
    priority.map(AccessObject::Priority).into_iter().chain(order)
}

pub(crate) fn member((link, owner): &(LinkId, Owner)) -> AccessObject<'_> {
    AccessObject::Owned { thing: OwnedObject::Member(*link), owner }
}

pub(crate) struct NamedTarget {
    kind: &'static str,
    name: String,
    /// Pattern, if the name stands for several functions.
    pattern: Option<Glob>,
}

impl NamedTarget {
    const fn new(kind: &'static str, name: String) -> Self {
        Self { kind, name, pattern: None }
    }

    /// Returns the kind, as patterns of grants name it.
    #[cfg(test)]
    pub(crate) const fn kind(&self) -> &'static str {
        self.kind
    }

    fn object(&self) -> AccessObject<'_> {
        match &self.pattern {
            Some(names) => AccessObject::Targets { kind: self.kind, names },
            None => AccessObject::Target { kind: self.kind, name: &self.name },
        }
    }
}

/// Returns the targets of a point. Probes of one function and of several have targets of the same kind.
pub(crate) fn targets(point: &AttachPoint) -> Vec<NamedTarget> {
    vec![match point {
        AttachPoint::Uprobe { target, .. }
        | AttachPoint::UprobeMulti { target, .. }
        | AttachPoint::Usdt { target, .. } => NamedTarget::new("uprobe", target.clone()),
        AttachPoint::Kprobe { function, .. } => NamedTarget::new("kprobe", function.clone()),
        AttachPoint::KprobeMulti { functions } => {
            let target = |function: &FunctionPattern| NamedTarget {
                kind: "kprobe",
                name: function.to_string(),
                pattern: function.name().is_none().then(|| function.glob().clone()),
            };
            return functions.iter().map(target).collect();
        }
        AttachPoint::Tracepoint { category, name } => {
            NamedTarget::new("tracepoint", format!("{category}/{name}"))
        }
        AttachPoint::RawTracepoint { name } => NamedTarget::new("raw_tracepoint", name.clone()),
        AttachPoint::Cgroup { path } => NamedTarget::new("cgroup", path.to_string()),
        AttachPoint::Netns { netns } => NamedTarget::new("netns", netns_name(netns.as_deref())),
        AttachPoint::Netfilter { netns, .. } => NamedTarget::new("netfilter", netns_name(netns.as_deref())),
        AttachPoint::Sockmap { map } => NamedTarget::new("sockmap", map.clone()),
        AttachPoint::Netkit { interface } => NamedTarget::new("netkit", interface.name.clone()),
        AttachPoint::Ksyscall { name } => NamedTarget::new("ksyscall", name.clone()),
        AttachPoint::StructOps { map } => NamedTarget::new("struct_ops", map.clone()),
        AttachPoint::PerfEvent { place } => NamedTarget::new("perf_event", place.event.name().to_owned()),
        AttachPoint::Fentry
        | AttachPoint::Fexit
        | AttachPoint::Lsm
        | AttachPoint::BtfTracepoint
        | AttachPoint::FmodRet
        | AttachPoint::Iter
        | AttachPoint::Freplace => return Vec::new(),
        AttachPoint::Xdp { .. } | AttachPoint::Tc { .. } | AttachPoint::Tcx { .. } => return Vec::new(),
    }]
}

/// Returns the name of a network namespace in grants: `host` is the daemon's own.
fn netns_name(netns: Option<&Path>) -> String {
    netns.map_or_else(|| "host".to_owned(), |path| path.display().to_string())
}

/// Returns the program that an extension names as its target. The engine refuses extensions that name none.
fn extended_program(program: &ProgramRequest) -> Option<ProgramId> {
    let is_extension = program.program_type.load_target() == Some(LoadTarget::ProgramFunction);
    let id = program.target.as_deref().filter(|_| is_extension)?.split(':').next()?;
    id.parse().ok().map(ProgramId)
}

pub(crate) const fn limits_of(permit: &Permit) -> LoadLimits {
    LoadLimits {
        map_bytes: permit.limits.map_memory,
        verified_instructions: permit.limits.verified_instructions,
        no_returns_by_section: false,
    }
}

pub(crate) fn callers_group() -> Option<CallerGroup> {
    audit::peer()?.caller_group()
}

impl<K: Kernel> Api<K> {
    pub(crate) fn note_program(&self, id: ProgramId) {
        audit::about_program(self.engine.summary_of_program(id));
        audit::program(id);
    }

    pub(crate) fn note_link(&self, id: LinkId) {
        audit::about_link(self.engine.summary_of_link(id));
        audit::link(id);
    }

    /// Authorizes a call on programs and other objects. A program that is missing now may exist when the call
    /// runs, with another owner: only root gets the engine's error for it.
    pub(crate) fn authorize_programs(
        &self,
        programs: impl IntoIterator<Item = ProgramId>,
        others: Vec<AccessObject<'_>>,
    ) -> Result<Permit, Status> {
        let programs: Vec<_> =
            programs.into_iter().map(|id| (id, self.engine.owner_of_program(id))).collect();
        let mut objects = others;
        let owned = programs.iter().filter_map(|(id, owner)| Some((id, owner.as_ref()?)));
        objects
            .extend(owned.map(|(id, owner)| AccessObject::Owned { thing: OwnedObject::Program(*id), owner }));
        let missing = programs.iter().find(|(_, owner)| owner.is_none());
        self.authorize_found(&objects, missing.map(|(id, _)| EngineError::NoProgram(*id)))
    }

    fn authorize_found(
        &self,
        objects: &[AccessObject<'_>],
        missing: Option<EngineError>,
    ) -> Result<Permit, Status> {
        let permit = self.authorize(objects)?;
        missing.filter(|_| permit.uid != 0).map_or(Ok(permit), |missing| Err(fail(missing)))
    }

    pub(crate) fn authorize_link(&self, id: LinkId, others: Vec<AccessObject<'_>>) -> Result<Permit, Status> {
        let owner = self.engine.owner_of_link(id);
        let mut objects = others;
        objects.extend(owner.iter().map(|owner| AccessObject::Owned { thing: OwnedObject::Link(id), owner }));
        self.authorize_found(&objects, owner.is_none().then_some(EngineError::NoLink(id)))
    }

    pub(crate) fn authorize_matching(&self, id: MatchingId) -> Result<Permit, Status> {
        let owner = self.engine.owner_of_matching(id);
        let owned = owner.iter().map(|owner| AccessObject::Owned { thing: OwnedObject::Matching(id), owner });
        let missing = owner.is_none().then_some(EngineError::NoMatching(id));
        self.authorize_found(&owned.collect::<Vec<_>>(), missing)
    }

    pub(crate) async fn hook<'a>(
        &self,
        interface: &'a Interface,
        kind: HookKind,
    ) -> Result<AccessObject<'a>, Status> {
        let in_callers_netns = self.is_callers_netns(interface.netns.as_deref()).await?;
        Ok(AccessObject::Hook { kind, interface, in_callers_netns })
    }

    /// Returns the members that were checked; `None` for a caller that has the right over any other member as well.
    pub(crate) async fn authorize_hook(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<(Permit, Option<Vec<LinkId>>), Status> {
        self.authorize_hook_for(called_verb()?, interface, kind).await
    }

    pub(crate) async fn authorize_hook_for(
        &self,
        verb: AccessVerb,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<(Permit, Option<Vec<LinkId>>), Status> {
        let hook = self.hook(interface, kind).await?;
        // Check the hook first: a caller without a right to it learns of no member.
        let permit = self.authorize_verb(verb, std::slice::from_ref(&hook))?;
        self.admit_interface(&permit, interface).await?;
        let at = interface.clone();
        let owners =
            self.read(&permit, move |api| api.engine.owners_at_hook(&at, kind).map_err(fail)).await?;
        // The hook may change meanwhile, which must not affect a caller with the right over any member.
        let has_over_all = self.has_over_all(verb, &hook)?;
        let mut objects = vec![hook];
        objects.extend(owners.iter().map(member));
        let permit = self.authorize_verb(verb, &objects)?;
        let members = || {
            let mut members: Vec<LinkId> = owners.iter().map(|(link, _)| *link).collect();
            members.dedup();
            members
        };
        Ok((permit, (!has_over_all).then(members)))
    }

    /// Authorizes a load, and sets its owner and limits. `places` are the attach points of the `replaced` programs.
    pub(crate) fn authorize_load(
        &self,
        load: &mut LoadRequest,
        replaced: &[ProgramId],
        places: Vec<AccessObject<'_>>,
    ) -> Result<Permit, Status> {
        let claim = claimed(&load.metadata)?;
        let mut objects = vec![source(&load.source)?];
        objects.extend(load.programs.iter().map(|program| AccessObject::Type(program.program_type)));
        let programs = load.programs.iter();
        objects.extend(
            programs.filter_map(|program| load_target(program.program_type, program.target.as_deref())),
        );
        objects.extend(places);
        objects.extend(claim.as_ref().map(AccessObject::Application));
        let shared = load.map_owner;
        let extended: Vec<ProgramId> = load.programs.iter().filter_map(extended_program).collect();
        // Programs that bpfman does not manage count as root's.
        let others: Vec<_> = extended.iter().filter(|id| !self.engine.manages(**id)).collect();
        objects.extend(others.iter().map(|id| AccessObject::Owned {
            thing: OwnedObject::UnmanagedProgram(**id),
            owner: &Owner::Root,
        }));
        let ours = extended.iter().copied().filter(|id| self.engine.manages(*id));
        let named = replaced.iter().copied().chain(shared).chain(ours);
        let returns = load.programs.iter().filter_map(|program| match program.program_type {
            ProgramType::Kprobe => Some(AccessObject::Type(ProgramType::Kretprobe)),
            ProgramType::Uprobe => Some(AccessObject::Type(ProgramType::Uretprobe)),
            _ => None,
        });
        let may_have_returns = self.may(&objects.iter().cloned().chain(returns).collect::<Vec<_>>())?;
        let permit = self.authorize_programs(named, objects)?;
        // A caller that acts for several applications shares nothing between them.
        let used = shared.into_iter().map(|id| (id, "use the maps of"));
        let used = used.chain(extended.into_iter().map(|id| (id, "take the place of a function of")));
        for (id, what) in used {
            if let Some(owner) = self.engine.owner_of_program(id)
                && permit.uid != 0
                && matches!(owner, Owner::Application(_))
                && owner != permit.owner
            {
                let whose = &permit.owner;
                return Err(denied(format!("a program of {whose} may not {what} a program of {owner}")));
            }
        }
        // The loaded code can write the maps that it shares.
        if let Some(id) = shared
            && let Some(owner) = self.engine.owner_of_program(id)
            && owner != permit.owner
        {
            let of_maps = AccessObject::Owned { thing: OwnedObject::MapsOf(id), owner: &owner };
            self.authorize_verb(AccessVerb::MapsWrite, &[of_maps])?;
        }
        self.ensure_within(&permit, load.programs.len().saturating_sub(replaced.len()) as u64, 0)?;
        load.owner = permit.owner.clone();
        load.limits = LoadLimits { no_returns_by_section: !may_have_returns, ..limits_of(&permit) };
        load.measured = permit.limits.cpu.is_some();
        load.tenant.clone_from(&permit.tenant);
        Ok(permit)
    }

    pub(crate) async fn authorize_attach(&self, attach: &mut AttachRequest) -> Result<Permit, Status> {
        let permit = {
            let named = targets(&attach.point);
            let mut objects = self.at_point(&attach.point, &named).await?;
            objects.extend(place(attach.point.priority(), &attach.order));
            self.authorize_programs([attach.program], objects)?
        };
        attach.owner = self.attachment_within(attach.program, &permit)?;
        attach.group = callers_group();
        Ok(permit)
    }

    pub(crate) async fn authorize_point(
        &self,
        point: &AttachPoint,
        order: &OrderIntent,
    ) -> Result<(), Status> {
        let named = targets(point);
        let mut objects = self.at_point(point, &named).await?;
        objects.extend(place(point.priority(), order));
        self.authorize(&objects).map(drop)
    }

    pub(crate) async fn at_point<'a>(
        &self,
        point: &'a AttachPoint,
        named: &'a [NamedTarget],
    ) -> Result<Vec<AccessObject<'a>>, Status> {
        let mut objects = Vec::new();
        if let Some((interface, kind)) = point.hook() {
            objects.push(self.hook(interface, kind).await?);
        }
        if let Some(netns) = point.netns().map(Option::as_deref) {
            let in_callers_netns = self.is_callers_netns(netns).await?;
            objects.push(AccessObject::Netns { netns, in_callers_netns });
        }
        objects.extend(named.iter().map(NamedTarget::object));
        Ok(objects)
    }

    /// Returns the owner that an attachment counts for; fails if the caller's grant forbids attaching the
    /// program. A caller that attaches an application's program acts for the application.
    fn attachment_within(&self, program: ProgramId, permit: &Permit) -> Result<Owner, Status> {
        if permit.tenant.is_some() {
            self.replaced(&[program]).ensure_held(permit)?;
        }
        let owner = match self.engine.owner_of_program(program) {
            Some(application @ Owner::Application(_)) => application,
            _ => permit.owner.clone(),
        };
        self.ensure_within_of(&owner, permit, 0, 1)?;
        Ok(owner)
    }

    pub(crate) fn authorize_match(&self, request: &mut MatchRequest) -> Result<Permit, Status> {
        let permit = {
            let point = &request.attach.point;
            let mut objects = Vec::new();
            if let Some((_, kind)) = point.hook() {
                objects.push(AccessObject::Hooks { kind, interfaces: &request.interfaces });
            }
            objects.extend(place(point.priority(), &request.attach.order));
            self.authorize_programs([request.attach.program], objects)?
        };
        request.attach.owner = self.attachment_within(request.attach.program, &permit)?;
        Ok(permit)
    }

    pub(crate) async fn authorize_update(&self, update: &UpdateLinkRequest) -> Result<Permit, Status> {
        let nothing = OrderIntent::default();
        let mut objects: Vec<_> = place(update.priority, update.order.as_ref().unwrap_or(&nothing)).collect();
        objects.extend(update.position.map(|_| AccessObject::Position));
        let point = self.engine.point_of_link(update.link);
        let named = point.as_ref().map(targets).unwrap_or_default();
        if let Some(point) = &point {
            objects.extend(self.at_point(point, &named).await?);
        }
        self.authorize_link(update.link, objects)
    }

    pub(crate) fn authorize_adopt(&self, adopt: &mut AdoptRequest) -> Result<Permit, Status> {
        let permit = {
            let claim = claimed(&adopt.metadata)?;
            let mut objects: Vec<_> = place(Some(adopt.priority), &adopt.order).collect();
            // The hook of the link is not known before the link is read.
            objects.push(AccessObject::AnyHook);
            objects.extend(claim.as_ref().map(AccessObject::Application));
            self.authorize(&objects)?
        };
        self.ensure_within(&permit, 1, 1)?;
        adopt.owner = permit.owner.clone();
        Ok(permit)
    }
}
