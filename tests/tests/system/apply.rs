//! Applications declared in manifests, through the client, the daemon and the kernel.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::{load, pairs};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile, kernel};
use serde_json::{Value, json};

use crate::equipment::{Program, test_name};

/// `XDP_DROP` and `XDP_PASS`, as programs return them and as global variables have them.
const DROP: &str = "AQAAAA==";
const PASS: &str = "AgAAAA==";

/// A machine: a daemon that lives in the network namespace at the far end.
struct Machine {
    daemon: Daemon,
    network: Network,
}

impl Machine {
    fn new() -> Self {
        let network = Network::new();
        let wrapper = vec!["nsenter".to_owned(), format!("--net={}", network.far.path().display())];
        Self { daemon: Daemon::start_with(&Launch { wrapper, ..Launch::default() }), network }
    }

    fn run(&self, verb: &str, manifest: &Value, flags: &str) -> Outcome {
        let file = self.daemon.path("app.yaml");
        fs::write(&file, serde_norway::to_string(manifest).unwrap()).unwrap();
        self.daemon.bpfman(&format!("{verb} -f {} {flags}", file.display()))
    }

    fn apply(&self, manifest: &Value) -> String {
        self.run("apply", manifest, "").success()
    }

    /// Applies it again: nothing is done, and nothing was to do.
    fn settled(&self, manifest: &Value) {
        let (state, written) = (self.daemon.state(), self.written());
        let again = self.run("apply", manifest, "-o json").json();
        assert_eq!(again["objects"][0]["outcome"], "unchanged", "{again:#}");
        assert_eq!(again["objects"][0]["done"], json!([]));
        assert_eq!(self.run("diff", manifest, "").success(), "");
        assert_eq!(self.daemon.state(), state);
        assert_eq!(self.written(), written, "the daemon has written nothing down");
    }

    /// When each file of the daemon's state was last written.
    fn written(&self) -> Vec<(String, SystemTime)> {
        fn gather(folder: &Path, found: &mut Vec<(String, SystemTime)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    gather(&entry.path(), found);
                } else {
                    let changed = entry.metadata().unwrap().modified().unwrap();
                    found.push((entry.path().display().to_string(), changed));
                }
            }
        }
        let mut found = Vec::new();
        gather(&self.daemon.path("run/state"), &mut found);
        found.sort();
        found
    }

    /// The programs, in the order they were loaded.
    fn programs(&self) -> Vec<Value> {
        self.daemon.state().programs
    }

    fn links(&self) -> Vec<Value> {
        self.daemon.state().links
    }

    /// The program of a name, with its maps.
    fn program(&self, name: &str) -> Program {
        let programs = self.programs();
        let found = programs.iter().find(|program| program["name"] == name).expect("it is loaded");
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        Program {
            id: number(&found["program_id"]),
            maps: found["kernel"]["map_ids"].as_array().unwrap().iter().map(number).collect(),
        }
    }
}

/// An application of members of the chain object.
fn application(programs: &[Value]) -> Value {
    of_object(&compile::object("chain"), programs)
}

fn of_object(object: &Path, programs: &[Value]) -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1",
        "kind": "ClusterBpfApplication",
        "metadata": { "name": "judges" },
        "spec": {
            "nodeSelector": {},
            "byteCode": { "path": object },
            "globalData": { "who": "AQAAAA==", "verdict": DROP },
            "programs": programs,
        },
    })
}

/// An XDP program on the far end's interface. What drops ends the chain.
fn xdp(name: &str, priority: i32) -> Value {
    let link = json!({
        "interfaceSelector": { "interfaces": [INTERFACE] },
        "priority": priority,
        "proceedOn": ["Pass", "DispatcherReturn"],
    });
    json!({ "name": name, "type": "XDP", "xdp": { "links": [link] } })
}

#[test]
fn an_application_is_applied_once_and_deleted_without_a_trace() {
    let machine = Machine::new();
    let before = machine.daemon.state();
    let manifest = application(&[xdp("xdp_member", 10)]);
    let differs = machine.run("diff", &manifest, "");
    assert_eq!(
        differs.stdout,
        format!("clusterbpfapplication/judges\n  load xdp_member\n  attach xdp_member at {INTERFACE}\n")
    );
    differs.fails(1, &["error: the machine is not as the manifests say", "hint: `bpfman apply`"]);
    assert_eq!(machine.daemon.state(), before, "a comparison changes nothing");
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges created\n");
    assert_eq!(Traffic::new(&machine.network).send(3), 0, "it drops");
    assert_eq!(machine.program("xdp_member").hits(), 3);
    let metadata = &machine.programs()[0]["metadata"];
    assert_eq!(metadata["bpfman.io/uuid"], "local:ClusterBpfApplication/judges");
    assert_eq!(metadata["bpfman.io/ProgramName"], "judges");
    machine.settled(&manifest);
    assert_eq!(machine.run("delete", &manifest, "").success(), "clusterbpfapplication/judges deleted\n");
    assert_eq!(machine.daemon.state(), before);
    assert_eq!(machine.run("delete", &manifest, "").success(), "clusterbpfapplication/judges unchanged\n");
    assert_eq!(Traffic::new(&machine.network).send(1), 1);
}

