//! Policies with mistakes: the policy in force instead, also after restarts, and reports to root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use bpfman_tests::command::Outcome;
use bpfman_tests::mount_namespace::MountNamespace;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, compile, kernel};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::grants::{daemon, load_as};

const ADA: u32 = 64_221;
const BOB: u32 = 64_222;
const AGENT: u32 = 64_223;

fn policy_for(user: u32) -> String {
    format!(
        "[files]\nusers = [0, {user}]\n[[grants]]\nname = \"team\"\nusers = [{user}]\nallow = [\"all\"]\n"
    )
}

fn launch(policy: &str) -> Launch {
    Launch { policy: policy.to_owned(), ..Launch::default() }
}

fn write(daemon: &Daemon, text: &str) {
    fs::write(daemon.path("draft"), text).unwrap();
    fs::rename(daemon.path("draft"), daemon.path("policy.toml")).unwrap();
}

fn found(daemon: &Daemon) -> Vec<(String, String)> {
    let outcome = daemon.bpfman("doctor -o json");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let found: Vec<(String, String)> = findings
        .filter(|finding| finding["class"] == "policy")
        .map(|finding| (finding["finding"].to_string(), finding["why"].to_string()))
        .collect();
    assert_eq!(outcome.code, if found.is_empty() { 0 } else { 16 }, "{report}");
    found
}

fn assert_in_force(daemon: &Daemon, may: u32, may_not: u32) {
    let program = load_as(daemon, may);
    let unload = format!("unload {program}");
    daemon.bpfman_as(may_not, &unload).fails(4, &["no grant is for this user"]);
    assert!(kernel::has_program(u32::try_from(program).unwrap()));
    daemon.bpfman_as(may, &unload).success();
    kernel::program_ends(u32::try_from(program).unwrap());
}

#[test]
fn policy_with_a_mistake_changes_nothing() {
    let mut daemon = daemon(policy_for(ADA));
    let good = policy_for(ADA);
    assert_in_force(&daemon, ADA, BOB);
    let others = policy_for(BOB);
    let line = |number: u32| format!("policy.toml:{number}: ");
    for (text, place) in [
        (format!("{others}colour = 1\n"), line(7)),
        (others.replace("\"all\"", "\"fly\""), line(6)),
        (
            others.replace(&format!("users = [{BOB}]\nallow"), "users = [\"of-nobody-at-all\"]\nallow"),
            line(5),
        ),
        (format!("{others}groups = [\"of-nobody-at-all\"]\n"), line(7)),
        (format!("{others}hooks = [\"eth0\"]\n"), line(7)),
        (format!("{others}[[images]]\npattern = \"quay.io\"\nunsigned = true\n"), line(8)),
        (format!("{others}[[images]]\npattern = \"*\"\nkeys = [\"/nonexistent.pub\"]\n"), line(9)),
        (format!("{others}= ="), line(7)),
        (format!("{others}#{}", "x".repeat(1 << 20)), "more than".to_owned()),
    ] {
        write(&daemon, &text);
        let [(what, why)] = &found(&daemon)[..] else { panic!("{text}") };
        assert!(what.contains(&place) && why.contains("a new revocation neither"), "{what}: {why}");
        assert_in_force(&daemon, ADA, BOB);
        write(&daemon, &good);
        assert_eq!(found(&daemon), []);
    }
    write(&daemon, "mode = \"sometimes\"\n");
    let logged = |daemon: &Daemon| daemon.log().matches("unknown variant `sometimes`").count();
    assert_in_force(&daemon, ADA, BOB);
    assert_in_force(&daemon, ADA, BOB);
    assert_eq!(logged(&daemon), 1, "{}", daemon.log());
    let object = compile::object("chain").display().to_string();
    let refused = daemon.bpfman_as(BOB, &format!("load file -p {object} --programs xdp:xdp_member"));
    refused.fails(4, &["policy.toml has mistakes, and an earlier policy is in force", "bpfman policy check"]);
    for _ in 0..2 {
        daemon.kill();
        daemon.again(&launch("mode = \"sometimes\"\n"));
        daemon.open_to_users();
        assert_in_force(&daemon, ADA, BOB);
        assert_eq!(found(&daemon).len(), 1);
    }
    write(&daemon, &policy_for(BOB));
    assert_in_force(&daemon, BOB, ADA);
    assert_eq!(found(&daemon), []);
}

const BROKEN_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEh8zhU6EgtoT6uHdtg52+xSCCecBFn2m72BbnufwzhAiCUfegVrJRkhXu8qapK2uDcaE/\
    l/Xy/gdj9h0VgqwiSw==\n-----END PUBLIC KEY-----\n";
const BROKEN_ROOT: &str = r#"{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "bm8gREVS"}]}}]}"#;

