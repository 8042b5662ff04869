//! The disk becomes read-only while the daemon has files open for writing: no further change is acknowledged.

use std::path::PathBuf;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::{Daemon, Launch, Network};
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

use crate::equipment::Program;

struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Remounts as in an emergency: open files stay writable, and no file can be opened for writing.
    fn new(folder: PathBuf) -> Self {
        mount_bind(&folder, &folder).unwrap();
        mount_remount(&folder, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
        Self(folder)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn read_only_disk_refuses_changes_despite_writable_open_files() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let (wire, far) = (daemon.wire(), network.far.path());
    let member = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    wire.attach(attach(member.id, xdp(&far, INTERFACE, 500, &[]))).unwrap();
    let before = daemon.state();

    let disk = ReadOnly::new(daemon.path("run/state"));
    let refused = wire.attach(attach(member.id, xdp(&far, INTERFACE, 501, &[]))).unwrap_err();
    assert!(refused.to_string().contains("Read-only file system"), "{refused}");
    assert_eq!(daemon.state().links, before.links);

    drop(disk);
    wire.attach(attach(member.id, xdp(&far, INTERFACE, 501, &[]))).unwrap();
    daemon.kill();
    daemon.again(&Launch::default());
    assert_eq!(daemon.state().links.len(), 2);
}
