//! Hooks: entered by their first member, changed in place by all others.

use std::io::ErrorKind;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, Interface, MAX_CHAIN_MEMBERS, NetnsId, OperationId, XdpRunsIn};
use bpfmand_kernel::{FilterPlace, Kernel, KernelError, LinkTarget, ListAnchor, TcFilter, XdpMode};

use crate::chain::BuiltChain;
use crate::engine::undo::{Undo, retry_once, undoing};
use crate::error::Remainder;
use crate::state::XdpPlacement;
use crate::state::filter_pin::filter_pin;
use crate::state::hook_names::filter_name;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

/// Number of links at one tcx hook that the kernel accepts.
const MAX_TCX_LINKS: usize = 63;

pub(crate) type Entered = (Entry, Option<XdpPlacement>);

/// Returns whether the driver refused the chain, so that the network stack may run it.
fn is_of_driver(error: &EngineError) -> bool {
    match error {
        EngineError::Kernel(KernelError::Call { action, source, .. }) => {
            *action == "attach" && !is_of_system(source.kind())
        }
        EngineError::NoFrags { .. } => true,
        _ => false,
    }
}

/// Returns whether the system itself caused the error: drivers return almost any other error number.
const fn is_of_system(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn in_words(refusal: &EngineError) -> String {
    let text = match refusal {
        EngineError::Kernel(KernelError::Call { source, .. }) => source.to_string(),
        EngineError::NoFrags { members, .. } => {
            format!("packets may come in several buffers, which {} cannot handle", members.join(" and "))
        }
        other => other.to_string(),
    };
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn ensure_chain_capacity(
        &self,
        key: &HookKey,
        interface: &Interface,
        members: &[Arc<LinkRecord>],
        newcomer: &LinkRecord,
    ) -> Result<(), EngineError> {
        if members.len() >= MAX_CHAIN_MEMBERS {
            return Err(EngineError::ChainFull { hook: key.kind.at(interface), limit: MAX_CHAIN_MEMBERS });
        }
        self.ensure_kept_places(key, interface, members, newcomer, MAX_CHAIN_MEMBERS)
    }

    pub(crate) fn ensure_tcx_capacity(
        &self,
        key: &HookKey,
        interface: &Interface,
        newcomer: &LinkRecord,
    ) -> Result<(), EngineError> {
        let links = self.state().chain(key);
        self.ensure_kept_places(key, interface, &links, newcomer, MAX_TCX_LINKS)
    }

    fn ensure_kept_places(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        newcomer: &LinkRecord,
        places: usize,
    ) -> Result<(), EngineError> {
        let limit = self.options.kept.of_others(places);
        let state = self.state();
        let is_others = |link: &LinkRecord| {
            state.member(link.program).is_some_and(|program| !link.owner(program).is_root_or_cluster())
        };
        let of_others = || links.iter().filter(|link| is_others(link)).count();
        if is_others(newcomer) && of_others() >= limit {
            return Err(EngineError::KeptPlaces { hook: key.kind.at(interface), limit });
        }
        Ok(())
    }

    pub(crate) fn attach_member(
        &self,
        interface: &Interface,
        key: &HookKey,
        link: LinkRecord,
    ) -> Result<(), EngineError> {
        let (before, known) = {
            let state = self.state();
            (state.chain(key), state.hooks.get(key).cloned())
        };
        // A hook whose pin was removed is entered again, with all its members.
        let old = match &known {
            Some(hook) if self.is_entered(hook)? => known.clone(),
            _ => None,
        };
        self.ensure_chain_capacity(key, interface, &before, &link)?;
        self.ensure_within_machine(key, interface, &link)?;
        self.ensure_sends_to_no_guarded(key, interface, &link)?;
        if known.is_none() {
            self.ensure_no_stray(key, interface)?;
        }
        let link = Arc::new(link);
        let mut links = before;
        links.push(Arc::clone(&link));
        let links = self.order_changed(key, interface, links, Some(link.id), &link)?;
        self.check_budget(key, interface, &links, &link)?;
        self.step("attach", "build chain");
        let entered = old.as_ref().map(|hook| hook.entry);
        let built = self.build_chain(key, interface, &links, entered, std::slice::from_ref(&link))?;
        // Declared before the undo steps, because they must outlive them.
        let lacks_number = old.as_ref().is_none_or(|hook| self.lacks_number(hook));
        let namespace = if lacks_number { self.hold_namespace(key) } else { None };
        let mut joined = None;
        let hook = undoing(|undo| {
            let (entry, xdp) = match &old {
                Some(hook) => {
                    self.change_chain(hook, &built, undo)?;
                    (hook.entry, hook.xdp.clone())
                }
                None => {
                    let entered = self.enter_or_join(interface, key, link.operation, &links, &built, undo)?;
                    joined = entered.1;
                    entered.0
                }
            };
            let runs = joined.as_ref().unwrap_or(&built);
            let hook = match (&old, known) {
                (Some(hook), _) => (**hook).clone(),
                (None, Some(known)) => {
                    HookRecord { operation: link.operation, entry, adopted_link: false, ..(*known).clone() }
                }
                (None, None) => runs.entered(interface.clone(), link.operation, entry),
            };
            let hook = HookRecord { newcomer: Some(link.id), xdp, ..hook };
            let hook = self.numbered(runs.recorded(hook), undo)?;
            self.step("attach", "record");
            self.record_link(&link, Some(hook.clone()))?;
            Ok::<_, EngineError>(hook)
        })?;
        drop(namespace);
        if old.is_none() {
            self.state().drifted.remove(key);
            self.step("attach", "move into place");
            retry_once(|| self.place_hook(&hook))?;
        }
        self.keep_order(key);
        self.settle_chain(joined.unwrap_or(built))
    }

    pub(crate) fn change_chain<'a>(
        &'a self,
        hook: &Arc<HookRecord>,
        built: &BuiltChain<'a, K>,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        if let Some(dispatcher) = &built.dispatcher {
            return self.change_dispatcher(dispatcher, undo);
        }
        let before = self.open_shared(hook.program)?;
        self.step("chain", "swap");
        self.swap(hook, hook.program, &built.handle, &hook.interface)
            .map_err(|error| self.explain_frags(error, &hook.interface, built))?;
        let (hook, now) = (Arc::clone(hook), built.id);
        let swapped_in = built.leased();
        undo.push(move || {
            let Some(before) = before else { return Ok(()) };
            // The chain runs until it is swapped back: keep all its parts.
            let left = |error| self.not_undone(Remainder::Hook { key: hook.key, now }, swapped_in, error);
            self.swap(&hook, now, &before, &hook.interface).map_err(left)
        });
        Ok(())
    }

    /// Attaches the first chain of a hook, or joins libxdp's dispatcher. The caller holds the namespace.
    pub(crate) fn enter_or_join<'a>(
        &'a self,
        interface: &Interface,
        key: &HookKey,
        operation: OperationId,
        links: &[Arc<LinkRecord>],
        built: &BuiltChain<'a, K>,
        undo: &mut Undo<'a>,
    ) -> Result<(Entered, Option<BuiltChain<'a, K>>), EngineError> {
        match self.enter_hook(interface, key, operation, links, built, undo) {
            Err(EngineError::HookHeld(conflict))
                if conflict.is_dispatcher() && self.kernel.features().freplace =>
            {
                let joined = self.join_dispatcher(interface, key, links, undo)?;
                let mode = joined.dispatcher.as_ref().map(|dispatcher| XdpPlacement::of(dispatcher.mode));
                Ok(((Entry::Dispatcher, mode), Some(joined)))
            }
            entered => Ok((entered?, None)),
        }
    }

    pub(crate) fn join_dispatcher<'a>(
        &'a self,
        interface: &Interface,
        key: &HookKey,
        links: &[Arc<LinkRecord>],
        undo: &mut Undo<'a>,
    ) -> Result<BuiltChain<'a, K>, EngineError> {
        const MAX_ATTEMPTS: usize = 4;
        let mut tries = 1;
        loop {
            let settings = self.settings_of(key);
            let built = self.build_chain_as(key, interface, links, Some(Entry::Dispatcher), &settings)?;
            let Some(new) = &built.dispatcher else { return Ok(built) };
            match self.change_dispatcher(new, undo) {
                Ok(()) => return Ok(built),
                Err(error) if error.is_race() && tries < MAX_ATTEMPTS => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn enter_hook<'a>(
        &'a self,
        interface: &Interface,
        key: &HookKey,
        operation: OperationId,
        links: &[Arc<LinkRecord>],
        built: &BuiltChain<'a, K>,
        undo: &mut Undo<'a>,
    ) -> Result<Entered, EngineError> {
        // Identify the namespace by its number: the path of a record may lead to another one by now.
        let (home, netns) = (NetnsId::from(key.netns), interface.netns.as_deref());
        let folder = paths::pending(operation);
        let target = match key.kind {
            HookKind::Xdp => {
                let xdp = self.enter_xdp(interface, key, operation, built, undo)?;
                return Ok((Entry::Link, Some(xdp)));
            }
            HookKind::Tc(direction) if self.tc_enters_by_tcx() => LinkTarget::Tcx {
                home,
                netns,
                ifindex: key.ifindex,
                direction,
                anchor: ListAnchor::Last,
                expected_revision: None,
            },
            HookKind::Tc(direction) | HookKind::Tcx(direction) => {
                // A filter has no pin to find it by after a crash: the program's pin below `pending` names the hook.
                self.kernel.make_folder(&folder)?;
                undo.push(move || self.undo_pending_of(operation));
                undo.push_sure(move || self.forget_held_namespace(home));
                let number = self.number_namespace(home, netns)?;
                self.step("attach", "pin program of filter");
                self.kernel.pin(&built.handle, &folder.join(filter_pin(key, interface, number)))?;
                self.step("attach", "add filter");
                let name = filter_name(key, interface);
                let filter = TcFilter::of(operation.0);
                let at = FilterPlace { home, netns, ifindex: key.ifindex, direction, filter };
                self.held_network.during(|| self.kernel.add_filter(&at, &built.handle, &name))?;
                let (interface, key, program) = (interface.clone(), *key, built.id);
                undo.push(move || {
                    let netns = interface.netns.as_deref();
                    let at = FilterPlace { home, netns, ifindex: key.ifindex, direction, filter };
                    let removed = self.kernel.remove_filter(&at, program);
                    let left = Remainder::Filter { interface, key, filter, program };
                    removed.map_err(|error| self.not_undone(left, None, error))
                });
                let TcFilter { priority, handle } = filter;
                return Ok((Entry::Filter { priority, handle }, None));
            }
        };
        let placed = || -> Result<LinkTarget<'_>, EngineError> {
            let mut target = target.clone();
            if let LinkTarget::Tcx { anchor, expected_revision, .. } = &mut target
                && let Some(order) = self.block_place(key, interface, links, None)?
            {
                (*anchor, *expected_revision) = order.place;
            }
            Ok(target)
        };
        self.attach_where_free(key, interface, || {
            self.attach_retrying(&built.handle, placed, operation, undo).map(drop)
        })
        .map_err(|error| self.explain_frags(error, interface, built).looking_for(key.kind.at(interface)))?;
        Ok((Entry::Link, None))
    }

    /// Attaches a chain to XDP. Unless the configuration names a mode, the driver runs the chain, or the network stack
    /// if the driver refuses it. A hook that another program holds in one mode is not free in the other either.
    fn enter_xdp<'a>(
        &'a self,
        interface: &Interface,
        key: &HookKey,
        operation: OperationId,
        built: &BuiltChain<'a, K>,
        undo: &mut Undo<'a>,
    ) -> Result<XdpPlacement, EngineError> {
        let mut enter = |mode| {
            let target = || {
                let (home, netns) = (NetnsId::from(key.netns), interface.netns.as_deref());
                Ok(LinkTarget::Xdp { home, netns, ifindex: key.ifindex, mode })
            };
            self.attach_where_free(key, interface, || {
                self.attach_retrying(&built.handle, target, operation, undo).map(drop)
            })
            .map_err(|error| self.explain_frags(error, interface, built))
        };
        let mode = self.options.xdp_modes.get(&interface.name).copied();
        let result = match (mode, enter(mode.unwrap_or(XdpMode::Native))) {
            (None, Err(refusal)) if is_of_driver(&refusal) => match enter(XdpMode::Generic) {
                Ok(()) => {
                    let refusal = Some(in_words(&refusal));
                    return Ok(XdpPlacement { mode: XdpRunsIn::Generic, refusal });
                }
                Err(held @ EngineError::HookHeld(_)) => Err(held),
                Err(_) => Err(refusal),
            },
            (_, result) => result,
        };
        result.map_err(|error| error.looking_for(key.kind.at(interface)))?;
        Ok(XdpPlacement::of(match mode {
            None | Some(XdpMode::Native) => XdpRunsIn::Native,
            Some(XdpMode::Generic) => XdpRunsIn::Generic,
            Some(XdpMode::Offload) => XdpRunsIn::Offload,
        }))
    }

    /// Moves the hook's pending link into place; idempotent.
    pub(crate) fn place_hook(&self, hook: &HookRecord) -> Result<(), EngineError> {
        self.place_pending_link(hook.operation, &paths::hook_link(&hook.key), Some(hook.program))
    }
}
