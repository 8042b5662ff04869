//! The daemon is killed at every step of publish and unpublish: no pod sees a partial volume, and nothing is left.

use std::fs;

use bpfman_proto::csi::v1::NodePublishVolumeRequest;
use bpfman_tests::csi::mount;

use crate::csi_equipment::{APPLICATION, GROUP, Node};

impl Node {
    fn again_with(&mut self, name: &str, value: &str) {
        let mut launch = self.launch.clone();
        launch.environment.push((name.to_owned(), value.to_owned()));
        self.daemon.again(&launch);
    }

    fn steps_of(&mut self, call: impl FnOnce(&Self)) -> Vec<String> {
        let list = self.daemon.path("steps");
        self.daemon.terminate();
        self.again_with("BPFMAN_TEST_STEPS", &list.display().to_string());
        call(self);
        fs::read_to_string(list).unwrap().lines().map(str::to_owned).collect()
    }

    fn kill_at(&mut self, number: usize, call: impl FnOnce(&Self)) {
        self.daemon.terminate();
        self.again_with("BPFMAN_TEST_KILL_AT", &number.to_string());
        call(self);
        self.daemon.ended();
        self.again();
    }
}

fn request(node: &Node) -> NodePublishVolumeRequest {
    let mut request = node.request("pod", "hits,trail");
    mount(&mut request).volume_mount_group = GROUP.to_string();
    request.readonly = true;
    request
}

#[test]
fn publish_killed_at_any_step_is_atomic_and_succeeds_next_time() {
    let mut node = Node::new();
    let _program = node.load(APPLICATION);
    let steps = node.steps_of(|node| node.csi().publish(request(node)).unwrap());
    assert!(steps.len() >= 8, "{steps:?}");
    let whole = (node.published("pod"), node.mounts("pod").len());
    node.csi().unpublish("pod", &node.target("pod")).unwrap();
    for number in 1..=steps.len() {
        let step = &steps[number - 1];
        node.kill_at(number, |node| {
            node.csi().publish(request(node)).expect_err(step);
        });
        let is_bound = node.mounts("pod").len() == 2;
        assert_eq!(is_bound, number == steps.len(), "killed before {step}");
        if is_bound {
            assert_eq!(node.published("pod"), whole.0);
        } else {
            // The new daemon has removed the volume; the kubelet removes the target.
            assert_eq!((node.mounts("pod").len(), node.folders().len()), (0, 0), "killed before {step}");
        }
        node.csi().publish(request(&node)).unwrap();
        assert_eq!((node.published("pod"), node.mounts("pod").len()), whole, "killed before {step}");
        let target = node.mounts("pod").into_iter().find(|line| line.contains("/pod/mount ")).unwrap();
        assert!(target.contains(" ro,nosuid,nodev,noexec"), "{target}");
        node.csi().unpublish("pod", &node.target("pod")).unwrap();
        node.assert_absent("pod");
    }
}

#[test]
fn an_unpublish_killed_at_any_step_is_finished_by_the_next() {
    let mut node = Node::new();
    let _program = node.load(APPLICATION);
    node.csi().publish(request(&node)).unwrap();
    let unpublish = |node: &Node| node.csi().unpublish("pod", &node.target("pod"));
    let steps = node.steps_of(|node| unpublish(node).unwrap());
    assert!(steps.len() >= 4, "{steps:?}");
    for number in 1..=steps.len() {
        node.csi().publish(request(&node)).unwrap();
        node.kill_at(number, |node| {
            unpublish(node).expect_err("it is killed");
        });
        unpublish(&node).unwrap();
        node.assert_absent("pod");
    }
}

#[test]
fn leftovers_of_a_boot_are_removed_and_volumes_of_pods_kept() {
    let mut node = Node::new();
    let _program = node.load(APPLICATION);
    node.csi().publish(node.request("pod", "hits")).unwrap();
    node.daemon.kill();
    // Make a folder without a mount, and one with a mount that no pod uses.
    let folder = node.daemon.path("run/csi/fs");
    fs::create_dir(folder.join("unmounted")).unwrap();
    fs::create_dir(folder.join("unbound")).unwrap();
    let mut command = node.namespace.command("mount");
    bpfman_tests::Outcome::of(
        command.args(["-t", "bpf", "csi.bpfman.io/unbound"]).arg(folder.join("unbound")),
    )
    .success();
    node.again();
    assert_eq!(node.folders(), ["pod"]);
    assert_eq!(node.mounts("unbound"), [""; 0]);
    assert_eq!(node.published("pod"), ["hits"]);
    node.csi().unpublish("pod", &node.target("pod")).unwrap();
    node.assert_absent("pod");
}
