//! `bpfman policy allow` and `show`: entries that root adds, and the hints that name them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::thread;

use bpfman_tests::command::Outcome;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Network, compile, shell_words};

use crate::grants::{daemon, load_as};
use crate::images::publish;

const ADA: u32 = 64_231;

fn policy<S: AsRef<std::ffi::OsStr>>(daemon: &Daemon, words: &[S]) -> Outcome {
    let mut command = daemon.cli_command();
    command
        .env("BPFMAN_POLICY", daemon.path("policy.toml"))
        .env("BPFMAN_STATE_DIR", daemon.path("run/state"));
    Outcome::of(command.arg("policy").args(words))
}

fn text(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.path("policy.toml")).unwrap()
}

fn paste(daemon: &Daemon, outcome: &Outcome) {
    let line = outcome.stderr.lines().find_map(|line| line.split_once("bpfman policy ")).unwrap().1;
    let line = line.split(';').next().unwrap();
    let mut words = shell_words::commands(line).remove(0);
    words.push("--yes".to_owned());
    // The command has no BPFMAN_POLICY here: only the hint names the daemon's policy file.
    let mut command = daemon.cli_command();
    command.env_remove("BPFMAN_POLICY").env("BPFMAN_STATE_DIR", daemon.path("run/state"));
    Outcome::of(command.arg("policy").args(words)).success();
}

#[test]
fn refused_first_entry_leaves_no_folder() {
    let daemon = daemon(String::new());
    let folder = daemon.path("etc");
    let policy = |more: &str| {
        let mut command = daemon.cli_command();
        command.env("BPFMAN_POLICY", folder.join("policy.toml"));
        Outcome::of(command.args(["policy", "allow", &ADA.to_string(), "load"]).args(more.split_whitespace()))
    };
    // Without a terminal, nothing can be confirmed.
    policy("").fails(2, &["no terminal answers"]);
    assert!(!folder.exists());
    policy("--yes").success();
    assert!(folder.join("policy.toml").exists());
}

#[test]
pub fn hint_of_a_refused_image_allows_it() {
    let (registry, daemon) = (Registry::start(), daemon(String::new()));
    let image = registry.image("team/program:1");
    publish(&daemon, &image, "chain");
    let load = format!("load image -i {image} --programs xdp:xdp_member");
    let refused = daemon.bpfman(&load);
    refused.fails(9, &["bpfman policy allow", "--unsigned"]);
    paste(&daemon, &refused);
    daemon.bpfman(&load).success();
}

#[test]
pub fn hint_of_a_denied_call_allows_it() {
    let (daemon, network) = (daemon(format!("[files]\nusers = [0, {ADA}]\n")), Network::new());
    let object = daemon.path("own.o");
    fs::copy(compile::object("chain"), &object).unwrap();
    chown(&object, Some(ADA), Some(ADA)).unwrap();
    let load = format!("load file -p {} --programs xdp:xdp_member -o json", object.display());
    let denied = daemon.bpfman_as(ADA, &load);
    denied.fails(4, &["no grant is for this user", "have root run: bpfman policy allow"]);
    paste(&daemon, &denied);
    let program = daemon.bpfman_as(ADA, &load).json()["programs"][0]["program_id"].as_u64().unwrap();
    let netns = network.far.path().display().to_string();
    let attach = format!("attach {program} xdp -i {INTERFACE} -p 100 --netns {netns}");
    // One grant has to allow a whole call: the program was loaded by the first grant.
    let denied = daemon.bpfman_as(ADA, &attach);
    denied.fails(4, &["grant \"user-64231\" does not allow \"attach\""]);
    policy(&daemon, &["allow", &ADA.to_string(), "attach", "--netns", "any", "--over=all", "--yes"])
        .success();
    assert!(text(&daemon).contains("name = \"user-64231-2\""), "{}", text(&daemon));
    daemon.bpfman_as(ADA, &attach).success();
}

/// A run that finds the text changed writes nothing and fails; the policy has the lines of all others.
#[test]
fn lines_of_runs_at_the_same_time_are_not_lost() {
    let daemon = daemon(String::new());
    let allowed: Vec<u32> = thread::scope(|scope| {
        let run = |user: u32| {
            let outcome = policy(&daemon, &["allow", &user.to_string(), "load", "--yes"]);
            (outcome.code == 0).then_some(user)
        };
        let runs: Vec<_> = (ADA..ADA + 12).map(|user| scope.spawn(move || run(user))).collect();
        runs.into_iter().filter_map(|run| run.join().unwrap()).collect()
    });
    assert!(!allowed.is_empty());
    let text = text(&daemon);
    for user in allowed {
        assert!(text.contains(&format!("users = [{user}]")), "{user}: {text}");
    }
}

#[test]
fn key_is_written_with_its_absolute_path_and_counts() {
    let (registry, daemon) = (
        Registry::start(),
        daemon("# Ours.\n[[images]]\npattern = \"none.example/*\"\nunsigned = true\n".to_owned()),
    );
    let prefix = daemon.path("team").display().to_string();
    daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    let (signed, unsigned) = (registry.image("team/signed:1"), registry.image("team/unsigned:1"));
    daemon.publish(&signed, &compile::object("chain"), &format!("{prefix}.key"));
    publish(&daemon, &unsigned, "stranger");
    let added = policy(
        &daemon,
        &["allow", &registry.image("team/*"), "--key", &format!("{prefix}.pub"), "--yes", "-o", "json"],
    );
    let added = added.json();
    assert_eq!((&added["before"], &added["written"]), (&1.into(), &true.into()), "{added}");
    daemon.bpfman(&format!("load image -i {signed} --programs xdp:xdp_member")).success();
    daemon.bpfman(&format!("image pull -i {unsigned}")).fails(9, &["team/unsigned"]);
    assert!(text(&daemon).ends_with("# Ours.\n[[images]]\npattern = \"none.example/*\"\nunsigned = true\n"));
    let shown = policy(&daemon, &["show"]).success();
    assert!(shown.contains("1 of 1 key") && shown.contains("none.example/*"), "{shown}");
}

