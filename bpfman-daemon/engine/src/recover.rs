//! Start: the records are compared with the kernel, and what differs is mended.
//!
//! Whatever ended the daemon before - a signal, a crash between two steps, a reboot - the same comparison brings kernel,
//! pins and records together again. What cannot be mended now is reported and stays recorded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_NAME;
use bpfmand_core::{
    Direction, HookKey, HookKind, IfIndex, Interface, OperationId, ProgramId, ProgramRequest, ProgramUid,
};
use bpfmand_kernel::{FilterPlace, Kernel, KernelError, LogRequest, TcFilter};
use bpfmand_object::ObjectFile;
use bpfmand_store::Batch;

use crate::chain::{chain_name, filter_place, hook_text};
use crate::engine::encode;
use crate::load::LoadPlan;
use crate::locks::Subject;
use crate::records::{self, Entry, HookRecord, LeftoverRecord, LinkRecord, ProgramRecord};
use crate::undo::Undo;
use crate::{Engine, EngineError, paths};

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Programs found as recorded.
    pub adopted: usize,
    /// Programs loaded again.
    pub reloaded: usize,
    /// Links and chains attached or put back.
    pub reattached: usize,
    /// Unfinished operations undone or finished.
    pub settled: usize,
    /// What could not be mended, and why.
    pub problems: Vec<String>,
}

impl RecoveryReport {
    fn note(&mut self, what: impl std::fmt::Display, result: Result<(), EngineError>) {
        if let Err(error) = result {
            self.problems.push(format!("{what}: {error}"));
        }
    }
}

/// Name of the pin that says which hook a filter without a record is at.
///
/// The namespace's file is named in base64, since bpffs takes no slash and no dot; one whose name would not fit is left
/// out, and looked for by its inode.
pub fn filter_pin(key: &HookKey, interface: &Interface) -> String {
    const MOST_PATH: usize = 150;
    let direction = key.kind.direction().map_or("none", Direction::name);
    let netns = interface.netns.as_deref().map_or(&[][..], |path| path.as_os_str().as_bytes());
    let netns = if netns.len() > MOST_PATH { String::new() } else { BASE64_NAME.encode(netns) };
    format!("filter_{direction}_{}_{}_{netns}", key.ifindex, key.netns.inode)
}

