//! Registries that hang, private images, and forbidden rollbacks, through the whole daemon.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;

use bpfman_proto::v1::PullBytecodeRequest;
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::image;
use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::{Daemon, Launch, Outcome, compile};

use crate::images::publish;

const TENANT: u32 = 64_125;

fn launch(config: &str) -> Launch {
    Launch {
        policy: format!("mode = \"off\"\n{EVERYBODY_MAY}"),
        config: config.to_owned(),
        ..Launch::default()
    }
}

#[test]
fn loads_from_the_cache_go_on_while_a_hundred_registries_hang() {
    let registry = Registry::start();
    let daemon = Daemon::start_with(&launch(""));
    let name = registry.image("warm:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("image pull -i {name}")).success();
    let listeners: Vec<_> = (0..100).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let wires: Vec<_> = (0..10).map(|_| daemon.wire()).collect();
    std::thread::scope(|scope| {
        for (number, listener) in listeners.iter().enumerate() {
            let slow = format!("{}/slow:1", listener.local_addr().unwrap());
            let wire = &wires[number % wires.len()];
            scope.spawn(move || {
                let pulled = wire.pull_bytecode(PullBytecodeRequest { image: Some(image(&slow, 1)) });
                assert!(pulled.is_err(), "nothing came from there");
            });
        }
        let mut held = Vec::new();
        for listener in &listeners {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 16]).unwrap() > 0);
            held.push(stream);
        }
        for pull_policy in ["Never", "IfNotPresent", "Always"] {
            daemon
                .bpfman(&format!("load image -i {name} -p {pull_policy} --programs xdp:xdp_member"))
                .success();
        }
        daemon.bpfman("list programs").success();
        drop(held);
        drop(daemon);
    });
}

#[test]
fn private_images_and_machine_passwords_are_not_for_all_users() {
    let open = Registry::start();
    let mut daemon = Daemon::prepare();
    let auth = "YW5uOnMzY3JldDp3b3Jk";
    let mut closed = open.with_password();
    let name = closed.image("team/private:1");
    let file = daemon.path("auth.json");
    fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, closed.address())).unwrap();
    let own = daemon.path("none.json");
    fs::write(&own, "{}").unwrap();
    daemon.again(&launch(&format!("[images]\nauth_file = \"{}\"\n", own.display())));
    publish(&daemon, &open.image("team/private:1"), "chain");
    let load = |policy: &str| format!("load image -i {name} -p {policy} --programs xdp:xdp_member -q");
    daemon.bpfman(&load("IfNotPresent")).fails(4, &[&name]);
    daemon.bpfman(&format!("{} --registry-auth {auth}", load("IfNotPresent"))).success();
    daemon.bpfman(&load("IfNotPresent")).fails(4, &["team/private"]);
    daemon.bpfman(&load("Never")).fails(4, &[&name, "hint: "]);
    daemon.bpfman(&format!("{} --registry-auth {auth}", load("Never"))).success();
    // Only root may use the machine's credentials, unless the configuration names others.
    for (users, tenant_may) in [("[0]", false), (&*format!("[0, {TENANT}]"), true)] {
        daemon.terminate();
        let config = format!("[images]\nauth_file = \"{}\"\nauth_users = {users}\n", file.display());
        daemon.again(&launch(&config));
        daemon.open_to_users();
        let tenants = daemon.bpfman_as(TENANT, &load("IfNotPresent"));
        if tenant_may {
            tenants.success();
        } else {
            tenants.fails(4, &["team/private"]);
        }
        daemon.bpfman(&load("IfNotPresent")).success();
    }
    closed.stop();
    daemon.bpfman(&load("IfNotPresent")).success();
    daemon.bpfman(&load("Never")).success();
}

#[test]
fn a_rollback_is_judged_by_the_policy_as_it_is_now() {
    let registry = Registry::start();
    let mut daemon = Daemon::prepare();
    let prefix = daemon.path("trusted").display().to_string();
    daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    let policy = |more: &str| {
        format!("[[images]]\npattern = \"{}\"\nkeys = [\"{prefix}.pub\"]\n{more}", registry.image("*"))
    };
    daemon.again(&Launch { policy: policy("increasing = \"version\"\n"), ..Launch::default() });
    let named = |version: &str| registry.image(&format!("network/firewall:v{version}"));
    for version in ["1", "2"] {
        let name = named(version);
        let object = compile::object("chain").display().to_string();
        // Another date makes a different image of the same object.
        let mut build = daemon.cli_command();
        build.args(["image", "build", "-t", &name, "-b", &object]).env("SOURCE_DATE_EPOCH", version);
        Outcome::of(&mut build).success();
        daemon.bpfman(&format!("image push {name}")).success();
        daemon.bpfman(&format!("image sign {name} --key {prefix}.key -a version={version}")).success();
    }
    let load = |name: &str| format!("load image -i {name} -p Always --programs xdp:xdp_member -o json");
    let loaded = daemon.bpfman(&load(&named("1"))).json();
    let id = loaded["programs"][0]["program_id"].as_u64().unwrap();
    let replaced = daemon.bpfman(&format!("replace {id} image -i {} -p Always -o json", named("2")));
    let replaced = replaced.json();
    let id = replaced["program"]["program_id"].as_u64().unwrap();
    // With a floor of 2, neither a load nor a rollback accepts a lower version.
    let digest = loaded["programs"][0]["bytecode"]["image_digest"].as_str().unwrap();
    let nowhere = registry.image(&format!("network/nowhere@{digest}"));
    daemon
        .bpfman(&format!("load image -i {nowhere} -p Never --programs xdp:xdp_member"))
        .fails(4, &["nowhere"]);
    daemon.bpfman(&format!("replace {id} --rollback")).fails(9, &["may not come back"]);
    fs::write(daemon.path("policy.toml"), policy("")).unwrap();
    daemon.bpfman(&format!("replace {id} --rollback")).success();
}
