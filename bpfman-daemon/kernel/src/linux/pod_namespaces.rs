//! Namespaces of pods: the daemon's own by its container's environment, those of callers by the folders of their logs, which the
//! kubelet makes before it starts a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bpfman_model::{GroupPath, PodObstacle, PodRelation};

use super::process_groups::ProcessGroups;
use super::processes;

/// Default folder of pod logs on the node, with a folder `NAMESPACE_NAME_UID` per pod. Only root makes names in it.
pub const DEFAULT_POD_LOGS: &str = "/var/log/pods";

/// Mount of that folder in the daemon's container, where the node's `/proc/1/root` may be inaccessible.
const MOUNTED_POD_LOGS: &str = "/host/pod-logs";

/// Pod of this process by the environment of its container. The kubelet sets it from the pod's own fields (downward API).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEnvironment {
    namespace: String,
    /// Name and UID; `None` if the container has only the namespace.
    rest: Option<(String, String)>,
}

impl PodEnvironment {
    /// Returns the pod that these variables name; `None` without `POD_NAMESPACE`.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        Some(Self { namespace: given("POD_NAMESPACE")?, rest: given("POD_NAME").zip(given("POD_UID")) })
    }
}

/// Comparison of callers' pods with the pod of this process.
#[derive(Debug)]
pub struct PodNamespaces {
    environment: Option<PodEnvironment>,
    logs: PathBuf,
    logs_on_node: PathBuf,
    own: OnceLock<String>,
}

impl PodNamespaces {
    /// Creates it with the folder of the kubelet's logs, as a path of the node.
    #[must_use]
    pub fn new(environment: Option<PodEnvironment>, logs: PathBuf) -> Self {
        let mounted = Some(Path::new(MOUNTED_POD_LOGS)).filter(|_| logs == Path::new(DEFAULT_POD_LOGS));
        let on_node = || processes::root().join("1/root").join(logs.strip_prefix("/").unwrap_or(&logs));
        let seen = mounted.filter(|mounted| mounted.is_dir()).map_or_else(on_node, Path::to_path_buf);
        Self { environment, logs: seen, logs_on_node: logs, own: OnceLock::new() }
    }

    /// Compares the pod of a caller, by its cgroup, with the pod of this process.
    #[must_use]
    pub fn relation_of(&self, caller: Option<&GroupPath>) -> PodRelation {
        let lines = || fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own_group = || ProcessGroups::of(&lines()).best;
        self.relation(own_group, is_surely_in_no_pod, caller)
    }

    fn relation(
        &self,
        own_group: impl Fn() -> Option<GroupPath>,
        is_in_no_pod: impl Fn() -> bool,
        caller: Option<&GroupPath>,
    ) -> PodRelation {
        let own = match self.own_namespace(own_group) {
            Ok(own) => own,
            Err(PodObstacle::OwnPod) if is_in_no_pod() => return PodRelation::DaemonInNoPod,
            Err(obstacle) => return PodRelation::Unknown(obstacle),
        };
        let Some(caller) = caller.filter(|group| group.is_seen()) else {
            return PodRelation::Unknown(PodObstacle::CallerGroup);
        };
        match caller.pod().map(|uid| self.namespace_of(uid)) {
            Some(Some(found)) if found == own => PodRelation::SameNamespace,
            Some(None) if !self.has_own_folder() => PodRelation::Unknown(self.no_own_folder()),
            _ => PodRelation::OtherNamespace,
        }
    }

    fn own_namespace(&self, own_group: impl Fn() -> Option<GroupPath>) -> Result<String, PodObstacle> {
        if let Some(own) = &self.environment {
            return Ok(own.namespace.clone());
        }
        // A lookup that fails is made again: the folder of logs may be there later.
        if let Some(own) = self.own.get() {
            return Ok(own.clone());
        }
        let group = own_group();
        let uid = group.as_ref().and_then(GroupPath::pod).ok_or(PodObstacle::OwnPod)?;
        let found = self.namespace_of(uid).ok_or_else(|| self.no_own_folder())?;
        Ok(self.own.get_or_init(|| found).clone())
    }

    /// Returns whether the folder of logs has a folder of this process's pod, if the environment names the pod.
    fn has_own_folder(&self) -> bool {
        let Some(PodEnvironment { namespace, rest: Some((name, uid)) }) = &self.environment else {
            return true;
        };
        self.logs.join(format!("{namespace}_{name}_{uid}")).is_dir()
    }

    fn no_own_folder(&self) -> PodObstacle {
        PodObstacle::LogFolder(self.logs_on_node.clone())
    }

    /// Returns the namespace of a pod by its UID. Names of Kubernetes have no underscores; systemd's names of cgroups have them in
    /// UIDs.
    fn namespace_of(&self, uid: &str) -> Option<String> {
        let uid = uid.replace('_', "-");
        let names =
            fs::read_dir(&self.logs).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut namespaces = names.filter_map(|name| {
            let mut parts = name.split('_');
            let (namespace, _, found) = (parts.next()?, parts.next()?, parts.next()?);
            (found == uid && parts.next().is_none()).then(|| namespace.to_owned())
        });
        let found = namespaces.next()?;
        // One pod has one namespace.
        namespaces.all(|other| other == found).then_some(found)
    }
}

