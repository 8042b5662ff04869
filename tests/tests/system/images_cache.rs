//! The image cache, its archives, and the effect of policy changes on programs.

use std::fs;

use bpfman_tests::command::run;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, Network, compile, wait};

use crate::images::publish;

struct Trusting {
    daemon: Daemon,
    policy: String,
    key: String,
    fingerprint: String,
}

fn trusting(registry: &Registry) -> Trusting {
    let mut daemon = Daemon::prepare();
    let prefix = daemon.path("trusted").display().to_string();
    let made = daemon.bpfman(&format!("image generate-key-pair {prefix} -o json")).json();
    let fingerprint = made["key"].as_str().unwrap().to_owned();
    let policy = format!("[[images]]\npattern = \"{}\"\nkeys = [\"{prefix}.pub\"]\n", registry.image("*"));
    daemon.again(&Launch { policy: policy.clone(), ..Launch::default() });
    Trusting { daemon, policy, key: format!("{prefix}.key"), fingerprint }
}

impl Trusting {
    fn publish_signed(&self, name: &str, program: &str) {
        publish(&self.daemon, name, program);
        self.daemon.bpfman(&format!("image sign {name} --key {}", self.key)).success();
    }

    fn change_policy(&self, more: &str) {
        // Write next to the file and rename, as editors and package managers do.
        let (path, new) = (self.daemon.path("policy.toml"), self.daemon.path("policy.new"));
        fs::write(&new, format!("{}{more}", self.policy)).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn load(&self, name: &str, program: &str) -> serde_json::Value {
        let loaded = self.daemon.bpfman(&format!("load image -i {name} --programs xdp:{program} -o json"));
        loaded.json()["programs"][0].clone()
    }
}

fn findings(daemon: &Daemon) -> Vec<String> {
    let outcome = daemon.bpfman("doctor -o json");
    let report: serde_json::Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    let found = report["findings"].as_array().unwrap();
    assert_eq!(outcome.code == 0, found.is_empty(), "{}", outcome.stderr);
    let text = |part: &serde_json::Value| part.as_str().unwrap().to_owned();
    found.iter().map(|found| format!("{}: {}", text(&found["subject"]), text(&found["finding"]))).collect()
}

#[test]
fn cache_is_listed_inspected_and_pruned_except_needed_images() {
    let registry = Registry::start();
    let world = trusting(&registry);
    let (used, unused) = (registry.image("team/used:1"), registry.image("team/unused:1"));
    world.publish_signed(&used, "chain");
    world.publish_signed(&unused, "stranger");
    let program = world.load(&used, "xdp_member");
    world.daemon.bpfman(&format!("image pull -i {unused}")).success();
    let list = world.daemon.bpfman("image list -o json").json();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert_eq!(list[1]["tags"], serde_json::json!(["1"]));
    assert_eq!(list[1]["program_ids"], serde_json::json!([program["program_id"]]));
    assert_eq!((&list[0]["signatures"], &list[0]["program_ids"]), (&1.into(), &serde_json::json!([])));
    let table = world.daemon.bpfman("image list").success();
    assert!(table.contains("team/used") && table.contains("team/unused"), "{table}");

    let shown = world.daemon.bpfman(&format!("image inspect {used} -o json")).json();
    assert_eq!(shown["programs"]["xdp_member"], "xdp");
    assert_eq!(shown["verified"]["signers"][0], format!("key {}", world.fingerprint));
    assert!(shown["refused"].is_null());
    world
        .daemon
        .bpfman(&format!("image inspect {}", registry.image("team/none:1")))
        .fails(5, &["not in the cache"]);
    let verified = world.daemon.bpfman(&format!("image verify -i {unused} -o json")).json();
    assert_eq!(verified["rule"], registry.image("*"));
    assert_eq!(verified["signed_digest"], verified["digest"]);

    // Too recent to be pruned; without the age, all but the used one are removed.
    world.daemon.bpfman("image prune --unused-for 1d").success();
    assert_eq!(world.daemon.bpfman("image list -o json").json().as_array().unwrap().len(), 2);
    let pruned = world.daemon.bpfman("image prune -o json").json();
    assert!(pruned["images"][0].as_str().unwrap().contains("team/unused"), "{pruned}");
    assert!(pruned["bytes"].as_u64().unwrap() > 0);
    let list = world.daemon.bpfman("image list -o json").json();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    world
        .daemon
        .bpfman(&format!("load image -i {unused} -p Never --programs xdp:stranger"))
        .fails(5, &[&unused]);
    world.daemon.bpfman(&format!("load image -i {used} -p Never --programs xdp:xdp_member")).success();
}

#[test]
fn archive_brings_image_and_signature_without_a_registry() {
    let registry = Registry::start();
    let world = trusting(&registry);
    let (signed, bare) = (registry.image("team/signed:1"), registry.image("team/bare:1"));
    world.publish_signed(&signed, "chain");
    publish(&world.daemon, &bare, "stranger");
    let archive = |name: &str| world.daemon.path(name).display().to_string();
    let (one, two) = (archive("signed.tar"), archive("bare.tar"));
    let saved = world.daemon.bpfman(&format!("image save {signed} --to {one} -o json")).json();
    assert_eq!(saved["signatures"], 1);
    world.daemon.bpfman(&format!("image save {bare} --to {two}")).success();
    drop(registry);
    let loaded = world.daemon.bpfman(&format!("image load {one} -o json")).json();
    assert_eq!(
        (&loaded[0]["image"], &loaded[0]["refused"]),
        (&signed.as_str().into(), &serde_json::Value::Null)
    );
    assert!(loaded[0]["verified_by"].as_str().unwrap().contains(&world.fingerprint));
    world.daemon.bpfman(&format!("load image -i {signed} -p Never --programs xdp:xdp_member")).success();
    // An archive does not make an unsigned image acceptable.
    let refused = world.daemon.bpfman(&format!("image load {two} -o json"));
    let loaded: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert!(loaded[0]["refused"].as_str().unwrap().contains("not signed"), "{loaded}");
    refused.fails(9, &["1 of 1 images", &two]);
    world.daemon.bpfman(&format!("load image -i {bare} -p Never --programs xdp:stranger")).fails(5, &[&bare]);
    let before = world.daemon.bpfman("image list -o json").json();
    let mut bytes = fs::read(&one).unwrap();
    let at = bytes.windows(4).rposition(|bytes| bytes == b"\x1f\x8b\x08\x00").unwrap() + 40;
    bytes[at] ^= 1;
    fs::write(&one, bytes).unwrap();
    world.daemon.bpfman(&format!("image load {one}")).fails(6, &["digest"]);
    fs::write(&one, "no archive").unwrap();
    world.daemon.bpfman(&format!("image load {one}")).fails(6, &[&one]);
    assert_eq!(world.daemon.bpfman("image list -o json").json(), before);
}

#[test]
fn revoked_key_stops_loads_at_once_and_reports_running_programs() {
    let registry = Registry::start();
    let world = trusting(&registry);
    let name = registry.image("team/app:1");
    world.publish_signed(&name, "chain");
    let program = world.load(&name, "xdp_member");
    assert_eq!(findings(&world.daemon), [""; 0]);
    world.change_policy(&format!("[revoked]\nkeys = [\"{}\"]\n", world.fingerprint));
    world.daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).fails(9, &["revoked"]);
    let found = findings(&world.daemon);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert!(finding.starts_with(&format!("program {}: ", program["program_id"])), "{finding}");
    assert!(finding.contains(&world.fingerprint) && finding.contains("runs on"), "{finding}");
    let digests = [
        program["bytecode"]["image_digest"].as_str().unwrap().to_owned(),
        format!("sha256:{}", program["bytecode"]["sha256"].as_str().unwrap()),
    ];
    for digest in digests {
        world.change_policy(&format!("[revoked]\ndigests = [\"{digest}\"]\n"));
        world.daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).fails(9, &[&digest]);
        assert_eq!(findings(&world.daemon).len(), 1);
    }
    // With a mistake in the policy, the previous revocations stay in force.
    world.change_policy("[revoked]\nkees = []\n");
    let found = findings(&world.daemon);
    assert!(found.len() == 2 && found[0].contains("`kees`"), "{found:?}");
    world.daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).fails(9, &["sha256:"]);
    world.change_policy("");
    world.load(&name, "xdp_member");
}

