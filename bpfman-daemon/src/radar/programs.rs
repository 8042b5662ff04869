//! Loading, finding and removing the radar's programs, which are ordinary programs of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bpfman_model::{AttachRequest, LoadRequest, Owner, ProgramId, Selector};
use bpfmand_api::RadarSource;
use bpfmand_engine::{Engine, ManagedProgram, WantedMap};
use bpfmand_kernel::KernelObjects as _;
use bpfmand_kernel::linux::{LinuxKernel, RingFeed};

use super::settings::RadarObject;
use super::sources::{CORES, EXTRAS, RadarCore, RadarProgram};

/// Metadata key of the radar's programs; the value is their object, and whether a call requested it.
const LABEL: &str = "bpfman.io/radar";
const BY_CALL: &str = "called ";

pub struct RadarPrograms {
    pub object: RadarObject,
    /// True if a call requested it rather than the configuration.
    pub by_call: bool,
    pub source: RadarSource,
    pub ids: BTreeSet<ProgramId>,
    pub unseen: Vec<String>,
    pub why: String,
    pub ring: RingFeed,
    pub counts: OwnedFd,
    pub floods: OwnedFd,
}

pub struct RadarLoader {
    pub engine: Arc<Engine<LinuxKernel>>,
    pub kernel: Arc<LinuxKernel>,
}

impl RadarLoader {
    pub fn find(&self) -> anyhow::Result<Option<RadarPrograms>> {
        let found = self.labelled()?;
        let Some((_, first)) = found.first() else { return Ok(None) };
        let label = first.record.metadata.get(LABEL).cloned().unwrap_or_default();
        let (by_call, object) = match label.strip_prefix(BY_CALL) {
            Some(object) => (true, object),
            None => (false, label.as_str()),
        };
        let object =
            RadarObject::parse(object).ok_or_else(|| anyhow!("\"{label}\" is no object of the radar"))?;
        let named: BTreeMap<&str, &ManagedProgram> =
            found.iter().map(|(_, managed)| (managed.record.name.as_str(), managed)).collect();
        let works = |program: &RadarProgram| {
            named
                .get(program.name)
                .is_some_and(|managed| managed.standing.is_running() && !managed.links.is_empty())
        };
        let core = CORES.iter().find(|core| core.programs.iter().all(works));
        let core = core.ok_or_else(|| anyhow!("some of its programs are gone, or not attached"))?;
        let mut unseen = lacks(core);
        for extra in &EXTRAS {
            if !extra.programs.iter().any(works) {
                unseen.push(format!("{}: its program was not loaded", extra.sees));
            }
        }
        let ids = found.iter().map(|(id, _)| *id).collect();
        self.at_work(object, by_call, core, ids, unseen, String::new()).map(Some)
    }

    /// Loads and attaches the programs of the best source that the kernel supports, and the extras. If `is_seen`
    /// reports that they observe nothing, the next source is tried.
    pub fn put_up(
        &self,
        object: &RadarObject,
        by_call: bool,
        mut is_seen: impl FnMut(&mut RadarPrograms) -> bool,
    ) -> anyhow::Result<RadarPrograms> {
        let mut refused = Vec::new();
        for core in &CORES {
            let why = || refused.join("; ");
            let result = self
                .core(object, by_call, core)
                .and_then(|ids| self.at_work(object.clone(), by_call, core, ids, lacks(core), why()));
            match result {
                Ok(mut programs) => {
                    if is_seen(&mut programs) {
                        self.extras(&mut programs);
                        return Ok(programs);
                    }
                    self.remove(programs.ids.iter().copied());
                    refused.push(format!("by {}: nothing is seen", core.programs[0].name));
                }
                Err(error) => refused.push(format!("by {}: {error}", core.programs[0].name)),
            }
        }
        Err(anyhow!("{}", refused.join("; ")))
    }

    pub fn are_whole(&self, programs: &RadarPrograms) -> bool {
        let found = self.labelled().unwrap_or_default();
        let works: BTreeSet<ProgramId> = found
            .into_iter()
            .filter(|(_, managed)| managed.standing.is_running() && !managed.links.is_empty())
            .map(|(id, _)| id)
            .collect();
        programs.ids.is_subset(&works)
    }

    pub fn remove_all(&self) -> anyhow::Result<usize> {
        let found = self.labelled()?;
        for (id, _) in &found {
            self.engine.unload(*id).with_context(|| format!("program {id} of the radar stays"))?;
        }
        Ok(found.len())
    }

