//! Permission checks of replacements: they need the rights to load, and to attach at each place of the old version.

use bpfman_model::{LoadRequest, LoadTarget, ProgramId, ProgramType, ReplacedFunction};
use bpfmand_access::AccessObject;
use bpfmand_engine::{AllowedPlaces, ProgramToReplace, ReplaceRequest};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::authorize::Permit;
use crate::objects::{self, NamedTarget};
use crate::server::Api;
use crate::status::denied;

/// Returns the target that a program is loaded for, as grants name it; `None` if grants name none for the type.
pub(crate) fn load_target<'a>(of: ProgramType, target: Option<&'a str>) -> Option<AccessObject<'a>> {
    let place = of.load_target()?;
    // A socket hook means nothing without a cgroup, which the attachment names.
    let kind = (place != LoadTarget::SocketHook).then(|| of.name())?;
    let name = target.unwrap_or_default();
    // The program of an extension is a separate object: authors of grants do not know its number.
    let name = match place {
        LoadTarget::ProgramFunction => ReplacedFunction::written_function(name).unwrap_or_default(),
        _ => name,
    };
    Some(AccessObject::Target { kind, name })
}

pub(crate) struct PlacesOfReplaced {
    programs: Vec<ProgramToReplace>,
    targets: Vec<Vec<NamedTarget>>,
}

impl PlacesOfReplaced {
    fn allowed(&self) -> AllowedPlaces {
        let links = self.programs.iter().flat_map(|program| &program.links);
        let matchings = self.programs.iter().flat_map(|program| &program.matchings);
        AllowedPlaces {
            links: links.map(|(id, _)| *id).collect(),
            matchings: matchings.map(|(id, ..)| *id).collect(),
        }
    }

    /// Refuses to let a tenant attach a program without a tenant's rules: it would run for all tasks, or before others.
    pub(crate) fn ensure_held(&self, permit: &Permit) -> Result<(), Status> {
        let Some(free) = self.programs.iter().find(|program| !program.is_guarded) else { return Ok(()) };
        Err(denied(format!(
            "program {} is not held to the rules of tenants, and the grant of user {} has scope = \"cgroup\": load it by this \
             grant and attach that, or have root attach it",
            free.id, permit.uid
        )))
    }

    /// Refuses to replace a program without a guard by a tenant's code, which would run for tasks of others.
    fn ensure_guarded(&self, permit: &Permit) -> Result<(), Status> {
        let Some(free) = self.programs.iter().find(|program| !program.is_guarded) else { return Ok(()) };
        if permit.tenant.is_none() {
            return Ok(());
        }
        Err(denied(format!(
            "program {} runs for all tasks, and the grant of user {} has scope = \"cgroup\": load the new version beside it and \
             attach it, or have root replace it",
            free.id, permit.uid
        )))
    }
}

impl<K: Kernel> Api<K> {
    pub(crate) fn replaced(&self, ids: &[ProgramId]) -> PlacesOfReplaced {
        let programs = self.engine.replaced_programs(ids);
        let points = programs.iter().flat_map(|program| &program.links);
        let targets = points.map(|(_, point)| objects::targets(point)).collect();
        PlacesOfReplaced { programs, targets }
    }

    async fn places_of<'a>(&self, replaced: &'a PlacesOfReplaced) -> Result<Vec<AccessObject<'a>>, Status> {
        let mut objects = Vec::new();
        for program in &replaced.programs {
            objects.push(AccessObject::Type(program.program_type));
            objects.extend(load_target(program.program_type, program.target.as_deref()));
            let matching = program.matchings.iter();
            objects.extend(
                matching.map(|(_, kind, interfaces)| AccessObject::Hooks { kind: *kind, interfaces }),
            );
        }
        let points = replaced.programs.iter().flat_map(|program| &program.links).map(|(_, point)| point);
        for (point, named) in points.zip(&replaced.targets) {
            objects.extend(self.at_point(point, named).await?);
        }
        Ok(objects)
    }

    pub(crate) async fn authorize_replace(&self, request: &mut ReplaceRequest) -> Result<Permit, Status> {
        let replaced = self.replaced(&[request.program]);
        let permit = {
            let mut objects = self.places_of(&replaced).await?;
            objects.push(objects::source(&request.source)?);
            self.authorize_programs([request.program], objects)?
        };
        replaced.ensure_guarded(&permit)?;
        request.limits = objects::limits_of(&permit);
        request.tenant.clone_from(&permit.tenant);
        request.places = Some(replaced.allowed());
        Ok(permit)
    }

    pub(crate) async fn authorize_rollback(&self, id: ProgramId) -> Result<(Permit, AllowedPlaces), Status> {
        let replaced = self.replaced(&[id]);
        let permit = self.authorize_programs([id], self.places_of(&replaced).await?)?;
        replaced.ensure_guarded(&permit)?;
        Ok((permit, replaced.allowed()))
    }

    pub(crate) async fn authorize_load_replacing(
        &self,
        load: &mut LoadRequest,
        ids: &[ProgramId],
    ) -> Result<(Permit, AllowedPlaces), Status> {
        let replaced = self.replaced(ids);
        let permit = self.authorize_load(load, ids, self.places_of(&replaced).await?)?;
        replaced.ensure_guarded(&permit)?;
        Ok((permit, replaced.allowed()))
    }
}
