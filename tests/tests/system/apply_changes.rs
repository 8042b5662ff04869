//! Edited manifests, and the programs that run afterwards.

use std::fs;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::{Value, json};

use crate::apply_equipment::{Machine, application, of_object, xdp};

#[test]
fn edited_globals_replace_the_version_without_losing_a_packet() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
    let traffic = Traffic::new(&machine.network);
    let stream = traffic.stream();
    for who in ["AgAAAA==", "AwAAAA==", "BAAAAA=="] {
        manifest["spec"]["globalData"]["who"] = json!(who);
        assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    }
    let sent = stream.end();
    assert_eq!(traffic.send(1), 0);
    assert!(sent > 0);
    let program = machine.program("xdp_member");
    let _older = program.trail();
    assert_eq!(traffic.send(1), 0);
    assert_eq!(program.trail(), [4], "the last version runs, alone");
    machine.settled(&manifest);
}

#[test]
fn a_rebuilt_object_file_replaces_the_running_version() {
    let machine = Machine::new();
    let object = machine.daemon.path("app.o");
    fs::copy(compile::object("chain"), &object).unwrap();
    let mut manifest = of_object(&object, &[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
    machine.settled(&manifest);
    // Simulate a linker that writes other debug sections: the same programs in another file.
    let mut bytes = fs::read(&object).unwrap();
    bytes.extend([0; 64]);
    fs::write(&object, bytes).unwrap();
    let differs = machine.run("diff", &manifest, "");
    assert!(differs.stdout.contains("the object file is another one"), "{}", differs.stdout);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    machine.settled(&manifest);
    // Another path with the same bytes is another source to the manifest.
    let other = machine.daemon.path("other.o");
    fs::copy(&object, &other).unwrap();
    manifest["spec"]["byteCode"]["path"] = json!(other);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!(machine.programs()[0]["bytecode"]["path"], json!(other));
    machine.settled(&manifest);
}

#[test]
fn a_place_is_changed_without_making_the_attachment_again() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10), xdp("xdp_another", 20)]);
    machine.apply(&manifest);
    let ids = |machine: &Machine| -> Vec<Value> {
        let mut links = machine.links();
        links.sort_by_key(|link| link["program_name"].to_string());
        links.iter().map(|link| link["link_id"].clone()).collect()
    };
    let position = |machine: &Machine, name: &str| {
        let links = machine.links();
        links.iter().find(|link| link["program_name"] == name).unwrap()["position"].clone()
    };
    let before = ids(&machine);
    let of = |manifest: &mut Value, program: usize, field: &str, value: Value| {
        manifest["spec"]["programs"][program]["xdp"]["links"][0][field] = value;
    };
    of(&mut manifest, 0, "priority", json!(30));
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!((position(&machine, "xdp_another"), position(&machine, "xdp_member")), (json!(0), json!(1)));
    machine.settled(&manifest);
    of(&mut manifest, 0, "order", json!({ "role": "first", "before": ["xdp_another"] }));
    machine.apply(&manifest);
    assert_eq!((position(&machine, "xdp_another"), position(&machine, "xdp_member")), (json!(1), json!(0)));
    machine.settled(&manifest);
    of(&mut manifest, 0, "proceedOn", json!(["Pass"]));
    let changes = machine.run("diff", &manifest, "").stdout;
    assert_eq!(
        changes,
        format!("clusterbpfapplication/judges\n  change xdp_member at {INTERFACE}: proceed on pass\n")
    );
    machine.apply(&manifest);
    machine.settled(&manifest);
    assert_eq!(ids(&machine), before, "the links are the same ones");
    assert_eq!(Traffic::new(&machine.network).send(1), 0);
    assert_eq!(
        machine.program("xdp_member").hits(),
        1,
        "of both, which share their maps, the first drops it"
    );
}

