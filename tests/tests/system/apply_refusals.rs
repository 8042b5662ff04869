//! Refused manifests, and fields that only apply in a cluster.

use std::fs;

use bpfman_tests::kernel;
use bpfman_tests::traffic::Traffic;
use serde_json::{Value, json};

use crate::apply_equipment::{Machine, PASS, application, xdp};

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
fn each_document_that_fails_is_reported() {
    let machine = Machine::new();
    let documents = ["first", "second"].map(|name| {
        let mut document = application(&[xdp("xdp_member", 10)]);
        document["metadata"]["name"] = json!(name);
        document["spec"]["byteCode"] = json!({ "path": format!("/nowhere/{name}.o") });
        serde_norway::to_string(&document).unwrap()
    });
    let file = machine.daemon.path("both.yaml");
    fs::write(&file, documents.join("---\n")).unwrap();
    let outcome = machine.daemon.bpfman(&format!("apply -f {}", file.display()));
    outcome.fails(5, &["error: first: ", "/nowhere/first.o", "error: second: ", "/nowhere/second.o"]);
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
        (
            "/spec/globalData/who",
            json!([1, 256]),
            "spec.globalData.who: not each entry of the list is a byte",
        ),
        ("/spec/globalData/who", json!("%"), "spec.globalData.who: it is not base64"),
        ("/spec/programs", json!([]), "spec.programs: it has 0 entries: 1 to 64 are allowed"),
        (
            "/spec/programs",
            json!(vec![xdp("xdp_member", 10); 65]),
            "spec.programs: it has 65 entries: 1 to 64",
        ),
        (
            "/spec/programs/0/xdp/links",
            json!(vec![good["spec"]["programs"][0]["xdp"]["links"][0].clone(); 12_000]),
            "at most 1048576 are kept",
        ),
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

fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(field.to_owned(), value);
}

#[test]
fn cluster_only_fields_are_ignored_with_a_warning() {
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
