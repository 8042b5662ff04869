//! The daemon warns at its start if its mounts are invisible to the kubelet.

use bpfman_tests::{Daemon, Launch, MountNamespace};

fn said(mut wrapper: Vec<String>, more: &[&str]) -> String {
    wrapper.extend(more.iter().map(|&word| word.to_owned()));
    let flags = ["--csi-support", "--node-name", "n", "--allow-private-mounts"].map(str::to_owned).to_vec();
    let daemon = Daemon::start_with(&Launch { flags, wrapper, ..Launch::default() });
    daemon.log()
}

const WARNING: &str = "pods will find their volumes empty";

#[test]
fn volumes_that_nobody_outside_would_see_are_warned_of() {
    let namespace = MountNamespace::new();
    let log = said(namespace.wrapper(), &[]);
    assert!(log.contains(WARNING) && log.contains("/var/lib/kubelet/pods"), "{log}");

    let shared = namespace.command("mount").args(["--make-rshared", "/"]).status().unwrap();
    assert!(shared.success());
    let log = said(namespace.wrapper(), &[]);
    assert!(!log.contains(WARNING), "{log}");

    // In systemd's mount namespaces of services, mounts propagate from outside to inside only.
    let inside = "mount --make-rshared / && exec \"$@\"";
    let log =
        said(namespace.wrapper(), &["unshare", "--mount", "--propagation", "slave", "sh", "-c", inside, "-"]);
    assert!(log.contains(WARNING), "{log}");
}
