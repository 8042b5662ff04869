//! Images from end to end: built, pushed and signed by the client, verified and loaded by the daemon.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::PullBytecodeRequest;
use bpfman_tests::command::Outcome;
use bpfman_tests::proxy::Proxy;
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::image;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, compile};
use tonic::Code;

use crate::equipment::assert_status;

pub fn publish(daemon: &Daemon, name: &str, program: &str) {
    let object = compile::object(program).display().to_string();
    daemon.bpfman(&format!("image build -t {name} -b {object}")).success();
    daemon.bpfman(&format!("image push {name}")).success();
}

fn daemon_with_key(registry: &Registry) -> (Daemon, String) {
    let (daemon, _, key) = trusting_daemon(registry);
    (daemon, key)
}

pub fn trusting_daemon(registry: &Registry) -> (Daemon, Launch, String) {
    let mut daemon = Daemon::prepare();
    let prefix = daemon.path("trusted").display().to_string();
    daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    let policy = format!("[[images]]\npattern = \"{}\"\nkeys = [\"{prefix}.pub\"]\n", registry.image("*"));
    let launch = Launch { policy, ..Launch::default() };
    daemon.again(&launch);
    (daemon, launch, format!("{prefix}.key"))
}

#[test]
fn signed_image_is_verified_and_loaded_and_unsigned_one_refused() {
    let registry = Registry::start();
    let (daemon, key) = daemon_with_key(&registry);
    let name = registry.image("team/chain:1");
    publish(&daemon, &name, "chain");
    let before = daemon.state();
    let load = format!("load image -i {name} --programs xdp:xdp_member tc:tc_member -o json");
    let refused = daemon.bpfman(&load);
    refused.fails(9, &["error: ", "signature", &name, "hint: "]);
    assert_eq!(daemon.state(), before);
    // Without a daemon, by a key alone.
    let verify = |key: &str| {
        let mut client = daemon.cli_command();
        client.env("BPFMAN_SOCKET_PATH", "/nonexistent");
        Outcome::of(client.args(["image", "verify", &name, "--key", key, "-o", "json"]))
    };
    let public = key.replace(".key", ".pub");
    verify(&public).fails(9, &["has no signature by a key"]);
    daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    let verified = verify(&public).json();
    assert!(verified["digest"].as_str().unwrap().starts_with("sha256:"), "{verified}");
    let other = daemon.path("other");
    daemon.bpfman(&format!("image generate-key-pair {}", other.display())).success();
    verify(&format!("{}.pub", other.display())).fails(9, &["none of the 1 signatures"]);
    let loaded = daemon.bpfman(&load).json();
    let first = &loaded["programs"][0];
    assert_eq!(first["name"], "xdp_member");
    let shown = daemon.bpfman(&format!("get program {} -o json", first["program_id"])).json();
    let bytecode = &shown["bytecode"];
    assert_eq!(bytecode["image_url"], name.as_str());
    assert_eq!(bytecode["pull_policy"], "IfNotPresent");
    assert!(bytecode["image_digest"].as_str().unwrap().starts_with("sha256:"), "{bytecode}");
    let verified_by = bytecode["verified_by"].as_str().unwrap();
    let rule = registry.image("*");
    assert!(verified_by.starts_with("key sha256:") && verified_by.contains(&rule), "{verified_by}");
    assert!(bytecode["path"].is_null());
}

