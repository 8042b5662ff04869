//! Adoption: a third-party program that is attached by a link becomes a member, without a gap.
//!
//! The link stays and is pinned by us too. The program stays separate, and the chain tail-calls it. The owner may still
//! change or end the link, which is reported like any other drift.

mod access;
mod settle;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfman_model::{
    AttachPoint, HookKey, HookKind, Interface, KernelLinkId, LinkFacts, OperationId, OrderIntent, Owner,
    ProceedOn, ProgramFacts, ProgramType, ProgramUid,
};
use bpfmand_kernel::{Kernel, KernelError};

use crate::adopt::access::{NamedPin, may_name_link};
use crate::attach::check_priority;
use crate::describe::details::LinkDetails;
use crate::engine::locks::Subject;
use crate::engine::undo::{retry_once, undoing};
use crate::error::{AdoptRefusal, Remainder};
use crate::state::XdpPlacement;
use crate::state::budget_record::ProgramBudget;
use crate::state::hook_names::place;
use crate::state::records::{Entry, HookRecord, LinkRecord, ProgramRecord, SourceRecord};
use crate::state::{BlobId, Changes, Leased, check_metadata};
use crate::{Engine, EngineError, paths};

/// Object to adopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptWhat {
    Link(KernelLinkId),
    /// A link, by the absolute path of its pin.
    Pin(PathBuf),
}

/// Request to adopt a third-party program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptRequest {
    /// Link that attaches the program at XDP or tcx.
    pub what: AdoptWhat,
    /// Interface of the link; `None` searches the daemon's own network namespace and all named ones.
    pub interface: Option<Interface>,
    /// Priority: 0 runs first.
    pub priority: i32,
    /// Verdicts with which the next member runs; none for the default. Not used for tcx.
    pub proceed_on: Option<ProceedOn>,
    /// Position among the other members of the hook.
    pub order: OrderIntent,
    pub metadata: BTreeMap<String, String>,
    pub caller_uid: u32,
    /// Owner of the program and the link.
    pub owner: Owner,
}

struct Found<H> {
    link: H,
    facts: LinkFacts,
    program: ProgramFacts,
    interface: Interface,
    key: HookKey,
}

impl<K: Kernel> Engine<K> {
    /// Adopts a program that a third party attached by a link at XDP or tcx. An error changes nothing.
    pub fn adopt(&self, request: &AdoptRequest) -> Result<LinkDetails, EngineError> {
        let mut adopted = self.adopt_one(request)?;
        adopted.warnings = self.state().concerns_of(&adopted.record);
        Ok(adopted)
    }

    fn adopt_one(&self, request: &AdoptRequest) -> Result<LinkDetails, EngineError> {
        check_metadata(&request.metadata)?;
        let _operation = self.begin()?;
        let found = self.find_link(&request.what, request.interface.as_ref(), request.caller_uid)?;
        let point = point_of(&found, request);
        check_priority(&point)?;
        crate::order::check_intent(&point, &request.order)?;
        // Two concurrent adoptions of one program would create two records of it.
        let _alone = self.lock(Subject::SharedMaps);
        let known = self.state().program(found.program.id).cloned();
        let stray = self.strays()?.into_iter().find(|stray| stray.is_link(found.facts.id));
        if stray.is_none() && known.as_ref().is_some_and(|program| !program.is_adopted()) {
            return Err(AdoptRefusal::OwnProgram(found.facts.id, found.program.id).into());
        }
        let number = self.number();
        let uid = known.as_ref().map_or_else(|| ProgramUid(self.number()), |program| program.uid);
        let _program_lock = self.lock(Subject::Program(uid));
        let _hook_lock = self.lock(Subject::Hook(found.key));
        self.ensure_third_party(&found)?;
        let program = match self.record(uid) {
            Some(program) => program,
            None => Arc::new(program_record(uid, OperationId(number), &found, request, self.boot.clone())),
        };
        let link = Arc::new(LinkRecord {
            hook: Some(found.key),
            order: request.order.clone(),
            metadata: request.metadata.clone(),
            owner: Some(request.owner.clone()),
            adopted: true,
            kernel_link: matches!(found.key.kind, HookKind::Tcx(_)).then(|| self.link_of_boot(&found.facts)),
            ..LinkRecord::new(number, &program, &self.boot, point)?
        });
        self.take_over(&found, &program, &link)?;
        if let Some(stray) = stray {
            self.forget_adopted_stray(&stray)?;
        }
        retry_once(|| self.held_link(link.id))
    }

