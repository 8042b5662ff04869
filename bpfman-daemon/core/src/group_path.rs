//! Control groups of a process, and which of their names identify it.

use crate::WantedContainers;

/// A control group, by its path from the root of its hierarchy.
///
/// The owner of a group may make groups inside and name them. A name identifies a process only if root gave it: if every
/// group above it, up to the root of the hierarchy, belongs to root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPath {
    path: String,
    /// Names from the root on that root gave.
    by_root: usize,
    /// Names above the groups of pods: the node's own, where a node is itself a container.
    above_pods: usize,
}

impl GroupPath {
    /// Takes a path whose first `by_root` names are given by root. `above_pods` of them stand above the groups of pods.
    #[must_use]
    pub fn new(path: impl Into<String>, by_root: usize, above_pods: usize) -> Self {
        let path = path.into();
        // A path that leads out of the daemon's own cgroup namespace cannot be followed.
        let by_root = if names(&path).any(|name| name == "..") { 0 } else { by_root };
        Self { path, by_root, above_pods }
    }

    /// Returns the path as the kernel reports it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Returns the number of names above the groups of pods, if the path leads to a pod.
    #[must_use]
    pub fn names_above_pods(path: &str) -> usize {
        let is_above = |name: &&str| *name != "kubepods" && !name.ends_with("kubepods.slice");
        let above = names(path).take_while(is_above).count();
        if above == names(path).count() { 0 } else { above }
    }

