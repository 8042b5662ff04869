//! Maps of a volume, opened as by processes of containers: by bpf(2) with a path only.
//!
//! Since Linux 5.19 `kernel.unprivileged_bpf_disabled` restricts creating maps and loading programs, but not opening a
//! pin, which depends on the pin's owner, group and mode.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::csi::mount;
use bpfman_tests::requests::{load, pairs};
use bpfman_tests::{Outcome, compile, kernel};

use crate::csi_equipment::{APPLICATION, GROUP, Node, TO_ALL, USER, map_of};

#[test]
fn a_user_of_the_group_reads_and_writes_a_map_and_others_do_not() {
    let node = Node::new();
    let program = node.load(APPLICATION);
    let mut request = node.request("pod", "hits");
    mount(&mut request).volume_mount_group = GROUP.to_string();
    node.csi().publish(request).unwrap();
    let group = GROUP.to_string();
    assert_eq!(node.access(USER, &group, "pod", "hits", &["read"]).success(), "0\n");
    assert_eq!(node.access(USER, &group, "pod", "hits", &["write", "17"]).success(), "17\n");
    assert_eq!(kernel::array_value(map_of(&program, "hits"), 0), 17);
    let stranger = node.access(USER, "", "pod", "hits", &["read"]);
    assert_eq!((stranger.code, stranger.stdout.as_str()), (1, "open: EACCES\n"));
}

#[test]
fn group_member_reads_a_read_only_map_and_no_user_writes_it() {
    let node = Node::new();
    let program = node.load(APPLICATION);
    let mut request = node.request("pod", "hits");
    mount(&mut request).volume_mount_group = GROUP.to_string();
    request.readonly = true;
    node.csi().publish(request.clone()).unwrap();
    let group = GROUP.to_string();
    assert_eq!(node.access(USER, &group, "pod", "hits", &["read"]).success(), "0\n");
    assert_eq!(node.access(0, "0", "pod", "hits", &["read"]).success(), "0\n");
    // Root in a container passes any mode, but the read-only mount refuses.
    for (user, groups) in [(USER, group.as_str()), (0, "0")] {
        let refused = node.access(user, groups, "pod", "hits", &["write", "17"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, "open: EROFS\n"));
    }
    assert_eq!(kernel::array_value(map_of(&program, "hits"), 0), 0);
    node.csi().publish(request.clone()).unwrap();
    request.readonly = false;
    let refused = node.csi().publish(request).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    assert!(refused.message().contains("read-only"), "{refused:?}");
}

#[test]
fn no_new_pin_is_made_in_a_writable_volume() {
    let node = Node::new();
    let program = node.load(APPLICATION);
    let mut readable = node.request("readable", "hits");
    readable.readonly = true;
    node.csi().publish(readable).unwrap();
    node.csi().publish(node.request("writable", "trail")).unwrap();
    // Runtimes bind-mount a volume into the container, and make that mount writable.
    let container = node.pods.path().join("container");
    std::fs::create_dir(&container).unwrap();
    let (target, inside) = (node.target("writable"), container.display().to_string());
    let mount = |words: &[&str]| Outcome::of(node.namespace.command("mount").args(words)).success();
    mount(&["--rbind", &target.display().to_string(), &inside]);
    mount(&["-o", "remount,bind,rw", &inside]);
    for folder in [target, container] {
        let listed = Outcome::of(node.namespace.command("ls").arg("-A").arg(&folder)).success();
        assert_eq!(listed, "trail\n", "{}", folder.display());
        let new = folder.join("new").display().to_string();
        let refused = node.access(0, "0", "readable", "hits", &["again", &new]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, "pin: EROFS\n"), "{refused:?}");
    }
    assert_eq!(kernel::array_value(map_of(&program, "hits"), 0), 0);
    node.csi().publish(node.request("other", "hits")).unwrap();
    assert_eq!(node.access(0, "0", "other", "hits", &["write", "17"]).success(), "17\n");
    assert_eq!(kernel::array_value(map_of(&program, "hits"), 0), 17);
    Outcome::of(node.namespace.command("umount").args(["-R", &inside])).success();
}

#[test]
fn no_pod_gets_a_map_of_maps_for_writing() {
    let node = Node::new();
    let mut request = load(&compile::object("reach"), &[("xdp_reach", Type::Xdp)]);
    request.metadata = pairs(&[("bpfman.io/ProgramName", "reach"), TO_ALL]);
    let _loaded = node.daemon.wire().load(request).unwrap();
    let of_reach = |pod: &str, map: &str, read_only: bool| {
        let mut request = node.request(pod, map);
        request.volume_context.insert("csi.bpfman.io/program".to_owned(), "reach".to_owned());
        request.readonly = read_only;
        mount(&mut request).volume_mount_group = GROUP.to_string();
        node.csi().publish(request)
    };
    let refused = of_reach("writes", "outer", false).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("its entries lead to other maps"), "{refused:?}");
    node.assert_absent("writes");
    of_reach("own", "own", false).unwrap();
    assert_eq!(node.published("own"), ["own"]);
    of_reach("reads", "outer", true).unwrap();
}
