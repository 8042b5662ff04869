//! Move of a tcx link. A link keeps its position for life, and a hook accepts each program only once: a new link is
//! first attached at the new position with a bridge, a program that tail-calls the moved one. Then the old link ends,
//! and the new one is updated to the program itself. Packets meet the program at the old position, then at both, then
//! at the new one. The bridge's array is pinned, because the kernel clears program arrays without a holder.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{
    BoundText, HookKey, HookKind, Insn, Interface, LinkId, MapId, MapSpec, OperationId, ProgramId, Waiting,
    map_type, op,
};
use bpfmand_kernel::{Kernel, KernelError, LinkTarget, ProgramKind, ProgramLoad};

use crate::engine::locks::Subject;
use crate::engine::undo::{Undo, retry_once, undoing};
use crate::error::{Remainder, UndoFailure};
use crate::order::tcx::{ListPlace, TRIES};
use crate::state::paths::BRIDGE_NAME;
use crate::state::records::{HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

/// Result of a check of a hook's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderReport {
    /// Links that were moved; for a chain, the link of its first member.
    pub moved: Vec<LinkId>,
    /// Intents whose anchor is currently missing.
    pub waiting: Vec<Waiting>,
    /// Reason why not all intents can be satisfied: the positions of third-party programs contradict them.
    pub contradiction: Option<String>,
}