#[test]
fn a_policy_may_have_revoked_programs_detached() {
    let (registry, network) = (Registry::start(), Network::new());
    let world = trusting(&registry);
    let name = registry.image("team/app:1");
    world.publish_signed(&name, "chain");
    let program = world.load(&name, "xdp_member");
    let far = network.far.path().display().to_string();
    let attach = format!("attach {} xdp -i {INTERFACE} -p 50 -n {far}", program["program_id"]);
    world.daemon.bpfman(&attach).success();
    assert_eq!(world.daemon.bpfman("list links -q").success().lines().count(), 1);
    world.change_policy(&format!("[revoked]\nkeys = [\"{}\"]\nrunning = \"detach\"\n", world.fingerprint));
    let found = findings(&world.daemon);
    assert!(found[0].contains("1 links were detached"), "{found:?}");
    assert_eq!(world.daemon.bpfman("list links -q").success().lines().count(), 0);
}

fn attached(world: &Trusting, registry: &Registry, network: &Network) -> [String; 2] {
    let name = registry.image("team/app:1");
    world.publish_signed(&name, "chain");
    let program = world.load(&name, "xdp_member");
    let far = network.far.path().display().to_string();
    let attach = format!("attach {} xdp -i {INTERFACE} -p 50 -n {far}", program["program_id"]);
    world.daemon.bpfman(&attach).success();
    assert_eq!(links(&world.daemon), 1);
    let digest = program["bytecode"]["image_digest"].as_str().unwrap();
    [
        format!("[revoked]\nkeys = [\"{}\"]\nrunning = \"detach\"\n", world.fingerprint),
        format!("[revoked]\ndigests = [\"{digest}\"]\nrunning = \"detach\"\n"),
    ]
}

