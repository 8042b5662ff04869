//! Namespaces of pods, by their log folders, which the kubelet makes before it starts a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::process_groups::ProcessGroups;
use super::processes;

/// Contains a folder `NAMESPACE_NAME_UID` per pod; only root makes names in it.
const LOGS: &str = "1/root/var/log/pods";

/// Returns whether a pod (by UID) is in this process's own pod's namespace; `None` if either is unknown.
#[must_use]
pub fn is_in_own_namespace(pod: Option<&str>) -> Option<bool> {
    // A failed lookup is repeated: the folder of logs may be there later.
    static OWN: OnceLock<String> = OnceLock::new();
    let logs = logs();
    let find_own = || {
        let own = ProcessGroups::of(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
        let own = namespace_of(&logs, own.best.as_ref()?.pod()?)?;
        Some(OWN.get_or_init(|| own))
    };
    let own = OWN.get().or_else(find_own)?;
    Some(is_in(&logs, own, pod))
}

fn logs() -> PathBuf {
    processes::root().join(LOGS)
}

fn is_in(logs: &Path, namespace: &str, pod: Option<&str>) -> bool {
    pod.and_then(|pod| namespace_of(logs, pod)).is_some_and(|found| found == namespace)
}

/// Kubernetes names have no underscores; systemd's cgroup names have them in UIDs.
fn namespace_of(logs: &Path, uid: &str) -> Option<String> {
    let uid = uid.replace('_', "-");
    let names = fs::read_dir(logs).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut namespaces = names.filter_map(|name| {
        let mut parts = name.split('_');
        let (namespace, _, found) = (parts.next()?, parts.next()?, parts.next()?);
        (found == uid && parts.next().is_none()).then(|| namespace.to_owned())
    });
    let found = namespaces.next()?;
    namespaces.all(|other| other == found).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_other_namespaces_are_none_of_the_own() {
        let logs = tempfile::tempdir().unwrap();
        let uid = |number: u32| format!("0a1b2c3d-4e5f-6071-8293-{number:012x}");
        for (namespace, name, number) in [
            ("bpfman", "bpfman-agent-7xk2p", 1),
            ("shop", "bpfman-agent-7xk2p", 2),
            ("one", "a", 3),
            ("two", "a", 3),
        ] {
            fs::create_dir(logs.path().join(format!("{namespace}_{name}_{}", uid(number)))).unwrap();
        }
        fs::create_dir(logs.path().join(format!("bpfman_x_{}_more", uid(4)))).unwrap();
        let is_own = |pod: Option<&str>| is_in(logs.path(), "bpfman", pod);
        assert!(is_own(Some(&uid(1))) && is_own(Some(&uid(1).replace('-', "_"))));
        for number in 2..6 {
            assert!(!is_own(Some(&uid(number))), "{number}");
        }
        assert!(!is_own(None), "a process of the node");
        assert_eq!(namespace_of(&logs.path().join("absent"), &uid(1)), None);
    }
}