#[test]
fn programs_are_added_removed_and_renamed_under_traffic() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
    let traffic = Traffic::new(&machine.network);
    let stream = traffic.stream();
    let lists: [&[&str]; 4] =
        [&["xdp_member", "xdp_another"], &["xdp_member"], &["xdp_member", "tc_member"], &["xdp_member"]];
    for list in lists {
        let program = |name: &&str| match *name {
            "tc_member" => json!({ "name": name, "type": "TC", "tc": {} }),
            name => xdp(name, 20),
        };
        manifest["spec"]["programs"] = list.iter().map(program).collect();
        assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
        let mut names: Vec<String> =
            machine.programs().iter().map(|program| program["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        let mut wanted = list.to_vec();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
    }
    let _sent = stream.end();
    assert_eq!(traffic.send(1), 0, "what stayed in the list never let a packet through");
    machine.settled(&manifest);
    manifest["spec"]["programs"][0] = xdp("xdp_another", 20);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!(machine.programs().len(), 1);
    let another = machine.program("xdp_another");
    let kept = another.hits();
    assert!(kept > 0, "the maps go on below their names");
    assert_eq!(traffic.send(1), 0);
    assert_eq!(another.hits(), kept + 1);
    machine.settled(&manifest);
}

#[test]
fn a_version_that_the_kernel_refuses_leaves_the_old_one_running() {
    let machine = Machine::new();
    let manifest = application(&[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
    let before = machine.daemon.state();
    let mut broken = of_object(&compile::object("broken"), &[xdp("broken", 10)]);
    broken["spec"].as_object_mut().unwrap().remove("globalData");
    let outcome = machine.run("apply", &broken, "-o json");
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&said["objects"][0]["outcome"], &said["objects"][0]["load"]),
        (&json!("failed"), &json!("older-runs"))
    );
    outcome.fails(8, &["judges: ", "the older version runs on"]);
    assert_eq!(machine.daemon.state(), before);
    assert_eq!(Traffic::new(&machine.network).send(2), 0);
    assert_eq!(machine.program("xdp_member").hits(), 2);
    machine.settled(&manifest);
}

#[test]
fn moved_tag_is_followed_with_the_pull_policy_always() {
    let registry = Registry::start();
    let policy = format!("[[images]]\npattern = \"{}\"\nunsigned = true\n", registry.image("*"));
    // Without a network namespace of its own: the registry listens on this one's loopback interface.
    let machine = Machine {
        daemon: Daemon::start_with(&Launch { policy, ..Launch::default() }),
        network: Network::new(),
    };
    let name = registry.image("team/judges:1");
    crate::images::publish(&machine.daemon, &name, "chain");
    let mut manifest = application(&[json!({ "name": "xdp_member", "type": "XDP", "xdp": {} })]);
    manifest["spec"]["byteCode"] = json!({ "image": { "url": name, "imagePullPolicy": "Always" } });
    machine.apply(&manifest);
    let digest = |machine: &Machine| machine.programs()[0]["bytecode"]["image_digest"].clone();
    let first = digest(&machine);
    let again = machine.run("apply", &manifest, "-o json").json();
    assert_eq!(
        (&again["objects"][0]["outcome"], &again["objects"][0]["image_digest"]),
        (&json!("unchanged"), &first)
    );
    let object = machine.daemon.path("moved.o");
    let mut bytes = fs::read(compile::object("chain")).unwrap();
    bytes.extend([0; 64]);
    fs::write(&object, bytes).unwrap();
    machine.daemon.bpfman(&format!("image build -t {name} -b {}", object.display())).success();
    machine.daemon.bpfman(&format!("image push {name}")).success();
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_ne!(digest(&machine), first);
    assert_eq!(machine.run("diff", &manifest, "").success(), "");
    // Without the registry the current digest is unknown; programs continue to run, and the user gets a warning.
    drop(registry);
    let outcome = machine.run("apply", &manifest, "");
    assert!(outcome.stderr.contains("whether the image moved is not known"), "{}", outcome.stderr);
    assert_eq!(outcome.success(), "clusterbpfapplication/judges unchanged\n");
}
