//! Worker processes that access registries and read images and objects: their rights, also of a compromised one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network};
use bpfman_tests::{binaries, compile};

use crate::images::publish;

const USER: &str = "60919";
const POLICY: &str = "mode = \"off\"\n";

struct Process {
    pid: u32,
    what: String,
}

fn children(pid: u32) -> Vec<Process> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let pids: Vec<u32> = threads
        .map(of_thread)
        .flat_map(|text| text.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let process = |pid| {
        // A reader is a copy of the starter, with the same arguments and another name.
        if fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end() == "bpfmand-reader" {
            return Some(Process { pid, what: "reader".to_owned() });
        }
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<String> =
            words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
        Some(Process { pid, what: words.get(1)?.clone() })
    };
    pids.into_iter().filter_map(process).collect()
}

fn processes(daemon: &Daemon) -> Vec<Process> {
    let starters = children(daemon.pid());
    let started: Vec<Process> = starters.iter().flat_map(|starter| children(starter.pid)).collect();
    starters.into_iter().chain(started).collect()
}

fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn is_confined(process: &Process) -> bool {
    fs::read_to_string(format!("/proc/{}/status", process.pid))
        .is_ok_and(|status| status.contains("\nSeccomp:\t2"))
}

fn launch(act: &str) -> Launch {
    let environment = match act {
        "" => Vec::new(),
        act => vec![("BPFMAN_TEST_HOSTILE_WORKER".to_owned(), act.to_owned())],
    };
    Launch { policy: POLICY.to_owned(), environment, ..Launch::default() }
}

