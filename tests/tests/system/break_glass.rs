//! Break-glass: everything is detached whatever the state of the daemon and its disk, stays detached, and is restored.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, tc, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Outcome, binaries, compile};
use serde_json::Value;

use crate::doctor::SmallDisk;
use crate::equipment::Program;
use crate::strangers::with_bpffs;

const LOOKS: Duration = Duration::from_secs(3);

struct Bench {
    daemon: Daemon,
    network: Network,
    launch: Launch,
    programs: Vec<Program>,
}

fn launch() -> Launch {
    let config = "[tc]\nattach = \"clsact\"\n[watch]\ncheck_seconds = 0.2\n".to_owned();
    Launch { config, ..Launch::default() }
}

impl Bench {
    fn new(daemon: Daemon, launch: Launch) -> Self {
        let network = Network::new();
        let wire = daemon.wire();
        let far = network.far.path();
        let by_xdp = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
        let by_tc = Program::member(&wire, "tc_member", Type::Tc, 2, 3);
        wire.attach(attach(by_xdp.id, xdp(&far, INTERFACE, 50, &[]))).unwrap();
        wire.attach(attach(by_tc.id, tc(&far, INTERFACE, "ingress", 50, &[]))).unwrap();
        let probes = compile::object("probes").display().to_string();
        let line = format!("load file -p {probes} --programs tracepoint:on_tracepoint -q");
        let id = daemon.bpfman(&line).success();
        daemon
            .bpfman(&format!("attach {} tracepoint -t syscalls/sys_enter_getpriority", id.trim()))
            .success();
        let bench = Self { daemon, network, launch, programs: vec![by_xdp, by_tc] };
        assert_eq!(bench.seen(), [true, true], "the test's own traffic");
        bench
    }

    fn start() -> Self {
        Self::new(Daemon::start_with(&launch()), launch())
    }

    fn seen(&self) -> Vec<bool> {
        let before: Vec<u64> = self.programs.iter().map(Program::hits).collect();
        let _through = Traffic::new(&self.network).send(1);
        self.programs.iter().zip(before).map(|(program, before)| program.hits() > before).collect()
    }

    fn glass(&self, flag: &str) -> Outcome {
        let mut command = Command::new(binaries::find("bpfmand"));
        command.arg(flag).arg("--runtime-dir").arg(self.daemon.path("run"));
        command.arg("--socket-path").arg(self.daemon.socket()).args(&self.launch.flags);
        command.arg("--config").arg(self.daemon.path("no-such-file"));
        Outcome::of(&mut command)
    }

    fn breaks(&self) -> String {
        let said = self.glass("--break-glass").success();
        assert_eq!(said.lines().filter(|line| line.starts_with("detached: ")).count(), 3, "{said}");
        assert_eq!(self.seen(), [false, false], "{said}");
        said
    }

    fn assert_restored(&self) {
        until("everything is back", || self.daemon.bpfman("doctor").code == 0);
        assert_eq!(self.seen(), [true, true]);
        assert_eq!(links(&self.daemon), 3);
    }

    fn stays_detached(&self) {
        let report = self.daemon.bpfman("doctor -o json");
        assert_eq!(report.code, 11, "{report:?}");
        let refused = self.daemon.bpfman(&format!("unload {}", self.programs[0].id));
        refused.fails(7, &["nothing may be changed", "bpfmand --end-break-glass"]);
        // By now the daemon has read the marker, and thus run its checks.
        assert_eq!(self.seen(), [false, false]);
        assert!(!self.daemon.log().contains("was lost and is back"));
    }
}

fn links(daemon: &Daemon) -> usize {
    let list: Value = daemon.bpfman("list links -o json").json();
    let links = list["links"].as_array().unwrap();
    links.iter().filter(|link| link["standing"] == "running").count()
}

