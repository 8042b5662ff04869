//! Building of a hook's program from its links: the member itself, a chain that is already loaded, or a new one.

use std::sync::Arc;

use bpfman_model::map_type::ARENA;
use bpfman_model::{HookKey, HookKind, Interface, LinkId, Optimisation, Owner, RankOrder};
use bpfmand_kernel::Kernel;
use bpfmand_splice::{
    DEFERRING_KFUNCS, FragsRule, FrameRounding, Member, MemberOwner, ProceedMask, SpliceHook, SpliceOptions,
    THROWING_KFUNCS, calls_clone_redirect, can_attach_direct, without_clone_redirect,
};

use crate::chain::built::{BuiltChain, Lease};
use crate::chain::composition::{CompositionInputs, CompositionMember, hook_word};
use crate::engine::client_measurements::Measurement;
use crate::engine::locks::Subject;
use crate::engine::members::{MemberText, calls_kfuncs, map_ids};
use crate::state::Unsent;
use crate::state::chain_record::{Composition, HookSettings};
use crate::state::records::{Entry, LinkRecord, ProgramRecord, Strategy};
use crate::{CountersMode, Engine, EngineError};

pub(crate) struct Joined {
    pub link: Arc<LinkRecord>,
    pub program: Arc<ProgramRecord>,
    pub owner: MemberOwner,
    pub turn: RankOrder,
    pub unsent: Unsent,
}

impl Joined {
    /// Returns whether the verifier accepted this tenant's program for a loader without CAP_PERFMON.
    pub fn is_without_perfmon(&self) -> bool {
        self.program.guard.as_ref().is_some_and(|guard| guard.without_perfmon)
    }

    /// Returns the verdicts that continue the chain: at egress, a tenant's member can only drop, because an accepting
    /// verdict would skip the machine's members.
    fn proceeds_on(&self) -> ProceedMask {
        match self.turn {
            RankOrder::TenantsFirst if !self.link.sharing.shadow => ProceedMask::UNLESS_DROPPED,
            _ => ProceedMask(self.link.proceeds_on()),
        }
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn tc_enters_by_tcx(&self) -> bool {
        self.kernel.features().tcx && !self.options.tc_by_clsact
    }

    /// Returns the form of the chain: tcx links and tc filters need different end verdicts. An existing entry decides;
    /// only for a new entry, the configuration does.
    pub(crate) fn splice_hook(&self, kind: HookKind, entered: Option<Entry>, is_open: bool) -> SpliceHook {
        let by_tcx = if is_open { SpliceHook::TcTcxOpen } else { SpliceHook::TcTcx };
        match (kind, entered) {
            (HookKind::Xdp, _) => SpliceHook::Xdp,
            (_, Some(Entry::Link | Entry::Dispatcher)) => by_tcx,
            (_, Some(Entry::Filter { .. })) => SpliceHook::TcClsact,
            (_, None) if self.tc_enters_by_tcx() => by_tcx,
            (_, None) => SpliceHook::TcClsact,
        }
    }

    /// Returns whether programs behind the chain run even after a member accepts: with tenants' members at egress.
    pub(crate) fn is_open(&self, key: &HookKey, members: &[Joined]) -> bool {
        members.iter().any(|member| member.turn == RankOrder::TenantsFirst)
            || self.state().hooks.get(key).is_some_and(|hook| hook.open)
    }

    /// Builds the program for a change of the links `changed`. The caller holds the hook's lock.
    pub(crate) fn build_chain(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        entered: Option<Entry>,
        changed: &[Arc<LinkRecord>],
    ) -> Result<BuiltChain<'_, K>, EngineError> {
        self.ensure_not_frozen(key, changed)?;
        let settings = self.settings_of(key);
        let before = self.state().hooks.get(key).map(|hook| hook.withheld.clone()).unwrap_or_default();
        let built = self.build_chain_as(key, interface, links, entered, &settings)?;
        // An extended member cannot be in the chain: changes of other members leave it out, its own change fails.
        let is_left_out =
            |link: &&Arc<LinkRecord>| built.withheld.contains(&link.id) && !before.contains(&link.id);
        let left_out = changed.iter().filter(is_left_out).map(|link| link.program);
        self.ensure_none_extended(key, interface, left_out)?;
        Ok(built)
    }

