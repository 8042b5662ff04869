//! Traps that other users prepare do not mislead the daemon.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, uprobe, xdp};
use bpfman_tests::target::{self, Target};
use bpfman_tests::{Daemon, Launch, compile, kernel};
use rustix::mount::{MountFlags, mount};
use tonic::Code;

use crate::equipment::{Program, assert_status};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn bpffs_is_writable_by_its_daemon_only() {
    let mut daemon = Daemon::start();
    assert_eq!(mode(&daemon.fs()), 0o755);
    daemon.terminate();
    fs::set_permissions(daemon.fs(), fs::Permissions::from_mode(0o1777)).unwrap();
    daemon.again(&Launch::default());
    assert_eq!(mode(&daemon.fs()), 0o755, "one that is there is closed");
    daemon.terminate();
    chown(daemon.fs(), Some(4711), None).unwrap();
    let (status, says) = daemon.refuses(&Launch::default());
    assert!(!status.success());
    assert!(says.contains("4711") && says.contains("run/fs"), "{says}");
}

#[test]
fn objects_of_other_users_in_bpffs_are_not_used() {
    let mut daemon = Daemon::prepare();
    fs::create_dir_all(daemon.fs()).unwrap();
    mount("bpffs", daemon.fs(), "bpf", MountFlags::empty(), c"mode=1777").unwrap();
    let elsewhere = daemon.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let link = daemon.fs().join("links");
    symlink(&elsewhere, &link).unwrap();
    lchown(&link, Some(4711), None).unwrap();
    let (status, says) = daemon.refuses(&Launch::default());
    assert!(!status.success());
    assert!(says.contains("links belongs to user 4711"), "{says}");
    assert_eq!(mode(&daemon.fs()), 0o755, "nobody puts it back");
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    fs::remove_file(link).unwrap();
    daemon.again(&Launch::default());
}

#[test]
fn a_file_that_is_no_namespace_is_refused_at_once() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let pipe = daemon.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let before = daemon.state();
    for path in [pipe.as_path(), Path::new("/dev/null"), Path::new("/proc/self/status")] {
        let answer = wire.attach(attach(program.id, xdp(path, INTERFACE, 1, &[])));
        assert_status(answer, Code::InvalidArgument, "invalid", &[path.to_str().unwrap(), "another kind"]);
        assert_eq!(daemon.state(), before);
    }
}

#[test]
fn a_probe_is_set_on_regular_files_alone() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let loaded = wire.load(load(&compile::object("probes"), &[("on_uprobe", Type::Uprobe)])).unwrap();
    let program = Program::of(&loaded.programs[0]);
    let pipe = daemon.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let before = daemon.state();
    let binary = target::binary().display().to_string();
    let beyond = v1::UprobeAttachInfo { offset: u64::MAX, ..uprobe(&binary, "probed") };
    for (info, says) in [
        (uprobe(&pipe.display().to_string(), "probed"), "is not a file"),
        (uprobe("/dev/zero", "probed"), "is not a file"),
        (beyond, "beyond any file"),
    ] {
        let answer = wire.attach(attach(program.id, Info::UprobeAttachInfo(info)));
        assert_status(answer, Code::NotFound, "not-found", &[says]);
        assert_eq!(daemon.state(), before);
    }
}

#[test]
fn links_of_a_container_lead_to_its_own_files() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let inside = daemon.path("inside");
    fs::create_dir(&inside).unwrap();
    // The process gets the machine's files as its root, with one folder that only it sees.
    let script = format!(
        "mount --rbind / {0} && mount -t tmpfs none {0}/mnt && cp {1} {0}/mnt/program && \
         ln -s /mnt/program {0}/mnt/link && exec chroot {0} /mnt/program",
        inside.display(),
        target::binary().display()
    );
    let words = ["--mount", "--propagation", "private", "sh", "-c", &script];
    let mut contained = Target::start_by(Command::new("unshare").args(words));
    let mut request = load(&compile::object("probes"), &[("on_uprobe", Type::Uprobe)]);
    request.global_data.insert("only_process".to_owned(), number(0));
    let program = Program::of(&wire.load(request).unwrap().programs[0]);
    let of = |target: &str| {
        let pid = contained.pid().cast_signed();
        let info = v1::UprobeAttachInfo { container_pid: Some(pid), ..uprobe(target, "probed") };
        wire.attach(attach(program.id, Info::UprobeAttachInfo(info)))
    };
    let magic = format!("/proc/{}/root/mnt/program", contained.pid());
    assert_status(of(&magic), Code::NotFound, "not-found", &[&magic]);
    of("/mnt/link").unwrap();
    contained.call();
    assert_eq!(kernel::array_value(kernel::map_named(&program.maps, "fired"), 3), 1);
}

#[test]
fn a_configuration_that_others_can_write_to_is_refused() {
    let daemon = Daemon::prepare();
    let config = "[signing]\nverify_enabled = false\n".to_owned();
    let mut command = daemon.command(&Launch { config, ..Launch::default() });
    command.stderr(std::process::Stdio::piped());
    fs::set_permissions(daemon.path("bpfman.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let output = command.output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(says.contains("bpfman.toml must belong to root"), "{says}");
}