#[test]
fn a_living_daemon_stands_still_and_puts_everything_back() {
    let bench = Bench::start();
    let said = bench.breaks();
    assert!(said.contains("waiting until it stops its changes"), "{said}");
    let order: Vec<_> = said.lines().filter(|line| line.starts_with("detached: ")).collect();
    assert!(
        order[0].contains("xdp/") && order[1].contains("filter") && order[2].contains("links/"),
        "{said}"
    );
    bench.stays_detached();
    bench.glass("--end-break-glass").success();
    bench.assert_restored();
    let history = bench.daemon.bpfman("history --by break-glass -o json").json();
    let verbs: Vec<_> = history["entries"].as_array().unwrap().iter().map(|entry| &entry["verb"]).collect();
    assert_eq!(verbs, ["BreakGlass", "EndBreakGlass"]);
    assert!(bench.glass("--end-break-glass").success().contains("nothing is detached"));
}

fn with_radar_of_silent_registry() -> (TcpListener, Bench) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let image = format!("{}/bpfman/radar:1", silent.local_addr().unwrap());
    let launch = Launch {
        config: format!("{}[radar]\nimage = \"{image}\"\n", launch().config),
        policy: "[[images]]\npattern = \"127.0.0.1:*/*\"\nunsigned = true\n".to_owned(),
        ..launch()
    };
    (silent, Bench::new(Daemon::start_with(&launch), launch))
}

#[test]
fn a_radar_whose_registry_never_answers_holds_up_nobody() {
    let (silent, bench) = with_radar_of_silent_registry();
    let mut asked = Vec::new();
    until("the radar's image is asked for", || {
        asked.extend(silent.accept().ok());
        !asked.is_empty()
    });
    // The caller has passed the change gate, for which break-glass waits.
    bench.daemon.bpfman("radar stop").fails(7, &["[radar] of bpfman.toml"]);
    bench.breaks();
    bench.stays_detached();
    bench.glass("--end-break-glass").success();
    bench.assert_restored();
    assert_ne!(bench.daemon.bpfman("radar -o json").json()["radar"]["source"], "trampolines");
}

#[test]
fn the_radar_asks_no_registry_while_everything_is_detached() {
    let (registry, bench) = with_radar_of_silent_registry();
    let ask_and_hang_up = || std::iter::from_fn(|| registry.accept().ok()).count();
    until("the radar's image is asked for", || ask_and_hang_up() > 0);
    bench.breaks();
    let source = || bench.daemon.bpfman("radar -o json").json()["radar"]["why"].to_string();
    until("the radar knows", || source().contains("all programs of bpfman are detached"));
    until("the last fetch ended", || {
        sleep(LOOKS);
        ask_and_hang_up() == 0
    });
    sleep(LOOKS);
    assert_eq!(ask_and_hang_up(), 0, "nothing that comes from there could be loaded");
    bench.glass("--end-break-glass").success();
    until("it is asked again", || ask_and_hang_up() > 0);
    bench.assert_restored();
}

#[test]
fn killed_daemon_starts_detached_until_break_glass_ends() {
    let mut bench = Bench::start();
    bench.daemon.kill();
    bench.breaks();
    let launch = bench.launch.clone();
    bench.daemon.again(&launch);
    bench.stays_detached();
    bench.daemon.terminate();
    bench.daemon.again(&launch);
    bench.stays_detached();
    bench.glass("--end-break-glass").success();
    bench.assert_restored();
    bench.daemon.kill();
    bench.breaks();
    assert!(bench.glass("--end-break-glass").success().contains("no daemon runs"));
    bench.daemon.again(&launch);
    bench.assert_restored();
}

