use proptest::prelude::*;

use super::*;

const UID: &str = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9";

fn of_root(path: &str) -> GroupPath {
    GroupPath::new(path, usize::MAX, None)
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
        format!("/evilkubepods.slice/evilkubepods-pod{UID}.slice"),
        format!("/a.slice/b-kubepods.slice/b-kubepods-pod{UID}.slice"),
        format!("/system.slice/a.service/kubepods/pod{UID}"),
        format!("/machine.slice/machine-a.scope/kubepods/pod{UID}"),
        format!("/docker/{}/kubepods/pod{UID}", "3f".repeat(32)),
        format!("/a-kubepods.slice/a-kubepods-pod{UID}.slice"),
        format!("/../kubepods/pod{UID}"),
    ] {
        assert_eq!(of_root(&path).pod(), None, "{path}");
    }
    for path in ["/lxc.payload.evil/system.slice/netops.service", "/../system.slice/netops.service", "/a"] {
        assert_eq!(of_root(path).unit(), None, "{path}");
    }
}

#[test]
fn only_names_that_root_gave_count() {
    let path = format!("/kubepods/pod{UID}/{}", "3f".repeat(32));
    let seen = |by_root| {
        let group = GroupPath::new(path.clone(), by_root, None);
        (group.pod().is_some(), group.container().is_some())
    };
    assert_eq!([0, 1, 2, 3].map(seen), [(false, false), (false, false), (true, false), (true, true)]);
    let unit = |by_root| GroupPath::new("/system.slice/a.service", by_root, None).unit().is_some();
    assert_eq!([0, 1, 2].map(unit), [false, false, true]);
}

/// Returns paths of a pod's container on nodes with a `--cgroup-root`, each with the path of all pods.
fn below_a_kubelets_root(id: &str) -> [(String, &'static str); 3] {
    [
        (
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID}.slice/cri-containerd-{id}.scope"
            ),
            "/kubelet.slice/kubelet-kubepods.slice",
        ),
        (
            format!(
                "/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-burstable.slice/\
                 a-b-kubepods-burstable-pod{UID}.slice/cri-containerd-{id}.scope"
            ),
            "/a.slice/a-b.slice/a-b-kubepods.slice",
        ),
        (format!("/node-b/kubepods/burstable/pod{UID}/{id}"), "/node-b/kubepods"),
    ]
}

#[test]
fn kubelet_may_have_a_root_of_its_own() {
    let id = "77".repeat(32);
    for (path, pods) in below_a_kubelets_root(&id) {
        let group = of_root(&path);
        assert_eq!((group.pod(), group.container()), (Some(UID), Some(&*id)), "{path}");
        assert!(!group.is_in_node_container(), "{path}");
        // A daemon in such a pod knows the cgroup of all pods.
        let root = PodsRoot::of(&path).unwrap();
        assert_eq!(root.0.iter().flat_map(|name| ["/", name]).collect::<String>(), pods);
        let group = GroupPath::new(path.clone(), 99, Some(&root));
        assert_eq!((group.pod(), group.container()), (Some(UID), Some(&*id)), "{path}");
    }
}

#[test]
fn daemon_in_a_pod_knows_its_node_by_whole_names() {
    let (node, other, id) = ("3f".repeat(32), "5a".repeat(32), "77".repeat(32));
    let path = |node: &str, pods: &str| format!("/docker/{node}/kubelet/{pods}/pod{UID}/{id}");
    let root = PodsRoot::of(&path(&node, "kubepods")).unwrap();
    let seen = |path: String| {
        let group = GroupPath::new(path, 99, Some(&root));
        (group.pod().map(str::to_owned), group.container().map(str::to_owned))
    };
    assert_eq!(seen(path(&node, "kubepods")), (Some(UID.to_owned()), Some(id.clone())));
    assert_eq!(seen(path(&node, "evilkubepods")), (None, Some(id.clone())));
    assert_eq!(seen(path(&other, "kubepods")), (None, Some(other.clone())), "another node");
    assert_eq!(seen(format!("/kubepods/pod{UID}/{id}")), (None, Some(id)), "the machine's own node");
    assert_eq!(PodsRoot::of("/system.slice/bpfmand.service"), None);
    assert_eq!(PodsRoot::of(&format!("/evilkubepods.slice/evilkubepods-pod{UID}.slice")), None);
    // The node is a pod of another one.
    let nested = format!("/kubepods/pod{UID}/{node}/kubepods/pod{UID}/{other}");
    assert_eq!(PodsRoot::of(&nested).unwrap().0.len(), 4);
}

