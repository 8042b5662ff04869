//! Tests of bold text, width and progress on a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::fake::{FakeDaemon, Script, program};
use bpfman_proto::ext::v1 as ext;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

fn on_a_terminal(daemon: &FakeDaemon, columns: u16, line: &str) -> String {
    let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfman"));
    command
        .env("BPFMAN_SOCKET_PATH", &daemon.socket)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave);
    let mut child = command.spawn().unwrap();
    // The command holds copies of the terminal; reading ends when the last one is closed.
    drop(command);
    let (mut shown, mut terminal) = (Vec::new(), File::from(master));
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = terminal.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..count]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap().replace("\r\n", "\n")
}

#[test]
fn headers_are_bold_and_everything_else_is_as_in_a_file() {
    let daemon = FakeDaemon::start(Script { programs: vec![program(7, "pass")], ..Script::default() });
    let shown = on_a_terminal(&daemon, 120, "list programs");
    assert!(shown.contains("\x1b[1mProgram ID ") && shown.contains("Links\x1b[0m\n"), "{shown:?}");
    let plain = daemon.run("list programs").stdout;
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert_eq!(shown.replace("\x1b[1m", "").replace("\x1b[0m", ""), plain);
    assert!(!on_a_terminal(&daemon, 120, "list programs -o json").contains('\x1b'));
}

#[test]
fn third_party_names_are_escaped_in_tables() {
    let hostile = "x\x1b]0;owned\x07\n 8  trusted\x1b[2J";
    let daemon = FakeDaemon::start(Script { programs: vec![program(7, hostile)], ..Script::default() });
    for line in ["list programs", "get program 7"] {
        for shown in [on_a_terminal(&daemon, 120, line), daemon.run(line).stdout] {
            let bare = shown.replace("\x1b[1m", "").replace("\x1b[0m", "");
            assert!(!bare.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
            assert!(bare.contains("x\\u{1b}]0;owned\\u{7}\\n 8  trusted"), "{shown:?}");
        }
    }
}

#[test]
fn long_values_are_broken_at_the_width_of_the_terminal() {
    let mut long = program(7, "pass");
    if let Some(info) = &mut long.info {
        info.map_pin_path = format!("/run/{}", "x".repeat(100));
    }
    let daemon = FakeDaemon::start(Script { programs: vec![long], ..Script::default() });
    let shown = on_a_terminal(&daemon, 60, "get program 7");
    let bare = shown.replace("\x1b[1m", "").replace("\x1b[0m", "");
    assert!(bare.lines().all(|line| line.len() <= 60), "{bare}");
    let plain = daemon.run("get program 7").stdout;
    assert!(plain.lines().any(|line| line.len() > 100), "{plain}");
}

#[test]
fn a_load_pulls_first_so_that_its_progress_is_seen() {
    let event = |bytes, digest: &str| ext::PullEvent {
        bytes,
        total: 2048,
        digest: digest.into(),
        ..Default::default()
    };
    let daemon = FakeDaemon::start(Script {
        programs: vec![program(7, "pass")],
        pull: vec![event(1024, ""), event(2048, "sha256:ab")],
        ..Script::default()
    });
    let shown = on_a_terminal(&daemon, 80, "load image -i r.io/x:1 -p Always --programs xdp:pass -q");
    assert!(shown.contains("pulling r.io/x:1: 1 of 2 KiB (50 %)"), "{shown:?}");
    assert!(shown.ends_with("\r\x1b[K7\n"), "the progress is gone when the answer comes: {shown:?}");
    let asked = daemon.asked();
    let (pull, load) = asked.split_once('\n').unwrap();
    assert!(pull.starts_with("PullRequest") && pull.contains("image_pull_policy: 0"), "{asked}");
    assert!(load.starts_with("LoadRequest") && load.contains("image_pull_policy: 0"), "{asked}");
}

#[test]
fn progress_fits_a_narrow_terminal_and_is_never_beside_json() {
    let event = |bytes, digest: &str| ext::PullEvent {
        bytes,
        total: 2048,
        digest: digest.into(),
        ..Default::default()
    };
    let pull = vec![event(1024, ""), event(2048, "sha256:ab")];
    let daemon = FakeDaemon::start(Script { pull, ..Script::default() });
    let shown = on_a_terminal(&daemon, 20, "image pull -i r.io/long/name:1 -q");
    assert!(shown.contains("\r\x1b[K1 of 2 KiB (50 %)"), "{shown:?}");
    let drawn = shown.split("\r\x1b[K").map(|line| line.trim_end_matches('\n'));
    assert!(drawn.filter(|line| !line.starts_with("sha256")).all(|line| line.len() < 20), "{shown:?}");
    for line in ["image pull -i r.io/x:1 -o json", "image pull -i r.io/x:1 -o json --progress always"] {
        let shown = on_a_terminal(&daemon, 80, line);
        assert!(!shown.contains("KiB") && !shown.contains('\x1b'), "{shown:?}");
    }
    let never = on_a_terminal(&daemon, 80, "image pull -i r.io/x:1 -q --progress never");
    assert_eq!(never, "sha256:ab\n");
}

#[test]
fn elsewhere_progress_is_lines_where_it_is_asked_for() {
    let event = |bytes, digest: &str| ext::PullEvent {
        bytes,
        total: 2048,
        digest: digest.into(),
        ..Default::default()
    };
    let pull = vec![event(1024, ""), event(2048, "sha256:ab")];
    let daemon = FakeDaemon::start(Script { pull, ..Script::default() });
    let quiet = daemon.run("image pull -i r.io/x:1 -q");
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("sha256:ab\n", ""));
    let told = daemon.run("image pull -i r.io/x:1 -q --progress always");
    assert_eq!(told.stdout, "sha256:ab\n");
    assert_eq!(told.stderr, "pulling r.io/x:1: 1 of 2 KiB (50 %)\npulling r.io/x:1: 2 of 2 KiB (100 %)\n");
}

/// A step without progress may be followed by a long one: its name is always shown.
#[test]
fn each_part_of_a_support_bundle_is_named_while_it_is_collected() {
    let daemon = FakeDaemon::start(Script::default());
    let archive = daemon.folder.path().join("x.tar.gz");
    let shown = on_a_terminal(&daemon, 80, &format!("support-bundle {}", archive.display()));
    for part in
        ["version.json", "programs.txt", "links.json", "kernel/version.txt", "os-release.txt", "log.txt"]
    {
        assert!(shown.contains(&format!("\r\x1b[Kcollecting {part}: ")), "{part}: {shown:?}");
    }
    let shown = on_a_terminal(&daemon, 80, &format!("support-bundle {}.json -o json", archive.display()));
    assert!(!shown.contains("collecting"), "{shown:?}");
}

#[test]
fn elsewhere_a_load_is_one_call() {
    let daemon = FakeDaemon::start(Script { programs: vec![program(7, "pass")], ..Script::default() });
    let outcome = daemon.run("load image -i r.io/x:1 -p Always --programs xdp:pass -q");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("7\n", ""));
    assert!(daemon.asked().starts_with("LoadRequest"), "{}", daemon.asked());
}