#[test]
fn what_is_left_of_another_load_does_not_keep_a_new_version_away() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
    // The daemon replaces one load at a time, and refuses programs of two.
    let mut left = load(&compile::object("chain"), &[("tc_member", Type::Tc)]);
    left.metadata = pairs(&[
        ("bpfman.io/uuid", "local:ClusterBpfApplication/judges"),
        ("bpfman.io/content", "of an earlier version"),
    ]);
    machine.daemon.wire().load(left).unwrap();
    manifest["spec"]["globalData"]["verdict"] = json!(PASS);
    machine.apply(&manifest);
    assert_eq!(machine.programs().len(), 1, "{:#?}", machine.programs());
    assert_eq!(Traffic::new(&machine.network).send(3), 3, "the new version passes");
    assert_eq!(machine.program("xdp_member").hits(), 3);
    machine.settled(&manifest);
}

#[test]
fn edited_globals_replace_the_running_version_and_no_packet_slips_through() {
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
    // As a linker that writes other debug sections: the same programs in another file.
    let mut bytes = fs::read(&object).unwrap();
    bytes.extend([0; 64]);
    fs::write(&object, bytes).unwrap();
    let differs = machine.run("diff", &manifest, "");
    assert!(differs.stdout.contains("the object file is another one"), "{}", differs.stdout);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    machine.settled(&manifest);
    // Another path with the same bytes is another source, by the manifest.
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
fn programs_are_added_removed_and_renamed_in_the_list_under_traffic() {
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
    // Renamed: another function of the object.
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
fn what_vanished_comes_back() {
    let machine = Machine::new();
    let manifest = application(&[xdp("xdp_member", 10), xdp("xdp_another", 5)]);
    machine.apply(&manifest);
    let link = machine.links()[0]["link_id"].clone();
    machine.daemon.bpfman(&format!("detach {link}")).success();
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!(machine.links().len(), 2);
    machine.settled(&manifest);
    let another = machine.program("xdp_another");
    machine.daemon.bpfman(&format!("unload {}", another.id)).success();
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!((machine.programs().len(), machine.links().len()), (2, 2));
    machine.settled(&manifest);
    assert_eq!(Traffic::new(&machine.network).send(1), 0);
    assert_eq!(machine.program("xdp_another").hits(), 1);
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
fn one_attachment_that_fails_does_not_keep_the_others() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["programs"][0]["xdp"]["links"][0]["interfaceSelector"]["interfaces"] =
        json!(["nowhere0", INTERFACE]);
    let outcome = machine.run("apply", &manifest, "-o json");
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let links = &said["objects"][0]["programs"][0]["links"];
    assert_eq!((&links[0]["attachment"], &links[0]["state"]), (&json!("nowhere0"), &json!("attach-failed")));
    assert_eq!((&links[1]["attachment"], &links[1]["state"]), (&json!(INTERFACE), &json!("attached")));
    outcome.fails(6, &["judges: xdp_member: ", "nowhere0"]);
    assert_eq!(Traffic::new(&machine.network).send(1), 0);
    // When it is there, the next one attaches it too.
    machine.network.far.ip(&["link", "add", "nowhere0", "type", "veth", "peer", "name", "peer1"]);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    machine.settled(&manifest);
}

#[test]
fn a_tag_that_moved_is_followed_where_the_registry_is_asked_every_time() {
    let registry = Registry::start();
    let policy = format!("[[images]]\npattern = \"{}\"\nunsigned = true\n", registry.image("*"));
    // In no namespace of its own: the registry is on this one's loopback interface.
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
    // The same programs in another image.
    let object = machine.daemon.path("moved.o");
    let mut bytes = fs::read(compile::object("chain")).unwrap();
    bytes.extend([0; 64]);
    fs::write(&object, bytes).unwrap();
    machine.daemon.bpfman(&format!("image build -t {name} -b {}", object.display())).success();
    machine.daemon.bpfman(&format!("image push {name}")).success();
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_ne!(digest(&machine), first);
    assert_eq!(machine.run("diff", &manifest, "").success(), "");
    // Without the registry nobody knows; what runs goes on, and the user is told.
    drop(registry);
    let outcome = machine.run("apply", &manifest, "");
    assert!(outcome.stderr.contains("whether the image moved is not known"), "{}", outcome.stderr);
    assert_eq!(outcome.success(), "clusterbpfapplication/judges unchanged\n");
}

#[test]
fn a_node_selector_that_leaves_this_machine_out_takes_the_programs_away() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["nodeSelector"] = json!({ "matchLabels": { "role": "edge" } });
    assert_eq!(
        machine.run("apply", &manifest, "--label role=edge").success(),
        "clusterbpfapplication/judges created\n"
    );
    assert_eq!(machine.programs().len(), 1);
    assert_eq!(
        machine.apply(&manifest),
        "clusterbpfapplication/judges changed: its node selector leaves this machine out\n"
    );
    assert_eq!(machine.programs(), [json!(null); 0]);
    manifest["spec"]["nodeSelector"] = json!({ "matchLabels": { "kubernetes.io/os": "linux" } });
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges created\n");
}

#[test]
fn interfaces_are_found_by_pattern_also_those_that_come_later() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let machine = Machine::new();
    machine.network.far.ip(&["link", "add", "found0", "type", "veth", "peer", "name", "peer2"]);
    let config = json!({ "interfaceAutoDiscovery": true, "allowedInterfaces": ["/^found[0-9]$/"] });
    let link = json!({
        "interfaceSelector": { "interfacesDiscoveryConfig": config },
        "direction": "Ingress",
    });
    let manifest = application(&[json!({ "name": "tcx_member", "type": "TCX", "tcx": { "links": [link] } })]);
    machine.apply(&manifest);
    let here = |machine: &Machine| -> Vec<String> {
        let links = machine.links();
        let own = links.iter().filter(|link| link["attach"]["netns"].is_null());
        own.map(|link| link["attach"]["iface"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(here(&machine), ["found0"]);
    machine.network.far.ip(&["link", "add", "found1", "type", "veth", "peer", "name", "peer3"]);
    machine.network.far.ip(&["link", "add", "lost0", "type", "veth", "peer", "name", "peer4"]);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!(here(&machine), ["found0", "found1"]);
    machine.settled(&manifest);
}

#[test]
fn the_primary_interface_carries_the_machines_address() {
    let machine = Machine::new();
    machine.network.far.ip(&["route", "add", "default", "dev", INTERFACE]);
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["programs"][0]["xdp"]["links"][0]["interfaceSelector"] =
        json!({ "primaryNodeInterface": true });
    let file = machine.daemon.path("app.json");
    fs::write(&file, manifest.to_string()).unwrap();
    let mut inside = machine.network.far.command(bpfman_tests::binaries::find("bpfman").to_str().unwrap());
    inside.env("BPFMAN_SOCKET_PATH", machine.daemon.socket()).env("HOME", machine.daemon.path(""));
    let outcome = Outcome::of(inside.args(["apply", "-f"]).arg(&file));
    assert_eq!(outcome.success(), "clusterbpfapplication/judges created\n");
    assert_eq!(machine.links()[0]["attach"]["iface"], INTERFACE);
    assert_eq!(Traffic::new(&machine.network).send(1), 0);
}

#[test]
fn several_documents_are_checked_before_the_first_is_applied() {
    let machine = Machine::new();
    let before = machine.daemon.state();
    let (mut first, mut second) =
        (application(&[xdp("xdp_member", 10)]), application(&[xdp("xdp_another", 20)]));
    first["metadata"]["name"] = json!("first");
    second["metadata"]["name"] = json!("second");
    let file = machine.daemon.path("both.yaml");
    let write = |documents: [&Value; 2]| {
        let texts = documents.map(|document| serde_norway::to_string(document).unwrap());
        fs::write(&file, format!("# Nothing but a comment\n---\n{}---\n{}", texts[0], texts[1])).unwrap();
    };
    let run = |verb: &str| machine.daemon.bpfman(&format!("{verb} -f {}", file.display()));
    second["spec"]["programs"][0]["xdp"]["links"][0]["priority"] = json!(1001);
    write([&first, &second]);
    run("apply").fails(
        6,
        &[
            "document 2: spec.programs[0].xdp.links[0].priority: 1001 is out of range: 0 to 1000 are allowed",
            "hint: nothing was changed",
        ],
    );
    assert_eq!(machine.daemon.state(), before);
    second["spec"]["programs"][0]["xdp"]["links"][0]["priority"] = json!(20);
    write([&first, &second]);
    assert_eq!(
        run("apply").success(),
        "clusterbpfapplication/first created\nclusterbpfapplication/second created\n"
    );
    assert_eq!(
        run("delete").success(),
        "clusterbpfapplication/first deleted\nclusterbpfapplication/second deleted\n"
    );
    assert_eq!(machine.daemon.state(), before);
}

#[test]
fn a_bad_manifest_names_the_field_and_changes_nothing() {
    let machine = Machine::new();
    let good = application(&[xdp("xdp_member", 10)]);
    machine.apply(&good);
    let before = machine.daemon.state();
    let link = "/spec/programs/0/xdp/links/0";
    for (pointer, value, says) in [
        ("/kind", json!("Deployment"), "kind: \"Deployment\" of \"bpfman.io/v1alpha1\" is not known here"),
        ("/kind", json!("BpfApplication"), "BpfApplication attaches within pods"),
        ("/apiVersion", json!("bpfman.io/v2"), "of \"bpfman.io/v2\" is not known here"),
        ("/metadata/name", json!("Judges"), "metadata.name: \"Judges\" is no name"),
        ("/spec", json!(null), "spec: it is missing"),
        ("/spec/nodeSelector", json!(null), "spec.nodeSelector: it is missing"),
        ("/spec/byteCode", json!({}), "spec.byteCode: it has 0 entries: exactly 1 is allowed"),
        ("/spec/byteCode/path", json!("chain.o"), "spec.byteCode.path: \"chain.o\" does not match"),
        ("/spec/globalData/who", json!([1, 256]), "spec.globalData.who: [1,256] is not a text"),
        ("/spec/globalData/who", json!("%"), "spec.globalData.who: \"%\" is not base64"),
        ("/spec/programs", json!([]), "spec.programs: it has 0 entries: 1 or more are allowed"),
        ("/spec/programs/0/name", json!("x"), "spec.programs[0].name: \"x\" does not match"),
        (
            "/spec/programs/0/type",
            json!("XDQ"),
            "spec.programs[0].type: \"XDQ\" is not allowed: XDP, TC, TCX",
        ),
        ("/spec/programs/0/type", json!("TC"), "spec.programs[0].xdp: it does not belong to type TC"),
        ("/spec/programs/0/tcc", json!({}), "spec.programs[0].tcc: there is no such field"),
        (
            &format!("{link}/priority"),
            json!(-1),
            "links[0].priority: -1 is out of range: 0 to 1000 are allowed",
        ),
        (&format!("{link}/priority"), json!("high"), "links[0].priority: \"high\" is not a whole number"),
        (&format!("{link}/proceedOn"), json!(["Passs"]), "links[0].proceedOn[0]: \"Passs\" is not allowed"),
        (&format!("{link}/interfaceSelector"), json!({}), "links[0].interfaceSelector: it has 0 entries"),
        (
            &format!("{link}/interfaceSelector"),
            json!({ "interfacesDiscoveryConfig": { "interfaceAutoDiscovery": true, "allowedInterfaces": ["/(/"] } }),
            "interfacesDiscoveryConfig.allowedInterfaces[0]: \"/(/\" is no pattern",
        ),
        (
            &format!("{link}/onUnavailable"),
            json!("maybe"),
            "links[0].onUnavailable: \"maybe\" is not allowed",
        ),
    ] {
        let mut bad = good.clone();
        put(&mut bad, pointer, value);
        machine.run("apply", &bad, "").fails(6, &[says, "hint: nothing was changed"]);
        assert_eq!(machine.daemon.state(), before, "{pointer}");
    }
    fs::write(machine.daemon.path("x.yaml"), "a: [").unwrap();
    let file = machine.daemon.path("x.yaml").display().to_string();
    machine.daemon.bpfman(&format!("apply -f {file}")).fails(6, &["document 1: it is neither YAML nor JSON"]);
    machine.daemon.bpfman("apply -f /nowhere.yaml").fails(5, &["/nowhere.yaml"]);
    machine.settled(&good);
}

/// Sets a field, also one that was not there.
fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(field.to_owned(), value);
}

#[test]
fn what_counts_in_a_cluster_only_is_said_and_ignored() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["rollout"] = json!({ "waves": [1, "50%"] });
    manifest["spec"]["globalData"]["verdict"] = json!(PASS);
    let outcome = machine.run("apply", &manifest, "");
    assert!(outcome.stderr.contains("judges: spec.rollout counts in a cluster only"), "{}", outcome.stderr);
    assert_eq!(outcome.success(), "clusterbpfapplication/judges created\n");
    assert!(kernel::has_program(machine.program("xdp_member").id));
    assert_eq!(Traffic::new(&machine.network).send(1), 1);
}