impl<K: Kernel> Engine<K> {
    /// Returns the hooks whose order third parties can disturb, for [`Engine::check_order`].
    #[must_use]
    pub fn ordered_hooks(&self) -> Vec<HookKey> {
        let state = self.state();
        let matters = |link: &&Arc<LinkRecord>| match link.hook.map(|key| key.kind) {
            Some(HookKind::Tcx(_)) => true,
            Some(HookKind::Tc(_)) => link.order.names_foreign(),
            _ => false,
        };
        let mut keys: Vec<HookKey> =
            state.links.values().filter(matters).filter_map(|link| link.hook).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Moves those links of the daemon that are out of position; never moves third-party links. An error undoes no move.
    pub fn check_order(&self, key: &HookKey) -> Result<OrderReport, EngineError> {
        let _operation = self.begin()?;
        if key.kind == HookKind::Xdp {
            return Ok(OrderReport::default());
        }
        let _lock = self.lock(Subject::Hook(*key));
        self.settle_order(key)
    }

    /// Moves the links that are out of position, and records a failure in the state. The caller holds the hook's lock.
    pub(crate) fn settle_order(&self, key: &HookKey) -> Result<OrderReport, EngineError> {
        let settled = self.move_all(key);
        let mut state = self.state();
        match &settled {
            Err(EngineError::Kernel(
                KernelError::HookGone { .. } | KernelError::NamespaceNotFound { .. },
            )) => {
                state.disordered.remove(&key.of_chain());
            }
            Err(error) => {
                state.disordered.insert(key.of_chain(), error.to_string());
            }
            Ok(_) => {
                state.disordered.remove(&key.of_chain());
            }
        }
        settled
    }

    fn move_all(&self, key: &HookKey) -> Result<OrderReport, EngineError> {
        let mut report = OrderReport::default();
        let most = self.state().chain(&key.of_tcx()).len() + TRIES;
        for _ in 0..most {
            let list = self.ours_in_list(key);
            let Some(interface) = list.interface_at(key) else { break };
            if let (HookKind::Tc(_), Some(hook)) = (key.kind, &list.hook)
                && !self.is_entered(hook)?
            {
                break;
            }
            let order = self.list_order(key, interface, &list.links, &list.members, false)?;
            report.waiting = list.waiting_at(key, &order);
            report.contradiction = order.contradiction.as_ref().map(ToString::to_string);
            // Recovery handles records without a link at the hook.
            let Some(next) = order.moves(None).moves.into_iter().find(|entry| order.has(*entry)) else {
                break;
            };
            let place = order.place(next);
            let (moved, result) = match (next.link(), &list.hook) {
                (Some(id), _) => {
                    let Some(link) = list.links.iter().find(|link| link.id == id) else { break };
                    (Some(id), self.move_link(&key.of_tcx(), Arc::clone(link), place))
                }
                (None, Some(hook)) if self.ensure_not_frozen(&hook.key, &[]).is_ok() => {
                    (list.members.first().map(|member| member.id), self.move_block(hook, place))
                }
                (None, _) => break,
            };
            match result {
                Ok(()) => report.moved.extend(moved),
                Err(error) if error.is_race() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    pub(crate) fn move_link(
        &self,
        key: &HookKey,
        link: Arc<LinkRecord>,
        place: ListPlace,
    ) -> Result<(), EngineError> {
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        self.ensure_not_lost([&*link])?;
        let Some((interface, _)) = link.point.hook() else { return Err(EngineError::NoLink(link.id)) };
        let operation = self.operation();
        let moved = Arc::new(LinkRecord { operation, ..(*link).clone() });
        undoing(|undo| {
            self.build_bridge(key, interface, program.id, operation, place, undo)?;
            self.step("move", "record");
            self.record_link(&moved, None)
        })?;
        self.step("move", "move into place");
        retry_once(|| self.place_link(&moved))
    }

    fn move_block(&self, hook: &HookRecord, place: ListPlace) -> Result<(), EngineError> {
        let operation = self.operation();
        let moved = HookRecord { operation, ..hook.clone() };
        undoing(|undo| {
            self.build_bridge(&hook.key, &hook.interface, hook.program, operation, place, undo)?;
            self.step("move", "record");
            self.record_hook(moved.clone())
        })?;
        self.step("move", "move into place");
        retry_once(|| self.place_hook(&moved))
    }

    fn build_bridge<'a>(
        &'a self,
        key: &HookKey,
        interface: &Interface,
        program: ProgramId,
        operation: OperationId,
        (anchor, expected_revision): ListPlace,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let target = self.loaded_program(program)?;
        let folder = paths::pending(operation);
        self.step("move", "make pending folder");
        self.kernel.make_folder(&folder)?;
        undo.push(move || self.undo_pending_of(operation));
        let array = self.kernel.create_map(&one_slot(), None)?;
        self.kernel.fill_slot(&array, 0, &target)?;
        self.kernel.pin(&array, &folder.join(paths::BRIDGE))?;
        let bridge = self.kernel.load_program(&ProgramLoad::new(
            BRIDGE_NAME,
            &bridge(self.kernel.map_of(&array)?.id),
            ProgramKind { kernel_type: 3, expected_attach_type: 0 },
        ))?;
        let direction =
            key.kind.direction().ok_or_else(|| EngineError::Fault("xdp has no list".to_owned()))?;
        self.step("move", "create link");
        let link = self.kernel.attach(
            &bridge.program,
            &LinkTarget::Tcx {
                home: key.netns.into(),
                netns: interface.netns.as_deref(),
                ifindex: key.ifindex,
                direction,
                anchor,
                expected_revision,
            },
        )?;
        self.step("move", "pin link");
        let pin = folder.join(paths::PENDING_LINK);
        self.kernel.pin(&link, &pin)?;
        undo.push(move || {
            self.undo_link(pin.clone())?;
            self.kernel.wait_for_readers().map_err(|error| UndoFailure::new(Remainder::Pin(pin), error))
        });
        Ok(())
    }

    /// Finishes a move; idempotent.
    pub(crate) fn cross_bridge(
        &self,
        operation: OperationId,
        place: &Path,
        program: ProgramId,
    ) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        let pin = folder.join(paths::PENDING_LINK);
        if self.kernel.open_pin(&pin)?.is_some() {
            self.step("move", "end old link");
            self.kernel.end_link(place)?;
            self.kernel.rename(&pin, place)?;
        }
        let Some(link) = self.kernel.open_pin(place)? else { return Ok(()) };
        let facts = self.kernel.link_of(&link)?;
        if facts.program != program && facts.ifindex.is_some() {
            self.step("move", "leave the bridge");
            self.switch_program(&link, facts.program, &self.loaded_program(program)?)?;
        }
        // The kernel clears a program array without a holder, and a packet may be inside the bridge.
        Ok(self.kernel.wait_for_readers()?)
    }
}

fn one_slot() -> MapSpec {
    MapSpec::sized(BRIDGE_NAME, map_type::PROG_ARRAY, 4, 4, 1)
}

/// Returns the bridge: a tail call, then the chain's fail verdict, as the moved program may be a firewall.
fn bridge(array: MapId) -> BoundText {
    const TAIL_CALL: i32 = 12;
    const MOV_IMM: u8 = 0xb7;
    let insns = vec![
        Insn::new(op::LD_IMM64, 2, op::PSEUDO_MAP_FD, 0, array.0.cast_signed()),
        Insn::default(),
        Insn::new(MOV_IMM, 3, 0, 0, 0),
        Insn::new(op::CALL, 0, 0, 0, TAIL_CALL),
        Insn::new(MOV_IMM, 0, 0, 0, bpfmand_splice::SpliceHook::TcTcx.fail_verdict()),
        Insn::new(op::EXIT, 0, 0, 0, 0),
    ];
    BoundText::of_one_function(BRIDGE_NAME, "Dual BSD/GPL", insns)
}
