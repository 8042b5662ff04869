//! Daemon's part of a run: lease, load, links, new versions.

use std::collections::HashMap;

use bpfman_client::{Client, Services};
use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{ACTUAL_TYPE_PREFIX, WirePoint, v1::bytecode_location::Location};
use tonic::Streaming;

use super::plan::PlannedProgram;
use super::point;
use crate::error::CliError;
use crate::show::json::LinkJson;
use crate::show::xdp_mode::fallback_warning;

#[derive(Clone, Debug)]
pub struct RunningProgram {
    pub planned: PlannedProgram,
    pub id: u32,
    pub links: Vec<u32>,
}

/// Lease: the daemon unloads its programs when this value is dropped, or this process ends.
pub struct HeldLease(Streaming<ext::LeaseEvent>);

impl HeldLease {
    /// Returns when the lease ended without this client: the daemon is stopping, or gone.
    pub async fn lost(&mut self) -> CliError {
        // For any result of the stream, the daemon is gone.
        let _how = self.0.message().await;
        CliError::At {
            subject: "the lease ended".to_owned(),
            source: Box::new(CliError::from(tonic::Status::unavailable(
                "the daemon is ending, or gone; what ran goes with it, at its next start at the latest",
            ))),
        }
    }
}

pub struct Session {
    pub client: Client,
    services: Services,
    lease: u64,
    values: Option<ext::LoadValues>,
    priority: i32,
    pub programs: Vec<RunningProgram>,
}

impl Session {
    pub async fn begin(
        client: Client,
        values: Option<ext::LoadValues>,
        priority: i32,
    ) -> Result<(Self, HeldLease), CliError> {
        let mut services = client.services();
        let mut held = services.ext.hold_lease(ext::HoldLeaseRequest {}).await?.into_inner();
        let granted = held.message().await?;
        let lease = granted.ok_or(CliError::Incomplete { call: "HoldLease", part: "the lease" })?.lease;
        let session = Self { client, services, lease, values, priority, programs: Vec::new() };
        Ok((session, HeldLease(held)))
    }

    pub async fn load(&mut self, plan: Vec<PlannedProgram>, location: Location) -> Result<(), CliError> {
        let request = ext::ExtLoadRequest {
            request: Some(request(&plan, location)),
            values: self.values.clone(),
            lease: Some(self.lease),
            ..Default::default()
        };
        let answer = self.services.ext.load(request).await?.into_inner();
        let kept = answer.lease_kept;
        self.programs = running(plan, answer.response.unwrap_or_default())?;
        if kept {
            return Ok(());
        }
        self.unload().await?;
        Err(CliError::Invalid {
            what: "this daemon knows no leases; nothing is loaded".to_owned(),
            hint: Some(Hint::Version),
        })
    }

    /// Attaches programs without links. Calls `told` for each new link, with the driver's refusal as a warning.
    pub async fn attach(
        &mut self,
        mut told: impl FnMut(&RunningProgram, &str, u32, Option<String>),
    ) -> Result<(), CliError> {
        for index in 0..self.programs.len() {
            if !self.programs[index].links.is_empty() {
                continue;
            }
            for hook in self.programs[index].planned.hooks.clone() {
                let program = &self.programs[index];
                let point = point::on_the_wire(&hook, self.priority);
                let is_xdp = matches!(point, WirePoint::Published(Info::XdpAttachInfo(_)));
                let attached = self.attach_one(program.id, point).await;
                let link = attached.map_err(|source| CliError::At {
                    subject: format!("attaching {} to {hook}", self.programs[index].planned.name),
                    source: Box::new(source),
                })?;
                self.programs[index].links.push(link);
                let warning = if is_xdp { self.fallback_of(link).await } else { None };
                told(&self.programs[index], &hook.to_string(), link, warning);
            }
        }
        Ok(())
    }

    async fn fallback_of(&self, link_id: u32) -> Option<String> {
        let answer = self.services.clone().ext.get_link(ext::GetLinkRequest { link_id }).await.ok()?;
        fallback_warning(&LinkJson::new(&answer.into_inner().link?))
    }

