//! Builds a new dispatcher beside the one that the hook runs: loaded and pinned, with all programs in their slots.

use std::sync::Arc;

use bpfman_model::{BoundText, HookKey, Interface, RankOrder};
use bpfmand_kernel::{EXTENSION, Extends, Kernel, KernelError, LinkTarget, ProgramLoad};
use bpfmand_splice::{
    DISPATCHER_NAME, DISPATCHER_SLOTS, DispatcherSlot, dispatcher, dispatcher_config, dispatcher_slot_type,
    dispatcher_takes_frags,
};

use crate::engine::undo::undoing;
use crate::libxdp::switch::{LoadedDispatcher, NewDispatcher};
use crate::libxdp::{DispatcherAtHook, SlotProgram, folder, link_pin, program_pin};
use crate::state::records::{Entry, ExtensionRecord, HookRecord, LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

struct Candidate<H> {
    slot: DispatcherSlot,
    name: String,
    tag: [u8; 8],
    what: What<H>,
}

enum What<H> {
    There(H, Option<ExtensionRecord>),
    New(Arc<LinkRecord>, Arc<ProgramRecord>, Box<BoundText>),
}

/// Returns the priority of a slot: tenants' programs run after the machine's. Users' priorities have 31 bits.
fn slot_priority(link: &LinkRecord, program: &ProgramRecord) -> u32 {
    let behind = if link.turn(program) == RankOrder::Machine { 0 } else { 1 << 31 };
    behind | u32::try_from(link.point.priority().unwrap_or(0)).unwrap_or(0)
}

impl<K: Kernel> Engine<K> {
    /// Returns whether an earlier version attached a program at a priority that its rank does not allow.
    pub(crate) fn is_in_earlier_slots(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        if hook.entry != Entry::Dispatcher {
            return Ok(false);
        }
        let Some(standing) = self.dispatcher_with_own_programs(hook)? else { return Ok(false) };
        let state = self.state();
        let wanted = |slot: &SlotProgram<K::Handle>| {
            let is_it =
                |own: &&ExtensionRecord| own.program == slot.program.id && own.tag == slot.program.tag;
            let link = state.links.get(&hook.extensions.iter().find(is_it)?.link)?;
            Some(slot_priority(link, state.member(link.program)?))
        };
        Ok(standing.slots.iter().any(|slot| wanted(slot).is_some_and(|wanted| wanted != slot.slot.priority)))
    }

    /// Builds a dispatcher with the third-party programs of the present one, and our programs of these links. Without
    /// any program, the result only removes the present one. On an error, nothing was changed.
    pub(crate) fn build_dispatcher(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
    ) -> Result<NewDispatcher<'_, K>, EngineError> {
        let _lock = self.kernel.lock_folder(&self.options.libxdp_pins)?;
        let Some(standing) = self.changeable_dispatcher(interface, key)? else {
            return Err(KernelError::HookChanged { hook: key.kind.at(interface) }.into());
        };
        let DispatcherAtHook { program, handle, mode, slots } = standing;
        let before = LoadedDispatcher { id: program.id, tag: program.tag, handle };
        let candidates = self.candidates(key, interface, slots, links)?;
        let mut new = NewDispatcher::beside(self, key, interface, mode, before);
        if candidates.is_empty() {
            new.pin_pending()?;
            return Ok(new);
        }
        let slots: Vec<DispatcherSlot> = candidates.iter().map(|candidate| candidate.slot).collect();
        self.step("dispatcher", "load");
        let config = self.kernel.create_map(&dispatcher_config(&slots), None)?;
        let config_id = self.kernel.map_of(&config)?.id;
        let text = dispatcher(slots.len(), config_id, dispatcher_takes_frags(&slots));
        let loaded = self.kernel.load_program(&ProgramLoad::new(
            DISPATCHER_NAME,
            &text,
            bpfman_model::ProgramType::Xdp.into(),
        ))?;
        let facts = self.kernel.program_of(&loaded.program)?;
        new.after = Some(LoadedDispatcher { id: facts.id, tag: facts.tag, handle: loaded.program });
        new.pin_pending()?;
        self.fill(&mut new, candidates)?;
        Ok(new)
    }

    fn candidates(
        &self,
        key: &HookKey,
        interface: &Interface,
        slots: Vec<SlotProgram<K::Handle>>,
        links: &[Arc<LinkRecord>],
    ) -> Result<Vec<Candidate<K::Handle>>, EngineError> {
        let recorded = self.state().hooks.get(key).map(|hook| hook.extensions.clone()).unwrap_or_default();
        let mut candidates = Vec::with_capacity(slots.len() + links.len());
        let mut ours = Vec::new();
        for there in slots {
            let record = recorded
                .iter()
                .find(|record| record.program == there.program.id && record.tag == there.program.tag);
            match record {
                Some(record) => ours.push((there, record.clone())),
                None => candidates.push(Candidate {
                    slot: there.slot,
                    name: there.program.name,
                    tag: there.program.tag,
                    what: What::There(there.handle, None),
                }),
            }
        }
        for link in links {
            self.ensure_no_order(key, interface, link)?;
            let program = self.member_record(link.program).ok_or(EngineError::NoLink(link.id))?;
            let text = self.member(&program)?.text;
            let slot = DispatcherSlot {
                proceed: link.proceeds_on(),
                priority: slot_priority(link, &program),
                frags: text.0.frags,
            };
            let name: String = program.name.chars().take(15).collect();
            self.ensure_sends_nothing_past(key, interface, link, &program)?;
            let at = ours.iter().position(|(_, record)| record.link == link.id && record.of == program.id);
            candidates.push(match at {
                Some(at) => {
                    let (there, record) = ours.swap_remove(at);
                    let tag = there.program.tag;
                    Candidate { slot, name, tag, what: What::There(there.handle, Some(record)) }
                }
                None => {
                    let text = BoundText(bpfman_model::ProgramText { frags: false, ..text.0.clone() });
                    let what = What::New(Arc::clone(link), program, Box::new(text));
                    Candidate { slot, name, tag: [0; 8], what }
                }
            });
        }
        if candidates.len() > DISPATCHER_SLOTS {
            return Err(EngineError::ChainFull {
                hook: format!("{}, which libxdp's dispatcher holds,", key.kind.at(interface)),
                limit: DISPATCHER_SLOTS,
            });
        }
        candidates.sort_by(|a, b| {
            let order = |c: &Candidate<_>| (c.slot.priority, matches!(c.what, What::New(..)), c.tag);
            let (first, second) = (order(a), order(b));
            first.0.cmp(&second.0).then_with(|| a.name.cmp(&b.name)).then_with(|| first.cmp(&second))
        });
        Ok(candidates)
    }

    /// Refuses a tenant's program in a slot, where it could send packets past the machine's programs.
    fn ensure_sends_nothing_past(
        &self,
        key: &HookKey,
        interface: &Interface,
        link: &LinkRecord,
        program: &ProgramRecord,
    ) -> Result<(), EngineError> {
        if self.state().unsent(key, link, program).is_empty() {
            return Ok(());
        }
        Err(EngineError::Dispatcher {
            hook: key.kind.at(interface),
            reason: format!(
                "program \"{}\" of a tenant could send packets past the machine's programs of tc and tcx by it",
                program.name
            ),
            hint: "attach it where no libxdp dispatcher is, or let root load and attach it".into(),
        })
    }

    /// Refuses intents, because libxdp keeps only priorities when it rebuilds a dispatcher.
    fn ensure_no_order(
        &self,
        key: &HookKey,
        interface: &Interface,
        link: &LinkRecord,
    ) -> Result<(), EngineError> {
        if link.order.before.is_empty() && link.order.after.is_empty() {
            return Ok(());
        }
        Err(EngineError::Dispatcher {
            hook: key.kind.at(interface),
            reason: format!("its programs run in the order of their priorities, and link {} is to run before or after another", link.id),
            hint: "leave out --before and --after, and choose --priority; `xdp-loader status` shows those of the others"
                .into(),
        })
    }

    fn fill(
        &self,
        new: &mut NewDispatcher<'_, K>,
        candidates: Vec<Candidate<K::Handle>>,
    ) -> Result<(), EngineError> {
        let Some(after) = new.after.as_ref().map(|after| after.id) else { return Ok(()) };
        let folder = folder(&self.options.libxdp_pins, new.key.ifindex, after);
        undoing(|undo| {
            self.step("dispatcher", "pin");
            self.kernel.make_folder(&folder)?;
            undo.push(|| self.undo_folder(&folder));
            for (number, candidate) in candidates.into_iter().enumerate() {
                let place = Extends { program: after, function: dispatcher_slot_type(number) };
                new.extensions.extend(self.fill_slot(new, &folder, number, place, candidate)?);
            }
            Ok(())
        })
    }

    fn fill_slot(
        &self,
        new: &NewDispatcher<'_, K>,
        folder: &std::path::Path,
        number: usize,
        place: Extends,
        candidate: Candidate<K::Handle>,
    ) -> Result<Option<ExtensionRecord>, EngineError> {
        let cannot = |source: KernelError| {
            EngineError::Dispatcher {
            hook: new.key.kind.at(new.interface()),
            reason: format!("the kernel refuses program \"{}\" in the place of its function: {source}", candidate.name),
            hint: "a program that takes a slot needs type information (compile with -g), takes `struct xdp_md *` alone \
                   and returns int; detach the programs of others (`xdp-loader unload`) to have the hook alone"
                .into(),
        }
        };
        let (handle, record) = match candidate.what {
            What::There(handle, record) => (handle, record),
            What::New(link, program, text) => {
                let load =
                    ProgramLoad { extends: Some(place), ..ProgramLoad::new(&program.name, &text, EXTENSION) };
                let handle = self.kernel.load_program(&load).map_err(cannot)?.program;
                let facts = self.kernel.program_of(&handle)?;
                let record =
                    ExtensionRecord { link: link.id, of: program.id, program: facts.id, tag: facts.tag };
                (handle, Some(record))
            }
        };
        let link = self.kernel.attach(&handle, &LinkTarget::Replacement(place)).map_err(cannot)?;
        self.kernel.pin(&handle, &folder.join(program_pin(number)))?;
        self.kernel.pin(&link, &folder.join(link_pin(number)))?;
        Ok(record)
    }
}
