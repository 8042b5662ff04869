use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bpfman_tests::compile;

use crate::contender::Contender;
use crate::equipment::{Gallery, WATCHER};
use crate::ordered::Ordered;
use crate::report::Report;

const RATES: [u32; 6] = [1_000, 2_000, 5_000, 10_000, 20_000, 40_000];
const SECONDS: u32 = 2;
const TOLD: &str = "watchdog, told of each";

struct Follower(Child);

impl Follower {
    fn cpu(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let of = |thread: &Path| {
            let text = fs::read_to_string(thread.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        threads.map(|thread| of(&thread.unwrap().path())).sum()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

struct Watchdog<'a> {
    gallery: &'a Gallery,
    manifest: String,
    file: String,
    program: String,
}

impl Watchdog<'_> {
    fn rules(&self, rules: &str) {
        let path = self.gallery.daemon.path("rules.yaml");
        fs::write(&path, format!("rules:\n{rules}")).unwrap();
        self.side(&format!("apply {}", path.display()));
    }

    fn put_up(&self, rules: &str) {
        self.gallery.daemon.bpfman(&format!("apply -f {}", self.manifest)).success();
        if !rules.is_empty() {
            self.rules(rules);
        }
    }

    fn take_down(&self) {
        self.gallery.daemon.bpfman(&format!("delete -f {}", self.manifest)).success();
    }

    fn side(&self, line: &str) -> String {
        self.gallery.side("watchdog", &format!("--app watchdog {line}")).success()
    }

    fn stat(&self, name: &str) -> f64 {
        let stats: serde_json::Value = serde_json::from_str(&self.side("stats --json")).unwrap();
        stats[name].as_f64().unwrap()
    }

    fn follow(&self) -> Follower {
        let mut side = self.gallery.side_as(WATCHER, "watchdog");
        side.args(["--app", "watchdog", "follow"]);
        Follower(side.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn that_match(&self) -> String {
        format!(
            "- {{name: read, event: open, when: {{path: [{}]}}, action: alert}}\n\
             - {{name: start, event: exec, when: {{path: [{}]}}, action: alert}}\n",
            self.file, self.program
        )
    }
}

fn others() -> String {
    (0..64).fold(String::new(), |mut text, number| {
        let event = if number % 2 == 0 { "open" } else { "exec" };
        let rule = format!(
            "{{name: r{number}, event: {event}, when: {{path: [/no/such/{number}/]}}, action: alert}}"
        );
        writeln!(text, "- {rule}").unwrap();
        text
    })
}

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let file = gallery.daemon.path("file").display().to_string();
    fs::write(&file, "x").unwrap();
    let program = gallery.daemon.path("ends").display().to_string();
    fs::copy(compile::static_executable("ends"), &program).unwrap();
    let watchdog = Watchdog { gallery: &gallery, manifest: gallery.manifest("watchdog"), file, program };
    let caller = RefCell::new(Ordered::start(Command::new(compile::executable("system_calls"))));
    calls(report, &watchdog, &caller);
    events(report, &watchdog, &caller);
}

fn calls(report: &mut Report, watchdog: &Watchdog<'_>, caller: &RefCell<Ordered>) {
    let states = [
        ("no watchdog", None),
        ("watchdog, no rules", Some(String::new())),
        ("watchdog, 64 rules of others", Some(others())),
        (TOLD, Some(watchdog.that_match())),
    ];
    let orders = [
        ("open", "A file opened and closed", format!("open {} 5000", watchdog.file)),
        ("exec", "A program started, until it has ended", format!("exec {} 1000", watchdog.program)),
        ("other", "Another system call: getppid", "getppid 1000000".to_owned()),
    ];
    let follower = &RefCell::new(None);
    for (group, title, order) in &orders {
        let mut contenders = Vec::new();
        for (name, rules) in &states {
            let (watched, told) = (rules.is_some(), *name == TOLD);
            let call = Contender::new(*name, || caller.borrow_mut().does::<1>(order)[0]);
            let call = call.set_up(move || {
                if let Some(rules) = rules {
                    watchdog.put_up(rules);
                }
                follower.replace(told.then(|| watchdog.follow()));
            });
            contenders.push(call.tear_down(move || {
                if told && *group != "other" {
                    let (matched, lost) = (watchdog.stat("matched"), watchdog.stat("lost"));
                    // A program that finds the ring buffer full does less work.
                    assert!(matched >= 1000.0 && lost * 100.0 < matched, "{matched} matched, {lost} lost");
                }
                follower.take();
                if watched {
                    watchdog.take_down();
                }
            }));
        }
        report.measure(group, title, "CPU ns", contenders);
    }
}

fn events(report: &mut Report, watchdog: &Watchdog<'_>, caller: &RefCell<Ordered>) {
    watchdog.put_up(&watchdog.that_match());
    let follower = watchdog.follow();
    let costs = RefCell::new(Vec::new());
    let sample = |rate: u32| {
        let counts = || (watchdog.stat("matched"), watchdog.stat("lost"), follower.cpu());
        let before = counts();
        let [opened] = caller.borrow_mut().does(&format!("paced {} {rate} {SECONDS}", watchdog.file));
        let after = counts();
        let (matched, lost) = (after.0 - before.0, after.1 - before.1);
        assert!(matched >= opened, "{opened} were opened, and {matched} matched");
        if lost == 0.0 {
            costs.borrow_mut().push((after.2 - before.2) / matched);
        }
        (opened / f64::from(SECONDS), lost * 100.0 / matched)
    };
    let contenders =
        RATES.map(|rate| Contender::new("lost", move || sample(rate).1).at(rate)).into_iter().collect();
    let measured =
        report.measure("lost", "Events that found the ring full, by events a second", "%", contenders);
    let kept = measured.iter().take_while(|one| one.max() == 0.0).last();
    let kept = kept.and_then(|one| one.at).unwrap_or_default();
    report.derived("lost", "the most without loss in any round", "events/s", f64::from(kept));
    report.derived("lost", "CPU time of the side for an event, median", "ns", median(costs.take()));
    let rates = RefCell::new(Vec::new());
    let flood = || {
        let (rate, lost) = sample(0);
        rates.borrow_mut().push(rate);
        lost
    };
    report.measure(
        "flood",
        "Events that found the ring full, of files opened as fast as it goes",
        "%",
        vec![Contender::new("lost", flood)],
    );
    report.derived("flood", "opened, median", "a second", median(rates.take()));
    drop(follower);
    watchdog.take_down();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