    /// Builds the program even if the hook is frozen. Members that the chain leaves out stay left out.
    pub(crate) fn build_chain_as(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        entered: Option<Entry>,
        settings: &HookSettings,
    ) -> Result<BuiltChain<'_, K>, EngineError> {
        let withheld = self.state().hooks.get(key).map(|hook| hook.withheld.clone()).unwrap_or_default();
        self.build_without((key, interface), links, entered, settings, &withheld)
    }

    /// Builds the chain without `withheld` and, if it has members of the machine, without extended members of tenants.
    pub(crate) fn build_without(
        &self,
        (key, interface): (&HookKey, &Interface),
        all: &[Arc<LinkRecord>],
        entered: Option<Entry>,
        settings: &HookSettings,
        withheld: &[LinkId],
    ) -> Result<BuiltChain<'_, K>, EngineError> {
        let withheld = &[withheld, &self.extended_beside_machine(all)?].concat();
        // Check a directly attached member, too: the kernel may have reused the ids of lost programs.
        let runs = |link: &&Arc<LinkRecord>| !withheld.contains(&link.id);
        self.ensure_not_lost(all.iter().filter(runs).map(|link| &**link))?;
        self.fold_counters(key)?;
        let unsent = self.joined(all)?.iter().fold(Unsent::default(), |ways, member| ways.and(member.unsent));
        let is_withheld = |link: &&Arc<LinkRecord>| withheld.contains(&link.id);
        let (withheld, links): (Vec<_>, Vec<_>) = all.iter().partition(is_withheld);
        let withheld: Vec<_> = withheld.into_iter().map(|link| link.id).collect();
        let links: &[Arc<LinkRecord>] = &links.into_iter().cloned().collect::<Vec<_>>();
        let slots: Vec<_> = links.iter().map(|link| link.id).collect();
        let (before, counted) = {
            let now = self.state().hooks.get(key).cloned();
            let chain = now.as_ref().and_then(|hook| hook.chain.clone());
            let before = chain.map(|chain| Lease::take(self, Arc::new(chain), *key));
            (before, now.map(|hook| hook.counted.clone()).unwrap_or_default())
        };
        let members = self.joined(links)?;
        let open = self.is_open(key, &members);
        let hook = self.splice_hook(key.kind, entered, open);
        let built = |strategy, (id, tag), lease, dispatcher| -> Result<BuiltChain<'_, K>, EngineError> {
            let handle = self.shared_program(id)?;
            Ok(BuiltChain {
                key: *key,
                strategy,
                handle,
                id,
                tag,
                lease,
                _before: before,
                counted,
                slots: slots.clone(),
                open,
                unsent,
                withheld: withheld.clone(),
                dispatcher,
            })
        };
        let ensure_none_extended =
            || self.ensure_none_extended(key, interface, links.iter().map(|link| link.program));
        if entered == Some(Entry::Dispatcher) {
            ensure_none_extended()?;
            let new = self.build_dispatcher(key, interface, links)?;
            let (id, tag) =
                new.after.as_ref().map_or((new.before.id, new.before.tag), |new| (new.id, new.tag));
            return built(Strategy::Dispatcher, (id, tag), None, Some(new));
        }
        let mut wanted = self.wanted(hook, &members, settings);
        let is_wanted = |of| !members.is_empty() && self.client_measurements.is_wanted(*key, of);
        wanted.timing |= is_wanted(Measurement::Times);
        wanted.counters |= is_wanted(Measurement::Verdicts);
        if let Some(Joined { program, .. }) = wanted.direct(&members) {
            return built(Strategy::Direct, (program.id, program.tag), None, None);
        }
        ensure_none_extended()?;
        let composition = self.composition(&wanted, &members)?;
        let lease = {
            let _alone = self.lock(Subject::Composition(composition.lock_number()));
            match self.shared_chain(&composition, key, &members)? {
                Some(lease) => lease,
                None if members.is_empty() => self.load_empty_chain(key, hook, composition)?,
                None => self.load_chain(key, interface, &members, &wanted, composition)?,
            }
        };
        self.begin_counting(key, &lease.record)?;
        self.begin_timing(key, &lease.record)?;
        let strategy = match &*lease.record.segments {
            _ if members.is_empty() => Strategy::Empty,
            [_] => Strategy::Splice,
            _ => Strategy::Cut,
        };
        let entry = lease.record.segments.first().map(|entry| (entry.program, entry.tag));
        let entry = entry.ok_or_else(|| EngineError::Fault("a chain without a program".to_owned()))?;
        built(strategy, entry, Some(lease), None)
    }

    pub(crate) fn joined(&self, links: &[Arc<LinkRecord>]) -> Result<Vec<Joined>, EngineError> {
        let mut owners: Vec<(Owner, Option<String>)> = Vec::new();
        let mut joined = Vec::with_capacity(links.len());
        for link in links {
            let program = self.member_record(link.program).ok_or(EngineError::NoLink(link.id))?;
            let owner = (link.owner(&program), application_of(&link.metadata).map(str::to_owned));
            let number = owners.iter().position(|other| *other == owner).unwrap_or_else(|| {
                owners.push(owner);
                owners.len() - 1
            });
            let (owner, turn) = (MemberOwner(number as u32), link.turn(&program));
            let unsent = link.hook.map(|key| self.state().unsent(&key, link, &program)).unwrap_or_default();
            joined.push(Joined { link: Arc::clone(link), program, owner, turn, unsent });
        }
        Ok(joined)
    }

    /// Returns the form of the chain, which by default counts packets only if it has to be spliced anyway.
    pub(crate) fn wanted(&self, hook: SpliceHook, members: &[Joined], settings: &HookSettings) -> Wanted {
        // With several members, a CPU limit of one of them requires the time of each.
        let measured = members.len() > 1 && members.iter().any(|member| member.program.budget.is_measured());
        let counters = match (settings.counters, self.options.counters) {
            _ if members.is_empty() => false,
            // Root's switch takes precedence; another caller's may be older than the measured member.
            (Some(false), _) if measured && settings.counters_by != Some(Owner::Root) => true,
            (Some(wanted), _) => wanted,
            _ if measured => true,
            (None, CountersMode::Auto) => runs_alone(hook, members).is_none(),
            (None, CountersMode::On) => true,
            (None, CountersMode::Off) => false,
        };
        let timing = (measured && counters) || settings.timing && !members.is_empty();
        Wanted {
            hook,
            counters,
            timing,
            as_subprograms: settings.as_subprograms,
            optimisation: settings.optimisation,
        }
    }

    fn composition(&self, wanted: &Wanted, members: &[Joined]) -> Result<Composition, EngineError> {
        let ingredients = CompositionInputs {
            boot: &self.boot,
            version: env!("CARGO_PKG_VERSION"),
            hook: hook_word(wanted.hook),
            counters: wanted.counters,
            timing: wanted.timing,
            as_subprograms: wanted.as_subprograms,
            optimisation: wanted.optimisation,
            members: members
                .iter()
                .map(|member| CompositionMember {
                    uid: member.program.uid.0,
                    bytecode: member.program.blob.as_str(),
                    function: &member.program.name,
                    maps: map_ids(&member.program).map(|id| id.map_or(0, |id| id.0)).collect(),
                    proceed_on: member.proceeds_on().0,
                    unsent: member.unsent.bits(),
                    isolated: member.link.sharing.isolated,
                    owner: member.owner.0,
                })
                .collect(),
        };
        ingredients.composition()
    }

    pub(crate) fn splice_options<'a>(
        &self,
        wanted: &Wanted,
        special: &'a SpecialKfuncs,
        members: &[Joined],
    ) -> SpliceOptions<'a> {
        let features = self.kernel.features();
        let mut options = SpliceOptions::new(wanted.hook);
        options.rounding = if features.frames_by_16 { FrameRounding::To16 } else { FrameRounding::To32 };
        options.ja32 = features.long_jumps;
        options.frags = FragsRule::OnlyIfAll;
        options.counters = wanted.counters;
        options.timing = wanted.timing;
        options.as_subprograms = wanted.as_subprograms;
        options.clear_frames = members.iter().any(Joined::is_without_perfmon);
        options.throwing_kfuncs = &special.throwing;
        options.deferring_kfuncs = &special.deferring;
        options.arenas = &special.arenas;
        options
    }

    pub(crate) fn special_of(
        &self,
        members: &[Joined],
        texts: &[MemberText],
    ) -> Result<SpecialKfuncs, EngineError> {
        let mut special = SpecialKfuncs::default();
        if texts.iter().any(|member| calls_kfuncs(&member.text.0.insns)) {
            let types = self.kernel_types();
            let btf = types.btf()?;
            let ids = |names: &[&str]| {
                names.iter().filter_map(|name| btf.function_id(name)).map(u32::cast_signed).collect()
            };
            special.throwing = ids(THROWING_KFUNCS);
            special.deferring = ids(DEFERRING_KFUNCS);
        }
        if members.len() > 1 {
            let mut maps: Vec<_> = texts.iter().flat_map(|member| member.text.map_ids()).collect();
            maps.sort_unstable();
            maps.dedup();
            for id in maps {
                if self.kernel.map(id)?.is_some_and(|facts| facts.map_type == ARENA) {
                    special.arenas.push(id);
                }
            }
        }
        Ok(special)
    }

    pub(crate) fn parts<'a>(
        &self,
        members: &'a [Joined],
        texts: &'a [MemberText],
    ) -> Result<Vec<Member<'a>>, EngineError> {
        let mut parts = Vec::with_capacity(members.len());
        for (member, text) in members.iter().zip(texts) {
            let facts = self.kernel.program(member.program.id)?;
            parts.push(Member {
                needs_own_btf: text.needs_own_btf,
                local_type_ids: &text.local_type_ids,
                kernel_stack_depths: member.program.stack_depths.as_deref(),
                isolated: member.link.sharing.isolated || member.program.is_adopted(),
                opaque: member.program.is_adopted(),
                verified_insns: facts.map(|facts| facts.verified_insns).filter(|insns| *insns > 0),
                owner: member.owner,
                unsent: member.unsent.verdicts(),
                is_altered: text.is_altered,
                ..Member::new(&member.program.name, &text.text, member.proceeds_on())
            });
        }
        Ok(parts)
    }
}

