use std::collections::BTreeMap;

use bpfman_proto::Reason;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{WirePoint, v1};

use crate::content::{LINK_KEY, UUID_KEY, link_uuid};
use crate::credentials::{self, RegistryCredentials};
use crate::daemon::Daemon;
use crate::desired::{AttachmentKey, Load, Program, ProgramOwner, WantedLink};
use crate::failure::{CallRefusal, Unreachable, failure, refusal};
use crate::observed::ObservedProgram;
use crate::place::{HookPlace, on_the_wire};
use crate::step::ApplyStep;
use crate::step_results::StepResults;

pub struct Run<'a> {
    pub daemon: &'a Daemon,
    pub owner: &'a ProgramOwner,
    pub came: StepResults,
}

type Answer<T> = Result<Result<T, CallRefusal>, Unreachable>;

impl Run<'_> {
    fn answer<T>(&self, answer: Result<tonic::Response<T>, tonic::Status>) -> Answer<T> {
        match answer {
            Ok(answer) => Ok(Ok(answer.into_inner())),
            Err(status) => refusal(self.daemon, &status).map(Err),
        }
    }

    pub async fn load(
        &mut self,
        load: &Load,
        with: Option<&RegistryCredentials>,
    ) -> Result<bool, Unreachable> {
        let request = credentials::with(load.request.clone(), with);
        let answer = match &load.values {
            None => self.daemon.v1().load(request).await,
            Some(values) => {
                let values = Some(values.clone());
                let request = ext::ExtLoadRequest { request: Some(request), values, ..Default::default() };
                let answer = self.daemon.ext().load(request).await;
                if let Ok(answer) = &answer
                    && !answer.get_ref().values_set
                {
                    return self.loaded_without_values(answer.get_ref().response.as_ref()).await;
                }
                answer.map(|answer| tonic::Response::new(answer.into_inner().response.unwrap_or_default()))
            }
        };
        match self.answer(answer)? {
            Ok(_) => {
                self.came.done.push(format!("loaded {}", names(load)));
                Ok(true)
            }
            Err(refusal) => {
                self.came.failed("", refusal.failure());
                Ok(false)
            }
        }
    }

    /// Unloads programs that a daemon without support for values loaded without them. Returns false.
    async fn loaded_without_values(
        &mut self,
        loaded: Option<&v1::LoadResponse>,
    ) -> Result<bool, Unreachable> {
        let programs = loaded.into_iter().flat_map(|loaded| &loaded.programs);
        for id in programs.filter_map(|program| program.kernel_info.as_ref()).map(|kernel| kernel.id) {
            let answer = self.daemon.v1().unload(v1::UnloadRequest { id }).await;
            if let Err(refusal) = self.answer(answer)? {
                self.came.not_unloaded.insert(id, refusal.failure());
            }
        }
        let message = "this version of the daemon knows neither globals nor mapSizes";
        let failure = failure(Reason::Unsupported.name(), message, "install a newer bpfmand");
        self.came.failed("", failure);
        Ok(false)
    }

    /// Replaces a load. Maps that do not fit the new version start empty. If the daemon cannot replace a load
    /// or match old and new programs, as after an interrupted call, the new version is loaded beside the old
    /// one.
    pub async fn replace(
        &mut self,
        load: &Load,
        old: &[u32],
        why: &str,
        with: Option<&RegistryCredentials>,
    ) -> Result<bool, Unreachable> {
        let mut request = ext::ReplaceLoadRequest {
            program_ids: old.to_vec(),
            load: Some(credentials::with(load.request.clone(), with)),
            maps: ext::MapPolicy::Keep.into(),
            forget_old: true,
            values: load.values.clone(),
        };
        let answer = self.daemon.node().replace_load(request.clone()).await;
        let mut answer = self.answer(answer)?;
        let kept_off = match &answer {
            Err(CallRefusal::Said { failure, .. }) if failure.reason == Reason::Conflict.name() => {
                Some(failure.message.clone())
            }
            _ => None,
        };
        if kept_off.is_some() {
            request.maps = ext::MapPolicy::Fresh.into();
            let again = self.daemon.node().replace_load(request).await;
            answer = self.answer(again)?;
        }
        match answer {
            Ok(_) => {
                if let Some(kept_off) = kept_off {
                    self.came.notes.push(format!("maps began empty: {kept_off}"));
                }
                self.came.done.push(format!("replaced {}: {why}", names(load)));
                Ok(true)
            }
            // A fault of the new version itself is reported again by its load.
            Err(refusal) if refusal.is_unimplemented() || refusal.is_invalid() => self.load(load, with).await,
            Err(refusal) => {
                self.came.failed("", refusal.failure());
                Ok(false)
            }
        }
    }

    pub async fn steps(
        &mut self,
        load: &Load,
        versions: &BTreeMap<String, &ObservedProgram>,
        steps: &[ApplyStep],
    ) -> Result<(), Unreachable> {
        for step in steps {
            match step {
                ApplyStep::Attach { program, key } => {
                    let wanted = load.programs.iter().find(|one| one.name == *program);
                    if let (Some(wanted), Some(running)) = (wanted, versions.get(program)) {
                        self.attach(wanted, key, running, step).await?;
                    }
                }
                ApplyStep::Remake { program, key, link, was } => {
                    let wanted = load.programs.iter().find(|one| one.name == *program);
                    if let (Some(wanted), Some(running)) = (wanted, versions.get(program)) {
                        self.remake(wanted, key, running, (*link, was), step).await?;
                    }
                }
                ApplyStep::Update { program, key, request } => {
                    self.update(program, key, request, step).await?
                }
                ApplyStep::Detach { program, key, link, instead } => {
                    let failed = |key: &AttachmentKey| {
                        self.came.not_attached.contains_key(&(program.clone(), key.clone()))
                    };
                    match instead.iter().find(|key| failed(key)) {
                        None => self.detach(program, *link, step).await?,
                        Some(instead) => {
                            let (key, instead) = (&key.0, &instead.0);
                            let note =
                                format!("{program} stays at {key}: it cannot be attached at {instead}");
                            self.came.notes.push(note);
                            self.came.held.insert(*link);
                        }
                    }
                }
                ApplyStep::Unload { program, id, uid, instead } => match self
                    .unattached_place(program, instead)
                {
                    None => self.unload(program, *id, *uid, step).await?,
                    Some(place) => self.came.notes.push(format!(
                        "the older version of {program} ({id}) stays: the new one cannot be attached at {}",
                        place.0
                    )),
                },
                ApplyStep::Load { .. } | ApplyStep::Replace { .. } => {}
            }
        }
        Ok(())
    }

    /// Returns an attach point at which the new version failed, unless the older version may be the cause.
    fn unattached_place<'a>(&self, program: &str, instead: &'a [AttachmentKey]) -> Option<&'a AttachmentKey> {
        instead.iter().find(|key| {
            let failure = self.came.not_attached.get(&(program.to_owned(), (*key).clone()));
            failure.is_some_and(|failure| failure.reason != Reason::Conflict.name())
        })
    }

    /// Detaches and attaches; restores the previous attachment on failure. If interrupted, the next call
    /// attaches.
    async fn remake(
        &mut self,
        program: &Program,
        key: &AttachmentKey,
        running: &ObservedProgram,
        (link, was): (u32, &WirePoint),
        step: &ApplyStep,
    ) -> Result<(), Unreachable> {
        let place = (program.name.clone(), key.clone());
        let answer = self.daemon.v1().detach(v1::DetachRequest { link_id: link }).await;
        match self.answer(answer)? {
            Err(refusal) if !refusal.is_not_found() => {
                let failure = self.came.failed(&program.name, refusal.failure());
                self.came.not_attached.insert(place, failure);
                return Ok(());
            }
            _ => self.came.detached.push(link),
        }
        self.attach(program, key, running, step).await?;
        if !self.came.not_attached.contains_key(&place) {
            return Ok(());
        }
        let (attach, point) = was.clone().into_fields();
        let request = ext::ChainAttachRequest {
            program_id: running.id,
            attach,
            point,
            again: true,
            ..Default::default()
        };
        let answer = self.daemon.chains().attach(request).await;
        match self.answer(answer)? {
            Ok(answer) => {
                self.came.attached.insert(place, answer.link.map_or(0, |link| link.id));
            }
            Err(refusal) => {
                let why = refusal.failure().message;
                self.came.notes.push(format!("{} is not at {} as it was: {why}", program.name, key.0));
            }
        }
        Ok(())
    }

    async fn attach(
        &mut self,
        program: &Program,
        key: &AttachmentKey,
        running: &ObservedProgram,
        step: &ApplyStep,
    ) -> Result<(), Unreachable> {
        let Some(link) = program.links.get(key) else { return Ok(()) };
        let info = link.point.as_published();
        let place = HookPlace::of(info, link.order.as_ref());
        let redirect_may_proceed = place.proceeds_on_redirect(info);
        let (attach, point) = self.named(program, key, link).into_fields();
        let request = ext::ChainAttachRequest {
            program_id: running.id,
            attach,
            point,
            order: link.order.as_ref().map(on_the_wire),
            redirect_may_proceed,
            // A manifest that names a hook twice asks for two attachments.
            again: true,
            ..Default::default()
        };
        let answer = self.daemon.chains().attach(request).await;
        let place = (program.name.clone(), key.clone());
        match self.answer(answer)? {
            Ok(answer) => {
                let link = answer.link.unwrap_or_default();
                let notes = link.warnings.iter().cloned().chain(link.xdp_fallback());
                self.came.notes.extend(notes.map(|note| format!("{}: {note}", program.name)));
                self.came.attached.insert(place, link.id);
                self.came.done.push(past(step));
            }
            Err(refusal) => {
                let failure = self.came.failed(&program.name, refusal.failure());
                self.came.not_attached.insert(place, failure);
            }
        }
        Ok(())
    }

    /// Returns the attach point with the metadata by which the link is found again.
    fn named(&self, program: &Program, key: &AttachmentKey, link: &WantedLink) -> WirePoint {
        let uuid = link_uuid(&self.owner.uid, &program.name, &key.0);
        let pairs = [(UUID_KEY, uuid), (LINK_KEY, key.0.clone())];
        link.point.clone().with_metadata(pairs.map(|(key, value)| (key.to_owned(), value)).into())
    }

    async fn update(
        &mut self,
        program: &str,
        key: &AttachmentKey,
        request: &ext::UpdateLinkRequest,
        step: &ApplyStep,
    ) -> Result<(), Unreachable> {
        let answer = self.daemon.chains().update_link(request.clone()).await;
        match self.answer(answer)? {
            Ok(_) => self.came.done.push(past(step)),
            Err(refusal) => {
                let failure = self.came.failed(program, refusal.failure());
                self.came.not_attached.insert((program.to_owned(), key.clone()), failure);
            }
        }
        Ok(())
    }

    async fn detach(&mut self, program: &str, link_id: u32, step: &ApplyStep) -> Result<(), Unreachable> {
        let answer = self.daemon.v1().detach(v1::DetachRequest { link_id }).await;
        match self.answer(answer)? {
            Ok(_) => {
                self.came.detached.push(link_id);
                self.came.done.push(past(step));
            }
            // The link does not exist any more, which is the wanted state.
            Err(refusal) if refusal.is_not_found() => self.came.detached.push(link_id),
            Err(refusal) => {
                let failure = self.came.failed(program, refusal.failure());
                self.came.not_detached.insert(link_id, failure);
            }
        }
        Ok(())
    }

    async fn unload(
        &mut self,
        program: &str,
        id: u32,
        uid: u64,
        step: &ApplyStep,
    ) -> Result<(), Unreachable> {
        // After a reboot the kernel may have given this id to another program.
        let answer = self.daemon.ext().get_program(ext::GetProgramRequest { id }).await;
        let there = self.answer(answer)?.ok().and_then(|answer| answer.program);
        if let Some(other) = there.filter(|there| there.uid != uid) {
            let name = other.info.map(|info| info.name).unwrap_or_default();
            self.came.notes.push(format!(
                "the daemon keeps the record of {program}, which does not run: its id {id} is now that of \"{name}\""
            ));
            return Ok(());
        }
        let answer = self.daemon.v1().unload(v1::UnloadRequest { id }).await;
        match self.answer(answer)? {
            Ok(_) => self.came.done.push(past(step)),
            Err(refusal) if refusal.is_not_found() => {}
            Err(refusal) => {
                let failure = self.came.failed(program, refusal.failure());
                self.came.not_unloaded.insert(id, failure);
            }
        }
        Ok(())
    }
}

fn names(load: &Load) -> String {
    load.programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn past(step: &ApplyStep) -> String {
    let text = step.to_string();
    let (verb, rest) = text.split_once(' ').unwrap_or((text.as_str(), ""));
    let verb = match verb {
        "change" => "changed".to_owned(),
        "remake" => "remade".to_owned(),
        verb => format!("{verb}ed"),
    };
    format!("{verb} {rest}")
}
