//! Guards of namespaced applications: two containers of one image, with the same inodes.

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::container::Container;
use bpfman_tests::image_containers::{ContainerImage, ImageContainer};
use bpfman_tests::requests::{attach, uprobe};
use bpfman_tests::skip::is_older_than;
use bpfman_tests::target;
use bpfman_tests::{Daemon, Launch, Wire, compile};
use tonic::Code;

use crate::equipment::{Program, assert_status, detach, test_name};
use crate::types::Probe;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    ByNamespace,
    ByControlGroup,
}

struct Twins {
    ours: ImageContainer,
    other: ImageContainer,
    groups: Vec<Container>,
}

impl Twins {
    fn start(daemon: &Daemon, apart: Apart) -> Self {
        let image = ContainerImage::new(daemon.path("image"));
        let (ours, other) = (image.run("ours"), image.run("other"));
        let groups = match apart {
            Apart::ByNamespace => Vec::new(),
            Apart::ByControlGroup => [(1, &ours), (2, &other)]
                .map(|(number, container)| {
                    let group = Container::empty(number);
                    group.take(container.pid);
                    group
                })
                .into(),
        };
        Self { ours, other, groups }
    }

    fn info(&self) -> v1::UprobeAttachInfo {
        v1::UprobeAttachInfo {
            container_pid: Some(self.ours.pid.cast_signed()),
            ..uprobe(ContainerImage::PROGRAM, "probed")
        }
    }

    fn call(&mut self) {
        self.other.target.call();
        self.ours.target.call();
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        for container in [&self.ours, &self.other] {
            let _gone = std::process::Command::new("kill").args(["-9", &container.pid.to_string()]).status();
        }
        self.groups.clear();
    }
}

fn tenant(wire: &Wire, name: &str, place: u32) -> Probe {
    let mut request = Probe::request(name, Type::Uprobe, 0);
    for (key, value) in [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "probe")] {
        request.metadata.insert(key.to_owned(), value.to_owned());
    }
    Probe { program: Program::of(&wire.load(request).unwrap().programs[0]), place }
}

fn assert_sees_its_own_alone(apart: Apart) {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut twins = Twins::start(&daemon, apart);
    // Root's probe sees both processes, since they share an inode: only the guard keeps the tenant's probe from both.
    let roots = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    roots.attach(&wire, Info::UprobeAttachInfo(twins.info()));
    let offset = target::file_offset(&ContainerImage::program(), "probed");
    let by_offset = v1::UprobeAttachInfo { fn_name: None, offset, ..twins.info() };
    for info in [twins.info(), by_offset] {
        let probe = tenant(&wire, "on_uprobe", 3);
        let link = probe.attach(&wire, Info::UprobeAttachInfo(info));
        let before = roots.fired();
        twins.other.target.call();
        assert_eq!(probe.fired(), 0);
        twins.ours.target.call();
        assert_eq!((probe.fired(), roots.fired()), (1, before + 2));
        detach(&wire, link);
    }
}

#[test]
fn tenant_probe_sees_no_other_container_of_its_image_by_pidns() {
    assert_sees_its_own_alone(Apart::ByNamespace);
}

#[test]
fn tenant_probe_sees_no_other_container_of_its_image_by_cgroup() {
    assert_sees_its_own_alone(Apart::ByControlGroup);
}

#[test]
fn one_program_serves_several_containers_and_each_link_its_own() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut twins = Twins::start(&daemon, Apart::ByNamespace);
    let probe = tenant(&wire, "on_uprobe", 3);
    let ours = probe.attach(&wire, Info::UprobeAttachInfo(twins.info()));
    let of_other =
        v1::UprobeAttachInfo { container_pid: Some(twins.other.pid.cast_signed()), ..twins.info() };
    let others = probe.attach(&wire, Info::UprobeAttachInfo(of_other.clone()));
    twins.call();
    assert_eq!(probe.fired(), 2, "each once");
    detach(&wire, ours);
    twins.call();
    assert_eq!(probe.fired(), 3, "the other's alone");
    probe.attach(&wire, Info::UprobeAttachInfo(of_other));
    twins.call();
    assert_eq!(probe.fired(), 5);
    detach(&wire, others);
}

