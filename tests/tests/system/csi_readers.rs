//! Maps of a volume, opened as processes of containers open them: by bpf(2) with nothing but a path.
//!
//! Since Linux 5.19 `kernel.unprivileged_bpf_disabled` says who may make maps and load programs, not who may open a
//! pin: the pin's owner, group and mode do.

use bpfman_tests::csi::mount;
use bpfman_tests::kernel;

use crate::csi_equipment::{APPLICATION, GROUP, Node, USER, map_of};

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
fn a_user_of_the_group_reads_a_read_only_map_and_nobody_writes_it() {
    let node = Node::new();
    let program = node.load(APPLICATION);
    let mut request = node.request("pod", "hits");
    mount(&mut request).volume_mount_group = GROUP.to_string();
    request.readonly = true;
    node.csi().publish(request.clone()).unwrap();
    let group = GROUP.to_string();
    assert_eq!(node.access(USER, &group, "pod", "hits", &["read"]).success(), "0\n");
    assert_eq!(node.access(0, "0", "pod", "hits", &["read"]).success(), "0\n");
    // Root in a container passes by every mode: it is the file system that refuses.
    for (user, groups) in [(USER, group.as_str()), (0, "0")] {
        let refused = node.access(user, groups, "pod", "hits", &["write", "17"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, "open: EROFS\n"));
    }
    assert_eq!(kernel::array_value(map_of(&program, "hits"), 0), 0);
    // It is still known to be the same.
    node.csi().publish(request.clone()).unwrap();
    request.readonly = false;
    let refused = node.csi().publish(request).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    assert!(refused.message().contains("read-only"), "{refused:?}");
}