#[test]
fn they_have_a_user_of_their_own_and_nothing_else() {
    let registry = Registry::start();
    let daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    let found = those_that_wait(&daemon);
    for process in &found {
        let status = status(process.pid);
        let field = |name: &str| status[name].as_str();
        assert_eq!(field("Uid"), [USER; 4].join(" "), "{}", process.what);
        assert_eq!(field("Gid"), [USER; 4].join(" "), "{}", process.what);
        assert_eq!(field("Groups"), "", "{}", process.what);
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {}", process.what);
        }
        assert_eq!(field("NoNewPrivs"), "1", "{}", process.what);
    }
    let score = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score(found[0].pid), score(daemon.pid()));
    for process in &found[1..] {
        assert_eq!(status(process.pid)["Seccomp"], "2", "{}", process.what);
        assert_eq!(score(process.pid).trim(), "800", "{}", process.what);
    }
    assert_eq!(
        daemon.bpfman("version -o json").json()["daemon"]["cage"]["helpers"],
        format!("on, user {USER}")
    );
    let limits = |pid: u32| fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let of = |what: &str| found.iter().find(|process| process.what == what).unwrap().pid;
    let cpu = |what: &str| {
        let limits = limits(of(what));
        let line = limits.lines().find(|line| line.starts_with("Max cpu time")).unwrap();
        line["Max cpu time".len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!([cpu("reader"), cpu("verifier")], ["60", "unlimited"]);
    // A worker has only its socket and the log open, and a reader also the file of types.
    for process in &found[1..] {
        let open = fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap().flatten();
        let open: Vec<PathBuf> = open.filter_map(|file| fs::read_link(file.path()).ok()).collect();
        let is_reader = process.what == "reader";
        assert_eq!(open.contains(&PathBuf::from("/sys/kernel/btf/vmlinux")), is_reader, "{open:?}");
        assert!(open.len() <= 4 + usize::from(is_reader), "{open:?}");
    }
}

/// The kernel's types are read and indexed once: later readers map the index, and open no file.
#[test]
fn readers_share_kernel_types_once_they_are_needed() {
    let daemon = Daemon::start_with(&launch(""));
    let object = compile::object("points").display().to_string();
    let load = format!("load file -p {object} --programs iter:processes");
    let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    for round in 0..3 {
        daemon.bpfman(&load).success();
        let mut found = Vec::new();
        until("a reader waits that has the types", || {
            found = processes(&daemon);
            found.retain(|process| process.what == "reader");
            found.len() == 1 && is_confined(&found[0]) && maps(found[0].pid).contains("/memfd:bpfman")
        });
        let maps = maps(found[0].pid);
        let shared: Vec<&str> = maps.lines().filter(|line| line.contains("/memfd:bpfman")).collect();
        assert!(shared.len() == 1 && shared[0].contains(" r--p "), "{round}: {shared:?}");
        let open = fs::read_dir(format!("/proc/{}/fd", found[0].pid)).unwrap().flatten();
        let open: Vec<PathBuf> = open.filter_map(|file| fs::read_link(file.path()).ok()).collect();
        assert!(open.len() <= 4 && open.iter().all(|path| !path.ends_with("vmlinux")), "{open:?}");
    }
    assert!(!daemon.log().contains("share no types"), "{}", daemon.log());
}

fn those_that_wait(daemon: &Daemon) -> Vec<Process> {
    let sorted = || {
        let mut found = processes(daemon);
        found[1..].sort_by(|one, other| other.what.cmp(&one.what));
        found
    };
    let are_all = |found: &[Process]| {
        found.iter().map(|process| process.what.as_str()).eq(["starter", "verifier", "reader"])
            && found[1..].iter().all(is_confined)
    };
    until("a verifier and a reader wait", || are_all(&sorted()));
    sorted()
}

/// Each action is tried in a normally confined worker that has received a request.
#[test]
fn a_hostile_one_reaches_nothing() {
    let registry = Registry::start();
    let mut daemon = Daemon::prepare();
    let state = daemon.path("run").display().to_string();
    let secret: PathBuf = daemon.path("secret");
    // Readable for all users, so that its mode does not protect it.
    fs::write(&secret, "secret").unwrap();
    let socket = daemon.path("bpfman.sock").display().to_string();
    let address = registry.image("").split('/').next().unwrap().to_owned();
    let both = [
        format!("read:{}", secret.display()),
        format!("list:{state}"),
        "write:/tmp/bpfman-hostile".to_owned(),
        "write:/dev/null".to_owned(),
        "read:/proc/1/environ".to_owned(),
        format!("connect:{socket}"),
        "execute:/bin/true".to_owned(),
        "kill:1".to_owned(),
    ];
    let of = |role: &str| both.iter().map(|act| format!("{role}:{act}")).collect::<Vec<_>>();
    let more = |role: &str| vec![format!("{role}:read:/etc/hosts"), format!("{role}:dial:{address}")];
    let acts = [of("fetcher"), of("verifier"), more("verifier"), of("reader"), more("reader")].concat();
    for (number, act) in acts.into_iter().enumerate() {
        daemon.again(&launch(&act));
        let load = if act.starts_with("reader") {
            format!("load file -p {} --programs xdp:xdp_member", compile::object("chain").display())
        } else {
            let name = registry.image(&format!("chain:{number}"));
            publish(&daemon, &name, "chain");
            format!("load image -i {name} --programs xdp:xdp_member")
        };
        let before = daemon.state();
        daemon.bpfman(&load).fails(1, &["did not do its work", "hint: "]);
        let log = daemon.log();
        assert!(log.contains(&format!("hostile: trying {act}")), "{act}: {log}");
        assert!(!log.contains(&format!("hostile: did {act}")), "{act}: {log}");
        assert_eq!(daemon.state(), before, "{act}");
        assert_eq!(daemon.bpfman("image list -o json").json(), serde_json::json!([]), "{act}");
        daemon.bpfman("list programs").success();
        daemon.kill();
    }
    assert!(!PathBuf::from("/tmp/bpfman-hostile").exists());
}

/// The daemon does not trust a compromised reader, which reports a map that the file does not have.
#[test]
fn false_facts_of_hostile_reader_are_refused() {
    let daemon = Daemon::start_with(&launch("reader:lie:../../escaped"));
    let before = daemon.state();
    let object = compile::object("chain").display().to_string();
    let load = daemon.bpfman(&format!("load file -p {object} --programs xdp:xdp_member"));
    load.fails(
        1,
        &["it reports of an object that it has a map that is named so that no file can be", "hint: "],
    );
    assert_eq!(daemon.state(), before);
    // The daemon accepts the map, since no other process has read the file. The reader exits at the next request.
    let daemon = Daemon::start_with(&launch("reader:lie:invented"));
    let load = daemon.bpfman(&format!("load file -p {object} --programs xdp:xdp_member"));
    load.fails(1, &["the reader of object files did not do its work: it ended in the middle of it"]);
    daemon.bpfman("list programs").success();
}

/// Proves that the test above can fail: these actions belong to the worker's task, and succeed.
#[test]
fn a_fetcher_reaches_registries_and_what_names_resolve_to() {
    let registry = Registry::start();
    let mut daemon = Daemon::prepare();
    let address = registry.image("").split('/').next().unwrap().to_owned();
    for act in ["read:/etc/hosts".to_owned(), format!("dial:{address}")] {
        daemon.again(&launch(&format!("fetcher:{act}")));
        daemon
            .bpfman(&format!("image pull -i {}", registry.image("none:1")))
            .fails(1, &["did not do its work"]);
        let did = format!("hostile: did fetcher:{act}");
        until(&did, || daemon.log().contains(&did));
        daemon.kill();
    }
}

#[test]
fn they_end_with_the_daemon() {
    let registry = Registry::start();
    let mut daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    let pids: Vec<u32> = those_that_wait(&daemon).iter().map(|process| process.pid).collect();
    assert_eq!(pids.len(), 3);
    daemon.kill();
    let are_gone = || pids.iter().all(|pid| !PathBuf::from(format!("/proc/{pid}/fd")).exists());
    until("they are gone", are_gone);
}

/// `systemctl kill` and a closed terminal signal the whole process group.
#[test]
fn signals_that_are_meant_for_the_daemon_do_not_end_the_starter() {
    let registry = Registry::start();
    let daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    let starter = processes(&daemon).remove(0);
    let pid = rustix::process::Pid::from_raw(starter.pid.try_into().unwrap()).unwrap();
    use rustix::process::Signal;
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        rustix::process::kill_process(pid, signal).unwrap();
        daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    }
    assert_eq!(processes(&daemon)[0].pid, starter.pid);
}

