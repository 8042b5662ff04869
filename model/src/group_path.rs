//! Cgroup of a process, and the names in its path that identify the process.

use crate::WantedContainers;

/// Cgroup, by its path from the root of its hierarchy.
///
/// The owner of a cgroup may create and name others inside. A name identifies a process only if root assigned it: if
/// every cgroup above it, up to the root of the hierarchy, belongs to root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPath {
    path: String,
    /// Number of names, from the root on, that root assigned.
    by_root: usize,
    /// Number of names of the node itself, if the node is a container.
    of_node: usize,
    /// Position of the cgroup that contains the cgroups of all pods.
    pods: Option<usize>,
}

/// Cgroup that contains the cgroups of all pods of a node, by its names from the root of a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsRoot(Vec<String>);

impl PodsRoot {
    /// Finds the root in the path of a trusted process; `None` if the process is in no pod.
    ///
    /// The innermost match is used: a node may itself run in a pod of another node.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let names: Vec<&str> = names(path).collect();
        if names.contains(&"..") {
            return None;
        }
        let pod = names.iter().rposition(|name| pod_uid(name).is_some())?;
        let last = (0..pod).rev().find(|at| is_pods_root(&names[..=*at]))?;
        Some(Self(names[..=last].iter().map(|name| (*name).to_owned()).collect()))
    }

    /// Returns the names above it, which belong to the node.
    #[must_use]
    pub fn of_node(&self) -> &[String] {
        self.0.split_last().map_or(&[], |(_, above)| above)
    }

    fn holds(&self, names: &[&str]) -> bool {
        begins_with(names, &self.0)
    }
}

impl GroupPath {
    /// Creates a path of which root assigned the first `by_root` names. `pods_root` is known to a daemon in a pod.
    #[must_use]
    pub fn new(path: impl Into<String>, by_root: usize, pods_root: Option<&PodsRoot>) -> Self {
        let path = path.into();
        // A path that leads out of the daemon's own cgroup namespace cannot be followed.
        let by_root = if names(&path).any(|name| name == "..") { 0 } else { by_root };
        let given: Vec<&str> = names(&path).take(by_root).collect();
        let (of_node, pods) = match pods_root {
            Some(root) => {
                let above = root.of_node();
                let of_node = if begins_with(&given, above) { above.len() } else { 0 };
                (of_node, root.holds(&given).then_some(of_node))
            }
            None => (0, find_pods_root(&given)),
        };
        Self { path, by_root, of_node, pods }
    }

    /// Returns the path as the kernel reports it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Returns the systemd unit: the first service or scope, below nothing but slices.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit_at().map(|(_, name)| name)
    }

    /// Returns the UID of the pod, in the form of the cgroup's name.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.pod_at().map(|(_, uid)| uid)
    }

    /// Returns the id of the container, from the outermost such cgroup: containers may create cgroups inside.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        let (_, name) = self.container_at()?;
        let stem = name.strip_suffix(".scope").unwrap_or(name);
        Some(stem.rsplit_once(['-', ':']).map_or(stem, |(_, id)| id))
    }

    /// Returns the path of the container's cgroup.
    #[must_use]
    pub fn container_group(&self) -> Option<String> {
        self.container_at().map(|(at, _)| self.up_to(at))
    }

    /// Returns whether the container is itself a node, with cgroups of pods, and so of several tenants, inside.
    #[must_use]
    pub fn is_in_node_container(&self) -> bool {
        // Names that root did not assign count as well: they can only make the result stricter.
        let has_pods = |at: usize| names(&self.path).skip(at + 1).any(is_pods_name);
        self.pods.is_none() && self.container_at().is_some_and(|(at, _)| has_pods(at))
    }

    /// Returns the path of the cgroup that contains all tasks of a caller and no others: that of the pod, the user or
    /// the unit, else the cgroup itself. `None` for the root of the hierarchy, which contains all tasks.
    #[must_use]
    pub fn group_of(&self, uid: u32) -> Option<String> {
        let all: Vec<&str> = names(&self.path).collect();
        if all.is_empty() || all.contains(&"..") {
            return None;
        }
        let own_slice = format!("user-{uid}.slice");
        let of_user = self.by_root > 1 && all[0] == "user.slice" && all.get(1) == Some(&own_slice.as_str());
        let of_pod = self.pod_at().map(|(at, _)| at);
        let of_unit = self.unit_at().map(|(at, _)| at);
        let last = of_pod.or(of_user.then_some(1)).or(of_unit).unwrap_or(all.len() - 1);
        Some(self.up_to(last))
    }

    /// Returns whether the daemon sees where in its hierarchy the cgroup is.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.by_root > 0 || names(&self.path).next().is_none()
    }

    fn given(&self) -> impl Iterator<Item = (usize, &str)> {
        names(&self.path).take(self.by_root).enumerate()
    }

    fn unit_at(&self) -> Option<(usize, &str)> {
        self.given()
            .find(|(_, name)| !name.ends_with(".slice"))
            .filter(|(_, name)| name.ends_with(".service") || name.ends_with(".scope"))
    }

    fn pod_at(&self) -> Option<(usize, &str)> {
        let below = self.given().skip(self.pods? + 1);
        let mut pods = below.take_while(|(_, name)| !WantedContainers::is_a_containers(name));
        pods.find_map(|(at, name)| Some((at, pod_uid(name)?)))
    }

    fn container_at(&self) -> Option<(usize, &str)> {
        self.given().skip(self.of_node).find(|(_, name)| WantedContainers::is_a_containers(name))
    }

    fn up_to(&self, last: usize) -> String {
        names(&self.path).take(last + 1).flat_map(|name| ["/", name]).collect()
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

fn begins_with(names: &[&str], first: &[String]) -> bool {
    names.len() >= first.len() && names.iter().zip(first).all(|(name, first)| name == first)
}

/// Returns the position of the cgroup that contains those of all pods.
///
/// The kubelet may be configured with cgroups above it (`--cgroup-root`). A container or unit above it is
/// rejected: its processes can be root and create cgroups inside.
fn find_pods_root(given: &[&str]) -> Option<usize> {
    let is_owned = |name: &&str| {
        WantedContainers::is_a_containers(name)
            || name.ends_with(".service")
            || name.ends_with(".scope")
            || *name == "lxc"
            || name.starts_with("lxc.")
    };
    let owned = given.iter().position(is_owned).unwrap_or(given.len());
    (0..owned).find(|at| is_pods_root(&given[..=*at]))
}

/// Returns whether a path ends in the kubelet's name for the cgroup of all pods there: `kubepods` by the driver
/// "cgroupfs"; by "systemd" `kubepods.slice` at the root, and `a-b-kubepods.slice` in `a-b.slice`, because slices
/// contain their parents' names.
fn is_pods_root(path: &[&str]) -> bool {
    match path {
        [.., "kubepods"] | ["kubepods.slice"] => true,
        [.., parent, last] => last
            .strip_suffix("-kubepods.slice")
            .is_some_and(|stem| parent.strip_suffix(".slice") == Some(stem)),
        _ => false,
    }
}

fn is_pods_name(name: &str) -> bool {
    matches!(name, "kubepods" | "kubepods.slice") || name.ends_with("-kubepods.slice")
}

/// Returns the UID in the name of a pod's cgroup: `kubepods-burstable-pod<uid>.slice` by the driver "systemd",
/// `pod<uid>` by "cgroupfs".
fn pod_uid(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    let uid = stem.strip_prefix("pod").or_else(|| stem.rsplit_once("-pod").map(|(_, uid)| uid))?;
    let is_uid =
        uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests;