#[test]
fn records_that_are_destroyed_are_not_needed() {
    let mut bench = Bench::start();
    bench.daemon.kill();
    let store = bench.daemon.path("run/state/store");
    let file = store.join("records.redb");
    let length = fs::metadata(&file).unwrap().len();
    let saved = fs::read(&file).unwrap();
    fs::write(&file, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    let (status, said) = bench.daemon.refuses(&bench.launch);
    assert!(!status.success(), "the records are destroyed: {said}");
    bench.breaks();
    fs::write(&file, saved).unwrap();
    bench.glass("--end-break-glass").success();
    let launch = bench.launch.clone();
    bench.daemon.again(&launch);
    bench.assert_restored();
}

#[test]
fn a_full_disk_is_no_obstacle() {
    let daemon = Daemon::prepare();
    let disk = SmallDisk::at(daemon.path("small"));
    let flags = vec!["--state-dir".to_owned(), disk.0.display().to_string()];
    let launch = Launch { flags, ..launch() };
    let mut daemon = daemon;
    daemon.again(&launch);
    let mut bench = Bench::new(daemon, launch);
    bench.daemon.kill();
    fill(&disk.0);
    bench.breaks();
    // The file may exist even on the full disk: without it, only the marker in the runtime folder counts.
    let _there = fs::remove_file(disk.0.join("break-glass"));
    fs::remove_file(disk.0.join("full")).unwrap();
    let launch = bench.launch.clone();
    bench.daemon.again(&launch);
    bench.stays_detached();
    bench.glass("--end-break-glass").success();
    // The doctor warns about the small disk all the time.
    until("everything is back", || bench.daemon.bpfman("doctor").code == 13 && links(&bench.daemon) == 3);
    assert_eq!(bench.seen(), [true, true]);
    bench.daemon.kill();
    // Stop the daemon before its folder is unmounted.
    drop(disk);
}

fn fill(disk: &Path) {
    let block = vec![0_u8; 1 << 16];
    let mut file = fs::File::create(disk.join("full")).unwrap();
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}

#[test]
fn programs_of_others_stay_where_they_are() {
    let mut bench = Bench::start();
    let object = compile::object("stranger").display().to_string();
    with_bpffs(&bench.network.near, &format!("ip link set dev {INTERFACE} xdpgeneric obj {object} sec xdp"));
    let filter =
        format!("tc filter add dev {INTERFACE} ingress pref 60000 bpf direct-action object-file {object}");
    with_bpffs(&bench.network.far, &format!("{filter} section tc"));
    let others = |bench: &Bench| {
        let link = bench.network.near.ip(&["-j", "link", "show", "dev", INTERFACE]);
        let link: Value = serde_json::from_str(&link).unwrap();
        let netns = format!("--net={}", bench.network.far.path().display());
        let shown = ["nsenter", &netns, "tc", "filter", "show", "dev", INTERFACE, "ingress"];
        let filters = bpfman_tests::command::run(&shown);
        (link[0]["xdp"]["prog"]["id"].as_u64(), filters.contains("pref 60000"))
    };
    let before = others(&bench);
    assert!(before.0.is_some() && before.1, "{before:?}");
    bench.daemon.kill();
    bench.breaks();
    assert_eq!(others(&bench), before);
    bench.glass("--end-break-glass").success();
    let launch = bench.launch.clone();
    bench.daemon.again(&launch);
    bench.assert_restored();
    assert_eq!(others(&bench), before);
}

#[test]
fn running_daemon_is_left_alone_and_a_dead_one_is_kept_out() {
    let mut bench = Bench::start();
    let pid = rustix::process::Pid::from_raw(bench.daemon.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    bench.glass("--break-glass").fails(1, &["does not stand still", "nothing was detached", "kill"]);
    assert_eq!(bench.seen(), [true, true]);
    bench.daemon.kill();
    bench.breaks();
    let launch = bench.launch.clone();
    bench.daemon.again(&launch);
    bench.stays_detached();
}

#[test]
fn only_root_may() {
    let daemon = Daemon::start();
    daemon.open_to_users();
    let copy = daemon.path("bpfmand");
    fs::copy(binaries::find("bpfmand"), &copy).unwrap();
    for flag in ["--break-glass", "--end-break-glass"] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "64399", "--regid", "64399", "--clear-groups", "--inh-caps=-all", "--"]);
        let outcome = Outcome::of(command.arg(&copy).arg(flag).arg("--runtime-dir").arg(daemon.path("run")));
        outcome.fails(1, &["only root may do this"]);
    }
    daemon.bpfman("doctor").success();
}