#[test]
fn attachment_without_guard_is_refused() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let twins = Twins::start(&daemon, Apart::ByNamespace);
    let probe = tenant(&wire, "on_uprobe", 3);
    let before = daemon.state();
    let everywhere = uprobe(&ContainerImage::program().display().to_string(), "probed");
    let answer = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(everywhere)));
    assert_status(answer, Code::InvalidArgument, "invalid", &["for one container", "names none"]);
    let no_container =
        v1::UprobeAttachInfo { container_pid: Some(std::process::id().cast_signed()), ..twins.info() };
    let program = ContainerImage::program().display().to_string();
    let no_container = v1::UprobeAttachInfo { target: program, ..no_container };
    let answer = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(no_container)));
    let says = ["cannot be distinguished from those of others", "neither a process namespace of its own"];
    assert_status(answer, Code::FailedPrecondition, "invalid", &says);
    assert_eq!(daemon.state(), before);
}

#[test]
fn a_place_inside_of_an_instruction_is_refused_and_nobody_dies() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut twins = Twins::start(&daemon, Apart::ByNamespace);
    for (who, probe) in [
        ("tenant", tenant(&wire, "on_uprobe", 3)),
        ("root", Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0)),
    ] {
        let mut refused = 0;
        for offset in 0..24 {
            let info = v1::UprobeAttachInfo { offset, ..twins.info() };
            match wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(info))) {
                Ok(made) => {
                    twins.call();
                    detach(&wire, made.link_id);
                }
                Err(status) => {
                    let says = ["lies inside of an instruction of \"probed\""];
                    assert_status::<()>(Err(status), Code::NotFound, "not-found", &says);
                    refused += 1;
                }
            }
        }
        assert!(refused > 3, "{who}: {refused}");
    }
    // The ELF headers belong to no function.
    let nowhere = v1::UprobeAttachInfo { fn_name: None, offset: 8, ..twins.info() };
    let answer =
        wire.attach(attach(tenant(&wire, "on_uprobe", 3).program.id, Info::UprobeAttachInfo(nowhere)));
    assert_status(answer, Code::NotFound, "not-found", &["is no code"]);
    twins.call();
}

#[test]
fn tenants_return_probe_inside_of_a_function_is_refused() {
    if is_older_than((6, 13), "return probes that leave other processes alone", &test_name()) {
        return;
    }
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut twins = Twins::start(&daemon, Apart::ByNamespace);
    let exit = tenant(&wire, "on_uretprobe", 4);
    let start = target::file_offset(&ContainerImage::program(), "probed");
    let inside = v1::UprobeAttachInfo { fn_name: None, offset: start + 1, ..twins.info() };
    let answer = wire.attach(attach(exit.program.id, Info::UprobeAttachInfo(inside)));
    assert_status(answer, Code::NotFound, "not-found", &["is not where function \"probed\" begins"]);
    twins.call();
}