/// A new starter requires a restart of the daemon; loaded programs can still be attached and spliced.
#[test]
fn without_the_starter_loads_fail_and_loaded_programs_attach() {
    let registry = Registry::start();
    let mut daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    let load = format!("load image -i {name} --programs xdp:xdp_member");
    let object = compile::object("chain");
    let both = format!("load file -p {} --programs xdp:xdp_member xdp:xdp_another -o json", object.display());
    let both = daemon.bpfman(&both).json();
    let starter = processes(&daemon).remove(0);
    assert_eq!(starter.what, "starter");
    let pid = rustix::process::Pid::from_raw(starter.pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("doctor says that it is gone", || {
        let doctor = daemon.bpfman("doctor -o json");
        doctor.code == 14 && doctor.stdout.contains("the process that starts others has ended")
    });
    assert!(daemon.log().contains("loads are refused; restart bpfmand"), "{}", daemon.log());
    daemon.bpfman(&load).fails(1, &["restart bpfmand"]);
    let file = format!("load file -p {} --programs xdp:xdp_member", compile::object("chain").display());
    until("no reader is there", || daemon.bpfman(&file).stderr.contains("restart bpfmand"));
    daemon.bpfman("list programs").success();
    let network = Network::new();
    for (program, priority) in both["programs"].as_array().unwrap().iter().zip(1..) {
        let id = &program["program_id"];
        let attach =
            format!("attach {id} xdp -i {INTERFACE} -p {priority} -n {}", network.far.path().display());
        daemon.bpfman(&attach).success();
    }
    daemon.kill();
    daemon.again(&launch(""));
    daemon.bpfman(&load).success();
}

fn lose_the_starter(launch: &Launch) {
    let (mut daemon, network) = (Daemon::start_with(launch), Network::new());
    let object = compile::object("chain").display().to_string();
    let load = format!("load file -p {object} --programs xdp:xdp_member -o json");
    let id = daemon.bpfman(&load).json()["programs"][0]["program_id"].clone();
    let far = network.far.path().display().to_string();
    daemon.bpfman(&format!("attach {id} xdp -i {INTERFACE} -p 1 -n {far}")).success();
    let starter = processes(&daemon).remove(0);
    let pid = rustix::process::Pid::from_raw(starter.pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let status = daemon.ended();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    let hooks = bpfman_tests::kernel::hooks(&network.far.path());
    assert!(!hooks[0]["xdp"].as_array().unwrap().is_empty(), "the program runs on");
    daemon.again(launch);
    daemon.bpfman(&load).success();
}

/// If a kubelet or systemd restarts the daemon, the next one has a starter again.
#[test]
fn restarted_worker_ends_without_starter_and_programs_run_on() {
    let environment = vec![("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned())];
    lose_the_starter(&Launch { environment, ..launch("") });
    let wrapper = ["sh", "-c", "SYSTEMD_EXEC_PID=$$ exec \"$0\" \"$@\""];
    lose_the_starter(&Launch { wrapper: wrapper.map(str::to_owned).to_vec(), ..launch("") });
}

#[test]
fn workers_cannot_be_switched_off() {
    let config = "[cage]\nhelpers = \"off\"\n".to_owned();
    let (status, log) = Daemon::prepare().refuses(&Launch { config, ..launch("") });
    assert!(!status.success() && log.contains("cage.helpers") && log.contains("remove the line"), "{log}");
}

/// Without a worker of its version, a daemon exits before it makes anything.
#[test]
fn daemon_starts_only_with_the_worker_of_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, worker) = (folder.path().join("bpfmand"), folder.path().join("bpfman-worker"));
    fs::copy(binaries::find("bpfmand"), &copy).unwrap();
    let refused = || {
        let daemon = Daemon::prepare();
        let (status, log) = daemon.refuses(&Launch { binary: Some(copy.clone()), ..launch("") });
        assert!(!status.success() && !daemon.fs().exists(), "{log}");
        log
    };
    let log = refused();
    assert!(
        log.contains("there is no bpfman-worker") && log.contains("libexec/bpfman/bpfman-worker"),
        "{log}"
    );
    fs::copy(compile::executable("old_worker"), &worker).unwrap();
    let log = refused();
    assert!(log.contains("bpfman-worker 0.0.1") && log.contains("install both from one package"), "{log}");
    fs::copy("/bin/true", &worker).unwrap();
    let log = refused();
    assert!(log.contains("ended at its start"), "{log}");
}

/// If the daemon cannot change users, workers give up all other rights.
#[test]
fn workers_that_cannot_change_users_have_no_capabilities() {
    let registry = Registry::start();
    let wrapper = ["capsh", "--drop=cap_setuid,cap_setgid", "--", "-c", "exec \"$0\" \"$@\""];
    let daemon = Daemon::start_with(&Launch { wrapper: wrapper.map(str::to_owned).to_vec(), ..launch("") });
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    for process in those_that_wait(&daemon) {
        let status = status(process.pid);
        assert_eq!(
            [&status["Uid"], &status["CapEff"], &status["CapPrm"]],
            ["0 0 0 0", "0000000000000000", "0000000000000000"]
        );
    }
    let notes = daemon.bpfman("doctor -o json").json()["notes"].take();
    assert!(notes.to_string().contains("CAP_SETUID"), "{notes}");
}
