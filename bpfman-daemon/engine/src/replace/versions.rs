//! Loads new versions of programs, switches all hooks and links to them, and records them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bpfman_model::{HookKey, LoadRequest, OperationId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::locks::Guard;
use crate::engine::overlay::Overlay;
use crate::engine::undo::{retry_once, undoing};
use crate::guard::{rules_of, rules_of_program};
use crate::load::Bytecode;
use crate::load::linked::LinkedLoad;
use crate::load::plan::{LoadPlan, LoadedProgram};
use crate::load::record::LoadRecorder;
use crate::replace::ReplaceOutcome;
use crate::replace::lock::Locked;
use crate::replace::maps::Fates;
use crate::replace::pairs::Pairing;
use crate::replace::switch::{Pair, Switched, VersionSwitch};
use crate::state::budget_record::ProgramBudget;
use crate::state::records::{KeptText, LeftoverRecord, LinkRecord, MapRecord, PreviousRecord, ProgramRecord};
use crate::state::{Changes, version_paths};
use crate::{Engine, EngineError, paths};

pub struct NewVersions<'a> {
    pub load: &'a LoadRequest,
    pub bytecode: &'a Bytecode,
    pub object: &'a LinkedLoad<'a>,
    pub maps_from: Option<OperationId>,
    pub fates: &'a Fates,
}

pub struct Replacement<'a> {
    pub operation: OperationId,
    pub locked: &'a Locked,
    pub pairing: &'a Pairing,
    pub keep_old: bool,
}

impl<K: Kernel> Engine<K> {
    pub(super) fn replace_by(
        &self,
        replacement: &Replacement<'_>,
        new: &NewVersions<'_>,
    ) -> Result<ReplaceOutcome, EngineError> {
        let old = &replacement.locked.old;
        let _extended = self.lock_extended_by(new, old)?;
        let before = self.previous_of(old);
        // Keep unloads from removing this bytecode before its record is written.
        let kept = self.keep_bytecode();
        let (texts, files) = self.keep_texts(new.object);
        let load = || self.load_versions(replacement, new, &texts);
        let result = self.switch_versions(replacement, Some(new.fates), load);
        drop(kept);
        // Bytecode that a record still uses stays.
        self.drop_bytecode([new.bytecode.blob.id()]);
        self.drop_bytecode(&files);
        old.iter().for_each(|program| self.drop_bytecode(program.blobs()));
        before.iter().for_each(|before| self.drop_bytecode(before.program.blobs()));
        result
    }

    fn lock_extended_by(
        &self,
        new: &NewVersions<'_>,
        old: &[Arc<ProgramRecord>],
    ) -> Result<Vec<Guard>, EngineError> {
        let replaced: Vec<ProgramUid> = old.iter().map(|old| old.uid).collect();
        let owner = old.first().map_or_else(|| new.load.owner.clone(), |old| old.owner());
        let is_tenant = old.iter().any(|old| rules_of_program(old).is_some())
            || rules_of(&new.load.owner, new.load.tenant.as_ref()).is_some();
        self.lock_extended(&new.object.programs, (None, &replaced), (&owner, is_tenant))
    }

    fn load_versions(
        &self,
        replacement: &Replacement<'_>,
        new: &NewVersions<'_>,
        texts: &[Option<KeptText>],
    ) -> Result<Vec<Arc<ProgramRecord>>, EngineError> {
        let Replacement { operation, locked, pairing, .. } = *replacement;
        let NewVersions { load, bytecode, object, maps_from, fates } = *new;
        let plan = LoadPlan::new(object, load, fates.owner.clone())?;
        // A new version must satisfy the rules of the old one, and those of its loader.
        let of_old = locked.old.iter().find_map(|old| rules_of_program(old));
        let tenant = match of_old {
            Some(rules) => Some(rules.narrowed_by(plan.tenant.as_ref())),
            None => plan.tenant,
        };
        let plan = LoadPlan { inherited: fates.kept(), tenant, ..plan };
        let mut loaded = self.load_pending(operation, &plan)?;
        self.step("replace", "keep bytecode");
        self.blobs.put(&bytecode.blob)?;
        let recorder = LoadRecorder {
            operation,
            load,
            bytecode,
            plan: &plan,
            budget: ProgramBudget::default(),
            boot: &self.boot,
        };
        let first = locked.old.first();
        let record = |((loaded, text), old): (NewVersion<'_, K::Handle>, &Option<Arc<ProgramRecord>>)| {
            let uid = old.as_ref().map_or_else(|| ProgramUid(self.number()), |old| old.uid);
            Arc::new(ProgramRecord {
                origin: maps_from,
                map_owner: load.map_owner.or_else(|| first.and_then(|first| first.map_owner)),
                map_owner_uid: first.and_then(|first| first.map_owner_uid),
                owner: old.as_ref().map_or_else(|| Some(load.owner.clone()), |old| Some(old.owner())),
                budget: budget_of_next(old.as_deref(), first.map(|first| &**first)),
                ..recorder.record(uid, loaded, text.clone())
            })
        };
        let records: Vec<_> = loaded.iter().zip(texts).zip(&pairing.successors).map(record).collect();
        records
            .iter()
            .zip(&mut loaded)
            .for_each(|(program, new)| self.keep_member(program, new.member.take()));
        Ok(records)
    }