    async fn attach_one(&self, program_id: u32, point: WirePoint) -> Result<u32, CliError> {
        let mut services = self.services.clone();
        match point {
            WirePoint::Published(info) => {
                let attach = Some(v1::AttachInfo { info: Some(info) });
                let request = v1::AttachRequest { id: program_id, attach };
                Ok(services.v1.attach(request).await?.into_inner().link_id)
            }
            WirePoint::More(point) => {
                let request =
                    ext::ChainAttachRequest { program_id, point: Some(point), ..Default::default() };
                let link = services.chains.attach(request).await?.into_inner().link;
                Ok(link.ok_or(CliError::Incomplete { call: "Attach", part: "the link" })?.id)
            }
        }
    }

    /// Replaces all programs, keeping matching maps and links of remaining ones. Returns the maps' names and outcomes.
    pub async fn replace(
        &mut self,
        plan: Vec<PlannedProgram>,
        location: Location,
    ) -> Result<Vec<ext::MapOutcome>, CliError> {
        let request = ext::ReplaceLoadRequest {
            program_ids: self.programs.iter().map(|program| program.id).collect(),
            load: Some(request(&plan, location)),
            maps: ext::MapPolicy::Keep.into(),
            forget_old: true,
            values: self.values.clone(),
        };
        let answer = self.services.node.replace_load(request).await?.into_inner();
        let mut new = running(plan, answer.load.unwrap_or_default())?;
        for program in &mut new {
            let old = self.programs.iter().find(|old| old.planned.name == program.planned.name);
            program.links = old.map(|old| old.links.clone()).unwrap_or_default();
        }
        self.programs = new;
        Ok(answer.maps)
    }

    /// Returns the maps, each with the id of a program that has it, and the warnings of the load.
    pub async fn maps(&mut self) -> Result<(Vec<(u32, ext::Map)>, Vec<String>), CliError> {
        let (mut maps, mut left_out) = (Vec::<(u32, ext::Map)>::new(), Vec::new());
        for program in &self.programs {
            let request = ext::GetProgramRequest { id: program.id };
            let answer = self.services.ext.get_program(request).await?.into_inner();
            let described = answer.program.unwrap_or_default();
            for map in described.maps {
                if !maps.iter().any(|(_, known)| known.id == map.id) {
                    maps.push((program.id, map));
                }
            }
            let name = &program.planned.name;
            left_out.extend(described.warnings.iter().map(|text| format!("{name}: {text}")));
        }
        Ok((maps, left_out))
    }

    /// Removes all links. A link that does not exist is no failure.
    pub async fn detach(&mut self) -> Result<(), CliError> {
        for program in &mut self.programs {
            for link_id in program.links.drain(..) {
                gone_is_fine(self.services.v1.detach(v1::DetachRequest { link_id }).await)?;
            }
        }
        Ok(())
    }

    pub async fn unload(&mut self) -> Result<(), CliError> {
        for program in self.programs.drain(..) {
            gone_is_fine(self.services.v1.unload(v1::UnloadRequest { id: program.id }).await)?;
        }
        Ok(())
    }
}

fn gone_is_fine<T>(answer: Result<T, tonic::Status>) -> Result<(), CliError> {
    match answer {
        Err(status) if status.code() != tonic::Code::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

fn request(plan: &[PlannedProgram], location: Location) -> v1::LoadRequest {
    let actual = plan.iter().filter_map(|program| {
        Some((format!("{ACTUAL_TYPE_PREFIX}{}", program.name), program.spec.actual_type?.to_owned()))
    });
    v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: Some(location) }),
        metadata: actual.collect(),
        global_data: HashMap::new(),
        uuid: None,
        map_owner_id: None,
        info: plan.iter().map(|program| v1::LoadInfo::from(&program.spec)).collect(),
    }
}

fn running(plan: Vec<PlannedProgram>, loaded: v1::LoadResponse) -> Result<Vec<RunningProgram>, CliError> {
    let lacking = CliError::Incomplete { call: "Load", part: "the kernel's information" };
    let ids = loaded.programs.iter().map(|program| Some(program.kernel_info.as_ref()?.id));
    let ids: Vec<u32> =
        ids.collect::<Option<_>>().filter(|ids: &Vec<u32>| ids.len() == plan.len()).ok_or(lacking)?;
    Ok(plan
        .into_iter()
        .zip(ids)
        .map(|(planned, id)| RunningProgram { planned, id, links: Vec::new() })
        .collect())
}
