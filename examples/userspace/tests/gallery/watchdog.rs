//! Actions of processes that match rules. Rules that kill require the test's own directory or cgroup.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Lines};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use bpfman_tests::control_group::Group;
use bpfman_tests::wait::within;
use bpfman_tests::{Outcome, skip, wait};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals, turns};

const PROGRAMS: &str = "--programs tp_btf:watch_exec tp_btf:watch_connect tracepoint:watch_open \
                        tracepoint:watch_call tracepoint:watch_privileges tracepoint:watch_datagram \
                        cgroup_sock_addr:note_connect4 cgroup_sock_addr:note_connect6 \
                        cgroup_sock_addr:note_send4 cgroup_sock_addr:note_send6";
const CALLS: [&str; 6] = ["setuid", "setreuid", "setresuid", "capset", "execve", "execveat"];
const DATAGRAM_CALLS: [&str; 4] = ["connect", "sendto", "sendmsg", "sendmmsg"];
const SIGKILL: i32 = 9;

struct Watchdog {
    gallery: Gallery,
    program: u64,
    guards: Vec<u64>,
    folder: tempfile::TempDir,
}

impl Watchdog {
    fn new() -> Self {
        Self::with(PROGRAMS)
    }

    fn with_guards() -> Self {
        let guards = "lsm:guard_open:file_open lsm:guard_exec:bprm_check_security lsm:guard_connect:socket_connect \
             lsm:guard_send:socket_sendmsg";
        let watchdog = Self::with(&format!("{PROGRAMS} {guards} --global guarded=01"));
        for id in &watchdog.guards {
            watchdog.gallery.daemon.bpfman(&format!("attach {id} lsm")).success();
        }
        watchdog
    }

    fn with(words: &str) -> Self {
        let gallery = Gallery::open();
        let programs = gallery.load("watchdog", words);
        let attach = |program: u64, words: &str| {
            gallery.daemon.bpfman(&format!("attach {program} {words}")).success();
        };
        attach(programs[0], "tp-btf");
        attach(programs[1], "tp-btf");
        attach(programs[2], "tracepoint --tracepoint syscalls/sys_exit_openat");
        for call in CALLS {
            attach(programs[3], &format!("tracepoint --tracepoint syscalls/sys_enter_{call}"));
        }
        for call in &CALLS[..4] {
            attach(programs[4], &format!("tracepoint --tracepoint syscalls/sys_exit_{call}"));
        }
        for call in DATAGRAM_CALLS {
            attach(programs[5], &format!("tracepoint --tracepoint syscalls/sys_exit_{call}"));
        }
        for notes in &programs[6..10] {
            attach(*notes, "cgroup --path /");
        }
        let program = programs[0];
        Self { gallery, program, guards: programs[10..].to_vec(), folder: tempfile::tempdir().unwrap() }
    }

    fn run(&self, verb: &str) -> Outcome {
        self.gallery.side("watchdog", &format!("--program {} {verb}", self.program))
    }

