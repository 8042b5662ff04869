mod symbols;

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bpfman_profile::Profile;
use bpfman_tests::control_group::Group;
use bpfman_tests::{Outcome, binaries, compile, wait};

use crate::equipment::{Gallery, WATCHER, refusals};

const CALLS: &str = "work_all_day;spin_in_user_space";
const KERNEL: &str = "vfs_read_[k]";
const PERIOD: u64 = 1_000_000_000 / 99;

/// Busy process of the user who takes profiles: names need the right to read the process.
struct Busy(Child);

impl Busy {
    fn start(gallery: &Gallery, name: &str, group: Option<&Group>) -> Self {
        Self::of(gallery, name, group, &compile::executable("busy"))
    }

    fn of(gallery: &Gallery, name: &str, group: Option<&Group>, executable: &Path) -> Self {
        let copy = gallery.daemon.path(name);
        fs::copy(executable, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        let user = WATCHER.to_string();
        let script = match group {
            Some(group) => format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.folder.display()),
            None => "exec \"$@\"".to_owned(),
        };
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &script,
            "sh",
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "--",
        ]);
        let busy = Self(command.arg(&copy).spawn().unwrap());
        let comm = format!("/proc/{}/comm", busy.0.id());
        wait::until("it works", || fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == name));
        busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn profiled(gallery: &Gallery) -> u64 {
    let program = gallery.load("profiler", "--programs perf_event:profiler")[0];
    let line = format!("attach {program} perf-event --event cpu-clock --frequency 99");
    gallery.daemon.bpfman(&line).success();
    program
}

fn lines_of<'a>(folded: &'a str, name: &str) -> Vec<&'a str> {
    folded.lines().filter(|line| line.starts_with(&format!("{name};"))).collect()
}

#[test]
fn busy_process_shows_its_functions_in_every_format() {
    // Another test may run a busy process at the same time.
    const OWN: &str = "busy-here";
    let mut gallery = Gallery::open();
    let program = profiled(&gallery);
    refusals(&mut gallery, "profiler", program, "record --seconds 1");
    let folded =
        |words: &str| gallery.side("profiler", &format!("--program {program} record {words}")).success();
    let busy = Busy::start(&gallery, OWN, None);

    let all = folded("--seconds 2");
    let own = lines_of(&all, OWN);
    assert!(own.iter().any(|line| line.contains(CALLS)), "{all}");
    let pid = busy.0.id();
    let only = folded(&format!("--seconds 2 --pid {pid}"));
    assert!(only.lines().any(|line| line.contains(CALLS)), "{only}");
    assert_eq!(lines_of(&only, OWN).len(), only.lines().count(), "{only}");

    let file = gallery.daemon.path("profile");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let path = file.display();
    folded(&format!("--seconds 1 --pid {pid} --format pprof --output {path}"));
    let profile = Profile::from_pprof(&fs::read(&file).unwrap()).unwrap();
    let total = profile.total();
    assert!(total.samples > 0, "{profile:?}");
    assert_eq!(total.nanoseconds, total.samples * PERIOD, "{profile:?}");
    assert_eq!(profile.duration.as_secs(), 1);
    folded(&format!("--seconds 1 --pid {pid} --format svg --output {path}"));
    let svg = fs::read_to_string(&file).unwrap();
    assert!(svg.contains("<title>spin_in_user_space: "), "{svg}");

    let as_root = |words: &str| {
        let mut side = Command::new(binaries::side("profiler"));
        side.env("BPFMAN_SOCKET_PATH", gallery.daemon.socket());
        Outcome::of(side.args(format!("--program {program} record {words}").split_whitespace())).success()
    };
    let all = as_root("--seconds 2");
    assert!(lines_of(&all, OWN).iter().any(|line| line.contains(KERNEL)), "{all}");
    drop(busy);
    let after = as_root("--seconds 1");
    assert_eq!(lines_of(&after, OWN), Vec::<&str>::new());
}

#[test]
fn a_control_group_is_seen_without_its_neighbours() {
    let gallery = Gallery::open();
    let program = profiled(&gallery);
    let group = Group::new("profiler");
    let inside = Busy::start(&gallery, "inside", Some(&group));
    let _outside = Busy::start(&gallery, "outside", None);
    let line = |folder: &str| format!("--program {program} record --seconds 2 --cgroup {folder}");
    let folder = group.folder.display().to_string();
    let folded = gallery.side("profiler", &line(&folder)).success();
    assert!(folded.lines().any(|line| line.contains(CALLS)), "{folded}");
    assert_eq!(lines_of(&folded, "inside").len(), folded.lines().count(), "{folded}");
    gallery.side("profiler", &line("/proc")).fails(6, &["/proc", "no cgroup"]);
    gallery.side("profiler", &line("/nowhere")).fails(5, &["/nowhere"]);
    drop(inside);
}

#[test]
fn one_profile_runs_at_a_time_and_a_killed_one_blocks_no_other() {
    let gallery = Gallery::open();
    let program = profiled(&gallery);
    let mut first = gallery.side_as(WATCHER, "profiler");
    first.args(["--program", &program.to_string(), "record", "--seconds", "3600"]).stdout(Stdio::null());
    let mut first = first.spawn().unwrap();
    wait::until("it has the lease", || {
        gallery.daemon.bpfman(&format!("map dump {program}:lease -o json")).success().contains("expires")
    });
    let again = format!("--program {program} record --seconds 1");
    gallery.side("profiler", &again).fails(7, &["somebody else", "hint: "]);
    assert!(first.try_wait().unwrap().is_none());
    first.kill().unwrap();
    first.wait().unwrap();
    wait::until("its lease has expired", || gallery.side("profiler", &again).code == 0);
}

fn get(address: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer[end + 4..].to_vec())
}

#[test]
fn profiles_are_served_also_while_the_daemon_is_away() {
    let mut gallery = Gallery::open();
    let program = profiled(&gallery);
    let _busy = Busy::start(&gallery, "busy", None);
    let mut side = gallery.side_as(WATCHER, "profiler");
    side.args(["--program", &program.to_string(), "serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
    let mut side = side.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(side.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    gallery.daemon.kill();
    let (code, body) = get(&address, "/profile?seconds=1");
    assert_eq!(code, 200);
    let folded = String::from_utf8(body).unwrap();
    assert!(folded.contains(CALLS), "{folded}");
    gallery.restart();
    let (code, body) = get(&address, "/profile?seconds=1&format=pprof");
    assert_eq!(code, 200);
    let profile = Profile::from_pprof(&body).unwrap();
    assert!(profile.to_folded().contains(CALLS), "{profile:?}");
    for (path, wanted) in [("/profile?seconds=0", 400), ("/profile?format=png", 400), ("/other", 404)] {
        assert_eq!(get(&address, path).0, wanted, "{path}");
    }
    assert_eq!(get(&address, "/healthz").0, 200);
    side.kill().unwrap();
    side.wait().unwrap();
    let line = format!("--program {program} serve --listen 192.0.2.1:1");
    gallery.side("profiler", &line).fails(1, &["cannot listen on 192.0.2.1:1"]);
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let manifest = gallery.manifest("profiler");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    gallery.daemon.bpfman("wait program profiler --for attached").success();
    let _busy = Busy::start(&gallery, "busy", None);
    let folded = gallery.side("profiler", "--app profiler record --seconds 2").success();
    assert!(folded.contains(CALLS), "{folded}");
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("profiler", "--app profiler record --seconds 1").fails(5, &["profiler"]);
}