#[test]
fn broken_key_or_root_is_a_mistake_before_it_is_used() {
    let daemon = daemon(policy_for(ADA));
    assert_in_force(&daemon, ADA, BOB);
    let file = |name: &str, text: &str| {
        fs::write(daemon.path(name), text).unwrap();
        daemon.path(name).display().to_string()
    };
    let (key, root) = (file("broken.pub", BROKEN_KEY), file("root.json", BROKEN_ROOT));
    let rule = "[[images]]\npattern = \"*\"\n";
    let others = policy_for(BOB);
    for (text, line, says) in [
        (format!("{others}{rule}keys = [\"{key}\"]\n"), 9, "the block is no valid key"),
        (
            format!("trusted_root = \"{root}\"\n{others}"),
            1,
            "certificateAuthorities[0].certChain.certificates[0] is neither a certificate nor a key",
        ),
    ] {
        write(&daemon, &text);
        let [(what, _)] = &found(&daemon)[..] else { panic!("{text}") };
        assert!(what.contains(&format!("policy.toml:{line}: ")) && what.contains(says), "{what}");
        assert_in_force(&daemon, ADA, BOB);
        let checked = daemon.bpfman(&format!("policy check {}", daemon.path("policy.toml").display()));
        assert_ne!(checked.code, 0);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains(&format!(":{line}: ")) && said.contains(says), "{said}");
    }
}

#[test]
fn file_that_is_not_roots_or_no_file_changes_nothing() {
    let daemon = daemon(policy_for(ADA));
    let file = daemon.path("policy.toml");
    assert_in_force(&daemon, ADA, BOB);
    let replaced = |make: &dyn Fn(&Path)| {
        fs::remove_file(&file).unwrap();
        make(&file);
    };
    let others = policy_for(BOB);
    let write_and = |then: &dyn Fn()| {
        fs::write(&file, &others).unwrap();
        then();
    };
    let breaks: [(&str, &dyn Fn()); 5] = [
        ("must belong to root", &|| {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
            write_and(&|| {});
        }),
        ("must belong to root", &|| {
            fs::remove_file(&file).unwrap();
            fs::write(daemon.path("draft"), &others).unwrap();
            chown(daemon.path("draft"), Some(BOB), None).unwrap();
            fs::rename(daemon.path("draft"), &file).unwrap();
        }),
        ("is not a regular file", &|| {
            replaced(&|file| mknodat(CWD, file, FileType::Fifo, Mode::from_bits_truncate(0o600), 0).unwrap());
        }),
        ("No such file", &|| replaced(&|_| {})),
        ("is not a regular file", &|| fs::create_dir(&file).unwrap()),
    ];
    for (says, break_it) in breaks {
        break_it();
        let [(what, _)] = &found(&daemon)[..] else { panic!("{says}") };
        assert!(what.contains("policy.toml: ") && what.contains(says), "{what}");
        assert_in_force(&daemon, ADA, BOB);
    }
    fs::remove_dir(&file).unwrap();
    write(&daemon, &others);
    assert_in_force(&daemon, BOB, ADA);
}

#[test]
fn policy_that_never_was_good_leaves_root_alone() {
    let broken = "[access]\nsocket_group = \"all\"\n[[grants]]\nname = 1\n";
    let flags = vec!["--node-agent-user".to_owned(), AGENT.to_string()];
    let mut daemon = Daemon::start_with(&Launch { flags: flags.clone(), ..launch(broken) });
    for _ in 0..2 {
        daemon.open_to_users();
        let refused = daemon.bpfman_as(ADA, "list programs");
        refused.fails(4, &["may not read", "no earlier policy is known", "bpfman policy check"]);
        daemon.bpfman_as(AGENT, "list programs").success();
        let object = compile::object("chain").display().to_string();
        let load = format!("load file -p {object} --programs xdp:xdp_member -o json");
        let program = daemon.bpfman(&load).json()["programs"][0]["program_id"].to_string();
        daemon.bpfman(&format!("unload {program}")).success();
        let image = daemon.bpfman("load image -i 127.0.0.1:1/x:1 --programs xdp:xdp_member");
        image.fails(9, &["policy.toml:4: ", "bpfman policy check"]);
        let [(what, why)] = &found(&daemon)[..] else { panic!() };
        assert!(
            what.contains("policy.toml:4: ") && why.contains("only root and the node agent"),
            "{what}: {why}"
        );
        daemon.kill();
        daemon.again(&Launch { flags: flags.clone(), ..launch(broken) });
    }
    daemon.open_to_users();
    write(&daemon, &policy_for(ADA));
    assert_in_force(&daemon, ADA, BOB);
}

#[test]
fn damaged_copy_of_the_last_good_policy_leaves_root_alone() {
    let mut daemon = daemon(policy_for(ADA));
    assert_in_force(&daemon, ADA, BOB);
    daemon.kill();
    let copy = daemon.path("run/state/last-good-policy");
    let whole = fs::read_to_string(&copy).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    for damaged in [whole.replace("team", "teem"), whole.replacen("format 1", "format 2", 1)] {
        fs::write(&copy, damaged).unwrap();
        daemon.again(&launch("= ="));
        daemon.open_to_users();
        daemon.bpfman_as(ADA, "list programs").fails(4, &["no earlier policy is known"]);
        let [(_, why)] = &found(&daemon)[..] else { panic!() };
        assert!(why.contains("last-good-policy"), "{why}");
        daemon.kill();
    }
}

