//! The gate in front of the kernel's loader: programs of ours, of type LSM, that refuse everybody's programs but the daemon's
//! and those of named exceptions (packaging/gate, docs/gate.md). Here it is put up, told who may pass, and kept closed: it opens
//! by itself when nothing is heard of the daemon any more.

mod contents;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bpfmand_api::{Gate, GateStanding};
use bpfmand_core::{
    AttachPoint, AttachRequest, BytecodeSource, LoadRequest, OrderIntent, Owner, ProgramId, ProgramRequest,
    ProgramType, PullPolicy, Selector, Sharing,
};
use bpfmand_engine::{Engine, ProgramDetails, WantedMap};
use bpfmand_journal::{DaemonPart, EntryFailure, EntryResult, HistoryEntry, Journal};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelObjects as _, MapEntry};

use contents::{GateRefusals, refused};
pub use settings::{GateSettings, GateTable};

/// The gate's programs in its image, and what they are called by.
const PROGRAMS: [(&str, &str); 2] = [("gate_load", "bpf"), ("gate_map", "bpf_map")];
/// The gate's maps, in the image.
const MAPS: [&str; 5] = ["closed_until", "executables", "groups", "own", "refused"];
/// In the metadata of its programs: which image they are of.
const LABEL: &str = "bpfman.io/gate";
/// Of those who were refused since the last look, so many are told.
const MOST_TOLD: usize = 16;
/// How long the end of the daemon waits for the gate to open.
const FAREWELL: Duration = Duration::from_millis(200);
/// How often it is looked whether the way out has ended.
const WHILE_BROKEN: Duration = Duration::from_secs(1);
/// Programs are loaded on this thread, as for requests.
const STACK: usize = 1 << 20;
/// Most entries of a map.
const MOST_ENTRIES: usize = 256;

/// The thread that keeps the gate.
pub struct GateKeeper {
    stop: Sender<()>,
    opened: Receiver<()>,
}

impl GateKeeper {
    /// Starts it. Nothing is put up while the way out is open.
    ///
    /// # Errors
    /// The kernel has no thread left.
    pub fn start(mut gate: LoadGate, changes: Arc<Gate>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let (tell, opened) = channel();
        let run = move || {
            loop {
                let next = match changes.enter() {
                    Ok(_inside) => gate.tick(),
                    Err(_) => Some(WHILE_BROKEN),
                };
                let wait = next.unwrap_or(Duration::MAX);
                if !matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
                    break;
                }
            }
            gate.open();
            let _nobody_waits = tell.send(());
        };
        Builder::new().name("gate".to_owned()).stack_size(STACK).spawn(run)?;
        Ok(Self { stop, opened })
    }

    /// Opens the gate: a daemon that ends is not to be waited for. One that is just being put up opens by itself, later.
    pub fn end(self) {
        let _ended = self.stop.send(());
        let _late = self.opened.recv_timeout(FAREWELL);
    }
}

/// Keeps the gate.
pub struct LoadGate {
    settings: Option<GateSettings>,
    engine: Arc<Engine<LinuxKernel>>,
    kernel: Arc<LinuxKernel>,
    journal: Arc<Journal>,
    /// Who was refused how often, as far as it was told.
    told: BTreeMap<Vec<u8>, u64>,
    /// Why it is not closed, as far as it was told.
    standing: Arc<GateStanding>,
    closed: bool,
}

impl LoadGate {
    /// Does nothing yet.
    pub fn new(
        settings: Option<GateSettings>,
        engine: &Arc<Engine<LinuxKernel>>,
        kernel: &Arc<LinuxKernel>,
        journal: &Arc<Journal>,
    ) -> Self {
        Self {
            settings,
            engine: Arc::clone(engine),
            kernel: Arc::clone(kernel),
            journal: Arc::clone(journal),
            told: BTreeMap::new(),
            standing: Arc::default(),
            closed: false,
        }
    }

    /// How it stands from now on.
    pub fn standing(&self) -> Arc<GateStanding> {
        Arc::clone(&self.standing)
    }

