//! Values that manifests set: global variables by type, and sizes of maps.

use bpfman_tests::compile;
use serde_json::json;

use crate::apply_equipment::{Machine, of_object, xdp};
use crate::values::entries;

#[test]
fn manifest_sets_values_and_sizes_and_changes_replace_the_load() {
    let machine = Machine::new();
    let mut manifest = of_object(&compile::object("settings"), &[xdp("reads", 10)]);
    let spec = manifest["spec"].as_object_mut().unwrap();
    spec.remove("globalData");
    spec.insert("globals".to_owned(), json!({ "port": "8080", "limits": "{\"rate\": 9}" }));
    spec.insert("mapSizes".to_owned(), json!({ "flows": 100 }));
    let shown = |machine: &Machine| {
        let id = machine.programs()[0]["program_id"].clone();
        machine.daemon.bpfman(&format!("get program {id} -o json")).json()
    };
    machine.apply(&manifest);
    machine.settled(&manifest);
    let first = shown(&machine);
    assert_eq!((&first["global_data"]["port"], entries(&first, "flows")), (&json!("901f"), 100));

    manifest["spec"]["globals"]["port"] = json!("443");
    let trial = machine.run("diff", &manifest, "").stdout;
    assert!(trial.contains("replace"), "{trial}");
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    machine.settled(&manifest);
    let second = shown(&machine);
    assert_eq!((&second["global_data"]["port"], entries(&second, "flows")), (&json!("bb01"), 100));
    assert_eq!((&first["uid"], &first["link_ids"]), (&second["uid"], &second["link_ids"]));

    manifest["spec"]["mapSizes"]["flows"] = json!(200);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!(entries(&shown(&machine), "flows"), 200);
    manifest["spec"].as_object_mut().unwrap().remove("mapSizes");
    machine.apply(&manifest);
    assert_eq!(entries(&shown(&machine), "flows"), 8, "as the object declares it");
    machine.settled(&manifest);

    let before = machine.programs();
    manifest["spec"]["globals"]["port"] = json!("ten");
    let outcome = machine.run("apply", &manifest, "");
    outcome.fails(6, &["global variable port (__u16): \"ten\" is no number of 0 or more"]);
    assert_eq!(machine.programs(), before);
    manifest["spec"]["mapSizes"] = json!({ "flows": 0 });
    machine.run("apply", &manifest, "").fails(6, &["spec.mapSizes.flows: 0 is out of range"]);
}