    /// Returns the systemd unit: the first service or scope, below nothing but slices.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit_at().map(|(_, name)| name)
    }

    /// Returns the uid of the pod, as the group spells it.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.pod_at().map(|(_, uid)| uid)
    }

    /// Returns the id of the container: of the outermost group that is named like one, since a container may make groups
    /// inside its own.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        let (_, name) = self.container_at()?;
        let stem = name.strip_suffix(".scope").unwrap_or(name);
        Some(stem.rsplit_once(['-', ':']).map_or(stem, |(_, id)| id))
    }

    /// Returns the path of the container's group.
    #[must_use]
    pub fn container_group(&self) -> Option<String> {
        self.container_at().map(|(at, _)| self.up_to(at))
    }

    /// Returns the path of the group that all tasks of a caller are in, and no others': of its pod, of the user, or
    /// of its unit, else the group itself. None for the root of the hierarchy, where everybody is.
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

    /// The names that root gave, with their places.
    fn given(&self) -> impl Iterator<Item = (usize, &str)> {
        names(&self.path).take(self.by_root).enumerate()
    }

    fn unit_at(&self) -> Option<(usize, &str)> {
        self.given()
            .find(|(_, name)| !name.ends_with(".slice"))
            .filter(|(_, name)| name.ends_with(".service") || name.ends_with(".scope"))
    }

    /// The groups of pods are `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice` by the driver
    /// "systemd", `kubepods/burstable/pod<uid>` by "cgroupfs", and begin at the root of the node.
    fn pod_at(&self) -> Option<(usize, &str)> {
        let mut below = self.given().skip(self.above_pods);
        let (_, first) = below.next()?;
        let is_root = matches!(first, "kubepods" | "kubepods.slice")
            || self.above_pods > 0 && first.ends_with("-kubepods.slice");
        below.find_map(|(at, name)| Some((at, pod_uid(name)?))).filter(|_| is_root)
    }

    fn container_at(&self) -> Option<(usize, &str)> {
        self.given().skip(self.above_pods).find(|(_, name)| WantedContainers::is_a_containers(name))
    }

    fn up_to(&self, last: usize) -> String {
        names(&self.path).take(last + 1).flat_map(|name| ["/", name]).collect()
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

fn pod_uid(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    let uid = stem.strip_prefix("pod").or_else(|| stem.rsplit_once("-pod").map(|(_, uid)| uid))?;
    let is_uid =
        uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9";

    /// A path of which root gave every name.
    fn of_root(path: &str) -> GroupPath {
        GroupPath::new(path, usize::MAX, 0)
    }

    #[test]
    fn group_names_the_unit_and_the_pod() {
        let service = of_root("/system.slice/netops.service/inner.scope");
        assert_eq!((service.unit(), service.pod()), (Some("netops.service"), None));
        let pod = of_root(&format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID}.slice/cri-containerd-1.scope"
        ));
        assert_eq!((pod.unit(), pod.pod()), (Some("cri-containerd-1.scope"), Some(UID)));
        let dashed = UID.replace('_', "-");
        let inner = dashed.replace('0', "1");
        let pod = of_root(&format!("/kubepods/besteffort/pod{dashed}/0123456789ab/kubepods/pod{inner}"));
        assert_eq!((pod.unit(), pod.pod()), (None, Some(&*dashed)), "not by a group that a container made");
        let of_user = of_root("/user.slice/user-1000.slice/user@1000.service/app.slice/netops.service");
        assert_eq!(of_user.unit(), Some("user@1000.service"));
        assert_eq!((of_root("/").unit(), of_root("/").pod(), of_root("").unit()), (None, None, None));
        assert_eq!(of_root("/user.slice/podium/pod-of-mine").pod(), None);
    }

    #[test]
    fn names_below_a_foreign_first_name_identify_nothing() {
        for path in [
            format!("/lxc.payload.evil/kubepods/pod{UID}"),
            format!("/team/kubepods.slice/kubepods-pod{UID}.slice"),
            format!("/user.slice/user-7.slice/user@7.service/kubepods/pod{UID}"),
            format!("/evilkubepods/pod{UID}"),
            format!("/a-kubepods.slice/a-kubepods-pod{UID}.slice"),
            format!("/../kubepods/pod{UID}"),
        ] {
            assert_eq!(of_root(&path).pod(), None, "{path}");
        }
        for path in ["/lxc.payload.evil/system.slice/netops.service", "/../system.slice/netops.service", "/a"]
        {
            assert_eq!(of_root(path).unit(), None, "{path}");
        }
    }

    #[test]
    fn only_names_that_root_gave_count() {
        let path = format!("/kubepods/pod{UID}/{}", "3f".repeat(32));
        let seen = |by_root| {
            let group = GroupPath::new(path.clone(), by_root, 0);
            (group.pod().is_some(), group.container().is_some())
        };
        assert_eq!([0, 1, 2, 3].map(seen), [(false, false), (false, false), (true, false), (true, true)]);
        let unit = |by_root| GroupPath::new("/system.slice/a.service", by_root, 0).unit().is_some();
        assert_eq!([0, 1, 2].map(unit), [false, false, true]);
    }

    #[test]
    fn pods_of_a_node_in_a_container_lie_below_its_own_names() {
        let id = "77".repeat(32);
        let kubelet = format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID}.slice/cri-containerd-{id}.scope"
        );
        let plain = format!("/node-b/kubepods/burstable/pod{UID}/{id}");
        let nested = format!("/docker/{}/kubelet/kubepods/pod{UID}/{id}", "3f".repeat(32));
        for (path, above) in [(kubelet, 1), (plain, 1), (nested, 3)] {
            assert_eq!(GroupPath::names_above_pods(&path), above, "{path}");
            let group = GroupPath::new(path.clone(), 99, above);
            assert_eq!((group.pod(), group.container()), (Some(UID), Some(&*id)), "{path}");
            assert_eq!(of_root(&path).pod(), None, "{path}");
        }
        assert_eq!(GroupPath::names_above_pods("/system.slice/bpfmand.service"), 0);
    }

    #[test]
    fn process_is_in_the_outermost_container_of_its_group() {
        let (id, inner) = ("3f".repeat(32), "77".repeat(32));
        for (path, group) in [
            (format!("/system.slice/docker-{id}.scope"), format!("/system.slice/docker-{id}.scope")),
            (format!("/kubepods/burstable/pod1/{id}/{inner}"), format!("/kubepods/burstable/pod1/{id}")),
            (
                format!("/a.slice/cri-containerd-{id}.scope/init"),
                format!("/a.slice/cri-containerd-{id}.scope"),
            ),
        ] {
            let found = of_root(&path);
            assert_eq!((found.container(), found.container_group()), (Some(&*id), Some(group)), "{path}");
        }
        assert_eq!(of_root("/system.slice/ssh.service").container(), None);
    }

    #[test]
    fn group_of_a_callers_tasks_is_its_outermost() {
        let pod = format!("kubepods-pod{UID}.slice");
        for (path, expected) in [
            ("/system.slice/netops.service/inner.scope", "/system.slice/netops.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "/user.slice/user-1000.slice"),
            // A session of somebody else, by `su`.
            ("/user.slice/user-7.slice/session-3.scope", "/user.slice/user-7.slice/session-3.scope"),
            (&format!("/kubepods.slice/{pod}/cri-containerd-1.scope"), &format!("/kubepods.slice/{pod}")),
            ("/team", "/team"),
        ] {
            assert_eq!(of_root(path).group_of(1000).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(
            (of_root("/").group_of(1000), of_root("/../../other.service").group_of(1000)),
            (None, None)
        );
        // A name that the user gave makes the group no larger.
        let own = GroupPath::new("/team/kubepods/x.service", 1, 0);
        assert_eq!(own.group_of(1000).as_deref(), Some("/team/kubepods/x.service"));
    }

    proptest! {
        #[test]
        fn identity_comes_from_names_of_root_alone(
            own in "(/[a-z.@-]{1,12}){0,4}", made in "(/(kubepods|pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9|[a-z]{1,8}\\.(service|scope|slice))){0,6}",
        ) {
            let by_root = own.matches('/').count();
            let (alone, longer) = (
                GroupPath::new(own.clone(), by_root, 0),
                GroupPath::new(format!("{own}{made}"), by_root, 0),
            );
            prop_assert_eq!((alone.unit(), alone.pod(), alone.container()), (longer.unit(), longer.pod(), longer.container()));
        }

        #[test]
        fn group_of_a_caller_is_above_or_at_its_own(path in "(/[a-z.@-]{0,12}){0,6}", by_root in 0_usize..8) {
            let group = GroupPath::new(path.clone(), by_root, 0).group_of(1000);
            let plain: String = names(&path).flat_map(|name| ["/", name]).collect();
            let is_above = |group: String| (plain.clone() + "/").starts_with(&(group + "/"));
            prop_assert!(group.is_none_or(is_above));
        }
    }
}
