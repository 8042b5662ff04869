use std::process::Command;

use serde::Deserialize;

#[test]
fn definitions_are_printed_as_documents() {
    let output = Command::new(env!("CARGO_BIN_EXE_bpfman-operator")).arg("crds").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<serde_json::Value> = serde_norway::Deserializer::from_str(&text)
        .map(|document| serde_json::Value::deserialize(document).unwrap())
        .collect();
    assert_eq!(documents.len(), 5);
    for document in documents {
        assert_eq!(document["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(document["kind"], "CustomResourceDefinition");
    }
}

#[test]
fn no_ebpf_loader_and_no_daemon_room() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "bpfman-operator",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"kube"), "{tree}");
    let found: Vec<&&str> = names
        .iter()
        .filter(|name| ["aya", "sled", "redb", "bpfmand"].iter().any(|begin| name.starts_with(begin)))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
