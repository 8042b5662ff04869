//! Reboots with a full disk: acknowledged attachments are restored.

use std::fs::{self, File};
use std::io;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::{Daemon, Launch, Network, kernel};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::equipment::Program;

struct Disk(std::path::PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        let _not_mounted = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn programs_come_back_after_a_reboot_with_a_full_disk() {
    let (mut daemon, network) = (Daemon::prepare(), Network::new());
    let state = daemon.path("run/state");
    fs::create_dir_all(&state).unwrap();
    mount("none", &state, "tmpfs", MountFlags::empty(), Some(c"size=48m")).unwrap();
    let disk = Disk(state.clone());
    daemon.again(&Launch::default());
    assert!(fs::metadata(state.join("reserve")).unwrap().len() > 0);
    let (wire, far) = (daemon.wire(), network.far.path());
    let member = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    wire.attach(attach(member.id, xdp(&far, INTERFACE, 500, &[]))).unwrap();

    // Another process fills the disk, and the free space within the store's file is used up.
    io::copy(&mut io::repeat(1), &mut File::create(state.join("filler")).unwrap()).unwrap_err();
    let refused =
        (1..400).map(|priority| wire.attach(attach(member.id, xdp(&far, INTERFACE, priority, &[]))));
    assert!(refused.into_iter().any(|answer| answer.is_err()), "the disk is full");
    let ids = |daemon: &Daemon| -> Vec<_> {
        let mut ids: Vec<_> =
            daemon.state().links.iter().map(|link| link["link_id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let acknowledged = ids(&daemon);

    // State after a reboot: records without kernel objects.
    daemon.kill();
    unmount(daemon.fs(), UnmountFlags::DETACH).unwrap();
    bpfman_tests::wait::until("the hook is empty", || {
        kernel::hooks(&far)[0]["xdp"].as_array().unwrap().is_empty()
    });
    daemon.again(&Launch::default());
    assert!(daemon.log().contains("problems=0"), "{}", daemon.log());
    assert_eq!(ids(&daemon), acknowledged);
    let links = daemon.state().links;
    assert!(links.iter().all(|link| link["standing"] == "running"), "{links:#?}");
    assert_eq!(kernel::hooks(&far)[0]["xdp"].as_array().unwrap().len(), 1);
    daemon.kill();
    drop(disk);
}