/// Direction, interface, inode of the namespace, and its file; no file for the daemon's own namespace.
fn parse_filter_pin(name: &str) -> Option<(Direction, IfIndex, u64, Option<PathBuf>)> {
    let mut parts = name.strip_prefix("filter_")?.splitn(4, '_');
    let direction = parts.next()?.parse().ok()?;
    let (ifindex, inode) = (IfIndex(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
    let netns = BASE64_NAME.decode(parts.next()?).ok()?;
    let netns = (!netns.is_empty()).then(|| PathBuf::from(OsString::from_vec(netns)));
    Some((direction, ifindex, inode, netns))
}

impl<K: Kernel> Engine<K> {
    /// Brings kernel, pins and records together. To be called once, before the first request.
    ///
    /// # Errors
    /// The records or the pins cannot be read at all. Single things that cannot be mended are in the report.
    pub fn recover(&self) -> Result<RecoveryReport, EngineError> {
        let mut report = RecoveryReport::default();
        for (operation, leftover) in self.leftovers()? {
            report.settled += 1;
            let leftover = self.unclaimed(leftover);
            let result = self.clear_leftover("recover", operation, &leftover);
            report.note(format!("cleaning up after operation {operation}"), result);
        }
        self.settle_pending(&mut report)?;
        let reloaded = self.recover_programs(&mut report);
        self.recover_hooks(&reloaded, &mut report);
        self.recover_links(&mut report);
        let state = self.state();
        let wanted: HashSet<String> =
            state.programs.values().map(|program| program.blob.as_str().to_owned()).collect();
        drop(state);
        self.blobs.sweep(|name| wanted.contains(name))?;
        Ok(report)
    }

    /// Leftovers without those whose place something newer has taken: a hook that was attached again, or a kernel id
    /// that was given again after a reboot.
    fn unclaimed(&self, mut leftover: LeftoverRecord) -> LeftoverRecord {
        let state = self.state();
        let claimed: HashSet<String> = state
            .hooks
            .keys()
            .map(paths::hook_link)
            .chain(state.links.keys().map(|link| paths::link(*link)))
            .chain(state.programs.values().flat_map(|program| {
                [paths::program(program.id), paths::maps(program.map_folder)]
                    .into_iter()
                    .chain(program.maps.iter().filter(|map| map.shared).map(|map| paths::shared(&map.name)))
            }))
            .map(|path| path.display().to_string())
            .collect();
        for list in [&mut leftover.links, &mut leftover.pins, &mut leftover.folders] {
            list.retain(|path| !claimed.contains(path));
        }
        leftover
    }

    /// Finishes operations that have a record and undoes those that have none.
    fn settle_pending(&self, report: &mut RecoveryReport) -> Result<(), EngineError> {
        for name in self.kernel.list_folder(Path::new(paths::PENDING))? {
            report.settled += 1;
            let result = match name.parse() {
                Ok(number) => self.settle(OperationId(number)),
                Err(_) => self.remove_tree(&Path::new(paths::PENDING).join(&name)),
            };
            report.note(format!("settling operation {name}"), result);
        }
        Ok(())
    }

    fn settle(&self, operation: OperationId) -> Result<(), EngineError> {
        let (programs, links, hook) = {
            let state = self.state();
            let programs: Vec<ProgramRecord> = state
                .programs
                .values()
                .filter(|program| program.operation == operation)
                .map(|program| (**program).clone())
                .collect();
            let links: Vec<Arc<LinkRecord>> =
                state.links.values().filter(|link| link.operation == operation).cloned().collect();
            let hook = state.hooks.values().find(|hook| hook.operation == operation).cloned();
            (programs, links, hook)
        };
        if let Some(hook) = hook {
            self.place_hook(&hook)?;
        } else if let [link] = &*links {
            self.place_link(link)?;
        } else if !programs.is_empty() {
            self.place_programs(operation, &programs)?;
        } else {
            self.undo_pending(operation)?;
        }
        Ok(())
    }

    /// Removes what an operation without a record left.
    fn undo_pending(&self, operation: OperationId) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        for name in self.kernel.list_folder(&folder)? {
            let pin = folder.join(&name);
            if name == paths::PENDING_LINK {
                self.kernel.end_link(&pin)?;
            } else if let Some((direction, ifindex, inode, netns)) = parse_filter_pin(&name)
                && let Some(program) = self.kernel.open_pin(&pin)?
            {
                let id = self.kernel.program_of(&program)?.id;
                let filter = TcFilter::of(operation.0);
                // No other filter runs this program, so looking in a namespace too many harms nobody.
                for netns in [Some(netns), find_namespace(inode)].into_iter().flatten() {
                    let at = FilterPlace { netns: netns.as_deref(), ifindex, direction, filter };
                    match self.kernel.remove_filter(&at, id) {
                        Ok(()) | Err(KernelError::NoNamespace { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        self.remove_tree(&folder)
    }

    /// Finds the programs again, or loads them again. Answers those that were loaded again.
    fn recover_programs(&self, report: &mut RecoveryReport) -> HashSet<ProgramUid> {
        let all: Vec<Arc<ProgramRecord>> = self.state().programs.values().cloned().collect();
        // Ids begin anew after a reboot. Where two records have one id, a start after the reboot was cut short, and the
        // record that was written later is the one of this boot.
        let mut newest: HashMap<ProgramId, OperationId> = HashMap::new();
        for program in &all {
            let newest = newest.entry(program.id).or_insert(program.operation);
            *newest = program.operation.max(*newest);
        }
        let mut lost: BTreeMap<OperationId, Vec<Arc<ProgramRecord>>> = BTreeMap::new();
        for program in all {
            let stale = newest.get(&program.id) != Some(&program.operation);
            match if stale { Ok(false) } else { self.adopt(&program) } {
                Ok(true) => report.adopted += 1,
                Ok(false) => lost.entry(program.operation).or_default().push(program),
                Err(error) => report.problems.push(format!("program {}: {error}", program.id)),
            }
        }
        // Owners of maps have smaller uids than those who share them, so they are loaded first.
        let mut lost: Vec<_> = lost.into_values().collect();
        lost.sort_by_key(|programs| programs.first().map(|program| program.uid));
        let mut reloaded = HashSet::new();
        for programs in lost {
            let count = programs.len();
            let names: Vec<_> = programs.iter().map(|program| program.name.as_str()).collect();
            match self.reload(&programs) {
                Ok(()) => {
                    report.reloaded += count;
                    reloaded.extend(programs.iter().map(|program| program.uid));
                }
                Err(error) => report.problems.push(format!("loading {} again: {error}", names.join(", "))),
            }
        }
        self.state().index_ids();
        reloaded
    }

    /// Whose maps a program takes that is loaded again: its owner's; of an owner that is gone, the maps are now those of
    /// the first who shared them; and where a program is gone but its maps are still pinned, its own.
    fn owner_of(&self, program: &Arc<ProgramRecord>) -> Result<Option<Arc<ProgramRecord>>, EngineError> {
        if let Some(owner) = program.map_owner_uid {
            let state = self.state();
            let heir = || state.programs.values().find(|other| other.map_owner_uid == Some(owner));
            let owner = state.programs.get(&owner).or_else(heir).filter(|owner| owner.uid != program.uid);
            if let Some(owner) = owner {
                return Ok(Some(Arc::clone(owner)));
            }
        }
        Ok(self.keeps_maps(program)?.then(|| Arc::clone(program)))
    }

    /// True if the maps in a program's folder are still those of its record. After a reboot another program may have got
    /// its former id, and with it the folder.
    fn keeps_maps(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
        let taken = self.state().programs.values().any(|other| {
            other.map_folder == program.map_folder
                && other.operation > program.operation
                && other.map_owner_uid != Some(program.uid)
        });
        let mut public = program.maps.iter().filter(|map| map.public).peekable();
        if taken || public.peek().is_none() {
            return Ok(false);
        }
        for map in public {
            let pin = paths::maps(program.map_folder).join(&map.name);
            match self.kernel.open_pin(&pin)? {
                Some(pin) if self.kernel.map_of(&pin)?.id == map.id => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// True if the kernel still has a program as recorded; a pin that someone removed is put back.
    fn adopt(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
        let pin = paths::program(program.id);
        if let Some(handle) = self.kernel.open_pin(&pin)? {
            let facts = self.kernel.program_of(&handle)?;
            return Ok(facts.id == program.id && facts.tag == program.tag);
        }
        match self.kernel.open_program(program.id)? {
            Some(handle) if self.kernel.program_of(&handle)?.tag == program.tag => {
                self.kernel.pin(&handle, &pin)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Loads programs of one load again, from the kept bytecode. Their kernel ids change; their uids stay.
    fn reload(&self, programs: &[Arc<ProgramRecord>]) -> Result<(), EngineError> {
        let Some(first) = programs.first() else { return Ok(()) };
        let object = ObjectFile::parse(self.blobs.get(&first.blob)?)?;
        let owner = self.owner_of(first)?;
        let requests: Vec<ProgramRequest> = programs
            .iter()
            .map(|program| ProgramRequest {
                name: program.name.clone(),
                program_type: program.program_type,
                target: program.target.clone(),
            })
            .collect();
        let operation = self.operation();
        let plan = LoadPlan {
            object: &object,
            programs: &requests,
            globals: &first.global_data,
            owner: owner.clone(),
            log: LogRequest::OnFailure,
        };
        let mut undo = Undo::default();
        undo.push(|| self.remove_tree(&paths::pending(operation)));
        let loaded = match self.load_pending(operation, &plan) {
            Ok(loaded) => loaded,
            Err(error) => return Err(undo.run(error)),
        };
        let mut batch = Batch::new();
        let mut entries = Vec::new();
        for (old, new) in programs.iter().zip(loaded) {
            let record = ProgramRecord {
                operation,
                id: new.id,
                tag: new.tag,
                maps: new.maps,
                stack_depths: new.stack_depths,
                map_folder: match &owner {
                    None => new.id,
                    Some(owner) if owner.uid == first.uid => old.map_folder,
                    Some(owner) => owner.map_folder,
                },
                ..(**old).clone()
            };
            batch.put(records::PROGRAMS, record.uid.to_string().as_bytes(), encode(&record)?);
            entries.push(record);
        }
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        {
            let mut state = self.state();
            for record in &entries {
                state.put_program(record.clone());
            }
        }
        self.place_programs(operation, &entries)
    }

    fn recover_hooks(&self, reloaded: &HashSet<ProgramUid>, report: &mut RecoveryReport) {
        let hooks: Vec<Arc<HookRecord>> = self.state().hooks.values().cloned().collect();
        for hook in hooks {
            // A member that was loaded again has other maps of global variables than the chain still runs with.
            let outdated = self.state().chain(&hook.key).iter().any(|link| reloaded.contains(&link.program));
            match self.hook_is_right(&hook).map(|right| right && !outdated) {
                Ok(true) => {}
                Ok(false) => match self.restore_hook(&hook) {
                    Ok(()) => report.reattached += 1,
                    Err(error) => report
                        .problems
                        .push(format!("chain of {}: {error}", hook_text(&hook.key, &hook.interface))),
                },
                Err(error) => report
                    .problems
                    .push(format!("chain of {}: {error}", hook_text(&hook.key, &hook.interface))),
            }
        }
    }

    fn hook_is_right(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        let running = match hook.entry {
            Entry::Link => match self.kernel.open_pin(&paths::hook_link(&hook.key))? {
                Some(link) => Some(self.kernel.link_of(&link)?.program),
                None => None,
            },
            Entry::Filter { priority, handle } => {
                match filter_place(&hook.key, &hook.interface, TcFilter { priority, handle }) {
                    Some(at) => self.kernel.filter_program(&at)?,
                    None => None,
                }
            }
        };
        Ok(running == Some(hook.program)
            && self.kernel.program(hook.program)?.is_some_and(|facts| facts.tag == hook.tag))
    }

    /// Puts the recorded chain back: in place where the hook is still ours, anew where nothing is left of it.
    fn restore_hook(&self, hook: &Arc<HookRecord>) -> Result<(), EngineError> {
        let links = self.state().chain(&hook.key);
        let built = self.build_chain(&hook.key, &hook.interface, &links)?;
        let still_there = match hook.entry {
            Entry::Link => match self.kernel.open_pin(&paths::hook_link(&hook.key))? {
                Some(link) => Some(self.kernel.link_of(&link)?.program),
                None => None,
            },
            Entry::Filter { priority, handle } => self.own_filter(hook, TcFilter { priority, handle })?,
        };
        if let Some(running) = still_there {
            self.swap(hook, running, &built.handle, &hook.interface)?;
            let restored = HookRecord {
                strategy: built.strategy,
                program: built.id,
                tag: built.tag,
                ..(**hook).clone()
            };
            let mut batch = Batch::new();
            batch.put(records::HOOKS, &records::hook_key(&hook.key), encode(&restored)?);
            self.commit(batch)?;
            self.state().hooks.insert(hook.key, Arc::new(restored));
            return Ok(());
        }
        self.reenter_hook(hook, &links)
    }

    /// The program that a filter of ours runs, if the filter is ours: it has our numbers and our name.
    fn own_filter(&self, hook: &HookRecord, filter: TcFilter) -> Result<Option<ProgramId>, EngineError> {
        let Some(at) = filter_place(&hook.key, &hook.interface, filter) else { return Ok(None) };
        let Some(id) = self.kernel.filter_program(&at)? else { return Ok(None) };
        let name = chain_name(&hook.key, &hook.interface);
        Ok(self.kernel.program(id)?.is_some_and(|facts| facts.name == name).then_some(id))
    }

    /// Attaches a recorded chain where nothing is left of it: after a reboot, or when someone removed its pin.
    fn reenter_hook(&self, hook: &Arc<HookRecord>, links: &[Arc<LinkRecord>]) -> Result<(), EngineError> {
        let key = self.kernel.find_hook(&hook.interface, hook.key.kind)?;
        let _lock = self.lock(Subject::Hook(key));
        let built = self.build_chain(&key, &hook.interface, links)?;
        let operation = self.operation();
        let mut undo = Undo::default();
        let entry = match self.enter_hook(&hook.interface, &key, operation, &built, &mut undo) {
            Ok(entry) => entry,
            Err(error) => return Err(undo.run(error)),
        };
        let restored = HookRecord {
            key,
            operation,
            entry,
            strategy: built.strategy,
            program: built.id,
            tag: built.tag,
            ..(**hook).clone()
        };
        let moved: Vec<LinkRecord> =
            links.iter().map(|link| LinkRecord { hook: Some(key), ..(**link).clone() }).collect();
        let mut batch = Batch::new();
        batch.delete(records::HOOKS, &records::hook_key(&hook.key));
        batch.put(records::HOOKS, &records::hook_key(&key), encode(&restored)?);
        for link in &moved {
            batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(link)?);
        }
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        {
            let mut state = self.state();
            state.hooks.remove(&hook.key);
            state.hooks.insert(key, Arc::new(restored.clone()));
            for link in moved {
                state.links.insert(link.id, Arc::new(link));
            }
        }
        self.place_hook(&restored)
    }

    fn recover_links(&self, report: &mut RecoveryReport) {
        let links: Vec<Arc<LinkRecord>> = self.state().links.values().cloned().collect();
        for link in links {
            if matches!(link.point.hook(), Some((_, HookKind::Xdp | HookKind::Tc(_)))) {
                continue;
            }
            match self.kernel.open_pin(&paths::link(link.id)) {
                Ok(Some(_)) => {}
                Ok(None) => match self.reattach(&link) {
                    Ok(()) => report.reattached += 1,
                    Err(error) => report.problems.push(format!("link {}: {error}", link.id)),
                },
                Err(error) => report.problems.push(format!("link {}: {error}", link.id)),
            }
        }
    }

    /// Attaches a recorded link again.
    fn reattach(&self, link: &LinkRecord) -> Result<(), EngineError> {
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        let handle = self.kernel.open_program(program.id)?.ok_or(EngineError::NoKernelProgram(program.id))?;
        let hook = match link.point.hook() {
            Some((interface, kind)) => Some(self.kernel.find_hook(interface, kind)?),
            None => None,
        };
        let restored = LinkRecord { hook, operation: self.operation(), ..link.clone() };
        // The tcx anchors are chosen among links of the hook as it is now.
        self.state().links.insert(link.id, Arc::new(restored.clone()));
        let target = self.link_target(&program, &restored)?;
        let mut undo = Undo::default();
        if let Err(error) = self.attach_pending(&handle, &target, restored.operation, &mut undo) {
            return Err(undo.run(error));
        }
        let mut batch = Batch::new();
        batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(&restored)?);
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        self.place_link(&restored)
    }
}

/// The namespace file of an inode: none inside for the daemon's own namespace, none outside if it is not found.
fn find_namespace(inode: u64) -> Option<Option<PathBuf>> {
    use std::os::unix::fs::MetadataExt as _;
    let is = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.ino() == inode);
    if is(Path::new("/proc/self/ns/net")) {
        return Some(None);
    }
    let named = std::fs::read_dir("/run/netns").ok()?;
    named.flatten().map(|entry| entry.path()).find(|path| is(path)).map(Some)
}