fn links(daemon: &Daemon) -> usize {
    daemon.bpfman("list links -q").success().lines().count()
}

#[test]
fn a_signal_has_revoked_programs_detached() {
    for kind in 0..2 {
        let (registry, network) = (Registry::start(), Network::new());
        let world = trusting(&registry);
        let revoked = attached(&world, &registry, &network);
        let hangup = || run(&["kill", "-HUP", &world.daemon.pid().to_string()]);
        let held = || world.daemon.log().matches("SIGHUP: holding programs").count();
        hangup();
        wait::until("the signal arrived", || held() == 1);
        assert_eq!(links(&world.daemon), 1);
        world.change_policy(&revoked[kind]);
        assert_eq!(links(&world.daemon), 1, "a policy that changes detaches nothing by itself");
        hangup();
        wait::until("the link was detached", || links(&world.daemon) == 0);
        wait::until("the log says so", || world.daemon.log().contains("not to run any more"));
        assert_eq!(world.daemon.bpfman("list programs -q").success().lines().count(), 1);
    }
}

#[test]
fn start_detaches_programs_revoked_while_the_daemon_was_down() {
    for kind in 0..2 {
        let (registry, network) = (Registry::start(), Network::new());
        let mut world = trusting(&registry);
        let revoked = attached(&world, &registry, &network);
        world.daemon.terminate();
        let policy = format!("{}{}", world.policy, revoked[kind]);
        world.daemon.again(&Launch { policy: policy.clone(), ..Launch::default() });
        assert_eq!(links(&world.daemon), 0);
        assert!(findings(&world.daemon)[0].contains("is revoked"));
        // The program stays detached, even after a kill of the daemon.
        world.daemon.kill();
        world.daemon.again(&Launch { policy, ..Launch::default() });
        assert_eq!(links(&world.daemon), 0);
    }
}

#[test]
fn files_are_loaded_by_those_whom_the_policy_names() {
    let policy =
        |users: &str| Launch { policy: format!("[files]\nusers = [{users}]\n"), ..Launch::default() };
    let mut daemon = Daemon::start_with(&policy(""));
    let object = compile::object("chain").display().to_string();
    let load = format!("load file -p {object} --programs xdp:xdp_member");
    daemon.bpfman(&load).fails(4, &["policy", "policy.toml"]);
    daemon.terminate();
    daemon.again(&policy("0"));
    daemon.bpfman(&load).success();
}

#[test]
fn image_is_checked_from_the_daemons_cache_or_the_registry() {
    let registry = Registry::start();
    let world = trusting(&registry);
    let (signed, bare) = (registry.image("team/signed:1"), registry.image("team/bare:1"));
    world.publish_signed(&signed, "chain");
    publish(&world.daemon, &bare, "stranger");
    let checked = world.daemon.bpfman(&format!("check {signed} -o json")).json();
    assert_eq!((&checked["file"], &checked["tried"]["accepted"]), (&signed.as_str().into(), &true.into()));
    assert_eq!(checked["notes"], serde_json::json!([]));
    let alone = world.daemon.bpfman(&format!("check {signed} --no-try -o json")).json();
    assert_eq!((&alone["needs"], alone["tried"].is_null()), (&checked["needs"], true));
    let refused = world.daemon.bpfman(&format!("check {bare} -o json")).json();
    assert!(refused["tried"].is_null() && refused["needs"].as_array().unwrap().len() > 1, "{refused}");
    assert!(refused["notes"][0].as_str().unwrap().contains("not signed"), "{refused}");
    assert_eq!(world.daemon.state().programs.len(), 0);
    let network = Network::new();
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let line = format!("run {signed} xdp_member --attach {hook} --for 1s -o json");
    let ran = world.daemon.bpfman(&line).success();
    assert!(ran.contains(&format!("\"hook\":\"{hook}\"")), "{ran}");
    world.daemon.bpfman(&line.replace(&signed, &bare)).fails(9, &["not signed"]);
    assert_eq!(world.daemon.state().programs.len(), 0);
    world.daemon.bpfman("check NO:SUCH:THING --no-try").fails(6, &["NO:SUCH:THING", "no such file"]);
    let none = registry.image("team/none:1");
    world.daemon.bpfman(&format!("check {none} --no-try")).fails(5, &["team/none"]);
    drop(registry);
    world.daemon.bpfman(&format!("check {bare} --no-try")).fails(9, &["cannot be reached"]);
    let cached = world.daemon.bpfman(&format!("check {signed} -o json")).json();
    assert_eq!(cached["tried"]["accepted"], true, "{cached}");
}