#[test]
fn progress_shows_bytes_of_loads_and_verifications() {
    let registry = Registry::start();
    let (daemon, key) = daemon_with_key(&registry);
    let name = registry.image("team/chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    let load = format!("load image -i {name} -p Always --programs xdp:xdp_member -q");
    let mut recorded = Vec::new();
    for (progress, is_told) in [("never", false), ("always", true)] {
        let loaded = daemon.bpfman(&format!("{load} --progress {progress}"));
        assert_eq!(loaded.stderr.contains(&format!("pulling {name}: ")), is_told, "{loaded:?}");
        let id = loaded.success();
        let mut shown = daemon.bpfman(&format!("get program {} -o json", id.trim())).json();
        recorded.push(shown["bytecode"].take());
    }
    assert_eq!(recorded[0]["pull_policy"], "Always");
    assert_eq!(recorded[0], recorded[1]);
    let verify = format!("image verify -i {name}");
    let verified = daemon.bpfman(&verify);
    assert_eq!(verified.stderr, "");
    let watched = daemon.bpfman(&format!("{verify} --progress always"));
    let last = watched.stderr.lines().rfind(|line| line.starts_with(&format!("pulling {name}: ")));
    assert!(last.is_some_and(|line| line.ends_with(" KiB (100 %)")), "{watched:?}");
    assert_eq!(watched.success(), verified.success());
}

/// The registry answers no step before the client has announced it.
#[test]
fn a_signing_that_waits_says_for_which_step() {
    let registry = Registry::start();
    let proxy = Proxy::start(registry.address());
    let (daemon, key) = daemon_with_key(&registry);
    publish(&daemon, &registry.image("team/chain:1"), "chain");
    let name = format!("{}/team/chain:1", proxy.address());
    let steps = [
        ("/manifests/1", "asking for the image: 1 of 3, "),
        (".sig", "reading signatures: 2 of 3, "),
        ("POST ", " KiB: 3 of 3, "),
    ];
    proxy.hold(steps[0].0);
    let mut command = daemon.cli_command();
    command.args(["image", "sign", &name, "--key", &key, "--progress", "always"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut signing = command.spawn().unwrap();
    let mut told = BufReader::new(signing.stderr.take().unwrap()).lines().map_while(Result::ok);
    for (request, step) in steps {
        proxy.hold(request);
        let mut before = Vec::new();
        let is_it = told.by_ref().inspect(|line| before.push(line.clone())).any(|line| line.contains(step));
        assert!(is_it, "{step}: {before:?}");
        assert!(before.iter().all(|line| line.starts_with(&format!("signing {name}, "))), "{before:?}");
    }
    proxy.release();
    let ended = signing.wait_with_output().unwrap();
    let answer = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && answer.contains(" signed with key "), "{answer}");
    let again = daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    assert!(again.contains(" was signed before by key "), "{again}");
}

#[test]
fn loads_of_one_image_at_once_share_a_download() {
    let registry = Registry::start();
    let proxy = Proxy::start(registry.address());
    let daemon = Daemon::start_with(&Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() });
    publish(&daemon, &registry.image("team/chain:1"), "chain");
    let name = format!("{}/team/chain:1", proxy.address());
    proxy.hold("/blobs/");
    let load = || {
        let mut command = daemon.cli_command();
        command.args(["load", "image", "-i", &name, "--programs", "xdp:xdp_member", "-q"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let loads = [load(), load(), load()];
    let of_blobs =
        || proxy.requests().into_iter().filter(|request| request.contains("/blobs/")).collect::<Vec<_>>();
    until("a blob to be asked for", || !of_blobs().is_empty());
    proxy.release();
    let mut ids = BTreeSet::new();
    for load in loads {
        let ended = load.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        ids.insert(String::from_utf8_lossy(&ended.stdout).trim().to_owned());
    }
    assert_eq!(ids.len(), 3, "each has a program of its own: {ids:?}");
    let asked = of_blobs();
    let different: BTreeSet<_> = asked.iter().collect();
    assert_eq!(asked.len(), different.len(), "{asked:?}");
}

#[test]
fn a_signature_by_another_key_does_not_count() {
    let registry = Registry::start();
    let (daemon, _) = daemon_with_key(&registry);
    let name = registry.image("team/chain:1");
    publish(&daemon, &name, "chain");
    let stranger = daemon.path("stranger").display().to_string();
    daemon.bpfman(&format!("image generate-key-pair {stranger}")).success();
    daemon.bpfman(&format!("image sign {name} --key {stranger}.key")).success();
    let before = daemon.state();
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).fails(9, &[&name]);
    daemon.bpfman(&format!("image pull -i {name}")).fails(9, &[&name]);
    assert_eq!(daemon.state(), before);
}

#[test]
fn content_under_two_names_keeps_the_signatures_of_both() {
    let registry = Registry::start();
    let (daemon, key) = daemon_with_key(&registry);
    let names = ["team/firewall:2", "other/firewall:2"].map(|name| registry.image(name));
    for name in &names {
        publish(&daemon, name, "chain");
        daemon.bpfman(&format!("image sign {name} --key {key}")).success();
        daemon.bpfman(&format!("image pull -i {name}")).success();
    }
    for name in &names {
        daemon.bpfman(&format!("load image -i {name} -p Never --programs xdp:xdp_member")).success();
    }
}

#[test]
fn a_tag_that_moves_to_an_unsigned_image_is_refused() {
    let registry = Registry::start();
    let (daemon, key) = daemon_with_key(&registry);
    let name = registry.image("team/app:latest");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    daemon.bpfman(&format!("load image -i {name} -p Always --programs xdp:xdp_member")).success();
    publish(&daemon, &name, "stranger");
    daemon.bpfman(&format!("load image -i {name} -p Always --programs xdp:stranger")).fails(9, &[&name]);
    daemon.bpfman(&format!("load image -i {name} -p IfNotPresent --programs xdp:xdp_member")).success();
}

#[test]
fn pull_policies_say_when_the_registry_is_asked() {
    let mut registry = Registry::start();
    let daemon = Daemon::start_with(&Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() });
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    let load = |policy: &str| {
        daemon.bpfman(&format!("load image -i {name} -p {policy} --programs xdp:xdp_member -q"))
    };
    load("Never").fails(5, &[&name, "hint: "]);
    daemon.wire().pull_bytecode(PullBytecodeRequest { image: Some(image(&name, 1)) }).unwrap();
    load("Never").success();
    load("Always").success();
    registry.stop();
    load("IfNotPresent").success();
    load("Never").success();
    load("Always").fails(9, &[&name]);
    let other = registry.image("other:1");
    daemon.bpfman(&format!("image pull -i {other}")).fails(9, &[&other]);
    assert_status(
        daemon.wire().pull_bytecode(PullBytecodeRequest { image: Some(image(&other, 1)) }),
        Code::Unavailable,
        "registry",
        &[&other],
    );
}

#[test]
fn program_missing_in_the_image_is_refused_with_existing_ones() {
    let registry = Registry::start();
    let daemon = Daemon::start_with(&Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() });
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    let before = daemon.state();
    daemon
        .bpfman(&format!("load image -i {name} --programs xdp:absent"))
        .fails(6, &["absent", "xdp_member", "tc_member"]);
    assert_eq!(daemon.state(), before);
    daemon
        .bpfman(&format!("load image -i {} --programs xdp:f", registry.image("nothing:1")))
        .fails(5, &["nothing"]);
    daemon.bpfman("load image -i not//a::reference --programs xdp:f").fails(6, &["not//a::reference"]);
}

#[test]
fn a_digest_names_an_image_as_well_as_a_tag() {
    let registry = Registry::start();
    let (daemon, key) = daemon_with_key(&registry);
    let name = registry.image("team/chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    let loaded = daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member -o json")).json();
    let digest = loaded["programs"][0]["bytecode"]["image_digest"].as_str().unwrap().to_owned();
    let by_digest = format!("{}@{digest}", registry.image("team/chain"));
    daemon.bpfman(&format!("load image -i {by_digest} --programs xdp:xdp_member")).success();
    drop(registry);
    let id = loaded["programs"][0]["program_id"].as_u64().unwrap();
    daemon.bpfman(&format!("unload {id}")).success();
    assert_eq!(loaded["programs"][0]["type"], Type::Xdp.as_str_name().to_ascii_lowercase());
}
