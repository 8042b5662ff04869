//! Simulated machine with a daemon, on which a schedule is played.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{AttachPoint, Direction, ProceedOn, ProgramId, ProgramUid, VerdictFamily};
use bpfmand_engine::{
    Engine, EngineError, EngineOptions, LinkDetails, ReplaceRequest, StepObserver, UpdateLinkRequest,
};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use super::asked::{Asked, Made, place};
use super::schedule::{Change, Event, PROGRAMS, Trouble, WRONG_PLACE};
use crate::bench::{Ask as _, Bench, pins, tracepoint};
use crate::crashes::Ending;
use crate::replacements::replacement;
use crate::simulated::bench;

pub type Broken = String;

const INTERFACES: [&str; 2] = ["left", "right"];

type Call = Box<dyn FnOnce(&Engine<SimKernel>) -> Result<Made, EngineError> + Send>;

pub struct Machine {
    pub bench: Bench<SimKernel>,
    pub engine: Engine<SimKernel>,
    ending: Arc<Ending>,
    pub asked: Asked,
    interfaces: [bool; 2],
    /// True between a third-party change and the daemon's next check.
    disturbed: bool,
    pub tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub refused: u64,
    /// Killed before the answer, without an effect.
    pub undone: u64,
    /// Killed before the answer, with the full effect.
    pub finished: u64,
}

impl Machine {
    pub fn new() -> Self {
        let bench = bench();
        let ending = Arc::new(Ending::of(&bench.kernel));
        let engine = bench.watched(Arc::clone(&ending) as Arc<dyn StepObserver>);
        let (asked, interfaces) = (Asked::default(), [true; 2]);
        Self { bench, engine, ending, asked, interfaces, disturbed: false, tally: Tally::default() }
    }

    pub fn happens(mut self, event: Event) -> Result<Self, Broken> {
        match event {
            Event::Asked(change, trouble) => return self.asked(change, trouble),
            Event::Together(one, other) => self.together(one, other)?,
            Event::Restart => return self.again(None),
            Event::StartCutShort(step) => return self.again(Some(step)),
            Event::Reboot => {
                self.bench.kernel.reboot();
                return self.again(None);
            }
            Event::InterfaceGoes(at) => {
                if std::mem::take(&mut self.interfaces[at]) {
                    self.bench.kernel.remove_interface(Some(&self.bench.netns), INTERFACES[at]);
                    self.disturbed = true;
                }
            }
            Event::InterfaceComes(at) => {
                if !std::mem::replace(&mut self.interfaces[at], true) {
                    self.bench.kernel.add_interface(Some(&self.bench.netns), INTERFACES[at]).unwrap();
                    self.disturbed = true;
                }
            }
            Event::NamespaceAnew => {
                self.bench.kernel.remove_namespace(&self.bench.netns);
                self.bench.kernel.add_namespace(&self.bench.netns);
                for (name, there) in INTERFACES.iter().zip(self.interfaces) {
                    if there {
                        self.bench.kernel.add_interface(Some(&self.bench.netns), name).unwrap();
                    }
                }
                self.disturbed = true;
            }
            Event::PinRemoved(at) => {
                if let Some(pin) = self.pin_of_a_link(at) {
                    self.bench.kernel.unpin(&pin).unwrap();
                    self.disturbed = true;
                }
            }
            Event::ForcedOff(at) => {
                if let Some(pin) = self.pin_of_a_link(at) {
                    self.force_off(&pin);
                    self.disturbed = true;
                }
            }
            Event::Check => self.check()?,
        }
        self.matches("")?;
        Ok(self)
    }

    fn pin_of_a_link(&self, at: usize) -> Option<PathBuf> {
        let kernel = &*self.bench.kernel;
        let all: Vec<String> = ["xdp", "tc-ingress", "tc-egress", "links"]
            .iter()
            .flat_map(|folder| pins(kernel, Path::new(folder)))
            .collect();
        all.get(at % all.len().max(1)).map(PathBuf::from)
    }

    /// Detaches a link like `bpftool link detach`: the link still exists, but runs nothing.
    fn force_off(&self, pin: &Path) {
        let (kernel, other) = (&*self.bench.kernel, Path::new("stranger"));
        let link = kernel.open_pin(pin).unwrap().unwrap();
        kernel.pin(&link, other).unwrap();
        drop(link);
        kernel.end_link(other).unwrap_err();
    }

    fn point(&self, program: usize, place: usize, priority: i32) -> AttachPoint {
        let xdp = |name: &str| AttachPoint::Xdp {
            interface: self.bench.interface(name),
            priority,
            proceed_on: ProceedOn::default_for(VerdictFamily::Xdp),
        };
        match (PROGRAMS[program], place) {
            (_, WRONG_PLACE) => tracepoint("sched_process_exit"),
            ("tango" | "tulip", place) if place % 2 == 0 => self.bench.tc(Direction::Ingress, priority),
            ("tango" | "tulip", _) => self.bench.tc(Direction::Egress, priority),
            ("xray", _) => self.bench.tcx(priority),
            ("trace", _) => tracepoint("sched_switch"),
            (_, place) => xdp(INTERFACES[place % 2]),
        }
    }

