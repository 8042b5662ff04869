//! The gate's programs and maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use bpfman_model::{
    AttachPoint, AttachRequest, BytecodeSource, LoadRequest, Owner, ProgramId, ProgramRequest, ProgramType,
    PullPolicy, Selector,
};
use bpfmand_api::GateStatus;
use bpfmand_engine::{Engine, ImageAsk, Images, ProgramDetails, WantedMap};
use bpfmand_journal::{DaemonPart, EntryFailure, EntryResult, HistoryEntry, Journal};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelObjects, MapEntry};

use super::contents::{self, Entries};
use super::refusals::ReportedDenials;
use super::settings::GateSettings;

/// Programs of the gate in its image, and their LSM hooks. The program that protects the maps is attached first.
const PROGRAMS: [(&str, &str); 2] = [("gate_map", "bpf_map"), ("gate_load", "bpf")];
const MAPS: [&str; 5] = ["own", "executables", "groups", "closed_until", "refused"];
/// Metadata key of the gate's programs; the value is their image.
const LABEL: &str = "bpfman.io/gate";
const MAX_ENTRIES: usize = 256;

type Handle = <LinuxKernel as KernelObjects>::Handle;

/// Gate that this process attached. Older ones are not reused: others may hold descriptors of their maps.
struct Standing {
    programs: Vec<ProgramId>,
    maps: BTreeMap<&'static str, Handle>,
    written: BTreeMap<&'static str, Entries>,
}

pub struct LoadGate {
    settings: Option<GateSettings>,
    engine: Arc<Engine<LinuxKernel>>,
    kernel: Arc<LinuxKernel>,
    images: Arc<dyn Images>,
    journal: Arc<Journal>,
    up: Option<Standing>,
    fetched: Result<(), String>,
    told: ReportedDenials,
    standing: Arc<GateStatus>,
}

impl LoadGate {
    pub fn new(
        settings: Option<GateSettings>,
        engine: &Arc<Engine<LinuxKernel>>,
        kernel: &Arc<LinuxKernel>,
        images: Arc<dyn Images>,
        journal: &Arc<Journal>,
    ) -> Self {
        Self {
            settings,
            engine: Arc::clone(engine),
            kernel: Arc::clone(kernel),
            images,
            journal: Arc::clone(journal),
            up: None,
            fetched: Ok(()),
            told: ReportedDenials::default(),
            standing: Arc::default(),
        }
    }

    pub fn standing(&self) -> Arc<GateStatus> {
        Arc::clone(&self.standing)
    }

    pub const fn is_wanted(&self) -> bool {
        self.settings.is_some()
    }

    /// Fetches the image if the gate must still be attached. Blocks for as long as the registry takes.
    pub fn fetch(&mut self) {
        let Some(settings) = self.settings.as_ref().filter(|_| self.up.is_none()) else { return };
        let ask = ImageAsk {
            url: &settings.image,
            pull_policy: PullPolicy::IfNotPresent,
            credentials: None,
            caller_uid: 0,
        };
        self.fetched = self.images.fetch(ask, &|_, _| {}).map(drop).map_err(|failure| failure.message);
    }

    pub fn turn(&mut self) {
        let Some(settings) = self.settings.clone() else {
            self.remove_others(&[]);
            return;
        };
        let was_up = self.up.is_some();
        match self.keep(&settings) {
            Ok(()) => {
                if !was_up || self.standing.why_open().is_some() {
                    tracing::warn!(
                        image = settings.image,
                        "the gate is closed: others load no eBPF programs"
                    );
                    self.note("CloseGate", &settings.image, EntryResult::Done);
                }
                self.standing.set_why_open(None);
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.standing.why_open().as_ref() != Some(&why) {
                    tracing::error!("the gate is not kept closed: {why}");
                    let failure = EntryFailure {
                        code: "Internal".to_owned(),
                        reason: "internal".to_owned(),
                        message: why.clone(),
                    };
                    self.note("CloseGate", &settings.image, EntryResult::Failed(failure));
                }
                self.standing.set_why_open(Some(why));
            }
        }
        self.log_refusals();
    }

    /// Forgets the gate that break-glass detached: the next turn attaches a new one. The old gate stays open if recovery
    /// attaches it again.
    pub fn forget(&mut self) {
        self.open();
        self.up = None;
    }

    pub fn open(&mut self) {
        if let Some(up) = &self.up
            && let Err(error) = self.write(up, "closed_until", &clock(0))
        {
            tracing::warn!("the gate opens later, by itself: {error:#}");
        }
    }

    fn note(&self, verb: &str, object: &str, result: EntryResult) {
        let entry = HistoryEntry { result, ..HistoryEntry::of_daemon(DaemonPart::Gate, verb, object) };
        self.journal.record(entry, None);
    }

    /// Unloads gates of earlier processes. Any program may carry the label, so only root's programs count.
    fn remove_others(&self, own: &[ProgramId]) {
        let all = self.engine.list(&Selector { managed_only: true, ..Selector::default() });
        let is_gate = |program: &ProgramDetails| {
            program.managed.as_ref().is_some_and(|managed| {
                managed.record.metadata.contains_key(LABEL) && managed.record.owner() == Owner::Root
            })
        };
        for program in all.unwrap_or_default().into_iter().filter(is_gate) {
            if own.contains(&program.id) {
                continue;
            }
            match self.engine.unload(program.id) {
                Ok(()) => self.note("RemoveGate", &format!("program {}", program.id), EntryResult::Done),
                Err(error) => tracing::warn!(%error, "a program of an older gate stays"),
            }
        }
    }