pub(crate) fn held_texts(members: &[Joined], texts: &[MemberText]) -> Vec<MemberText> {
    let held = |(member, text): (&Joined, &MemberText)| {
        if !member.unsent.has_clones() || !calls_clone_redirect(&text.text.0) {
            return text.clone();
        }
        let altered = Arc::new(without_clone_redirect(&text.text));
        MemberText { text: altered, is_altered: true, specialised: Arc::default(), ..text.clone() }
    };
    members.iter().zip(texts).map(held).collect()
}

pub(crate) struct Wanted {
    pub hook: SpliceHook,
    pub counters: bool,
    pub timing: bool,
    pub as_subprograms: bool,
    /// Highest level: the verifier may refuse it.
    pub optimisation: Optimisation,
}

impl Wanted {
    pub fn direct<'m>(&self, members: &'m [Joined]) -> Option<&'m Joined> {
        runs_alone(self.hook, members).filter(|_| !self.counters && !self.timing)
    }
}

/// Returns the only member, if the hook accepts its verdicts unchanged.
fn runs_alone(hook: SpliceHook, members: &[Joined]) -> Option<&Joined> {
    match members {
        [only] if only.unsent.is_empty() && can_attach_direct(hook, only.proceeds_on()) => Some(only),
        _ => None,
    }
}

#[derive(Default)]
pub(crate) struct SpecialKfuncs {
    pub throwing: Vec<i32>,
    pub deferring: Vec<i32>,
    pub arenas: Vec<bpfman_model::MapId>,
}

pub(super) fn application_of(metadata: &std::collections::BTreeMap<String, String>) -> Option<&str> {
    crate::state::APPLICATION_KEYS.iter().find_map(|key| metadata.get(*key)).map(String::as_str)
}