    fn take_over(
        &self,
        found: &Found<K::Handle>,
        program: &Arc<ProgramRecord>,
        link: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        let original = self.loaded_program(program.id)?;
        let operation = link.operation;
        let folder = paths::pending(operation);
        // Declared before the undo steps, because both must outlive them.
        let mut chain = None;
        let swapped_in: RefCell<Option<Leased>> = RefCell::default();
        undoing(|undo| {
            self.step("adopt", "make pending folder");
            self.kernel.make_folder(&folder)?;
            undo.push(|| {
                // Until the link is restored, it may run the chain: keep all parts of the chain.
                let left = |error| self.not_undone(Remainder::Adoption(operation), swapped_in.take(), error);
                self.undo_adoption(operation).map_err(left)
            });
            // Pin the program first: undoing needs it.
            self.step("adopt", "pin program");
            self.kernel.pin(&original, &folder.join(paths::program(program.id)))?;
            self.step("adopt", "pin link");
            self.kernel.pin(&found.link, &folder.join(paths::adopted_link(program.id)))?;
            let is_new = program.operation == operation;
            if is_new {
                // Chains are built from recorded programs: register this one temporarily.
                self.state().put_program(Arc::clone(program));
                undo.push_sure(|| self.state().remove_program(program.uid));
            }
            let mut changes = Changes::default();
            if !matches!(found.key.kind, HookKind::Tcx(_)) {
                let (hook, built) = self.join_adopted(found, program, link, &original)?;
                swapped_in.replace(built.leased());
                chain = Some(built);
                changes.put_hook(hook);
            }
            if is_new {
                changes.put_program(Arc::clone(program));
            }
            changes.put_link(Arc::clone(link));
            self.step("adopt", "record");
            self.commit(changes)
        })?;
        self.state().drifted.remove(&found.key);
        self.step("adopt", "move into place");
        retry_once(|| self.place_adopted(operation, link, program.id))?;
        self.keep_order(&found.key);
        chain.map_or(Ok(()), |built| self.settle_chain(built))
    }

    fn join_adopted<'a>(
        &'a self,
        found: &Found<K::Handle>,
        program: &Arc<ProgramRecord>,
        link: &Arc<LinkRecord>,
        original: &K::Handle,
    ) -> Result<(HookRecord, crate::chain::BuiltChain<'a, K>), EngineError> {
        let (old, before) = {
            let state = self.state();
            (state.hooks.get(&found.key).cloned(), state.chain(&found.key))
        };
        let mut links = before;
        links.push(Arc::clone(link));
        let links = self.order_changed(&found.key, &found.interface, links, Some(link.id), link)?;
        let contents = self.kernel.hook_contents(found.interface.netns.as_deref(), &found.key)?;
        let xdp = XdpPlacement::of_entry(&contents, |running| running == program.id);
        self.step("adopt", "build chain");
        let built = self.build_chain(
            &found.key,
            &found.interface,
            &links,
            Some(Entry::Link),
            std::slice::from_ref(link),
        )?;
        if built.id != program.id {
            self.step("adopt", "swap");
            self.held_network.during(|| self.kernel.replace(&found.link, &built.handle, original)).map_err(
                |error| match error {
                    KernelError::HookChanged { .. } => {
                        EngineError::Adopt(AdoptRefusal::Changed(found.facts.id))
                    }
                    other => other.into(),
                },
            )?;
        }
        let hook = match old {
            Some(old) => HookRecord { operation: link.operation, entry: Entry::Link, ..(*old).clone() },
            None => built.entered(found.interface.clone(), link.operation, Entry::Link),
        };
        let hook = HookRecord {
            newcomer: Some(link.id),
            adopted_link: true,
            xdp,
            kernel_link: Some(self.link_of_boot(&found.facts)),
            ..hook
        };
        Ok((built.recorded(hook), built))
    }

    fn find_link(
        &self,
        what: &AdoptWhat,
        at: Option<&Interface>,
        caller_uid: u32,
    ) -> Result<Found<K::Handle>, EngineError> {
        let invalid = |message: String| EngineError::Invalid(message);
        let link = match what {
            AdoptWhat::Link(id) => {
                may_name_link(*id, caller_uid)?;
                self.kernel.open_link(*id)?.ok_or(EngineError::NoKernelLink(*id))?
            }
            AdoptWhat::Pin(path) if !path.is_absolute() => {
                return Err(invalid(format!("{} is not an absolute path of a pin", path.display())));
            }
            AdoptWhat::Pin(path) => self
                .kernel
                .open_pin(&NamedPin::find(path, caller_uid)?.path())?
                .ok_or_else(|| EngineError::NoPin { path: path.display().to_string() })?,
        };
        let facts = self.kernel.link_of(&link).map_err(|error| match what {
            AdoptWhat::Pin(path) => invalid(format!(
                "what is pinned at {} is no link: a program that was attached without one cannot be taken over \
                 without a gap ({error})",
                path.display()
            )),
            AdoptWhat::Link(_) => error.into(),
        })?;
        if !facts.is_at_interface() {
            return Err(invalid(format!(
                "link {} is of another type than XDP and tcx, and shares its hook with others anyway",
                facts.id
            )));
        }
        let Some(_) = facts.ifindex else {
            return Err(AdoptRefusal::NoInterface(facts.id).into());
        };
        let program =
            self.kernel.program(facts.program)?.ok_or(EngineError::NoKernelProgram(facts.program))?;
        let (interface, key) = self.place_of(&facts, at)?;
        Ok(Found { link, facts, program, interface, key })
    }

    fn place_of(
        &self,
        link: &LinkFacts,
        at: Option<&Interface>,
    ) -> Result<(Interface, HookKey), EngineError> {
        let mut places = self.places_of_links(&[link], at).remove(&link.id).unwrap_or_default().into_iter();
        match (places.next(), places.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => {
                let anywhere =
                    "an interface of the daemon's own network namespace, nor of one named in /run/netns";
                let place = at.map_or_else(|| anywhere.to_owned(), place);
                Err(AdoptRefusal::NotThere(link.id, place).into())
            }
            (Some((one, _)), Some((other, _))) => {
                Err(AdoptRefusal::Ambiguous(link.id, place(&one), place(&other)).into())
            }
        }
    }

    fn ensure_third_party(&self, found: &Found<K::Handle>) -> Result<(), EngineError> {
        let pins: Vec<PathBuf> = {
            let state = self.state();
            let links = state.chain(&found.key).into_iter().map(|link| paths::link(link.id));
            // Chains of type tc may be attached at tcx. A link without a record is a stray, and may be adopted.
            let chain = Some(found.key.of_chain()).filter(|key| state.hooks.contains_key(key));
            links.chain(chain.map(|key| paths::hook_link(&key))).collect()
        };
        for pin in pins {
            if self.pinned_link(&pin)?.is_some_and(|facts| facts.id == found.facts.id) {
                let hook = found.key.kind.at(&found.interface);
                return Err(AdoptRefusal::OwnLink(found.facts.id, hook).into());
            }
        }
        Ok(())
    }
}