    /// Switches to the versions that `load` loads; `fates` is `None` if they already have their maps.
    pub(super) fn switch_versions(
        &self,
        replacement: &Replacement<'_>,
        fates: Option<&Fates>,
        load: impl FnOnce() -> Result<Vec<Arc<ProgramRecord>>, EngineError>,
    ) -> Result<ReplaceOutcome, EngineError> {
        let Replacement { operation, locked, pairing, keep_old } = *replacement;
        let leaving: Vec<_> =
            locked.links.iter().filter(|link| pairing.is_removed(link.program)).cloned().collect();
        for program in &locked.old {
            self.ensure_not_extended(program, "replaced")?;
        }
        for program in pairing.successors.iter().flatten() {
            self.ensure_not_in_place(program)?;
        }
        // Declared before the undo steps, because they must outlive them.
        let (mut built, mut _overlay) = (Vec::new(), None);
        let (new, pairs, switched, committed) = undoing(|undo| {
            undo.push(|| self.undo_pending_of(operation));
            let new = load()?;
            let pairs = pairs(locked, &new, pairing);
            _overlay = Some(Overlay::put(self, pairs.iter().map(|pair| &pair.new)));
            let fates = fates.zip(new.first().map(|first| &**first));
            let change = VersionSwitch { pairs: &pairs, leaving: &leaving, fates };
            let mut switched = self.switch(&change, &mut built, undo)?;
            switched.leftover.extend(self.leave_old(&locked.old, &new, keep_old));
            let changes = self.changes(replacement, &new, &leaving, &switched);
            self.step("replace", "record");
            let committed = self.commit(changes)?;
            Ok::<_, EngineError>((new, pairs, switched, committed))
        })?;
        pairing.removed.iter().for_each(|program| self.members.remove(program.uid));
        drop(_overlay);
        self.step("replace", "move into place");
        retry_once(|| self.place_replaced_links(operation))?;
        retry_once(|| self.place_programs(operation, &new))?;
        self.settle_chains(built)?;
        let left: BTreeSet<HookKey> = leaving.iter().filter_map(|link| link.hook).collect();
        let waiting = committed.leaving(switched.leftover, left.iter().copied().collect());
        let cleared = self.clear_or_wait("replace", waiting);
        let of_turn = |pair: &Pair| {
            let links = pair.links.iter().filter(|link| link.turn(&pair.old) != link.turn(&pair.new));
            links.filter_map(|link| link.hook).collect::<Vec<_>>()
        };
        let moved = pairs.iter().flat_map(of_turn);
        left.iter().copied().chain(moved).for_each(|key| self.keep_order(&key));
        cleared?;
        let describe = |program: &Arc<ProgramRecord>| retry_once(|| self.describe_program(program.id));
        Ok(ReplaceOutcome {
            programs: new.iter().map(describe).collect::<Result<_, _>>()?,
            previous: locked.old.first().filter(|_| keep_old).map(|old| old.id),
            maps: switched.maps,
            links_switched: pairs.iter().map(|pair| pair.links.len()).sum(),
            programs_removed: pairing.removed.len(),
        })
    }

