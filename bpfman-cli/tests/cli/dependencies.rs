//! Tests of the client's dependencies.

use std::process::Command;

/// Daemon crates that the client links: pure ones, and those that check the answers of workers.
const LINKED: [&str; 6] = [
    "bpfmand-calls",
    "bpfmand-frames",
    "bpfmand-image",
    "bpfmand-object",
    "bpfmand-policy-text",
    "bpfmand-requirements",
];

#[test]
fn no_signature_verifier_no_store_no_daemon_room() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "bpfman", "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"tonic"), "{tree}");
    let forbidden = |name: &&str| {
        // aya reads the ring and perf buffers that the daemon passes; its loader is in the same crate, and not used.
        // kube-core and kube-derive are types and their definitions, without a client.
        ["sigstore", "redb", "sled", "bpfmand", "kube-client", "kube-runtime"]
            .iter()
            .any(|begin| name.starts_with(begin))
            && !LINKED.contains(name)
            || *name == "kube"
    };
    let found: Vec<&&str> = names.iter().filter(|name| forbidden(name)).collect();
    assert!(found.is_empty(), "{found:?}");
}