fn point_of<H>(found: &Found<H>, request: &AdoptRequest) -> AttachPoint {
    let (interface, priority) = (found.interface.clone(), request.priority);
    match found.key.kind {
        HookKind::Tc(direction) | HookKind::Tcx(direction) => {
            AttachPoint::Tcx { interface, direction, priority }
        }
        HookKind::Xdp => AttachPoint::Xdp {
            interface,
            priority,
            proceed_on: request
                .proceed_on
                .unwrap_or_else(|| ProceedOn::default_for(HookKind::Xdp.verdicts())),
        },
    }
}

fn program_record<H>(
    uid: ProgramUid,
    operation: OperationId,
    found: &Found<H>,
    request: &AdoptRequest,
    boot: String,
) -> ProgramRecord {
    let Found { program, facts, .. } = found;
    ProgramRecord {
        uid,
        operation,
        origin: None,
        name: program.name.clone(),
        program_type: match found.key.kind {
            HookKind::Xdp => ProgramType::Xdp,
            HookKind::Tc(_) | HookKind::Tcx(_) => ProgramType::Tcx,
        },
        source: SourceRecord::Adopted {
            link: facts.id,
            pin: match &request.what {
                AdoptWhat::Pin(path) => Some(path.display().to_string()),
                AdoptWhat::Link(_) => None,
            },
        },
        blob: BlobId::of(&[]),
        license: if program.gpl_compatible { "GPL" } else { "Proprietary" }.to_owned(),
        metadata: request.metadata.clone(),
        global_data: BTreeMap::new(),
        global_texts: BTreeMap::new(),
        map_sizes: BTreeMap::new(),
        map_owner: None,
        map_owner_uid: None,
        target: None,
        caller_uid: request.caller_uid,
        owner: Some(request.owner.clone()),
        boot,
        id: program.id,
        tag: program.tag,
        map_folder: program.id,
        maps: Vec::new(),
        stack_depths: None,
        text: None,
        declared: None,
        guard: None,
        budget: ProgramBudget::default(),
        extends: None,
        warnings: Vec::new(),
    }
}
