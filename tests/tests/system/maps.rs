//! Maps handed over to local processes as file descriptors.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::command::run;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::wait::{until, within};
use bpfman_tests::{Daemon, Launch, Network, Outcome, binaries, compile, kernel};

use crate::equipment::Program;
use crate::grants::load_as;

const READER: u32 = 4711;
const WRITER: u32 = 4712;
const GROUP: u32 = 4242;
/// Maximum number of connections of one user (`api/src/serve/limits.rs`).
const CONNECTIONS_OF_A_USER: usize = 64;

fn grants() -> String {
    format!(
        "[files]\nusers = [0, {READER}, {WRITER}]\n\
         [[grants]]\nname = \"readers\"\nusers = [{READER}]\nallow = [\"maps-read\"]\nover = \"all\"\n\
         [[grants]]\nname = \"writers\"\nusers = [{WRITER}]\nallow = [\"load\", \"maps-read\", \"maps-write\"]\n"
    )
}

struct Bench {
    daemon: Daemon,
    program: Program,
    map: u32,
}

impl Bench {
    fn new(policy: String) -> Self {
        let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
        let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
        let bench = Self { map: kernel::map_named(&program.maps, "hits"), program, daemon };
        bench.open_to_group();
        fs::copy(compile::executable("take_map"), bench.daemon.path("take_map")).unwrap();
        bench
    }

    fn open_to_group(&self) {
        chown(self.daemon.socket(), None, Some(GROUP)).unwrap();
        fs::set_permissions(self.daemon.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, user: u32, map: u32, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        let (user, group) = (user.to_string(), GROUP.to_string());
        command.args(["--reuid", &user, "--regid", &group, "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(self.daemon.path("take_map")).arg(self.daemon.socket()).arg(map.to_string()).args(words);
        command
    }

    fn take(&self, user: u32, map: u32, words: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(user, map, words))
    }

    fn start(&self, user: u32, words: &[&str]) -> Taker {
        let mut command = self.command(user, self.map, words);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Taker { process, lines }
    }

    fn set(&self, value: u8) {
        let id = self.map.to_string();
        let value = value.to_string();
        let mut words =
            vec!["bpftool", "map", "update", "id", &id, "key", "0", "0", "0", "0", "value", &value];
        words.extend(["0"; 7]);
        run(&words);
    }

    fn value(&self) -> u64 {
        kernel::array_value(self.map, 0)
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.daemon.pid())).unwrap().count()
    }
}

struct Taker {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Taker {
    fn line(&mut self) -> String {
        let mut line = String::new();
        within("a line of the holder", || self.lines.read_line(&mut line)).unwrap();
        line
    }

