//! Attach: adds an attachment of a program.

mod conflict;
mod departures;
mod detach;
mod extension;
mod hook;
mod once;
mod own_map;
mod pause;
mod per_cpu;
pub(crate) mod slot_concerns;
pub mod sockmap;
pub mod struct_ops;
mod target;
mod unload;
pub mod update;

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{
    AttachPoint, AttachRequest, HookKind, NetnsId, OperationId, OrderIntent, ProbeReader, ProgramId, Sharing,
    TargetIdentity,
};
use bpfmand_kernel::{Kernel, KernelError, LinkTarget};

pub(crate) use once::{AttachFor, existing_link};
pub use slot_concerns::SlotConcern;

use crate::describe::details::LinkDetails;
use crate::engine::locks::Subject;
use crate::engine::undo::{Undo, retry_once, undoing};
use crate::order::check_intent;
use crate::order::tcx::TRIES;
use crate::state::records::{HookRecord, LinkRecord, ProgramRecord};
use crate::state::{Changes, check_metadata, payer, with_application};
use crate::{CallersNetwork, Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Attaches a program, for root.
    pub fn attach(&self, request: &AttachRequest) -> Result<LinkDetails, EngineError> {
        self.attach_for(request, AttachFor::Caller, ProbeReader::Root)
    }

    /// Attaches for a caller with these rights to files: every later attachment opens the probed file with them too.
    pub fn attach_by(
        &self,
        request: &AttachRequest,
        reader: ProbeReader,
    ) -> Result<LinkDetails, EngineError> {
        self.attach_for(request, AttachFor::Caller, reader)
    }

    /// Attaches a program unless it is already at this XDP or TC hook ([`EngineError::Repeated`]): it would run twice.
    pub fn attach_once(
        &self,
        request: &AttachRequest,
        reader: ProbeReader,
    ) -> Result<LinkDetails, EngineError> {
        self.attach_for(request, AttachFor::CallerOnce, reader)
    }

    pub(crate) fn attach_for(
        &self,
        request: &AttachRequest,
        whom: AttachFor,
        reader: ProbeReader,
    ) -> Result<LinkDetails, EngineError> {
        let mut attached = self.attach_locked(request, whom, reader)?;
        // The end of the operation may have left members out of chains.
        attached.warnings = self.state().concerns_of(&attached.record);
        Ok(attached)
    }

    fn attach_locked(
        &self,
        request: &AttachRequest,
        whom: AttachFor,
        reader: ProbeReader,
    ) -> Result<LinkDetails, EngineError> {
        check(request)?;
        if request.point.hook().is_some_and(|(interface, _)| interface.name.is_empty()) {
            return Err(EngineError::Invalid("the attach point names no interface".to_owned()));
        }
        let _operation = self.begin()?;
        if let Some((interface, kind)) = request.point.hook()
            && let Ok(key) = self.kernel.find_hook(interface, kind)
        {
            self.clear_of_moved(&key)?;
        }
        // An extension also needs the lock of the program that it extends: lock shared maps before programs.
        let _shared = matches!(request.point, AttachPoint::Freplace).then(|| self.lock(Subject::SharedMaps));
        let (_program_lock, program) = self.lock_program(request.program)?;
        if !request.point.admits(program.program_type) {
            return Err(EngineError::WrongPoint {
                program: request.program,
                program_type: program.program_type,
                point: request.point.type_name(),
            });
        }
        self.check_may_run(&program)?;
        let (is_called, is_root) =
            (matches!(whom, AttachFor::Caller | AttachFor::CallerOnce), reader == ProbeReader::Root);
        if is_called {
            self.ensure_no_pause(&program, is_root)?;
        }
        let _extended = self.hold_extended(&program)?;
        let find = |(interface, kind)| self.kernel.find_hook(interface, kind).map(|key| (interface, key));
        let hook = request.point.hook().map(find).transpose()?;
        CallersNetwork::ensure(hook.and_then(|(_, key)| key.netns.id()))?;
        let _hook_lock = hook.map(|(_, key)| self.lock(Subject::Hook(key)));
        if let (AttachFor::CallerOnce, Some((interface, key))) = (whom, &hook) {
            self.ensure_not_repeated(&program, key, interface)?;
        }
        if let (AttachFor::Matching(matching), Some((interface, key))) = (whom, &hook) {
            self.ensure_not_there(matching, &program, key, interface)?;
            // Called repeatedly: avoid building the chain each time.
            let hook = self.state().hooks.get(key).cloned();
            if hook.as_ref().map_or(Ok(true), |hook| self.is_entered(hook).map(|entered| !entered))? {
                self.ensure_free(key, interface, hook.map(|hook| hook.program))?;
            }
        }
        let link = LinkRecord {
            hook: hook.map(|(_, key)| key),
            order: request.order.clone(),
            sharing: request.sharing,
            metadata: with_application(&request.metadata, &program.metadata),
            owner: Some(request.owner.clone()),
            matching: whom.matching(),
            namespace: self.namespace_at(&request.point)?,
            reader: if request.point.binary().is_some() { reader } else { ProbeReader::Unknown },
            guard: self.guard_of_link(&program, &request.point, request.group.as_ref())?,
            ends: self.deadline(request.ttl)?,
            ..LinkRecord::new(self.number(), &program, &self.boot, request.point.clone())?
        };
        CallersNetwork::ensure(link.namespace)?;
        let id = link.id;
        match hook {
            Some((interface, key)) if !matches!(key.kind, HookKind::Tcx(_)) => {
                let began = self.now()?.since_boot;
                self.attach_member(interface, &key, link).inspect_err(|error| {
                    if matches!(error, EngineError::ChainRefused { .. }) {
                        self.charge_since(&payer(&program), began);
                    }
                })?;
            }
            _ => self.attach_alone(&program, link)?,
        }
        self.end_pause_by(&program, is_called && is_root);
        retry_once(|| self.held_link(id))
    }

    pub(crate) fn namespace_at(&self, point: &AttachPoint) -> Result<Option<NetnsId>, EngineError> {
        let Some(netns) = point.netns() else { return Ok(None) };
        match self.loopback_in(netns.as_deref()) {
            Ok(key) => Ok(key.netns.id()),
            // The loopback was renamed, or the path is wrong: the attachment itself reports the latter.
            Err(KernelError::NoInterface { .. } | KernelError::NoNamespace { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn attach_alone(&self, program: &ProgramRecord, link: LinkRecord) -> Result<(), EngineError> {
        self.ensure_not_lost([&link])?;
        let handle = self.loaded_program(program.id)?;
        self.ensure_attached_once(program, &link)?;
        let link = Arc::new(link);
        if let (Some(key), Some((interface, _))) = (link.hook, link.point.hook()) {
            self.ensure_tcx_capacity(&key, interface, &link)?;
            self.ensure_within_machine(&key, interface, &link)?;
            self.ensure_sends_to_no_guarded(&key, interface, &link)?;
            self.check_tcx(&key, interface, &link)?;
        }
        self.check_group(program, &link)?;
        let target = || self.link_target(program, &link);
        undoing(|undo| {
            let targets = self
                .attach_retrying(&handle, target, link.operation, undo)
                .map_err(|error| self.with_own_holder(&link, error).looking_for(&link.point))?;
            self.check_same_processes(program, &link, &targets)?;
            self.ensure_group_order(program, &link)?;
            self.step("attach", "record");
            self.record_link(&Arc::new(LinkRecord { targets, ..(*link).clone() }), None)
        })?;
        self.step("attach", "move into place");
        retry_once(|| self.place_link(&link))?;
        link.hook.iter().for_each(|key| self.keep_order(key));
        Ok(())
    }

    /// Attaches, and looks up the target again if the hook was changed concurrently. Returns the target's identities.
    pub(crate) fn attach_retrying<'a, 't>(
        &'a self,
        program: &K::Handle,
        target: impl Fn() -> Result<LinkTarget<'t>, EngineError>,
        operation: OperationId,
        undo: &mut Undo<'a>,
    ) -> Result<Vec<TargetIdentity>, EngineError> {
        let mut tries = 0;
        loop {
            match self.attach_pending(program, &target()?, operation, undo) {
                Err(error) if error.is_race() && tries < TRIES => tries += 1,
                Err(EngineError::Kernel(KernelError::Preorder { link, .. }))
                    if self.preorder_links.insert(link) => {}
                result => return result,
            }
        }
    }

    pub(crate) fn attach_pending<'a>(
        &'a self,
        program: &K::Handle,
        target: &LinkTarget<'_>,
        operation: OperationId,
        undo: &mut Undo<'a>,
    ) -> Result<Vec<TargetIdentity>, EngineError> {
        let folder = paths::pending(operation);
        self.step("attach", "make pending folder");
        self.kernel.make_folder(&folder)?;
        undo.push(move || self.undo_pending_of(operation));
        self.attach_pinned("attach", program, target, &folder.join(paths::PENDING_LINK), undo)
    }

    pub(crate) fn record_link(
        &self,
        link: &Arc<LinkRecord>,
        hook: Option<HookRecord>,
    ) -> Result<(), EngineError> {
        let mut changes = Changes::default();
        changes.put_link(Arc::clone(link));
        changes.all.extend(self.forgiven(link.program));
        if let Some(hook) = hook {
            changes.put_hook(hook);
        }
        self.commit(changes).map(drop)
    }

    pub(crate) fn record_hook(&self, hook: HookRecord) -> Result<(), EngineError> {
        let mut changes = Changes::default();
        changes.put_hook(hook);
        self.commit(changes).map(drop)
    }

    /// Moves the link's pending pin into place; idempotent.
    pub(crate) fn place_link(&self, link: &LinkRecord) -> Result<(), EngineError> {
        let program = self.record(link.program).map(|program| program.id);
        self.place_pending_link(link.operation, &paths::link(link.id), program)
    }

    fn moves_without_bridge(&self, place: &Path, names: &[String]) -> Result<bool, EngineError> {
        Ok(!names.iter().any(|name| name == paths::BRIDGE) && self.kernel.open_pin(place)?.is_some())
    }

    /// Renames a pending link to its final pin, or moves it there over its bridge if it has one; idempotent.
    pub(crate) fn place_pending_link(
        &self,
        operation: OperationId,
        place: &Path,
        program: Option<ProgramId>,
    ) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        let names = self.kernel.list_folder(&folder)?;
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        if has(paths::PENDING_LINK) {
            self.kernel.make_folder(place.parent().unwrap_or(place))?;
            if !self.kernel.list_folder(&folder.join(paths::PENDING_LINK))?.is_empty() {
                // Links of CPUs that the machine no longer has, or the folder left of them.
                self.kernel.end_link(place)?;
            }
            // The old pin is of an earlier interface with this index and namespace, or of the link that moves.
            if self.is_dead(place) || self.moves_without_bridge(place, &names)? {
                // Other processes may still hold an adopted link.
                self.end_adopted_link(place)?;
            }
        }
        match program.filter(|_| has(paths::BRIDGE)) {
            Some(program) => self.cross_bridge(operation, place, program)?,
            None if has(paths::PENDING_LINK) => {
                self.kernel.rename(&folder.join(paths::PENDING_LINK), place)?;
            }
            None => {}
        }
        self.remove_tree(&folder)
    }
}

pub fn check(request: &AttachRequest) -> Result<(), EngineError> {
    check_place(&request.point, &request.order, request.sharing)?;
    check_metadata(&request.metadata)
}

pub fn check_place(point: &AttachPoint, order: &OrderIntent, sharing: Sharing) -> Result<(), EngineError> {
    check_priority(point)?;
    check_intent(point, order)?;
    check_sharing(point, sharing)
}

pub fn check_sharing(point: &AttachPoint, sharing: Sharing) -> Result<(), EngineError> {
    if sharing.is_plain() || matches!(point, AttachPoint::Xdp { .. } | AttachPoint::Tc { .. }) {
        return Ok(());
    }
    Err(EngineError::Invalid(format!(
        "a link of type {} shares no chain: it can neither be isolated, nor let redirect proceed, nor be a shadow",
        point.type_name()
    )))
}

pub fn check_priority(point: &AttachPoint) -> Result<(), EngineError> {
    match point.priority() {
        Some(priority) if priority < 0 => {
            Err(EngineError::Invalid(format!("priority {priority} is negative; 0 runs first")))
        }
        _ => Ok(()),
    }
}