/// A tenant's return probe beside an entry probe of all processes, at one function of a shared file.
#[test]
fn tenants_return_probe_changes_its_own_process_alone() {
    if is_older_than((6, 13), "return probes that leave other processes alone", &test_name()) {
        return;
    }
    for apart in [Apart::ByNamespace, Apart::ByControlGroup] {
        let daemon = Daemon::start();
        let wire = daemon.wire();
        let mut twins = Twins::start(&daemon, apart);
        let roots = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
        roots.attach(&wire, Info::UprobeAttachInfo(twins.info()));
        let probe = tenant(&wire, "on_uretprobe", 4);
        let link = probe.attach(&wire, Info::UprobeAttachInfo(twins.info()));
        twins.call();
        assert_eq!((probe.fired(), roots.fired()), (1, 2), "{apart:?}");
        assert!(twins.other.target.returned_into_main(), "{apart:?}: another container's process");
        assert!(!twins.ours.target.returned_into_main(), "{apart:?}: the probed process");
        let of_other = v1::UprobeAttachInfo { pid: Some(twins.other.pid.cast_signed()), ..twins.info() };
        let answer = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(of_other)));
        let names = ["is not among the processes", "program \"on_uretprobe\""];
        assert_status(answer, Code::PermissionDenied, "denied", &names);
        detach(&wire, link);
        twins.call();
        assert!(twins.ours.target.returned_into_main(), "{apart:?}: after the end");
    }
}

#[test]
fn tenants_return_probes_of_many_functions_are_refused() {
    let daemon = Daemon::start();
    let before = daemon.state();
    let object = compile::object("tenants").display().to_string();
    for program in ["uretprobe_multi:returns_of_many", "uprobe_session:session_of_many"] {
        let line = format!(
            "load file -p {object} --programs {program} -m bpfman.io/ProgramNamespace=shop -m bpfman.io/ProgramName=probe"
        );
        daemon.bpfman(&line).fails(4, &["changes return addresses of other processes", "type uretprobe"]);
        assert_eq!(daemon.state(), before, "{program}");
    }
}

#[test]
fn guards_outlive_the_daemon_and_links_come_back_with_theirs() {
    let mut daemon = Daemon::start();
    let mut twins = Twins::start(&daemon, Apart::ByNamespace);
    let probe = tenant(&daemon.wire(), "on_uprobe", 3);
    daemon.kill();
    daemon.again(&Launch::default());
    let link = probe.attach(&daemon.wire(), Info::UprobeAttachInfo(twins.info()));
    twins.call();
    assert_eq!(probe.fired(), 1);
    daemon.kill();
    twins.call();
    assert_eq!(probe.fired(), 2, "without a daemon too");
    // A link removed while no daemon runs is restored for the same tasks.
    std::fs::remove_file(daemon.fs().join(format!("links/{link}"))).unwrap();
    daemon.again(&Launch::default());
    twins.call();
    assert_eq!(probe.fired(), 3);
    // If the container has ended meanwhile, the link is not restored: the process id may have been reused.
    daemon.kill();
    std::fs::remove_file(daemon.fs().join(format!("links/{link}"))).unwrap();
    let ended = format!("process {} does not exist", twins.ours.pid);
    drop(twins);
    daemon.again(&Launch::default());
    let log = daemon.log();
    // The second reason appears if the process has exited and has not been reaped.
    let reasons = ["names a process, whose number may be another one's by now", &ended];
    assert!(reasons.iter().any(|reason| log.contains(reason)), "{log}");
    assert!(!daemon.fs().join(format!("links/{link}")).exists(), "{log}");
}

#[test]
fn new_and_rolled_back_versions_are_guarded_like_the_old_one() {
    let daemon = Daemon::start();
    let mut twins = Twins::start(&daemon, Apart::ByNamespace);
    let probe = tenant(&daemon.wire(), "on_uprobe", 3);
    probe.attach(&daemon.wire(), Info::UprobeAttachInfo(twins.info()));
    let object = compile::object("probes").display().to_string();
    let id = probe.program.id;
    // Root replaces the program, and could load it without a guard.
    let replaced = daemon.bpfman(&format!("replace {id} file -p {object} -o json")).json();
    twins.call();
    assert_eq!(probe.fired(), 1, "the map goes on: {replaced}");
    let now = replaced["program"]["program_id"].as_u64().unwrap_or_else(|| panic!("{replaced}"));
    daemon.bpfman(&format!("replace {now} --rollback")).success();
    twins.call();
    assert_eq!(probe.fired(), 2);
}