    fn value(&mut self) -> String {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

#[test]
fn a_user_with_a_grant_reads_a_map_of_root_and_cannot_write_it() {
    let bench = Bench::new(grants());
    bench.set(42);
    let took = bench.take(READER, bench.map, &["read"]).success();
    assert_eq!(took, "took: ok\n42\nupdate: EPERM\nmmap: EACCES\n");
    assert_eq!(bench.value(), 42);
    until("the opening is told", || bench.daemon.log().contains("verb=\"OpenForReading\""));
    let log = bench.daemon.log();
    let line = log.lines().find(|line| line.contains("verb=\"OpenForReading\"")).unwrap();
    for said in
        [format!("uid={READER}"), "grant=\"readers\"".into(), format!("descriptor of map {}", bench.map)]
    {
        assert!(line.contains(&said), "{line}");
    }
    // Accesses are recorded separately, so that they displace no changes, however frequent they are.
    let told = |line: &str| bench.daemon.bpfman(line).success();
    assert!(told("history --accesses").contains("open for reading"));
    let changes = told("history");
    assert!(changes.contains("load") && !changes.contains("open for"), "{changes}");
    bench.take(READER, bench.map, &["write", "7"]).fails(1, &[]);
    assert_eq!(bench.value(), 42);
}

#[test]
fn without_a_grant_that_covers_it_nothing_is_handed_over() {
    let bench = Bench::new(grants());
    let before = bench.value();
    let denied = |user: u32, map: u32, words: &[&str], why: &[&str]| {
        let refused = bench.take(user, map, words);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stdout.starts_with("nothing: "), "{refused:?}");
        for text in why {
            assert!(refused.stdout.contains(text), "{refused:?}");
        }
    };
    let of_root = format!("program {} of root", bench.program.id);
    denied(64_203, bench.map, &["read"], &["may not read maps", &of_root, "bpfman policy allow", "denied"]);
    denied(READER, bench.map, &["write", "7"], &["grant \"readers\" does not allow \"maps-write\""]);
    denied(WRITER, bench.map, &["read"], &["grant \"writers\" does not cover", &of_root, "\"over\""]);
    assert_eq!(bench.value(), before);
    fs::set_permissions(bench.daemon.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    bench.daemon.open_to_users();
    let own = load_as(&bench.daemon, WRITER);
    let shown = bench.daemon.bpfman(&format!("get program {own} -o json")).json();
    let hits = shown["maps"].as_array().unwrap().iter().find(|map| map["name"] == "hits").unwrap();
    let own_map = u32::try_from(hits["id"].as_u64().unwrap()).unwrap();
    assert_eq!(bench.take(WRITER, own_map, &["write", "9"]).success(), "took: ok\nupdate: ok\n");
    assert_eq!(kernel::array_value(own_map, 0), 9);
    fs::write(bench.daemon.path("policy.toml"), "").unwrap();
    denied(WRITER, own_map, &["read"], &["no grant is for this user"]);
    fs::write(bench.daemon.path("policy.toml"), EVERYBODY_MAY).unwrap();
    bench.take(READER, bench.map, &["write", "7"]).success();
}

#[test]
fn map_of_several_owners_needs_a_right_over_each_of_them() {
    let policy = format!(
        "{}[[grants]]\nname = \"all\"\nusers = [{WRITER}]\nallow = [\"load\", \"maps-write\"]\nover = \"all\"\n",
        grants()
    );
    let bench = Bench::new(policy);
    bench.daemon.open_to_users();
    // "writers" covers only the user's own maps; with "all" the user may share and write root's.
    let path = bench.daemon.path("own.o");
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(WRITER), Some(WRITER)).unwrap();
    let line = format!(
        "load file -p {} --programs xdp:xdp_another --map-owner-id {} -o json",
        path.display(),
        bench.program.id
    );
    bench.daemon.bpfman_as(WRITER, &line).success();
    let refused = bench.take(WRITER, bench.map, &["read"]);
    assert!(refused.stdout.contains(&format!("program {} of root", bench.program.id)), "{refused:?}");
}

#[test]
fn foreign_and_missing_maps_are_not_handed_over_even_to_root() {
    let bench = Bench::new(String::new());
    let pin = bench.daemon.fs().join("of-others");
    let pin_path = pin.display().to_string();
    run(&[
        "bpftool", "map", "create", &pin_path, "type", "array", "key", "4", "value", "8", "entries", "1",
        "name", "others",
    ]);
    let shown = run(&["bpftool", "-j", "map", "show", "pinned", &pin_path]);
    let id = serde_json::from_str::<serde_json::Value>(&shown).unwrap()["id"].as_u64().unwrap();
    for id in [u32::try_from(id).unwrap(), u32::MAX - 7] {
        let refused = bench.take(0, id, &["read"]);
        assert!(refused.stdout.contains("no program of bpfman uses a map"), "{refused:?}");
        assert!(refused.stdout.contains("not-found"), "{refused:?}");
        let denied = bench.take(READER, id, &["read"]);
        assert!(denied.stdout.contains("may not read maps"), "{denied:?}");
    }
    fs::remove_file(pin).unwrap();
}

#[test]
fn connection_hands_over_one_map_and_answers_malformed_requests() {
    let bench = Bench::new(grants());
    let twice = bench.take(READER, bench.map, &["twice"]).success();
    assert!(twice.starts_with("took: ok\n") && twice.ends_with("nothing: \n"), "{twice}");
    let preface = "6270666d616e2d68616e646f7665722f310a";
    let text = |hex: &str| -> String {
        let answer = bench.take(READER, 0, &["raw", hex]).success();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        String::from_utf8_lossy(&answer.trim().as_bytes().chunks(2).map(byte).collect::<Vec<_>>())
            .into_owned()
    };
    for (hex, says) in [
        ("6270666d616e2d68616e646f7665722f320a", "neither with HTTP/2 nor with a handover"),
        (&format!("{preface}00001001"), "at most 4096 bytes"),
        (&format!("{preface}00000000"), "nothing is asked for"),
        (&format!("{preface}00000002ffff"), "cannot be read"),
        (&format!("{preface}000000020a00"), "names no map"),
    ] {
        assert!(text(hex).contains(says), "{hex}: {}", text(hex));
    }
    assert_eq!(text(&format!("{preface}00000004")), "");
    assert_eq!(bench.take(READER, bench.map, &["read"]).success().lines().next(), Some("took: ok"));
}

#[test]
fn slow_reader_of_answers_holds_one_users_share_of_connections() {
    let bench = Bench::new(grants());
    bench.take(READER, bench.map, &["read"]).success();
    until("the first is closed", || kernel::held_by(bench.daemon.pid()).is_empty());
    let before = bench.descriptors();
    let count = (2 * CONNECTIONS_OF_A_USER).to_string();
    let mut hoarder = bench.start(READER, &["hoard", &count]);
    until("its connections are taken, and the next are refused", || {
        bench.daemon.log().contains(&format!("{CONNECTIONS_OF_A_USER} connections of this user are open"))
    });
    assert_eq!(hoarder.line(), "asked\n");
    until("the daemon holds no map", || kernel::held_by(bench.daemon.pid()).is_empty());
    assert!(bench.descriptors() <= before + 2 * CONNECTIONS_OF_A_USER + 4);
    bench.take(0, bench.map, &["read"]).success();
    assert!(bench.take(WRITER, bench.map, &["read"]).stdout.contains("grant \"writers\" does not cover"));
    assert_ne!(bench.take(READER, bench.map, &["read"]).code, 0);
    drop(hoarder);
    until("nothing is left of it", || bench.descriptors() <= before);
    until("it is served again", || bench.take(READER, bench.map, &["read"]).code == 0);
}

#[test]
fn map_descriptor_outlives_daemon_and_program() {
    let mut bench = Bench::new(grants());
    let mut reader = bench.start(READER, &["keep"]);
    assert_eq!(reader.line(), "took: ok\n");
    bench.set(5);
    assert_eq!(reader.value(), "5\n");
    bench.daemon.kill();
    bench.set(6);
    assert_eq!(reader.value(), "6\n");
    bench.daemon.again(&Launch { policy: grants(), ..Launch::default() });
    bench.open_to_group();
    assert_eq!(bench.take(READER, bench.map, &["read"]).success().lines().nth(1), Some("6"));
    crate::equipment::unload(&bench.daemon.wire(), bench.program.id);
    assert_eq!(reader.value(), "6\n");
    let gone = bench.take(READER, bench.map, &["read"]);
    assert!(gone.stdout.contains("no program of bpfman uses a map"), "{gone:?}");
    assert!(kernel::has_map(bench.map));
    drop(reader);
    kernel::map_ends(bench.map);
}

#[test]
fn a_thousand_handovers_leave_no_descriptor() {
    let bench = Bench::new(grants());
    bench.take(READER, bench.map, &["read"]).success();
    until("the first is closed", || kernel::held_by(bench.daemon.pid()).is_empty());
    let before = bench.descriptors();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    bench.take(READER, bench.map, &["read"]).success();
                }
            });
        }
    });
    until("no map is held", || kernel::held_by(bench.daemon.pid()).is_empty());
    until("all connections are closed", || bench.descriptors() <= before);
}

