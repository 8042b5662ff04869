//! Applications declared in manifests, through the client, the daemon and the kernel.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::compile;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{load, pairs};
use bpfman_tests::traffic::Traffic;
use serde_json::json;

use crate::apply_equipment::{Machine, PASS, application, xdp};

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
    differs.fails(1, &["this machine differs from the manifests", "hint: `bpfman apply -f "]);
    assert!(!differs.stderr.contains("error:"), "{differs:?}");
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
fn application_is_listed_and_deleted_by_its_name() {
    let machine = Machine::new();
    let before = machine.daemon.state();
    machine.apply(&application(&[xdp("xdp_member", 10)]));
    let daemon = &machine.daemon;
    let mut loaded = load(&compile::object("chain"), &[("tc_member", Type::Tc)]);
    loaded.metadata = pairs(&[("bpfman_application", "lonely")]);
    let lonely = daemon.wire().load(loaded).unwrap().programs[0].kernel_info.as_ref().unwrap().id;
    let listed = daemon.bpfman("list applications -o json").json();
    let rows: Vec<_> = listed["applications"].as_array().unwrap().iter().collect();
    let of = |row: &serde_json::Value| {
        (row["name"].clone(), row["by"].clone(), row["links"].as_array().unwrap().len())
    };
    assert_eq!(
        rows.into_iter().map(of).collect::<Vec<_>>(),
        [(json!("judges"), json!("apply"), 1), (json!("lonely"), json!("load"), 0)]
    );
    daemon.bpfman("delete judge").fails(5, &["made no application judge", "list applications"]);
    daemon.bpfman("delete lonely").fails(5, &[&format!("bpfman unload {lonely}")]);
    daemon.bpfman(&format!("unload {lonely}")).success();
    assert_eq!(daemon.bpfman("delete judges").success(), "clusterbpfapplication/judges deleted\n");
    assert_eq!(daemon.state(), before);
    assert_eq!(daemon.bpfman("list applications").success(), "no applications\n");
}

#[test]
fn leftovers_of_another_load_do_not_block_a_new_version() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
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
fn apply_restores_missing_programs_and_links() {
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
fn node_selector_without_this_machine_removes_the_programs() {
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
fn map_exports_make_a_version_that_keeps_its_maps() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    machine.apply(&manifest);
    let exports = |machine: &Machine| machine.programs()[0]["metadata"]["bpfman.io/map-exports"].clone();
    assert_eq!(exports(&machine), json!(null));
    assert_eq!(Traffic::new(&machine.network).send(3), 0);
    manifest["spec"]["mapExports"] = json!([{ "map": "hits", "namespaces": ["a", "b"] }, { "map": "*", "namespaces": ["c"], "access": "ReadWrite" }]);
    machine.apply(&manifest);
    assert_eq!(exports(&machine), json!("hits=a,b;*=c:rw"));
    assert_eq!(machine.program("xdp_member").hits(), 3, "the map is the one of before");
    machine.settled(&manifest);
    manifest["spec"]["mapExports"] = json!([]);
    machine.apply(&manifest);
    assert_eq!(exports(&machine), json!(""));
    machine.settled(&manifest);
}