    /// Returns the programs with the label. Any program may carry it, so only root's count.
    fn labelled(&self) -> anyhow::Result<Vec<(ProgramId, ManagedProgram)>> {
        let all = self.engine.list(&Selector { managed_only: true, ..Selector::default() })?;
        let of_radar = |managed: &ManagedProgram| {
            managed.record.metadata.contains_key(LABEL) && managed.record.owner() == Owner::Root
        };
        Ok(all
            .into_iter()
            .filter_map(|program| Some((program.id, program.managed.filter(of_radar)?)))
            .collect())
    }

    fn core(
        &self,
        object: &RadarObject,
        by_call: bool,
        core: &RadarCore,
    ) -> anyhow::Result<BTreeSet<ProgramId>> {
        let loaded = self.load(object, by_call, &core.programs, None)?;
        self.attach(&core.programs, &loaded).inspect_err(|_| self.remove(loaded.iter().copied()))?;
        Ok(loaded.into_iter().collect())
    }

    fn extras(&self, programs: &mut RadarPrograms) {
        let Some(owner) = programs.ids.first().copied() else { return };
        for extra in &EXTRAS {
            let mut why = String::new();
            let added = extra.programs.iter().find_map(|program| {
                let loaded = self.load(&programs.object, programs.by_call, &[*program], Some(owner));
                let attached = loaded.and_then(|loaded| {
                    self.attach(&[*program], &loaded).inspect_err(|_| self.remove(loaded.iter().copied()))?;
                    Ok(loaded)
                });
                // Report the reason of the first alternative: the others are for other kernels.
                let is_first = why.is_empty();
                attached
                    .inspect_err(|error| {
                        why.push_str(&if is_first { error.to_string() } else { String::new() })
                    })
                    .ok()
            });
            match added {
                Some(loaded) => programs.ids.extend(loaded),
                None => programs.unseen.push(format!("{}: {why}", extra.sees)),
            }
        }
    }

    fn load(
        &self,
        object: &RadarObject,
        by_call: bool,
        programs: &[RadarProgram],
        map_owner: Option<ProgramId>,
    ) -> anyhow::Result<Vec<ProgramId>> {
        let by = if by_call { BY_CALL } else { "" };
        let programs = programs.iter().map(RadarProgram::request).collect();
        let request = LoadRequest {
            metadata: BTreeMap::from([(LABEL.to_owned(), format!("{by}{object}"))]),
            map_owner,
            ..LoadRequest::new(object.source(), programs)
        };
        let loaded = self.engine.load(&request)?;
        Ok(loaded.programs.iter().map(|program| program.id).collect())
    }

    fn attach(&self, programs: &[RadarProgram], ids: &[ProgramId]) -> anyhow::Result<()> {
        for (program, id) in programs.iter().zip(ids) {
            self.engine.attach(&AttachRequest::new(*id, program.point()))?;
        }
        Ok(())
    }

    fn remove(&self, programs: impl Iterator<Item = ProgramId>) {
        for program in programs {
            if let Err(error) = self.engine.unload(program) {
                tracing::warn!(%error, "a program of the radar stays");
            }
        }
    }

    fn at_work(
        &self,
        object: RadarObject,
        by_call: bool,
        core: &RadarCore,
        ids: BTreeSet<ProgramId>,
        unseen: Vec<String>,
        why: String,
    ) -> anyhow::Result<RadarPrograms> {
        let open = |name: &str| {
            // A program only refers to the maps that it uses.
            let find = |program: &ProgramId| {
                self.engine.find_map(&WantedMap::OfProgram { program: *program, name: name.to_owned() }).ok()
            };
            let map = ids.iter().find_map(find);
            let map =
                map.ok_or_else(|| anyhow!("its object has no map \"{name}\": it is no radar of bpfman's"))?;
            Ok::<_, anyhow::Error>(self.kernel.open_map(map.id())?)
        };
        let opened =
            || Ok::<_, anyhow::Error>((RingFeed::new(open("events")?)?, open("counts")?, open("floods")?));
        let (ring, counts, floods) = opened().inspect_err(|_| self.remove(ids.iter().copied()))?;
        Ok(RadarPrograms { object, by_call, source: core.source, ids, unseen, why, ring, counts, floods })
    }
}

fn lacks(core: &RadarCore) -> Vec<String> {
    let lacks = (!core.lacks.is_empty()).then(|| core.lacks.to_owned());
    lacks.into_iter().collect()
}