#[test]
fn policy_is_on_the_disk_before_it_comes_into_force() {
    let mut daemon = daemon(policy_for(ADA));
    assert_in_force(&daemon, ADA, BOB);
    daemon.kill();
    let environment = vec![("BPFMAN_TEST_KILL_POLICY".to_owned(), "copied".to_owned())];
    daemon.again(&Launch { environment, ..launch(&policy_for(ADA)) });
    write(&daemon, &policy_for(BOB));
    let _cut_off = daemon.bpfman_as(BOB, "list programs");
    assert!(!daemon.ended().success());
    daemon.again(&launch("= ="));
    daemon.open_to_users();
    assert_in_force(&daemon, BOB, ADA);
}

#[test]
fn user_who_was_removed_has_no_grant_by_the_old_number() {
    let namespace = MountNamespace::new();
    let daemon = Daemon::prepare();
    let passwd = daemon.path("passwd");
    let with_ada =
        format!("{}\nadalovelace:x:{ADA}:{ADA}::/:/bin/false\n", fs::read_to_string("/etc/passwd").unwrap());
    fs::write(&passwd, &with_ada).unwrap();
    let bound = namespace.command("mount").args(["--bind", passwd.to_str().unwrap(), "/etc/passwd"]).status();
    assert!(bound.unwrap().success());
    let policy =
        policy_for(ADA).replace(&format!("users = [{ADA}]\nallow"), "users = [\"adalovelace\"]\nallow");
    let launch = || Launch {
        wrapper: namespace.wrapper(),
        flags: vec!["--allow-private-mounts".to_owned()],
        policy: policy.clone(),
        ..Launch::default()
    };
    let mut daemon = daemon;
    daemon.again(&launch());
    daemon.open_to_users();
    assert_in_force(&daemon, ADA, BOB);
    fs::write(&passwd, with_ada.replace("adalovelace", "evelovelace")).unwrap();
    for _ in 0..2 {
        let asked = daemon.bpfman_as(ADA, "auth can-i load");
        assert!(asked.code == 4 && asked.stdout.contains("no grant is for this user"), "{asked:?}");
        let outcome = daemon.bpfman("doctor -o json");
        assert!(outcome.stdout.contains("there is no user \\\"adalovelace\\\""), "{}", outcome.stdout);
        daemon.kill();
        daemon.again(&launch());
        daemon.open_to_users();
    }
    fs::write(&passwd, &with_ada).unwrap();
    assert_in_force(&daemon, ADA, BOB);
}

#[test]
fn policy_that_no_call_met_is_the_last_good_one() {
    let daemon = daemon(policy_for(ADA));
    write(&daemon, &policy_for(BOB));
    until("the daemon has read it", || daemon.log().contains("the policy was read again"));
    write(&daemon, "= =");
    assert_in_force(&daemon, BOB, ADA);
}

fn check(words: &[&str]) -> Outcome {
    let mut command = Command::new(bpfman_tests::binaries::find("bpfman"));
    command.env("BPFMAN_SOCKET_PATH", "/nonexistent/socket").args(["policy", "check"]).args(words);
    Outcome::of(&mut command)
}

#[test]
fn check_shows_each_mistake_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let path = file.to_str().unwrap();
    fs::write(
        &file,
        policy_for(ADA).replace("\"all\"", "\"fly\", \"swim\"") + "colour = 1\n[[images]]\npattern = \"x\"\n",
    )
    .unwrap();
    let outcome = check(&[path]);
    outcome.fails(6, &["has 5 mistakes"]);
    for (line, says) in [
        (6, "\"fly\" is no verb"),
        (6, "\"swim\" is no verb"),
        (7, "unknown field `colour`"),
        (8, "names no keys"),
        (9, "`x` is not a pattern"),
    ] {
        let place = format!("{path}:{line}: ");
        let is_shown = outcome.stdout.lines().any(|shown| shown.starts_with(&place) && shown.contains(says));
        assert!(is_shown, "{place}{says}\n{}", outcome.stdout);
    }
    let json: serde_json::Value = serde_json::from_str(&check(&[path, "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["mistakes"][0]["line"], &json["policy"]), (&6.into(), &serde_json::Value::Null));
    fs::write(&file, policy_for(ADA)).unwrap();
    let shown = check(&[path]).success();
    assert!(shown.contains("mode: enforce") && shown.contains(&format!("team: user {ADA}: ")), "{shown}");
    // For a draft of another user, the check reports what the daemon will require.
    chown(&file, Some(ADA), None).unwrap();
    let json = check(&[path, "-o", "json"]).json();
    assert!(json["notes"][0].as_str().unwrap().contains("must belong to root"), "{json}");
    assert_eq!(json["policy"]["grants"][0]["name"], "team");
    check(&["/nonexistent/policy.toml"]).fails(5, &["/nonexistent/policy.toml"]);
    check(&[folder.path().to_str().unwrap()]).fails(6, &["is not a regular file"]);
}