    fn kernel_id(&self, uid: ProgramUid) -> Option<ProgramId> {
        let ours = bpfman_model::Selector { managed_only: true, ..Default::default() };
        let programs = self.engine.list(&ours).unwrap();
        let found = programs
            .iter()
            .find(|program| program.managed.as_ref().is_some_and(|managed| managed.record.uid == uid));
        found.map(|program| program.id)
    }

    fn call(&self, change: Change) -> Option<Call> {
        Some(match change {
            Change::Load { program } => {
                let program = self.asked.not_loaded(program)?;
                let mut request = self.bench.request("programs", &[PROGRAMS[program]]);
                request.metadata.insert("index".to_owned(), program.to_string());
                Box::new(move |engine| {
                    let outcome = engine.load(&request)?;
                    Ok(Made::Program(outcome.programs[0].managed.as_ref().unwrap().record.uid, program))
                })
            }
            Change::Attach { program, place, priority } => {
                let (uid, index) = self.asked.program(program)?;
                let (id, point) = (self.kernel_id(uid)?, self.point(index, place, priority));
                Box::new(move |engine| Ok(made_link(&engine.try_attach(id, point)?)))
            }
            Change::Move { link, priority } => {
                let id = self.asked.link(link)?;
                let request = UpdateLinkRequest { priority: Some(priority), ..UpdateLinkRequest::of(id) };
                Box::new(move |engine| {
                    engine.update_link(&request)?;
                    Ok(Made::Moved(id, priority))
                })
            }
            Change::Detach { link } => {
                let id = self.asked.link(link)?;
                Box::new(move |engine| engine.detach(id).map(|_| Made::Gone(id)))
            }
            Change::Replace { program } => {
                let id = self.kernel_id(self.asked.program(program)?.0)?;
                let request = ReplaceRequest { keep_old: false, ..replacement(&self.bench, id, "second") };
                Box::new(move |engine| engine.replace_program(&request).map(|_| Made::Replaced))
            }
            Change::Unload { program } => {
                let (uid, _) = self.asked.program(program)?;
                let id = self.kernel_id(uid)?;
                Box::new(move |engine| engine.unload(id).map(|_| Made::Unloaded(uid)))
            }
        })
    }

    fn asked(mut self, change: Change, trouble: Trouble) -> Result<Self, Broken> {
        let Some(call) = self.call(change) else { return Ok(self) };
        match trouble {
            Trouble::Nothing => {}
            Trouble::CallFails(call) => self.bench.kernel.fail_call(call),
            Trouble::CallsFailFrom(call) => self.bench.kernel.fail_from(call),
            Trouble::EndsAt(step) => self.ending.arm(step),
        }
        let ended = catch_unwind(AssertUnwindSafe(|| call(&self.engine)));
        self.ending.arm(0);
        self.bench.kernel.fail_call(0);
        let Ok(result) = ended else { return self.after_unanswered(change) };
        match result {
            Ok(made) => {
                self.tally.acknowledged += 1;
                self.asked.apply(&made);
                self.matches("acknowledged, ")?;
            }
            Err(error) if matches!(trouble, Trouble::CallsFailFrom(_)) => {
                let found = Asked::of(&self.engine);
                if !self.asked.is_or_became(&found, change) {
                    return Err(format!("refused ({error}), and then {}", self.difference(&found)));
                }
                return self.after_unanswered(change);
            }
            Err(error) => {
                self.tally.refused += 1;
                self.matches(&format!("refused ({error}), "))?;
            }
        }
        Ok(self)
    }

    /// The change must have happened fully or not at all.
    fn after_unanswered(mut self, change: Change) -> Result<Self, Broken> {
        let before = self.asked.clone();
        self = self.started(None)?;
        let found = Asked::of(&self.engine);
        if !before.is_or_became(&found, change) {
            return Err(format!("neither before nor after: {}", self.difference(&found)));
        }
        if found == before {
            self.tally.undone += 1;
        } else {
            self.tally.finished += 1;
        }
        self.asked = found;
        Ok(self)
    }

    fn together(&mut self, one: Change, other: Change) -> Result<(), Broken> {
        let calls: Vec<Call> = [one, other].into_iter().filter_map(|change| self.call(change)).collect();
        let engine = &self.engine;
        let made: Vec<Made> = std::thread::scope(|threads| {
            let clients: Vec<_> =
                calls.into_iter().map(|call| threads.spawn(move || call(engine).ok())).collect();
            clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
        });
        let found = Asked::of(engine);
        let mut orders = [self.asked.clone(), self.asked.clone()];
        made.iter().for_each(|made| orders[0].apply(made));
        made.iter().rev().for_each(|made| orders[1].apply(made));
        if !orders.contains(&found) {
            return Err(format!("both were acknowledged, {made:?}: {}", self.difference(&found)));
        }
        self.asked = found;
        Ok(())
    }

