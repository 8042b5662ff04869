//! Grants for the programs of a recorded list.

use std::fs;
use std::io::{BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bpfman_tests::wait::until;
use bpfman_tests::{Launch, Outcome, compile};
use rustix::process::{Signal, kill_process};

use super::life::{line, parent};
use super::{ADA, BOB, Sessions, sessions_of};

/// Folder of a list, which only root may write.
struct List(PathBuf);

impl List {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("run-as-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("programs")
    }

    /// Bob records programs, and Ada may load the recorded ones.
    fn sessions(&self) -> Sessions {
        let list = self.path().display().to_string();
        sessions_of(&format!(
            "[[grants]]\nname = \"recorded\"\nusers = [{ADA}]\nallow = [\"raw\"]\nprograms = \"{list}\"\n\
             [[grants]]\nname = \"any\"\nusers = [{BOB}]\nallow = [\"raw\"]\n"
        ))
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir_all(&self.0);
    }
}

fn record(daemon: &Sessions, user: u32, file: &Path, words: &[&str]) -> Outcome {
    let mut command = daemon.cli_command_as(user, user);
    command.args(["run-as", "--record", &file.display().to_string(), "--"]).args(words);
    Outcome::of(command.current_dir("/"))
}

#[test]
fn program_that_was_recorded_is_loaded_and_no_other() {
    let list = List::new("recorded");
    let daemon = list.sessions();
    let object = |name| daemon.readable(&compile::object(name)).display().to_string();
    let (known, other) = (object("page_count"), object("clones"));
    let load = |object: &str| daemon.session(ADA, &["bpftool", "prog", "load", object, "/sys/fs/bpf/p"]);
    let refused = load(&known);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("does not cover instructions sha256:"), "{refused:?}");
    assert!(refused.stderr.contains("by its \"programs\""), "{refused:?}");
    let recorded = daemon.path("recorded");
    fs::write(&recorded, "").unwrap();
    fs::set_permissions(&recorded, fs::Permissions::from_mode(0o666)).unwrap();
    let words = ["bpftool", "prog", "load", &known, "/sys/fs/bpf/p"];
    for _ in 0..2 {
        record(&daemon, BOB, &recorded, &words).success();
    }
    let text = fs::read_to_string(&recorded).unwrap();
    assert_eq!(text.lines().filter(|line| line.ends_with(" count")).count(), 1, "{text}");
    fs::write(list.path(), &text).unwrap();
    load(&known).success();
    load(&other).fails(255, &["by its \"programs\""]);
    // A list that other users may write allows nothing, and neither does the list of another kernel.
    fs::set_permissions(list.path(), fs::Permissions::from_mode(0o646)).unwrap();
    assert_ne!(load(&known).code, 0);
    fs::set_permissions(list.path(), fs::Permissions::from_mode(0o644)).unwrap();
    load(&known).success();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    fs::write(list.path(), text.replace(release.trim(), "5.19.0")).unwrap();
    assert_ne!(load(&known).code, 0);
}

#[test]
fn programs_are_recorded_after_kills() {
    let list = List::new("kills");
    let mut daemon = list.sessions();
    let recorded = daemon.path("recorded");
    fs::write(&recorded, "").unwrap();
    fs::set_permissions(&recorded, fs::Permissions::from_mode(0o666)).unwrap();
    let objects =
        ["page_count", "clones"].map(|name| daemon.readable(&compile::object(name)).display().to_string());
    let script = format!(
        "echo $$; read line; bpftool prog load {} /sys/fs/bpf/p && echo loaded; read line; bpftool prog load {} /sys/fs/bpf/q",
        objects[0], objects[1]
    );
    let mut command = daemon.cli_command_as(BOB, BOB);
    command
        .args(["run-as", "--record", &recorded.display().to_string(), "--", "sh", "-c", &script])
        .current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let shell = line(&mut output);
    let receiver = parent(&shell);
    kill_process(receiver, Signal::KILL).unwrap();
    until("another process takes over", || parent(&shell) != receiver);
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(line(&mut output), "loaded");
    let policy = fs::read_to_string(daemon.path("policy.toml")).unwrap();
    daemon.daemon.kill();
    daemon.daemon.again(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(&recorded).unwrap();
    for name in [" count", " tc_clones"] {
        assert_eq!(text.lines().filter(|line| line.ends_with(name)).count(), 1, "{name}: {text}");
    }
}

#[test]
fn program_without_effect_does_not_evade_the_list() {
    let list = List::new("trivial");
    let daemon = list.sessions();
    fs::write(list.path(), "").unwrap();
    let drop = daemon.readable(&compile::object("drop")).display().to_string();
    // The program only returns a number, with which an interface drops all packets.
    let script = format!(
        "bpftool prog load {drop} /sys/fs/bpf/p type xdp; bpftool net attach xdpgeneric pinned /sys/fs/bpf/p dev lo"
    );
    assert_ne!(daemon.session_shell(ADA, &script).code, 0);
    assert!(!bpfman_tests::command::run(&["ip", "link", "show", "lo"]).contains("xdp"));
}

#[test]
fn list_that_cannot_be_written_fails_before_the_command() {
    let list = List::new("unwritable");
    let daemon = list.sessions();
    let failed = record(&daemon, BOB, Path::new("/proc/version"), &["echo", "started"]);
    assert_ne!(failed.code, 0);
    assert!(failed.stdout.is_empty() && failed.stderr.contains("cannot record programs in"), "{failed:?}");
}
