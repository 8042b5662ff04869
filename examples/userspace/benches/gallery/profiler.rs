use std::cell::RefCell;
use std::fs;
use std::process::{Child, Command, Stdio};

use bpfman_tests::compile;

use crate::contender::Contender;
use crate::equipment::{Gallery, WATCHER};
use crate::ordered::Ordered;
use crate::report::Report;

const FREQUENCY: u32 = 99;
const MANY: u32 = 4999;
const WORK: u32 = 30_000;
/// Duration of a profile, longer than the work even if that has to wait for a processor.
const SECONDS: u32 = 8;
const WORKER: &str = "fixed_work";

struct Worker(Ordered);

impl Worker {
    fn new(gallery: &Gallery) -> Self {
        let path = gallery.daemon.path(WORKER);
        fs::copy(compile::executable("fixed_work"), &path).unwrap();
        Self(Ordered::start(Command::new(path)))
    }

    fn works(&mut self, rounds: u32) -> (f64, f64) {
        let [cpu, stretch] = self.0.does(&rounds.to_string());
        (cpu / 1e6, stretch / 1e3)
    }
}

struct Profiler<'a> {
    gallery: &'a Gallery,
    program: u64,
    running: RefCell<Option<Child>>,
}

impl Profiler<'_> {
    fn attach(&self, frequency: u32) {
        let words = format!("attach {} perf-event --event cpu-clock --frequency {frequency}", self.program);
        self.gallery.daemon.bpfman(&words).success();
    }

    fn detach(&self) {
        self.gallery.daemon.detach_all();
    }

    fn record(&self) {
        let mut side = self.gallery.side_as(WATCHER, "profiler");
        side.args(["--program", &self.program.to_string(), "record", "--seconds", &SECONDS.to_string()]);
        self.running.replace(Some(side.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()));
    }

    fn recorded(&self) -> u64 {
        let side = self.running.take().expect("a profile is being taken");
        let output = side.wait_with_output().unwrap();
        assert!(output.status.success(), "the profile was not taken");
        let text = String::from_utf8(output.stdout).unwrap();
        let of_worker = text.lines().filter(|line| line.starts_with(&format!("{WORKER};")));
        of_worker.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let program = gallery.load("profiler", "--programs perf_event:profiler")[0];
    let profiler = &Profiler { gallery: &gallery, program, running: RefCell::new(None) };
    let worker = &RefCell::new(Worker::new(&gallery));
    let contenders = |frequency: u32, pick: fn((f64, f64)) -> f64| {
        let sample = move || pick(worker.borrow_mut().works(WORK));
        vec![
            Contender::new("nothing", sample),
            Contender::new(format!("{frequency} Hz, no profile"), sample)
                .set_up(move || profiler.attach(frequency))
                .tear_down(|| profiler.detach()),
            Contender::new(format!("{frequency} Hz, a profile"), sample)
                .set_up(move || {
                    profiler.attach(frequency);
                    profiler.record();
                    worker.borrow_mut().works(WORK / 2);
                })
                .tear_down(move || {
                    let samples = profiler.recorded();
                    assert!(samples > u64::from(frequency), "{samples} samples of {frequency} a second");
                    profiler.detach();
                }),
        ]
    };
    let title = "A fixed amount of work while the machine is profiled";
    let measured = report.measure("work", title, "CPU ms", contenders(FREQUENCY, |(cpu, _)| cpu));
    for with in &measured[1..] {
        let nothing = measured[0].median();
        report.derived("work", &with.name, "% more", (with.median() - nothing) * 100.0 / nothing);
    }
    let title = "A short stretch of work that nobody else interrupts";
    let measured = report.measure("stretch", title, "us", contenders(MANY, |(_, stretch)| stretch));
    for with in &measured[1..] {
        let more = with.median() - measured[0].median();
        let each = more * 1e6 / (with.median() * f64::from(MANY));
        report.derived("stretch", &with.name, "us a sample", each);
        report.derived(
            "stretch",
            &format!("{}, at {FREQUENCY} Hz", with.name),
            "% more",
            each * f64::from(FREQUENCY) / 1e4,
        );
    }
}