/// Returns whether a process whose cgroup shows no pod is certainly in none: neither its environment nor its cgroups
/// are those of a container of the kubelet.
fn is_surely_in_no_pod() -> bool {
    const OF_EACH_CONTAINER: &str = "KUBERNETES_SERVICE_HOST";
    let groups = fs::read_to_string("/proc/self/cgroup");
    let names_a_pod = groups.map_or(true, |groups| groups.contains("kubepods") || groups.contains("/pod"));
    !names_a_pod && std::env::var_os(OF_EACH_CONTAINER).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> String {
        format!("0a1b2c3d-4e5f-6071-8293-{number:012x}")
    }

    /// Cgroup of a pod whose names root made.
    fn of_pod(uid: &str) -> GroupPath {
        GroupPath::new(
            format!("/kubepods.slice/kubepods-pod{}.slice/cri-{uid}.scope", uid.replace('-', "_")),
            3,
            None,
        )
    }

    fn environment(number: u32) -> Option<PodEnvironment> {
        PodEnvironment::of(|name| match name {
            "POD_NAMESPACE" => Some("bpfman".to_owned()),
            "POD_NAME" => Some("bpfman-daemon-x2f4k".to_owned()),
            "POD_UID" => Some(uid(number)),
            _ => None,
        })
    }

    fn pods(logs: &Path, environment: Option<PodEnvironment>) -> PodNamespaces {
        PodNamespaces {
            environment,
            logs: logs.to_owned(),
            logs_on_node: "/var/log/pods".into(),
            own: OnceLock::new(),
        }
    }

    fn logs() -> tempfile::TempDir {
        let logs = tempfile::tempdir().unwrap();
        for (namespace, name, number) in [
            ("bpfman", "bpfman-daemon-x2f4k", 0),
            ("bpfman", "bpfman-agent-7xk2p", 1),
            ("shop", "bpfman-agent-7xk2p", 2),
            ("one", "a", 3),
            ("two", "a", 3),
        ] {
            fs::create_dir(logs.path().join(format!("{namespace}_{name}_{}", uid(number)))).unwrap();
        }
        fs::create_dir(logs.path().join(format!("bpfman_x_{}_more", uid(4)))).unwrap();
        logs
    }

    /// Returns the path of a pod's cgroup as seen from another cgroup namespace.
    fn hidden() -> GroupPath {
        GroupPath::new("/../../kubepods-pod0.slice", 0, None)
    }

    #[test]
    fn pods_of_other_namespaces_are_none_of_the_own() {
        let logs = logs();
        // The daemon's own pod is known by its cgroup, by the environment, or by both.
        let no_group = || Some(GroupPath::new("/", 0, None));
        let group = || Some(of_pod(&uid(0)));
        for (environment, own) in
            [(None, group()), (environment(0), no_group()), (environment(0), None), (environment(0), group())]
        {
            let pods = pods(logs.path(), environment);
            let relation = |caller: Option<&GroupPath>| pods.relation(|| own.clone(), || true, caller);
            assert_eq!(relation(Some(&of_pod(&uid(1)))), PodRelation::SameNamespace);
            for number in 2..6 {
                let found = relation(Some(&of_pod(&uid(number))));
                assert_eq!(found, PodRelation::OtherNamespace, "{number}");
            }
            let of_node = GroupPath::new("/system.slice/sshd.service", 2, None);
            assert_eq!(relation(Some(&of_node)), PodRelation::OtherNamespace, "a process of the node");
        }
    }

    #[test]
    fn callers_that_cannot_be_compared_are_not_beside_the_daemon() {
        let logs = logs();
        let no_group = || Some(GroupPath::new("/", 0, None));
        let agent = of_pod(&uid(1));
        // The daemon has a cgroup namespace of its own, and no pod in its environment.
        let unaware = pods(logs.path(), None).relation(no_group, || false, Some(&agent));
        assert_eq!(unaware, PodRelation::Unknown(PodObstacle::OwnPod));
        // The daemon knows its pod, and sees no cgroups of others.
        for caller in [None, Some(&hidden())] {
            let found = pods(logs.path(), environment(0)).relation(no_group, || false, caller);
            assert_eq!(found, PodRelation::Unknown(PodObstacle::CallerGroup));
        }
        // Another folder of logs: neither the daemon's own pod nor the caller's is there.
        let other = tempfile::tempdir().unwrap();
        let obstacle = PodRelation::Unknown(PodObstacle::LogFolder("/var/log/pods".into()));
        for (environment, own) in [(None, Some(of_pod(&uid(0)))), (environment(0), no_group())] {
            let found = pods(other.path(), environment).relation(|| own.clone(), || true, Some(&agent));
            assert_eq!(found, obstacle);
            assert!(!found.is_beside_daemon());
        }
    }

    #[test]
    fn daemon_outside_of_pods_compares_nothing() {
        let logs = logs();
        let of_unit = || Some(GroupPath::new("/system.slice/bpfmand.service", 2, None));
        let pods = pods(logs.path(), None);
        for caller in [None, Some(&hidden()), Some(&of_pod(&uid(2)))] {
            assert_eq!(pods.relation(of_unit, || true, caller), PodRelation::DaemonInNoPod);
        }
        assert!(PodEnvironment::of(|_| None).is_none());
        assert!(PodEnvironment::of(|_| Some(String::new())).is_none());
    }
}