#[test]
fn an_example_without_privileges_counts_what_an_xdp_program_saw() {
    let policy = format!(
        "[[grants]]\nname = \"counting\"\nusers = [{READER}]\nallow = [\"maps-read\"]\nover = \"all\"\n"
    );
    let (bench, network) = (Bench::new(policy), Network::new());
    let counter = bench.daemon.path("xdp-counter");
    fs::copy(binaries::side("xdp-counter"), &counter).unwrap();
    let wire = bench.daemon.wire();
    let loaded = wire.load(load(&compile::example("xdp-counter"), &[("xdp_counter", Type::Xdp)])).unwrap();
    let program = Program::of(&loaded.programs[0]).id;
    wire.attach(attach(program, xdp(&network.far.path(), INTERFACE, 20, &[]))).unwrap();
    assert_eq!(Traffic::new(&network).send(5), 5);
    let count = |user: u32, program: u32| {
        let mut command = Command::new("setpriv");
        let (user, group) = (user.to_string(), GROUP.to_string());
        command.args(["--reuid", &user, "--regid", &group, "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(&counter).args(["--json", "--program", &program.to_string()]);
        Outcome::of(command.env("BPFMAN_SOCKET_PATH", bench.daemon.socket()))
    };
    assert_eq!(count(READER, program).json()["ipv4/udp"]["packets"], 6);
    count(WRITER, program).fails(4, &["may not read maps", "bpfman policy allow"]);
    count(READER, bench.program.id).fails(5, &["has no map \"protocols\"", "hits"]);
}
