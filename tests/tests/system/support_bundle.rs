//! `bpfman support-bundle`: one archive, complete and without secrets, with everything available.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::{Daemon, Launch, Network, Outcome};
use serde_json::Value;

use crate::equipment::Program;

const SECRET: &str = "hunter2";

fn files(archive: &Path) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-xzf", archive.to_str().unwrap(), "-C", folder.path().to_str().unwrap()]);
    Outcome::of(&mut tar).success();
    let top = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut found = BTreeMap::new();
    let mut folders = vec![top.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&top).unwrap().display().to_string();
                found.insert(name, String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
            }
        }
    }
    found
}

fn json(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}: {}", files[name]))
}

fn verbs(files: &BTreeMap<String, String>) -> Vec<String> {
    let history = json(files, "history.json");
    let entries = history["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["verb"].as_str().unwrap().to_owned()).collect()
}

fn bundle(daemon: &Daemon, words: &[&str]) -> Outcome {
    let mut command = daemon.cli_command();
    command.env("BPFMAN_CONFIG", daemon.path("bpfman.toml")).env("BPFMAN_POLICY", daemon.path("policy.toml"));
    command.env("BPFMAN_RUNTIME_DIR", daemon.path("run")).current_dir(daemon.path(""));
    Outcome::of(command.arg("support-bundle").args(words))
}

#[test]
fn an_archive_has_what_helps_and_no_secret() {
    let config =
        format!("[watch]\ncheck_seconds = 5\n[surprise]\npassword = \"{SECRET}\"\n[images]\ncache_mib = 7\n");
    let policy = format!("[[grants]]\nname = \"net\"\nusers = [1000]\nallow = [\"read\"]\n# {SECRET}\n");
    let daemon = Daemon::start_with(&Launch { config, policy, ..Launch::default() });
    let (wire, network) = (daemon.wire(), Network::new());
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    wire.attach(attach(program, xdp(&network.far.path(), INTERFACE, 7, &[]))).unwrap();
    let archive = daemon.path("help.tar.gz");
    let told = bundle(&daemon, &["help.tar.gz", "-o", "json"]).json();
    let found = fs::metadata(&archive).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(told["bytes"], found.len());
    let files = files(&archive);
    assert!(files.values().all(|text| !text.contains(SECRET)), "a secret is in the archive");
    let manifest = json(&files, "manifest.json");
    assert_eq!((&manifest["schema"], &manifest["uid"]), (&1.into(), &0.into()));
    for part in manifest["parts"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        let there = files.get(name).map_or(0, String::len);
        assert!(part["bytes"].as_u64() == Some(there as u64) || there > 0, "{part}");
        assert!(
            there > 0 || files.contains_key(&format!("{name}.failed.txt")) || part["failure"].is_null(),
            "{part}"
        );
    }
    assert_eq!(json(&files, "doctor.json")["status"], "ok");
    assert!(files["doctor.txt"].contains("no differences from the records"));
    assert_eq!(json(&files, "programs.json")["programs"][0]["name"], "xdp_member");
    assert_eq!(json(&files, "links.json")["links"].as_array().unwrap().len(), 1);
    assert_eq!(verbs(&files)[..2], ["Load", "Attach"]);
    assert!(files.contains_key("features.json") && files["kernel/version.txt"].starts_with("Linux version"));
    let chain = files.keys().find(|name| name.starts_with("chains/000-xdp") && name.ends_with(".txt"));
    assert!(files[chain.unwrap()].contains("xdp_member"));
    let settings = json(&files, "config/bpfman.json");
    assert_eq!(settings["settings"]["watch.check_seconds"], 5);
    assert_eq!(settings["left_out"], serde_json::json!(["surprise.password"]));
    assert_eq!(json(&files, "config/policy.json")["settings"]["grants[0].name"], "net");
    bundle(&daemon, &["help.tar.gz"]).fails(6, &["help.tar.gz is there already", "hint: "]);
    bundle(&daemon, &["no/such/folder/x.tar.gz"]).fails(5, &["no/such/folder"]);
    let left = |name: &str| name.starts_with(".bpfman-support");
    let names = fs::read_dir(daemon.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.map(|name| name.to_string_lossy().into_owned()).all(|name| !left(&name)));
}

/// Two scripts stand in for systemd and its journal, which do not run in tests, and print their arguments.
#[test]
fn systemd_parts_are_present_or_named_as_missing() {
    let daemon = Daemon::start();
    let stand_ins = daemon.path("stand-ins");
    fs::create_dir(&stand_ins).unwrap();
    let with_path = |path: &Path, archive: &str| {
        let mut command = daemon.cli_command();
        command.env("PATH", path).current_dir(daemon.path("")).args(["support-bundle", archive]);
        let told = Outcome::of(&mut command).success();
        (told, files(&daemon.path(archive)))
    };
    let parts = ["unit.txt", "units.txt", "log.txt"];

    let (told, without) = with_path(&stand_ins, "without.tar.gz");
    for (part, program) in parts.into_iter().zip(["systemctl", "systemctl", "journalctl"]) {
        assert!(!without.contains_key(part), "{without:?}");
        assert!(without[&format!("{part}.failed.txt")].contains(program), "{without:?}");
        assert!(told.contains(&format!("  without {part}: ")), "{told}");
    }

    for (program, answer) in [("systemctl", "ActiveState=active"), ("journalctl", "bpfmand[7]: ready")] {
        let stand_in = stand_ins.join(program);
        fs::write(&stand_in, format!("#!/bin/sh\necho \"{answer}\"\necho asked: \"$@\"\n")).unwrap();
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (told, there) = with_path(&stand_ins, "with.tar.gz");
    assert!(parts.iter().all(|part| !told.contains(part)), "{told}");
    let unit = &there["unit.txt"];
    assert!(unit.starts_with("ActiveState=active\nasked: show bpfmand.service --property="), "{unit}");
    assert!(!unit.contains("Environment"), "secrets may be in it: {unit}");
    for asked in ["DropInPaths", "FragmentPath", "StatusText"] {
        assert!(unit.contains(asked), "{unit}");
    }
    let units = &there["units.txt"];
    assert!(units.contains("asked: list-units --all ") && units.contains(" bpfman* run-bpfman*"), "{units}");
    let log = &there["log.txt"];
    assert!(log.starts_with("bpfmand[7]: ready\nasked: --unit=bpfmand.service"), "{log}");
    let manifest = json(&there, "manifest.json");
    let of =
        |name: &str| manifest["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).cloned();
    assert!(parts.iter().all(|part| of(part).unwrap()["failure"].is_null()), "{manifest}");

    // For a user without permission, journalctl prints what is available, with a hint.
    let hint = "Hint: You are currently not seeing messages from other users and the system.";
    let journalctl = format!("#!/bin/sh\necho '-- No entries --'\necho '{hint}' >&2\n");
    fs::write(stand_ins.join("journalctl"), journalctl).unwrap();
    let (told, refused) = with_path(&stand_ins, "refused.tar.gz");
    assert_eq!(refused["log.txt"], "-- No entries --\n");
    assert_eq!(refused["log.txt.failed.txt"], format!("{hint}\n"));
    assert!(told.contains(&format!("  without log.txt: {hint}")), "{told}");
}

#[test]
fn without_a_daemon_the_archive_has_the_rest_and_says_why() {
    let mut daemon = Daemon::start();
    daemon.kill();
    let told = bundle(&daemon, &["dead.tar.gz"]).success();
    assert!(told.starts_with("dead.tar.gz: ") && told.contains("  without programs.json: "), "{told}");
    let files = files(&daemon.path("dead.tar.gz"));
    assert_eq!(json(&files, "doctor.json")["status"], "daemon-dead");
    assert!(files["programs.json.failed.txt"].contains("cannot reach bpfmand"), "{files:?}");
    assert!(files["kernel/version.txt"].starts_with("Linux version"));
    let manifest = json(&files, "manifest.json");
    let parts = manifest["parts"].as_array().unwrap();
    let doctor = parts.iter().find(|part| part["name"] == "doctor.json").unwrap();
    assert_eq!((&doctor["exit_code"], &doctor["failure"]), (&10.into(), &Value::Null));
    let programs = parts.iter().find(|part| part["name"] == "programs.json").unwrap();
    assert_eq!(programs["exit_code"], 3);
}

/// The archive contains nothing that the user's own commands do not show.
#[test]
fn a_user_gets_what_this_user_may_see() {
    const ADA: u32 = 64_511;
    let daemon = Daemon::start();
    daemon.open_to_users();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let folder = daemon.path("ada");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(ADA), Some(ADA)).unwrap();
    let archive = folder.join("a.tar.gz");
    let mut command = daemon.cli_command_as(ADA, ADA);
    command.env("BPFMAN_CONFIG", daemon.path("bpfman.toml")).env("BPFMAN_POLICY", daemon.path("policy.toml"));
    fs::set_permissions(daemon.path("policy.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    Outcome::of(command.arg("support-bundle").arg(&archive)).success();
    let files = files(&archive);
    assert!(!verbs(&files).contains(&"Load".to_owned()), "root loaded it: {files:?}");
    assert!(files["config/policy.json.failed.txt"].contains("Permission denied"), "{files:?}");
    assert_eq!(json(&files, "whoami.json")["uid"], ADA);
}