    /// Keeps the gate closed for some more time. Answers when to do it again; none: never.
    fn tick(&mut self) -> Option<Duration> {
        let Some(settings) = self.settings.clone() else {
            // One that an earlier configuration asked for.
            self.remove();
            return None;
        };
        match self.keep(&settings) {
            Ok(()) if !self.closed => {
                tracing::warn!(image = settings.image, "the gate is closed: others load no eBPF programs");
                self.note("CloseGate", &settings.image, EntryResult::Done);
                self.closed = true;
                self.standing.set_why_open(None);
            }
            Ok(()) => {}
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
                self.closed = false;
                self.standing.set_why_open(Some(why));
            }
        }
        Some(settings.fail_open / 4)
    }

    /// Lets everybody through: a daemon that ends is not to be waited for.
    fn open(&mut self) {
        if self.closed
            && let Err(error) = self.write("closed_until", vec![(vec![0; 4], vec![0; 8])])
        {
            tracing::warn!("the gate opens later, by itself: {error:#}");
        }
        self.closed = false;
    }

    fn note(&self, verb: &str, object: &str, result: EntryResult) {
        let entry = HistoryEntry { result, ..HistoryEntry::of_daemon(DaemonPart::Gate, verb, object) };
        self.journal.record(entry, None);
    }

    /// The gate's programs that are loaded. Others may have the label: only root's count.
    fn programs(&self) -> anyhow::Result<Vec<ProgramDetails>> {
        let all = self.engine.list(&Selector { managed_only: true, ..Selector::default() })?;
        let is_gate = |program: &ProgramDetails| {
            program.managed.as_ref().is_some_and(|managed| {
                managed.record.metadata.contains_key(LABEL) && managed.record.owner() == Owner::Root
            })
        };
        Ok(all.into_iter().filter(is_gate).collect())
    }

    fn remove(&self) {
        for program in self.programs().unwrap_or_default() {
            match self.engine.unload(program.id) {
                Ok(()) => self.note("RemoveGate", &format!("program {}", program.id), EntryResult::Done),
                Err(error) => tracing::warn!(%error, "a program of the gate stays"),
            }
        }
    }

    fn keep(&mut self, settings: &GateSettings) -> anyhow::Result<()> {
        if !contents::kernel_asks_programs() {
            return Err(anyhow!(
                "this kernel was started without LSM \"bpf\": put it into the list of the kernel's parameter lsm="
            ));
        }
        self.put_up(settings)?;
        let (executables, missing) = contents::executables(&settings.executables)?;
        self.write("executables", executables)?;
        let (groups, absent) = contents::groups(&settings.groups);
        self.write("groups", groups)?;
        let ids =
            MAPS.iter().map(|name| self.map(name).map(|id| (id.to_ne_bytes().to_vec(), vec![1, 0, 0, 0])));
        self.write("own", ids.collect::<anyhow::Result<_>>()?)?;
        for program in self.programs()? {
            if program.managed.is_some_and(|managed| managed.links.is_empty()) {
                self.attach(program.id)?;
            }
        }
        let until = contents::since_boot() + settings.fail_open;
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.write("closed_until", vec![(vec![0; 4], until.to_ne_bytes().to_vec())])?;
        self.tell_refusals()?;
        // Closed all the same: who is not there loads nothing.
        match missing.into_iter().chain(absent).next() {
            Some(path) if !self.closed => {
                tracing::warn!("gate: {path} is not there, and is no exception until it is");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Loads the programs that are missing; others than those of the image go.
    fn put_up(&self, settings: &GateSettings) -> anyhow::Result<()> {
        let there = self.programs()?;
        let is_right = |program: &ProgramDetails| {
            let record = program.managed.as_ref().map(|managed| &managed.record);
            record.is_some_and(|record| record.metadata.get(LABEL) == Some(&settings.image))
        };
        let (right, wrong): (Vec<_>, Vec<_>) = there.into_iter().partition(is_right);
        if right.len() == PROGRAMS.len() && wrong.is_empty() {
            return Ok(());
        }
        for program in right.iter().chain(&wrong) {
            self.engine.unload(program.id).context("an older gate stays")?;
        }
        let request = LoadRequest {
            source: BytecodeSource::Image {
                url: settings.image.clone(),
                pull_policy: PullPolicy::IfNotPresent,
                credentials: None,
            },
            programs: PROGRAMS.map(program_request).to_vec(),
            metadata: BTreeMap::from([(LABEL.to_owned(), settings.image.clone())]),
            global_data: BTreeMap::new(),
            map_owner: None,
            verifier_log: false,
            caller_uid: 0,
            owner: Owner::Root,
            map_bytes: None,
            tenant: None,
        };
        self.engine.load(&request).context("its programs are not loaded")?;
        Ok(())
    }

    fn attach(&self, program: ProgramId) -> anyhow::Result<()> {
        let request = AttachRequest {
            program,
            point: AttachPoint::Lsm,
            order: OrderIntent::default(),
            sharing: Sharing::default(),
            metadata: BTreeMap::new(),
            owner: Owner::Root,
            group: None,
        };
        self.engine.attach(&request).context("its programs are not attached")?;
        Ok(())
    }

    fn map(&self, name: &str) -> anyhow::Result<u32> {
        let programs = self.programs()?;
        let first = programs.first().ok_or_else(|| anyhow!("its programs are not loaded"))?;
        // The second program of the gate has the maps that the first does not use.
        let mut found = Err(anyhow!("its image has no map \"{name}\""));
        for program in &programs {
            let wanted = WantedMap::OfProgram { program: program.id, name: name.to_owned() };
            match self.engine.find_map(&wanted) {
                Ok(map) => return Ok(map.id().0),
                Err(error) if program.id == first.id => found = Err(error.into()),
                Err(_) => {}
            }
        }
        found
    }

    /// Makes a map hold just these entries.
    fn write(&self, name: &str, entries: Vec<(Vec<u8>, Vec<u8>)>) -> anyhow::Result<()> {
        let map = self.kernel.open_map(bpfmand_core::MapId(self.map(name)?))?;
        let there = self.kernel.map_entries(&map, MOST_ENTRIES)?;
        let wanted: BTreeMap<Vec<u8>, Vec<u8>> = entries.into_iter().collect();
        for (key, value) in &wanted {
            if !there.iter().any(|entry| entry.key == *key && entry.value == *value) {
                self.kernel.write_entry(&map, &MapEntry { key: key.clone(), value: value.clone() })?;
            }
        }
        for entry in there.iter().filter(|entry| !wanted.contains_key(&entry.key)) {
            self.kernel.remove_entry(&map, &entry.key)?;
        }
        Ok(())
    }

    fn tell_refusals(&mut self) -> anyhow::Result<()> {
        let map = self.kernel.open_map(bpfmand_core::MapId(self.map("refused")?))?;
        let mut new = Vec::new();
        for entry in self.kernel.map_entries(&map, MOST_ENTRIES)? {
            let Some(refusals) = refused(&entry) else { continue };
            let before = self.told.insert(entry.key, refusals.count).unwrap_or(0);
            // Fewer than before: the kernel forgot the entry, and made it anew.
            let count = refusals.count.checked_sub(before).unwrap_or(refusals.count);
            if count > 0 {
                new.push(GateRefusals { count, ..refusals });
            }
        }
        if self.told.len() > 4 * MOST_ENTRIES {
            self.told.clear();
        }
        for refusals in new.iter().take(MOST_TOLD) {
            tracing::warn!("the gate refused {refusals}");
            self.note("Gate", &refusals.to_string(), EntryResult::Denied(denied()));
        }
        if let Some(more) = new.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            self.note("Gate", &format!("{more} others"), EntryResult::Denied(denied()));
        }
        Ok(())
    }
}

fn denied() -> EntryFailure {
    EntryFailure {
        code: "PermissionDenied".to_owned(),
        reason: "denied".to_owned(),
        message: "not the daemon, and no exception of [gate]: load it through bpfman, or add its executable"
            .to_owned(),
    }
}

fn program_request((name, hook): (&str, &str)) -> ProgramRequest {
    ProgramRequest { name: name.to_owned(), program_type: ProgramType::Lsm, target: Some(hook.to_owned()) }
}