fn assert_refused(daemon: &Daemon, words: &[&str], code: i32, reason: &str) {
    let before = text(daemon);
    policy(daemon, words).fails(code, &[reason]);
    assert_eq!(text(daemon), before, "{words:?}");
    let folder = fs::read_dir(daemon.path("")).unwrap();
    let drafts =
        folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".policy"));
    assert_eq!(drafts.count(), 0, "{words:?}");
}

#[test]
fn refused_additions_change_nothing() {
    let daemon = daemon("mode = \"enforce\"\n".to_owned());
    let others_key = daemon.path("others.pub");
    let prefix = daemon.path("team").display().to_string();
    daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    fs::copy(format!("{prefix}.pub"), &others_key).unwrap();
    fs::set_permissions(&others_key, fs::Permissions::from_mode(0o666)).unwrap();
    let no_key = daemon.path("bpfman.toml").display().to_string();
    for (words, code, reason) in [
        (&["allow", "quay.io/x", "-y"][..], 2, "--unsigned"),
        (&["allow", "quay.io/x", "--unsigned", "--key", "x", "-y"], 2, "cannot be used with"),
        (&["allow", "quay.io/x", "load", "--unsigned", "-y"], 2, "verbs and limits are for users"),
        (&["allow", "quay.io", "--unsigned", "-y"], 2, "quay.io/*"),
        (&["allow", "quay.io/x:v1", "--unsigned", "-y"], 2, "neither tag nor digest"),
        (&["allow", "1000", "-y"], 2, "give the verbs"),
        (&["allow", "1000", "fly", "-y"], 6, "\"fly\" is no verb"),
        (&["allow", "of-no-user", "load", "-y"], 6, "there is no user"),
        (&["allow", "1000", "load", "--types=xpd", "-y"], 6, "xpd"),
        (&["allow", "1000", "load", "--hooks=eth0", "-y"], 6, "eth0"),
        (&["allow", "1000", "load", "--over=some", "-y"], 6, "some"),
        (&["allow", "quay.io/x", "--key", "/nonexistent.pub", "-y"], 5, "/nonexistent.pub"),
        (&["allow", "quay.io/x", "--key", &no_key, "-y"], 6, "would not be read with these lines"),
        (&["allow", "quay.io/x", "--key", &others_key.display().to_string(), "-y"], 6, "others.pub"),
        (&["allow", "quay.io/x", "--unsigned"], 2, "--yes"),
    ] {
        assert_refused(&daemon, words, code, reason);
    }
    let dry = policy(&daemon, &["allow", "quay.io/x", "--unsigned", "--dry-run"]).success();
    assert!(dry.contains("pattern = \"quay.io/x\"") && dry.contains("dry run"), "{dry}");
    assert_eq!(text(&daemon), "mode = \"enforce\"\n");
    fs::write(daemon.path("policy.toml"), "mode = \"sometimes\"\n").unwrap();
    assert_refused(&daemon, &["allow", "quay.io/x", "--unsigned", "-y"], 6, "has mistakes");
}

#[test]
fn missing_policy_is_made_and_a_link_is_followed() {
    let daemon = daemon(String::new());
    fs::remove_file(daemon.path("policy.toml")).unwrap();
    policy(&daemon, &["allow", "quay.io/x/*", "--unsigned", "-y"]).success();
    let mode = fs::metadata(daemon.path("policy.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    fs::rename(daemon.path("policy.toml"), daemon.path("real.toml")).unwrap();
    fs::set_permissions(daemon.path("real.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink(daemon.path("real.toml"), daemon.path("policy.toml")).unwrap();
    policy(&daemon, &["allow", "1000", "load", "-y"]).success();
    assert!(fs::symlink_metadata(daemon.path("policy.toml")).unwrap().is_symlink());
    let mode = fs::metadata(daemon.path("real.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(text(&daemon).contains("quay.io/x/*") && text(&daemon).contains("users = [1000]"));
}

#[test]
fn policy_in_force_is_shown_while_the_file_has_a_mistake() {
    let daemon = daemon(format!(
        "[files]\nusers = [0, {ADA}]\n[[grants]]\nname = \"team\"\nusers = [{ADA}]\nallow = [\"all\"]\n"
    ));
    load_as(&daemon, ADA);
    fs::write(daemon.path("policy.toml"), "mode = \"sometimes\"\n").unwrap();
    let shown = policy(&daemon, &["show", "-o", "json"]).json();
    assert_eq!(shown["policy"]["grants"][0]["name"], "team", "{shown}");
    assert!(shown["notes"][0].as_str().unwrap().contains("is in force"), "{shown}");
    fs::remove_file(daemon.path("run/state/last-good-policy")).unwrap();
    let unknown = policy(&daemon, &["show", "-o", "json"]).json();
    assert!(unknown["policy"].is_null(), "{unknown}");
    assert!(unknown["notes"][0].as_str().unwrap().contains("no earlier policy is known"), "{unknown}");
}
