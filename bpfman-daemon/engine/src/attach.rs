//! Attach: one more place where a program runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{
    AttachPoint, AttachRequest, HookKey, HookKind, Interface, LinkId, MAX_CHAIN_MEMBERS, OperationId,
};
use bpfmand_kernel::{Anchor, FilterPlace, Kernel, KernelError, LinkTarget, TcFilter};
use bpfmand_store::Batch;

use crate::chain::{BuiltChain, chain_name, filter_place, hook_text};
use crate::describe::LinkDetails;
use crate::engine::encode;
use crate::locks::Subject;
use crate::records::{self, Entry, HookRecord, LinkRecord, ProgramRecord};
use crate::undo::{Undo, insist};
use crate::{Engine, EngineError, paths};

/// Most bytes of a link's metadata: its record has to hold them.
const MOST_METADATA: usize = 16 << 10;

impl<K: Kernel> Engine<K> {
    /// Attaches a program.
    ///
    /// # Errors
    /// See [`EngineError`]; nothing is attached then.
    pub fn attach(&self, request: &AttachRequest) -> Result<LinkDetails, EngineError> {
        check(request)?;
        let (_program_lock, program) = self.lock_program(request.program)?;
        if !request.point.admits(program.program_type) {
            return Err(EngineError::WrongPoint {
                program: request.program,
                program_type: program.program_type,
                point: request.point.type_name(),
            });
        }
        let hook = match request.point.hook() {
            Some((interface, kind)) => Some((interface, self.kernel.find_hook(interface, kind)?)),
            None => None,
        };
        let _hook_lock = hook.map(|(_, key)| self.lock(Subject::Hook(key)));
        let number = self.number();
        let link = LinkRecord {
            id: LinkId(
                u32::try_from(number)
                    .map_err(|_| EngineError::Invalid("this daemon has used up all link ids".to_owned()))?,
            ),
            program: program.uid,
            operation: OperationId(number),
            point: request.point.clone(),
            hook: hook.map(|(_, key)| key),
            metadata: with_application(&request.metadata, &program.metadata),
            sequence: number,
        };
        let id = link.id;
        match hook {
            Some((interface, key)) if !matches!(key.kind, HookKind::Tcx(_)) => {
                self.attach_member(interface, &key, link)?;
            }
            _ => self.attach_alone(&program, link)?,
        }
        insist(|| self.describe_link(id))
    }

    /// Adds a member to the chain of a hook.
    fn attach_member(
        &self,
        interface: &Interface,
        key: &HookKey,
        link: LinkRecord,
    ) -> Result<(), EngineError> {
        let (before, old) = {
            let state = self.state();
            (state.chain(key), state.hooks.get(key).cloned())
        };
        // A hook whose pin someone removed is entered anew, with all its members.
        let old = match old {
            Some(hook) if self.is_entered(&hook)? => Some(hook),
            _ => None,
        };
        if before.len() >= MAX_CHAIN_MEMBERS {
            return Err(EngineError::ChainFull { hook: hook_text(key, interface), limit: MAX_CHAIN_MEMBERS });
        }
        let link = Arc::new(link);
        let mut links = before;
        links.push(Arc::clone(&link));
        let links = self.state().order(key, links, Some(link.id));
        self.step("attach", "build chain");
        let built = self.build_chain(key, interface, &links)?;
        let mut undo = Undo::default();
        let entry = match &old {
            Some(hook) => {
                self.change_chain(hook, &built, &mut undo)?;
                hook.entry
            }
            None => match self.enter_hook(interface, key, link.operation, &built, &mut undo) {
                Ok(entry) => entry,
                Err(error) => return Err(undo.run(error)),
            },
        };
        let hook = HookRecord {
            key: *key,
            interface: old.as_ref().map_or_else(|| interface.clone(), |hook| hook.interface.clone()),
            operation: old.as_ref().map_or(link.operation, |hook| hook.operation),
            newcomer: Some(link.id),
            entry,
            strategy: built.strategy,
            program: built.id,
            tag: built.tag,
        };
        self.step("attach", "record");
        if let Err(error) = self.record_attach(&link, Some(&hook)) {
            return Err(undo.run(error));
        }
        undo.forget();
        if old.is_none() {
            self.step("attach", "move into place");
            insist(|| self.place_hook(&hook))?;
        }
        Ok(())
    }