#[test]
fn node_that_is_a_container_holds_more_than_one_tenant() {
    let (node, id) = ("3f".repeat(32), "77".repeat(32));
    for inner in [
        format!(
            "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID}.slice/cri-containerd-{id}.scope"
        ),
        format!("kubepods/pod{UID}/{id}"),
        format!("kubepods.slice/kubepods-pod{UID}.slice"),
    ] {
        let path = format!("/system.slice/docker-{node}.scope/{inner}");
        assert!(of_root(&path).is_in_node_container(), "{path}");
        assert_eq!(of_root(&path).pod(), None, "{path}");
        // The same holds if root of the node is another user of the machine.
        assert!(GroupPath::new(&*path, 2, None).is_in_node_container(), "{path}");
    }
    for path in [
        format!("/system.slice/docker-{node}.scope/init"),
        format!("/kubepods/pod{UID}/{node}/kubepods/pod{UID}/{id}"),
        "/system.slice/a.service/kubepods".to_owned(),
    ] {
        assert!(!of_root(&path).is_in_node_container(), "{path}");
    }
}

#[test]
fn process_is_in_the_outermost_container_of_its_group() {
    let (id, inner) = ("3f".repeat(32), "77".repeat(32));
    for (path, group) in [
        (format!("/system.slice/docker-{id}.scope"), format!("/system.slice/docker-{id}.scope")),
        (format!("/kubepods/burstable/pod1/{id}/{inner}"), format!("/kubepods/burstable/pod1/{id}")),
        (format!("/a.slice/cri-containerd-{id}.scope/init"), format!("/a.slice/cri-containerd-{id}.scope")),
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
        // Session of another user, by `su`.
        ("/user.slice/user-7.slice/session-3.scope", "/user.slice/user-7.slice/session-3.scope"),
        (&format!("/kubepods.slice/{pod}/cri-containerd-1.scope"), &format!("/kubepods.slice/{pod}")),
        ("/team", "/team"),
    ] {
        assert_eq!(of_root(path).group_of(1000).as_deref(), Some(expected), "{path}");
    }
    assert_eq!((of_root("/").group_of(1000), of_root("/../../other.service").group_of(1000)), (None, None));
    // A name that the user assigned does not make the cgroup larger.
    let own = GroupPath::new("/team/kubepods/x.service", 1, None);
    assert_eq!(own.group_of(1000).as_deref(), Some("/team/kubepods/x.service"));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("kubepods".to_owned()),
        Just("kubepods.slice".to_owned()),
        Just("kubelet.slice".to_owned()),
        Just("kubelet-kubepods.slice".to_owned()),
        Just("evilkubepods.slice".to_owned()),
        Just("user.slice".to_owned()),
        Just("system.slice".to_owned()),
        (998_u32..1002).prop_map(|uid| format!("user-{uid}.slice")),
        (998_u32..1002).prop_map(|uid| format!("user@{uid}.service")),
        "[0-3]".prop_map(|digit| format!("pod{digit}a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9")),
        "[0-3]".prop_map(|digit| format!("kubepods-pod{digit}a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice")),
        "[0-3]".prop_map(|digit| digit.repeat(64)),
        "[0-3]".prop_map(|digit| format!("cri-containerd-{}.scope", digit.repeat(64))),
        "[a-z]{1,8}\\.(service|scope|slice)",
        "[a-z.@-]{1,12}",
    ]
}

fn path(names: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), names)
        .prop_map(|names| names.into_iter().flat_map(|name| ["/".to_owned(), name]).collect())
}

proptest! {
    #[test]
    fn identity_comes_from_names_of_root_alone(
        own in path(0..5), made in path(0..6), daemon in proptest::option::of(path(0..5)),
    ) {
        let (by_root, root) = (own.matches('/').count(), daemon.as_deref().and_then(PodsRoot::of));
        let seen = |path: String| {
            let group = GroupPath::new(path, by_root, root.as_ref());
            (
                group.unit().map(str::to_owned),
                group.pod().map(str::to_owned),
                group.container().map(str::to_owned),
                group.container_group(),
            )
        };
        if !own.contains("..") && !made.contains("..") {
            prop_assert_eq!(seen(own.clone()), seen(format!("{own}{made}")));
        }
    }

    #[test]
    fn group_of_a_caller_is_above_or_at_its_own(path in path(0..7), by_root in 0_usize..8) {
        let seen = GroupPath::new(path.clone(), by_root, None);
        let is_above = |group: &String| (path.clone() + "/").starts_with(&(group.clone() + "/"));
        let group = seen.group_of(1000);
        prop_assert!(group.as_ref().is_none_or(is_above));
        // The returned cgroup is larger than the process's own only if root assigned its name.
        let names_of = |path: &str| path.matches('/').count();
        prop_assert!(group.is_none_or(|group| group == path || names_of(&group) <= by_root));
        prop_assert!(seen.container_group().is_none_or(|group| is_above(&group) && names_of(&group) <= by_root));
    }

    #[test]
    fn pod_is_below_the_root_of_pods_and_no_container(path in path(0..7), daemon in path(1..6)) {
        let root = PodsRoot::of(&daemon);
        let group = GroupPath::new(path.clone(), usize::MAX, root.as_ref());
        if let Some((at, _)) = group.pod_at() {
            let above: Vec<&str> = names(&path).take(at).collect();
            prop_assert!(above.iter().any(|name| is_pods_name(name)));
            match &root {
                Some(root) => prop_assert!(root.holds(&above)),
                None => prop_assert!(!above.iter().any(|name| WantedContainers::is_a_containers(name))),
            }
        }
    }
}