    fn again(self, cut_short: Option<usize>) -> Result<Self, Broken> {
        let machine = self.started(cut_short)?;
        machine.matches("after a start, ")?;
        Ok(machine)
    }

    fn started(self, cut_short: Option<usize>) -> Result<Self, Broken> {
        let Self { bench, engine, ending, asked, interfaces, disturbed, tally } = self;
        drop(engine);
        let open = || {
            let observer = Arc::clone(&ending) as Arc<dyn StepObserver>;
            Engine::open(Arc::clone(&bench.kernel), EngineOptions { observer, ..bench.options() })
        };
        if let Some(step) = cut_short {
            ending.arm(step);
            let ended = catch_unwind(AssertUnwindSafe(|| open()?.recover()));
            ending.arm(0);
            bench.kernel.fail_call(0);
            if let Ok(Err(error)) = ended {
                return Err(format!("the start failed: {error}"));
            }
        }
        let engine = open().map_err(|error| error.to_string())?;
        Self { bench, engine, ending, asked, interfaces, disturbed, tally }.recovered()
    }

    fn recovered(mut self) -> Result<Self, Broken> {
        let report = self.engine.recover().map_err(|error| format!("the start failed: {error}"))?;
        // A missing interface is reported as a problem, and waited for.
        let whole = !self.disturbed && self.interfaces == [true; 2] && !self.has_twins();
        if whole && !report.problems.is_empty() {
            return Err(format!(
                "a start on a machine that nobody touched has problems: {:?}",
                report.problems
            ));
        }
        // Third-party changes are found here; the next check follows interfaces.
        self.check()?;
        Ok(self)
    }

    /// After the daemon's checks, everything with an interface must run.
    pub fn check(&mut self) -> Result<(), Broken> {
        let followed =
            self.engine.follow_interfaces(Some(&self.bench.netns)).map_err(|error| error.to_string())?;
        let report = self.engine.check_all();
        let twins = self.has_twins();
        if !twins && (!followed.problems.is_empty() || !report.lost.is_empty()) {
            return Err(format!(
                "a look at the machine could not mend: {:?} {:?}",
                followed.problems, report.lost
            ));
        }
        self.disturbed = false;
        let is_there = |point: &AttachPoint| match point.hook() {
            Some((interface, _)) => {
                INTERFACES.iter().zip(self.interfaces).any(|(name, there)| there && interface.name == *name)
            }
            None => true,
        };
        for link in self.engine.all_links() {
            if twins && matches!(link.record.point, AttachPoint::Tcx { .. }) {
                continue;
            }
            if link.standing.is_running() != is_there(&link.record.point) {
                return Err(format!("{:?} is {} after a look", link.record.point, link.standing));
            }
        }
        Ok(())
    }

    /// Returns whether a program is recorded twice at one tcx hook, which accepts it once: it was attached again before
    /// the daemon noticed that the interface of the first link was replaced. Either may run.
    fn has_twins(&self) -> bool {
        let links = self.engine.all_links();
        let tcx: Vec<_> =
            links.iter().filter(|link| matches!(link.record.point, AttachPoint::Tcx { .. })).collect();
        let is_twin = |at: usize| tcx[..at].iter().any(|other| other.program.uid == tcx[at].program.uid);
        (0..tcx.len()).any(is_twin)
    }

    fn matches(&self, when: &str) -> Result<(), Broken> {
        let found = Asked::of(&self.engine);
        if found == self.asked { Ok(()) } else { Err(format!("{when}{}", self.difference(&found))) }
    }

    fn difference(&self, found: &Asked) -> String {
        format!("there is {found:?} instead of {:?}", self.asked)
    }

    pub fn taken_down(mut self) -> Result<Tally, Broken> {
        self = self.again(None)?;
        let wanted: Vec<ProgramUid> = self.asked.programs.keys().copied().collect();
        for uid in wanted {
            let id = self.kernel_id(uid).ok_or_else(|| format!("program {uid} has no kernel id"))?;
            self.engine.unload(id).map_err(|error| format!("cannot unload at the end: {error}"))?;
            self.asked.apply(&Made::Unloaded(uid));
        }
        self.matches("at the end, ")?;
        drop(self.engine);
        for pin in pins(&*self.bench.kernel, Path::new("")) {
            if pin != "stranger" {
                return Err(format!("pin {pin} is left"));
            }
        }
        let _gone = self.bench.kernel.unpin(Path::new("stranger"));
        let left = self.bench.kernel.snapshot();
        let tally = self.tally;
        let empty = left.programs.is_empty()
            && left.maps.is_empty()
            && left.links.is_empty()
            && left.filters.is_empty();
        if empty { Ok(tally) } else { Err(format!("the kernel holds what nobody asked for: {left:?}")) }
    }
}

fn made_link(link: &LinkDetails) -> Made {
    Made::Link(link.record.id, link.program.uid, place(&link.record.point), link.record.point.priority())
}