    /// Swaps the chain of a hook that has one.
    pub(crate) fn change_chain<'a>(
        &'a self,
        hook: &Arc<HookRecord>,
        built: &BuiltChain<K::Handle>,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let before = self.kernel.open_program(hook.program)?;
        self.step("chain", "swap");
        self.swap(hook, hook.program, &built.handle, &hook.interface)?;
        let (hook, now) = (Arc::clone(hook), built.id);
        undo.push(move || match before {
            Some(before) => self.swap(&hook, now, &before, &hook.interface),
            None => Ok(()),
        });
        Ok(())
    }

    /// Attaches the first chain of a hook.
    pub(crate) fn enter_hook<'a>(
        &'a self,
        interface: &Interface,
        key: &HookKey,
        operation: OperationId,
        built: &BuiltChain<K::Handle>,
        undo: &mut Undo<'a>,
    ) -> Result<Entry, EngineError> {
        let netns = interface.netns.as_deref();
        let folder = paths::pending(operation);
        let target = match key.kind {
            HookKind::Xdp => LinkTarget::Xdp {
                netns,
                ifindex: key.ifindex,
                mode: self.xdp_modes.get(&interface.name).copied().unwrap_or_default(),
            },
            HookKind::Tc(direction) if self.tc_enters_by_tcx() => {
                LinkTarget::Tcx { netns, ifindex: key.ifindex, direction, anchor: Anchor::Last }
            }
            HookKind::Tc(direction) | HookKind::Tcx(direction) => {
                // A filter has no pin that could tell after a crash that it is there: the program's pin below
                // `pending` names the hook, and recovery looks there for a filter that runs it.
                self.kernel.make_folder(&folder)?;
                undo.push(move || self.remove_tree(&paths::pending(operation)));
                self.kernel.pin(&built.handle, &folder.join(crate::recover::filter_pin(key, interface)))?;
                self.step("attach", "add filter");
                let name = chain_name(key, interface);
                let filter = TcFilter::of(operation.0);
                let at = FilterPlace { netns, ifindex: key.ifindex, direction, filter };
                self.kernel.add_filter(&at, &built.handle, &name)?;
                let (interface, key, id) = (interface.clone(), *key, built.id);
                undo.push(move || match filter_place(&key, &interface, filter) {
                    Some(at) => Ok(self.kernel.remove_filter(&at, id)?),
                    None => Ok(()),
                });
                let TcFilter { priority, handle } = filter;
                return Ok(Entry::Filter { priority, handle });
            }
        };
        self.attach_pending(&built.handle, &target, operation, undo).map_err(|error| match error {
            // The kernel room knows the interface by its number alone.
            EngineError::Kernel(KernelError::HookHeld { holder, .. }) => {
                KernelError::HookHeld { hook: hook_text(key, interface), holder }.into()
            }
            other => other,
        })?;
        Ok(Entry::Link)
    }

    /// Attaches a program by a link of its own.
    fn attach_alone(&self, program: &ProgramRecord, link: LinkRecord) -> Result<(), EngineError> {
        let handle = self.kernel.open_program(program.id)?.ok_or(EngineError::NoKernelProgram(program.id))?;
        if let Some(key) = &link.hook
            && let Some(other) = self.state().chain(key).iter().find(|other| other.program == program.uid)
        {
            return Err(EngineError::Invalid(format!(
                "program {} is already attached here, by link {}; the kernel takes a program once for each tcx hook",
                program.id, other.id
            )));
        }
        let mut undo = Undo::default();
        let attached = self
            .link_target(program, &link)
            .and_then(|target| self.attach_pending(&handle, &target, link.operation, &mut undo));
        if let Err(error) = attached {
            return Err(undo.run(error));
        }
        self.step("attach", "record");
        let link = Arc::new(link);
        if let Err(error) = self.record_attach(&link, None) {
            return Err(undo.run(error));
        }
        undo.forget();
        self.step("attach", "move into place");
        insist(|| self.place_link(&link))
    }

    /// Ties a program to a target by a link that is pinned below `pending`.
    pub(crate) fn attach_pending<'a>(
        &'a self,
        program: &K::Handle,
        target: &LinkTarget<'_>,
        operation: OperationId,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        self.step("attach", "make pending folder");
        self.kernel.make_folder(&folder)?;
        undo.push(move || self.remove_tree(&paths::pending(operation)));
        self.step("attach", "create link");
        let link = self.kernel.attach(program, target)?;
        self.step("attach", "pin link");
        let pin = folder.join(paths::PENDING_LINK);
        self.kernel.pin(&link, &pin)?;
        undo.push(move || Ok(self.kernel.end_link(&pin)?));
        Ok(())
    }

    /// What the kernel has to be asked for to attach a link that is no member of a chain.
    pub(crate) fn link_target<'a>(
        &self,
        program: &ProgramRecord,
        link: &'a LinkRecord,
    ) -> Result<LinkTarget<'a>, EngineError> {
        let on_return = program.program_type.is_return_probe();
        Ok(match &link.point {
            AttachPoint::Tracepoint { category, name } => LinkTarget::Tracepoint { category, name },
            AttachPoint::Kprobe { function, offset } => {
                LinkTarget::Kprobe { function, offset: *offset, on_return }
            }
            AttachPoint::Uprobe { target, function, offset, scope } => LinkTarget::Uprobe {
                target,
                function: function.as_deref(),
                offset: *offset,
                scope,
                on_return,
            },
            AttachPoint::Fentry | AttachPoint::Fexit | AttachPoint::Lsm => LinkTarget::Trampoline,
            AttachPoint::Tcx { interface, direction, .. } => {
                let key = link
                    .hook
                    .map_or_else(|| self.kernel.find_hook(interface, HookKind::Tcx(*direction)), Ok)?;
                LinkTarget::Tcx {
                    netns: interface.netns.as_deref(),
                    ifindex: key.ifindex,
                    direction: *direction,
                    anchor: self.tcx_anchor(&key, link)?,
                }
            }
            AttachPoint::Xdp { .. } | AttachPoint::Tc { .. } => {
                return Err(EngineError::Invalid(format!("link {} is a member of a chain", link.id)));
            }
        })
    }

    /// The neighbour that puts a tcx link at its place among ours.
    fn tcx_anchor(&self, key: &HookKey, link: &LinkRecord) -> Result<Anchor, EngineError> {
        let ordered = {
            let state = self.state();
            let mut links: Vec<_> =
                state.chain(key).into_iter().filter(|other| other.id != link.id).collect();
            links.push(Arc::new(link.clone()));
            state.order(key, links, None)
        };
        let at = ordered.iter().position(|other| other.id == link.id).unwrap_or(0);
        let live = |other: &Arc<LinkRecord>| -> Result<Option<_>, EngineError> {
            let pin = self.kernel.open_pin(&paths::link(other.id))?;
            Ok(pin.map(|pin| self.kernel.link_of(&pin)).transpose()?.map(|facts| facts.id))
        };
        // A neighbour whose pin someone removed is no anchor; the next one may be.
        for other in &ordered[at + 1..] {
            if let Some(next) = live(other)? {
                return Ok(Anchor::Before(next));
            }
        }
        for other in ordered[..at].iter().rev() {
            if let Some(previous) = live(other)? {
                return Ok(Anchor::After(previous));
            }
        }
        Ok(Anchor::Last)
    }

    fn record_attach(&self, link: &Arc<LinkRecord>, hook: Option<&HookRecord>) -> Result<(), EngineError> {
        let mut batch = Batch::new();
        batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(&**link)?);
        if let Some(hook) = hook {
            batch.put(records::HOOKS, &records::hook_key(&hook.key), encode(hook)?);
        }
        self.commit(batch)?;
        let mut state = self.state();
        state.links.insert(link.id, Arc::clone(link));
        if let Some(hook) = hook {
            state.hooks.insert(hook.key, Arc::new(hook.clone()));
        }
        Ok(())
    }

    /// Renames a hook's link from `pending` to its place. Running it again is fine.
    pub(crate) fn place_hook(&self, hook: &HookRecord) -> Result<(), EngineError> {
        let folder = paths::pending(hook.operation);
        let names = self.kernel.list_folder(&folder)?;
        if names.iter().any(|name| name == paths::PENDING_LINK) {
            self.kernel.make_folder(Path::new(hook.key.pin_folder()))?;
            self.kernel.rename(&folder.join(paths::PENDING_LINK), &paths::hook_link(&hook.key))?;
        }
        self.remove_tree(&folder)
    }

    /// Renames a link from `pending` to its place. Running it again is fine.
    pub(crate) fn place_link(&self, link: &LinkRecord) -> Result<(), EngineError> {
        let folder = paths::pending(link.operation);
        let names = self.kernel.list_folder(&folder)?;
        if names.iter().any(|name| name == paths::PENDING_LINK) {
            self.kernel.make_folder(Path::new(paths::LINKS))?;
            self.kernel.rename(&folder.join(paths::PENDING_LINK), &paths::link(link.id))?;
        }
        Ok(self.kernel.remove_folder(&folder)?)
    }
}

/// A link belongs to the application of its program, unless it names one itself.
fn with_application(
    link: &BTreeMap<String, String>,
    program: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut metadata = link.clone();
    for key in crate::describe::APPLICATION_KEYS {
        if let (Some(application), false) = (program.get(key), metadata.contains_key(key)) {
            metadata.insert(key.to_owned(), application.clone());
        }
    }
    metadata
}

/// Bytes of names and values.
pub fn metadata_size(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn check(request: &AttachRequest) -> Result<(), EngineError> {
    let invalid = |message: String| Err(EngineError::Invalid(message));
    if let Some(priority) = request.point.priority()
        && priority < 0
    {
        return invalid(format!("priority {priority} is negative; 0 runs first"));
    }
    if let Some((interface, _)) = request.point.hook()
        && interface.name.is_empty()
    {
        return invalid("the attach point names no interface".to_owned());
    }
    let size = metadata_size(&request.metadata);
    if size > MOST_METADATA {
        return Err(EngineError::TooLarge {
            what: "the metadata".to_owned(),
            size: size as u64,
            limit: MOST_METADATA as u64,
        });
    }
    Ok(())
}