    fn rules(&self, rules: &str) -> Outcome {
        let path = self.gallery.daemon.path("rules.yaml");
        fs::write(&path, format!("rules:\n{rules}")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        self.run(&format!("apply {}", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    fn program(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::copy("/bin/cat", &path).unwrap();
        path
    }

    fn follow(&self) -> Alerts {
        let mut side = self.gallery.side_as(WATCHER, "watchdog");
        let side = side.args(["--program", &self.program.to_string(), "follow"]);
        let mut side = side.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(side.stdout.take().unwrap()).lines();
        Alerts { side, lines }
    }

    fn stat(&self, name: &str) -> u64 {
        self.run("stats --json").json()[name].as_u64().unwrap()
    }

    fn matches(&self, rule: &str) -> u64 {
        let rules = self.run("rules --json").json();
        let found = rules.as_array().unwrap().iter().find(|one| one["rule"] == rule).cloned();
        found.unwrap_or_else(|| panic!("no rule {rule}: {rules}"))["matches"].as_u64().unwrap()
    }
}

struct Alerts {
    side: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Alerts {
    fn next_of(&mut self, rule: &str) -> Value {
        loop {
            let line = within("an alert of the watchdog", || self.lines.next()).unwrap().unwrap();
            let alert: Value = serde_json::from_str(&line).unwrap();
            if alert["rule"] == rule {
                return alert;
            }
        }
    }
}

impl Drop for Alerts {
    fn drop(&mut self) {
        let _ended = self.side.kill();
        let _reaped = self.side.wait();
    }
}

fn status(program: &Path, argument: &Path) -> ExitStatus {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

#[test]
fn starts_opened_files_connections_and_privileges_are_told() {
    let watchdog = Watchdog::new();
    let (reader, secret) = (watchdog.program("reader"), watchdog.path("secret"));
    fs::write(&secret, "x").unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let group = Group::new("watchdog");
    let said = watchdog.rules(&format!(
        "- {{name: start, event: exec, when: {{path: [{reader}]}}, action: alert}}\n\
         - {{name: read, event: open, when: {{path: [{folder}/], comm: [reader]}}, action: alert}}\n\
         - {{name: not-read, event: open, when: {{path: [{folder}/]}}, unless: {{comm: [reader]}}, action: alert}}\n\
         - {{name: write, event: open, access: write, when: {{path: [{secret}]}}, action: alert}}\n\
         - {{name: connect, event: connect, when: {{to: [127.0.0.0/8], port: [{port}], cgroup: [{group}]}}, action: alert}}\n\
         - {{name: root, event: privileges, when: {{uid: [0], new_uid: [65123]}}, action: alert}}\n\
         - {{name: gain, event: privileges, when: {{gains: [CAP_SYS_ADMIN], parent: [nobody]}}, action: alert}}\n",
        reader = reader.display(),
        folder = watchdog.path("").display().to_string().trim_end_matches('/'),
        secret = secret.display(),
        group = group.path,
    ));
    assert_eq!(said.success(), "7 rules, revision 1, mode shadow\n");
    let mut alerts = watchdog.follow();

    // Opened by a relative path through a symbolic link: the alert has the kernel's path.
    std::os::unix::fs::symlink(&secret, watchdog.path("link")).unwrap();
    let mut cat = Command::new(&reader);
    let mut cat = cat.arg("link").current_dir(watchdog.folder.path()).stdout(Stdio::null()).spawn().unwrap();
    let pid = cat.id();
    assert!(cat.wait().unwrap().success());
    let start = alerts.next_of("start");
    assert_eq!((&start["pid"], start["path"].as_str()), (&pid.into(), reader.to_str()));
    assert_eq!(
        (start["comm"].as_str(), start["parent"]["pid"].as_u64()),
        (Some("reader"), Some(std::process::id().into()))
    );
    let read = alerts.next_of("read");
    assert_eq!(
        (&read["pid"], read["path"].as_str(), &read["outcome"]),
        (&pid.into(), secret.to_str(), &"alert".into())
    );

    fs::write(&secret, "y").unwrap();
    let not_read = alerts.next_of("not-read");
    assert_eq!((not_read["path"].as_str(), &not_read["access"]), (secret.to_str(), &"write".into()));
    assert_eq!(alerts.next_of("write")["pid"], std::process::id());

    assert!(group.connects());
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let script = format!("echo $$ > {}/cgroup.procs; : > /dev/tcp/127.0.0.1/{port}", group.folder.display());
    assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success());
    let connect = alerts.next_of("connect");
    assert_eq!((&connect["destination"], &connect["port"]), (&"127.0.0.1".into(), &port.into()));
    assert_eq!(connect["protocol"], "tcp");
    assert_eq!(watchdog.matches("connect"), 1);

    assert!(Command::new("setpriv").args(["--reuid", "65123", "true"]).status().unwrap().success());
    let root = alerts.next_of("root");
    assert_eq!(
        (&root["uid"], &root["new_uid"], root["comm"].as_str()),
        (&0.into(), &65123.into(), Some("setpriv"))
    );
    assert_eq!(watchdog.matches("gain"), 0);
}

fn bound(address: &str) -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn datagrams_are_told_by_their_protocol_and_killed_for() {
    let watchdog = Watchdog::new();
    let ((_one, v4), (_other, v6), (sender, _)) = (bound("127.0.0.1"), bound("::1"), bound("127.0.0.1"));
    let group = Group::new("datagrams");
    let rules = format!(
        "- {{name: v4, event: connect, when: {{to: [127.0.0.0/8], port: [{v4}], protocol: [udp]}}, action: alert}}\n\
         - {{name: v6, event: connect, when: {{to: [\"::1\"], port: [{v6}], protocol: [\"17\"]}}, action: alert}}\n\
         - {{name: tcp, event: connect, when: {{port: [{v4}], protocol: [tcp]}}, action: alert}}\n\
         - {{name: shot, event: connect, when: {{port: [{v4}], cgroup: [{}], protocol: [udp]}}, action: kill}}\n",
        group.path
    );
    watchdog.rules(&rules).success();
    let mut alerts = watchdog.follow();
    let mut told = |rule: &str, address: &str, port: u16, protocol: &str| {
        let alert = alerts.next_of(rule);
        assert_eq!((&alert["event"], &alert["pid"]), (&"connect".into(), &std::process::id().into()));
        assert_eq!(
            (&alert["destination"], &alert["port"], &alert["protocol"]),
            (&address.into(), &port.into(), &protocol.into())
        );
    };
    sender.send_to(b"x", ("127.0.0.1", v4)).unwrap();
    told("v4", "127.0.0.1", v4, "udp");
    sender.connect(("127.0.0.1", v4)).unwrap();
    told("v4", "127.0.0.1", v4, "udp");
    sender.send(b"x").unwrap();
    let (sender6, _) = bound("::1");
    sender6.send_to(b"x", ("::1", v6)).unwrap();
    told("v6", "::1", v6, "udp");
    std::net::TcpStream::connect(("127.0.0.1", v4)).unwrap_err();
    told("tcp", "127.0.0.1", v4, "tcp");
    assert_eq!((watchdog.matches("v4"), watchdog.matches("v6"), watchdog.matches("tcp")), (2, 1, 1));

    let python = |line: &str| {
        let code = format!("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); {line}");
        let script = format!("echo $$ > {}/cgroup.procs; exec python3 -c \"{code}\"", group.folder.display());
        Command::new("bash").args(["-c", &script]).status().unwrap()
    };
    let send = format!("s.sendmsg([b'x'], [], 0, ('127.0.0.1', {v4}))");
    assert!(python(&send).success(), "in shadow");
    watchdog.run("mode enforce").success();
    assert_eq!(python(&send).signal(), Some(SIGKILL));
    assert_eq!(python(&format!("s.connect(('127.0.0.1', {v4}))")).signal(), Some(SIGKILL));
    assert!(python(&format!("s.sendto(b'x', ('127.0.0.1', {v6}))")).success(), "another port");
    assert_eq!(watchdog.stat("killed"), 2);
    watchdog
        .rules("- {name: a, event: open, when: {protocol: [udp]}, action: alert}\n")
        .fails(6, &["has no protocol"]);
    watchdog
        .rules("- {name: a, event: connect, when: {protocol: [upd]}, action: alert}\n")
        .fails(6, &["\"upd\" is no protocol"]);
}

#[test]
fn a_rule_kills_when_it_is_enforced_and_only_says_so_in_shadow() {
    let mut watchdog = Watchdog::new();
    let (reader, secret) = (watchdog.program("reader"), watchdog.path("secret"));
    let (miner, free) = (watchdog.program("miner"), watchdog.path("free"));
    fs::write(&secret, "x").unwrap();
    fs::write(&free, "x").unwrap();
    let rules = format!(
        "- {{name: secret, event: open, when: {{path: [{}]}}, action: kill}}\n\
         - {{name: miner, event: exec, when: {{path: [{}]}}, action: kill}}\n",
        secret.display(),
        miner.display()
    );
    watchdog.rules(&rules).success();
    assert_eq!(watchdog.run("mode").success(), "shadow\n");
    let mut alerts = watchdog.follow();
    assert!(status(&reader, &secret).success());
    assert_eq!(alerts.next_of("secret")["outcome"], "would kill");
    assert!(status(&miner, &free).success());
    assert_eq!(alerts.next_of("miner")["outcome"], "would kill");
    assert_eq!((watchdog.stat("killed"), watchdog.matches("secret")), (0, 1));

    watchdog.run("mode enforce").success();
    assert_eq!(status(&reader, &secret).signal(), Some(SIGKILL));
    assert_eq!(alerts.next_of("secret")["outcome"], "killed");
    assert_eq!(status(&miner, &free).signal(), Some(SIGKILL));
    assert_eq!(alerts.next_of("miner")["outcome"], "killed");
    assert!(status(&reader, &free).success(), "what no rule names is left alone");
    assert_eq!(watchdog.stat("killed"), 2);

    watchdog.gallery.daemon.kill();
    assert_eq!(status(&reader, &secret).signal(), Some(SIGKILL));
    watchdog.gallery.restart();
    assert_eq!(status(&reader, &secret).signal(), Some(SIGKILL));
    assert_eq!(watchdog.run("mode").success(), "enforce\n");
    for _ in 0..2 {
        assert_eq!(alerts.next_of("secret")["outcome"], "killed");
    }
    watchdog.run("mode shadow").success();
    assert!(status(&reader, &secret).success());
    watchdog.rules("- {name: none, event: exec, when: {comm: [nobody]}, action: kill}\n").success();
    watchdog.run("mode enforce").success();
    assert!(status(&miner, &free).success());
}

fn opening(path: &Path) -> Result<(), std::io::ErrorKind> {
    fs::File::open(path).map(drop).map_err(|error| error.kind())
}

#[test]
fn a_rule_forbids_when_it_is_enforced() {
    if skip::lacks("lsm", "sample_lsm", "a_rule_forbids_when_it_is_enforced") {
        return;
    }
    let watchdog = Watchdog::with_guards();
    let (miner, secret, free) = (watchdog.program("miner"), watchdog.path("secret"), watchdog.path("free"));
    fs::write(&secret, "x").unwrap();
    fs::write(&free, "x").unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ((_receiver, udp), (sender, _)) = (bound("127.0.0.1"), bound("127.0.0.1"));
    let rules = format!(
        "- {{name: secret, event: open, when: {{path: [{}]}}, action: forbid}}\n\
         - {{name: miner, event: exec, when: {{path: [{}]}}, action: forbid}}\n\
         - {{name: connect, event: connect, when: {{to: [127.0.0.1], port: [{port}]}}, action: forbid}}\n\
         - {{name: datagram, event: connect, when: {{port: [{udp}], protocol: [udp]}}, action: forbid}}\n",
        secret.display(),
        miner.display()
    );
    watchdog.rules(&rules).success();
    let mut alerts = watchdog.follow();
    let connecting =
        || std::net::TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.kind());
    opening(&secret).unwrap();
    assert!(status(&miner, &free).success());
    connecting().unwrap();
    let sending = || sender.send_to(b"x", ("127.0.0.1", udp)).map(drop).map_err(|error| error.kind());
    sending().unwrap();
    for rule in ["secret", "miner", "connect", "datagram"] {
        assert_eq!(alerts.next_of(rule)["outcome"], "would forbid");
        assert_eq!(watchdog.matches(rule), 1, "{rule}");
    }
    watchdog.run("mode enforce").success();
    let refused = std::io::ErrorKind::PermissionDenied;
    assert_eq!(opening(&secret), Err(refused));
    assert_eq!(Command::new(&miner).spawn().unwrap_err().kind(), refused);
    assert_eq!(connecting(), Err(refused));
    assert_eq!(sending(), Err(refused));
    for rule in ["secret", "miner", "connect", "datagram"] {
        assert_eq!(alerts.next_of(rule)["outcome"], "forbidden");
    }
    let connected = sender.connect(("127.0.0.1", udp)).map_err(|error| error.kind());
    assert_eq!(connected, Err(refused));
    assert_eq!(watchdog.stat("forbidden"), 5);
    opening(&free).unwrap();
}

#[test]
fn kill_needs_no_ring_capacity_and_lost_reports_are_counted() {
    let watchdog = Watchdog::new();
    let (reader, secret) = (watchdog.program("reader"), watchdog.path("secret"));
    let free = watchdog.path("free");
    fs::write(&secret, "x").unwrap();
    fs::write(&free, "x").unwrap();
    let rules = format!(
        "- {{name: all, event: open, when: {{path: [{}]}}, action: alert}}\n\
         - {{name: secret, event: open, when: {{path: [{}]}}, action: kill}}\n",
        free.display(),
        secret.display(),
    );
    watchdog.rules(&rules).success();
    watchdog.run("mode enforce").success();
    // Nothing reads the ring buffer, which has space for 1,680 events.
    for _ in 0..2000 {
        fs::File::open(&free).unwrap();
    }
    let lost = watchdog.stat("lost");
    assert!((1..2000).contains(&lost), "{lost}");
    assert_eq!(watchdog.matches("all"), 2000, "rules count also what was lost");
    assert_eq!(status(&reader, &secret).signal(), Some(SIGKILL));
    assert_eq!(watchdog.stat("killed"), 1);
    assert_eq!(watchdog.stat("lost"), lost + 1);
    let mut alerts = watchdog.follow();
    for _ in 0..2000 - lost {
        assert_eq!(alerts.next_of("all")["path"].as_str(), free.to_str());
    }
    fs::File::open(&free).unwrap();
    assert_eq!(alerts.next_of("all")["path"].as_str(), free.to_str());
    assert_eq!(watchdog.stat("lost"), lost + 1);
}

#[test]
fn a_file_of_rules_may_say_the_mode() {
    let watchdog = Watchdog::new();
    let (victim, secret) = (watchdog.program("wd-moded"), watchdog.path("secret"));
    fs::write(&secret, "none").unwrap();
    let rule =
        format!("- {{name: moded, event: exec, when: {{path: ['{}']}}, action: kill}}\n", victim.display());
    let mode = || watchdog.run("mode").success();
    let killed = || status(&victim, &secret).signal();
    for (behind, says, ends) in [
        ("mode: enforce\n", "enforce", Some(SIGKILL)),
        ("", "enforce", Some(SIGKILL)),
        ("mode: shadow\n", "shadow", None),
        ("", "shadow", None),
    ] {
        let said = watchdog.rules(&format!("{rule}{behind}")).success();
        assert!(said.ends_with(&format!(", mode {says}\n")), "{said}");
        assert_eq!((mode().trim(), killed()), (says, ends), "{behind}");
    }
    watchdog.rules(&format!("{rule}mode: on\n")).fails(6, &["line 3: ", "unknown variant `on`"]);
    watchdog.rules(&format!("{rule}{rule}mode: enforce\n")).fails(6, &["the name \"moded\" of rule 1"]);
    assert_eq!(mode(), "shadow\n", "a bad file changes nothing");
}

#[test]
fn bad_rules_are_named_by_line_and_change_nothing() {
    let mut watchdog = Watchdog::new();
    watchdog.rules("- {name: good, event: exec, when: {comm: [nobody]}, action: kill}\n").success();
    for (rules, says) in [
        (
            "- name: a\n  event: exec\n  action: kill\n",
            "line 2: rules[0]: rule \"a\" would meet every process",
        ),
        ("- name: a\n  event: exec\n  action: shoot\n", "line 4: "),
        ("- name: a\n  event: open\n  action: alert\n  when: {path: [etc/passwd]}\n", "line 5: "),
        ("- name: a\n  event: connect\n  action: alert\n  when: {to: [10.0.0.1/8]}\n", "10.0.0.0/8?"),
    ] {
        watchdog.rules(rules).fails(6, &["rules.yaml, ", says, "nothing was changed"]);
    }
    watchdog
        .rules("- {name: a, event: exec, when: {cgroup: [/no/such]}, action: kill}\n")
        .fails(5, &["/no/such"]);
    watchdog.run("apply /no/such/rules").fails(1, &["cannot read /no/such/rules"]);
    let check = |text: &str| {
        let path = watchdog.gallery.daemon.path("rules.yaml");
        fs::write(&path, text).unwrap();
        watchdog.gallery.side("watchdog", &format!("check {}", path.display()))
    };
    assert_eq!(check("rules: []\n").success(), "0 rules\n");
    check("rules: [{}]\n").fails(6, &["line 1", "missing field"]);
    let rules = watchdog.run("rules --json").json();
    assert_eq!(rules, serde_json::json!([{ "rule": "good", "action": "kill", "matches": 0 }]));
    refusals(&mut watchdog.gallery, "watchdog", watchdog.program, "rules");
    let alert = "- {name: a, event: exec, when: {path: [/no/such]}, action: alert}\n";
    turns(&watchdog.gallery, watchdog.program, &|| watchdog.rules(alert), &|| watchdog.run("unlock"));
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let manifest = gallery.manifest("watchdog");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    for program in [
        "watch_exec",
        "watch_connect",
        "watch_open",
        "watch_call",
        "watch_privileges",
        "watch_datagram",
        "note_send4",
    ] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = fs::canonicalize(folder.path()).unwrap().join("file");
    let rules = gallery.daemon.path("rules.yaml");
    let text = format!(
        "rules: [{{name: file, event: open, when: {{path: [{}]}}, action: alert}}]\n",
        file.display()
    );
    fs::write(&rules, text).unwrap();
    gallery.side("watchdog", &format!("--app watchdog apply {}", rules.display())).success();
    fs::write(&file, "x").unwrap();
    wait::until("the rule has matched", || {
        gallery.side("watchdog", "--app watchdog rules --json").json()[0]["matches"] == 1
    });
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("watchdog", "--app watchdog rules").fails(5, &["watchdog"]);
}
