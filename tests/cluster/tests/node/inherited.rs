//! Isolation of a node from the machine that it runs on.

use bpfman_cluster_tests::scripts;
use bpfman_tests::{MountNamespace, Outcome};

/// Other tests count the mounts of the node's daemon, so those of the machine must not be visible.
#[test]
fn mounts_of_another_daemon_below_run_are_not_the_nodes() {
    let machine = MountNamespace::new();
    let on_it = |words: &[&str]| Outcome::of(machine.command(words[0]).args(&words[1..])).success();
    on_it(&["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    on_it(&["mkdir", "-p", "/run/bpfman/fs"]);
    on_it(&["mount", "-t", "bpf", "bpf", "/run/bpfman/fs"]);

    let fresh = scripts::script("fresh-run").display().to_string();
    let mounts = on_it(&[&fresh, "cat", "/proc/self/mountinfo"]);
    let below: Vec<&str> = mounts.lines().filter(|line| line.contains(" /run/")).collect();
    assert_eq!(below, Vec::<&str>::new());
    assert_eq!(on_it(&[&fresh, "ls", "-A", "/run"]), "");
    assert_eq!(machine.mounts(" /run/bpfman/").len(), 1, "the other daemon keeps its own");
}