    fn changes(
        &self,
        replacement: &Replacement<'_>,
        new: &[Arc<ProgramRecord>],
        leaving: &[Arc<LinkRecord>],
        switched: &Switched,
    ) -> Changes {
        let Replacement { operation, pairing, keep_old, .. } = *replacement;
        let mut changes = Changes::default();
        leaving.iter().for_each(|link| changes.end_link(link.id));
        switched.hooks.iter().for_each(|hook| changes.put_hook(hook.clone()));
        switched.links.iter().for_each(|link| changes.put_link(Arc::clone(link)));
        switched.ended.iter().for_each(|key| changes.end_hook(*key));
        pairing.removed.iter().for_each(|program| changes.end_program(program.uid));
        for (program, old) in new.iter().zip(&pairing.successors) {
            let previous = old.as_ref().filter(|_| keep_old);
            let previous =
                previous.map(|old| PreviousRecord { program: (**old).clone(), boot: self.boot.clone() });
            changes.put_program(Arc::clone(program));
            changes.set_previous(program.uid, previous);
        }
        changes.leave(operation, switched.leftover.clone());
        changes
    }

    fn previous_of(&self, programs: &[Arc<ProgramRecord>]) -> Vec<Arc<PreviousRecord>> {
        let state = self.state();
        programs.iter().filter_map(|program| state.previous.get(&program.uid).cloned()).collect()
    }

    fn leave_old(
        &self,
        old: &[Arc<ProgramRecord>],
        new: &[Arc<ProgramRecord>],
        keep_old: bool,
    ) -> LeftoverRecord {
        // A restored version is exchanged with the present one.
        let is_back = |before: &Arc<PreviousRecord>| new.iter().any(|new| new.id == before.program.id);
        let mut before = self.previous_of(old);
        before.retain(|before| before.boot == self.boot && !is_back(before));
        let mut leaving: Vec<&ProgramRecord> = before.iter().map(|before| &before.program).collect();
        let mut staying: Vec<&ProgramRecord> = new.iter().map(|new| &**new).collect();
        if keep_old { &mut staying } else { &mut leaving }.extend(old.iter().map(|old| &**old));
        self.leave_versions(&leaving, &staying)
    }

    /// Returns the leftovers of versions, without objects that remaining versions or other programs use.
    pub(crate) fn leave_versions(
        &self,
        leaving: &[&ProgramRecord],
        staying: &[&ProgramRecord],
    ) -> LeftoverRecord {
        let changing: Vec<ProgramUid> = leaving.iter().map(|version| version.uid).collect();
        let kept: HashSet<String> = staying.iter().flat_map(|version| version_paths(version)).collect();
        let mut leftover = LeftoverRecord::default();
        for version in leaving {
            self.note_leaving_program(version);
            let [pin, folder] = [paths::program(version.id), paths::maps(version.map_folder)];
            leftover.pins.push(pin.display().to_string());
            leftover.folders.push(folder.display().to_string());
            let shared = version.maps.iter().filter_map(MapRecord::shared_pin);
            leftover.pins.extend(shared.map(|pin| pin.display().to_string()));
        }
        let state = self.state();
        let is_free = |path: &String| !kept.contains(path) && !state.is_claimed(path, &changing);
        leftover.pins.retain(is_free);
        leftover.folders.retain(is_free);
        leftover
    }
}

type NewVersion<'n, H> = (&'n LoadedProgram<H>, &'n Option<KeptText>);

fn budget_of_next(old: Option<&ProgramRecord>, first: Option<&ProgramRecord>) -> ProgramBudget {
    match (old, first) {
        (Some(old), _) => old.budget.of_next_version(),
        (None, Some(first)) => ProgramBudget { excess: None, ..first.budget.clone() },
        (None, None) => ProgramBudget::default(),
    }
}

fn pairs(locked: &Locked, new: &[Arc<ProgramRecord>], pairing: &Pairing) -> Vec<Pair> {
    let mut links: BTreeMap<_, Vec<Arc<LinkRecord>>> = BTreeMap::new();
    for link in &locked.links {
        links.entry(link.program).or_default().push(Arc::clone(link));
    }
    let pair = |(new, old): (&Arc<ProgramRecord>, &Option<Arc<ProgramRecord>>)| {
        let old = Arc::clone(old.as_ref()?);
        Some(Pair { links: links.remove(&old.uid).unwrap_or_default(), old, new: Arc::clone(new) })
    };
    new.iter().zip(&pairing.successors).filter_map(pair).collect()
}