    fn keep(&mut self, settings: &GateSettings) -> anyhow::Result<()> {
        let mut up = match self.up.take() {
            Some(up) => up,
            None => self.put_up(settings)?,
        };
        let result = self.wind(settings, &mut up);
        self.up = Some(up);
        result
    }

    fn wind(&self, settings: &GateSettings, up: &mut Standing) -> anyhow::Result<()> {
        let exceptions = contents::exceptions(settings)?;
        for (name, entries) in [("executables", exceptions.executables), ("groups", exceptions.groups)] {
            if up.written.get(name) == Some(&entries) {
                continue;
            }
            self.write(up, name, &entries)?;
            up.written.insert(name, entries);
            for missing in &exceptions.missing {
                tracing::warn!("gate: {missing} is no exception until it is there");
            }
        }
        let until = contents::since_boot() + settings.fail_open;
        self.write(up, "closed_until", &clock(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Loads the gate, writes its maps, attaches its programs, and then unloads older gates.
    fn put_up(&self, settings: &GateSettings) -> anyhow::Result<Standing> {
        contents::check_support()?;
        if let Err(why) = &self.fetched {
            bail!("cannot fetch its image: {why}");
        }
        let url = settings.image.clone();
        let source = BytecodeSource::Image { url, pull_policy: PullPolicy::IfNotPresent, credentials: None };
        let request = LoadRequest {
            metadata: BTreeMap::from([(LABEL.to_owned(), settings.image.clone())]),
            ..LoadRequest::new(source, PROGRAMS.map(program_request).to_vec())
        };
        let loaded = self.engine.load(&request).context("its programs are not loaded")?;
        let programs: Vec<ProgramId> = loaded.programs.iter().map(|program| program.id).collect();
        let put_up = || {
            let maps = self.maps(&programs)?;
            let mut up = Standing { programs: programs.clone(), maps, written: BTreeMap::new() };
            self.wind(settings, &mut up)?;
            for program in &programs {
                self.attach(*program)?;
            }
            Ok(up)
        };
        let up = put_up().inspect_err(|_: &anyhow::Error| {
            for program in &programs {
                if let Err(error) = self.engine.unload(*program) {
                    tracing::warn!(%error, "a program of a gate that cannot be put up stays");
                }
            }
        })?;
        self.remove_others(&up.programs);
        contents::warn_of_the_first_process(settings);
        Ok(up)
    }

    fn attach(&self, program: ProgramId) -> anyhow::Result<()> {
        let request = AttachRequest::new(program, AttachPoint::Lsm);
        self.engine.attach(&request).context("its programs are not attached")?;
        Ok(())
    }

    fn maps(&self, programs: &[ProgramId]) -> anyhow::Result<BTreeMap<&'static str, Handle>> {
        let mut own = Entries::new();
        let mut maps = BTreeMap::new();
        for name in MAPS {
            // A program only refers to the maps that it uses.
            let find = |program: &ProgramId| {
                self.engine.find_map(&WantedMap::OfProgram { program: *program, name: name.to_owned() }).ok()
            };
            let map = programs.iter().find_map(find);
            let map =
                map.ok_or_else(|| anyhow!("its image has no map \"{name}\": it is no gate of bpfman's"))?;
            own.insert(map.id().0.to_ne_bytes().to_vec(), vec![1, 0, 0, 0]);
            maps.insert(name, self.kernel.open_map(map.id())?);
        }
        let up = Standing { programs: Vec::new(), maps, written: BTreeMap::new() };
        self.write(&up, "own", &own)?;
        Ok(up.maps)
    }

    fn write(&self, up: &Standing, name: &str, wanted: &Entries) -> anyhow::Result<()> {
        let map = up.maps.get(name).ok_or_else(|| anyhow!("its image has no map \"{name}\""))?;
        let there = self.kernel.map_entries(map, MAX_ENTRIES)?;
        for (key, value) in wanted {
            self.kernel.write_entry(map, &MapEntry { key: key.clone(), value: value.clone() })?;
        }
        for entry in there.iter().filter(|entry| !wanted.contains_key(&entry.key)) {
            self.kernel.remove_entry(map, &entry.key)?;
        }
        Ok(())
    }

    fn log_refusals(&mut self) {
        let Some(map) = self.up.as_ref().and_then(|up| up.maps.get("refused")) else { return };
        match self.kernel.map_entries(map, MAX_ENTRIES) {
            Ok(entries) => self.told.tell(&self.journal, entries),
            Err(error) => tracing::warn!(%error, "it is unknown whom the gate refused"),
        }
    }
}

fn clock(until: u64) -> Entries {
    Entries::from([(vec![0; 4], until.to_ne_bytes().to_vec())])
}

fn program_request((name, hook): (&str, &str)) -> ProgramRequest {
    ProgramRequest { name: name.to_owned(), program_type: ProgramType::Lsm, target: Some(hook.to_owned()) }
}
