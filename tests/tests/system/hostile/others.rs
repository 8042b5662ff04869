//! Denial of service by callers without loaded programs: connections, limits, memory, files, descriptors.

use std::fs;
use std::io::{IoSlice, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::{BpfmanProgramType as Type, ListRequest};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, pairs, uprobe, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::wait::within;
use bpfman_tests::{Daemon, Launch, MountNamespace, Network, compile};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tonic::transport::Channel;

use super::{calls_as, connected};
use crate::equipment::Program;
use crate::grants::{daemon, load_as};
use crate::rights::as_user::as_user;

pub const EVE: u32 = 64_251;
pub const BOB: u32 = 64_252;
/// First subordinate user id of EVE.
pub const SUBORDINATE: u32 = 900_000;

fn policy(more: &str) -> String {
    format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\nallow = [\"all\"]\n{more}\n"
    )
}

pub fn with_subordinate_users() -> (MountNamespace, Daemon) {
    let (namespace, mut daemon) = (MountNamespace::new(), Daemon::prepare());
    let ranges = daemon.path("subuid");
    fs::write(&ranges, format!("{EVE}:{SUBORDINATE}:65536\n")).unwrap();
    let bound = namespace.command("mount").args(["--bind", ranges.to_str().unwrap(), "/etc/subuid"]).status();
    assert!(bound.unwrap().success());
    daemon.again(&Launch {
        wrapper: namespace.wrapper(),
        flags: vec!["--allow-private-mounts".to_owned()],
        policy: EVERYBODY_MAY.to_owned(),
        ..Launch::default()
    });
    daemon.open_to_users();
    (namespace, daemon)
}

/// Opens `of_one` streams as each of nine subordinate users. Returns their number, and whether BOB gets one.
fn taken_by_subordinates<S: Send, F: Future<Output = Option<S>>>(
    socket: &Path,
    of_one: usize,
    begin: impl Fn(Channel) -> F + Copy + Send + Sync,
) -> (usize, bool) {
    let mut held = Vec::new();
    for user in SUBORDINATE..SUBORDINATE + 9 {
        let begun = as_user(user, || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let streams = runtime.block_on(async {
                let endpoint =
                    tonic::transport::Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
                let channel = endpoint.connect().await.unwrap();
                let mut streams = Vec::new();
                for _ in 0..of_one {
                    streams.extend(begin(channel.clone()).await);
                }
                streams
            });
            (runtime, streams)
        });
        held.push(begun);
    }
    let others = as_user(BOB, || connected(socket, |channel| async { begin(channel).await.is_some() }));
    (held.iter().map(|(_, streams)| streams.len()).sum(), others)
}

#[test]
fn subordinate_users_take_all_streams_of_events() {
    let (_namespace, daemon) = with_subordinate_users();
    let (taken, others) = taken_by_subordinates(&daemon.socket(), 8, |channel| async {
        let mut client = BpfmanNodeClient::new(channel);
        client.follow_events(ext::FollowEventsRequest::default()).await.ok()
    });
    assert!(others, "another user follows events while one user's have {taken} streams");
    assert_eq!(taken, 16);
}

#[test]
fn subordinate_users_take_all_leases() {
    let (_namespace, daemon) = with_subordinate_users();
    let (taken, others) = taken_by_subordinates(&daemon.socket(), 8, |channel| async {
        BpfmanExtClient::new(channel).hold_lease(ext::HoldLeaseRequest {}).await.ok()
    });
    assert!(others, "another user has a lease while one user's have {taken}");
    assert_eq!(taken, 8);
}

/// Fast refusals of a user are counted instead of written, so that they push nothing out of the audit log.
#[test]
fn subordinate_users_push_entries_out_of_the_audit_log() {
    let (_namespace, daemon) = with_subordinate_users();
    for user in SUBORDINATE..SUBORDINATE + 6 {
        calls_as(user, &daemon.socket(), |wire| {
            for _ in 0..70 {
                wire.detach(bpfman_proto::v1::DetachRequest { link_id: u32::MAX }).unwrap_err();
            }
        });
    }
    let written = || daemon.log().lines().filter(|line| line.contains("verb=\"Detach\"")).count();
    assert!((100..200).contains(&written()), "{} of 420 refusals are written", written());
}

#[test]
fn new_version_of_a_load_has_more_programs_than_the_limit() {
    let daemon = daemon(policy("limits = { programs = 2 }"));
    let own = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let path = daemon.path(format!("own-{EVE}.o"));
    let programs = [("xdp_member", Type::Xdp), ("xdp_another", Type::Xdp), ("tc_member", Type::Tc)];
    let replace = |count: usize| ext::ReplaceLoadRequest {
        program_ids: vec![own],
        load: Some(load(&path, &programs[..count])),
        ..Default::default()
    };
    let count = || {
        let ours = ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
        daemon.wire().list(ours).unwrap().results.len()
    };
    let answer = calls_as(EVE, &daemon.socket(), |wire| wire.replace_load(replace(3)));
    assert_eq!(count(), 1, "{answer:?}");
    calls_as(EVE, &daemon.socket(), |wire| wire.replace_load(replace(2))).unwrap();
    assert_eq!(count(), 2);
}

#[test]
fn links_for_an_application_are_more_than_the_limit() {
    let (daemon, network) =
        (daemon(policy("applications = [\"shop/*\"]\nlimits = { links = 1 }")), Network::new());
    let path = daemon.path("own.o");
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(EVE), Some(EVE)).unwrap();
    let mut request = load(&path, &[("xdp_member", Type::Xdp)]);
    request.metadata = pairs(&[("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "wall")]);
    let answers = calls_as(EVE, &daemon.socket(), |wire| {
        let id = wire.load(request).unwrap().programs[0].kernel_info.as_ref().unwrap().id;
        let ends = [&network.far, &network.near].map(|end| end.path());
        ends.map(|end| wire.attach(attach(id, xdp(&end, INTERFACE, 50, &[]))).is_ok())
    });
    let links = daemon.wire().list_links(ext::ListLinksRequest::default()).unwrap().links.len();
    assert_eq!((links, answers), (1, [true, false]));
}

#[test]
fn repeated_attachments_leave_root_no_place_at_a_hook() {
    let (daemon, network) = (daemon(policy("")), Network::new());
    let own = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let far = network.far.path();
    let at = |program: u32, priority: i32| attach(program, xdp(&far, INTERFACE, priority, &[]));
    let made =
        calls_as(EVE, &daemon.socket(), |wire| (0..40).filter(|_| wire.attach(at(own, 0)).is_ok()).count());
    assert!((1..32).contains(&made), "{made}");
    let wall = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 9, 1);
    daemon.wire().attach(at(wall.id, 0)).unwrap();
    assert_eq!(Traffic::new(&network).send(2), 0, "root's program drops");
    assert_eq!(wall.hits(), 2);
}

#[test]
fn size_of_a_map_overflows_the_sum_of_memory() {
    let daemon = daemon(policy("limits = { map_memory = \"64MiB\" }"));
    let path = daemon.path("own.o");
    fs::copy(compile::object("typed_maps"), &path).unwrap();
    chown(&path, Some(EVE), Some(EVE)).unwrap();
    let before = daemon.state();
    let listed = fs::read_to_string(bpfman_tests::compile::source("typed_maps.bpf.c")).unwrap();
    let maps: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("} ")?.strip_suffix(" SEC(\".maps\");")).collect();
    assert!(maps.len() > 2, "{maps:?}");
    for size in [u32::MAX, 1 << 31, (1 << 31) + 1] {
        for map in &maps {
            let line =
                format!("load file -p {} --programs xdp:use_all --map-size {map}={size}", path.display());
            let refused = daemon.bpfman_as(EVE, &line);
            assert_ne!(refused.code, 0, "{map} {size}: {refused:?}");
        }
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn object_file_of_a_tebibyte_or_without_an_end_keeps_the_daemon() {
    let daemon = daemon(policy(""));
    let sparse = daemon.path("sparse.o");
    fs::copy(compile::object("chain"), &sparse).unwrap();
    fs::File::options().write(true).open(&sparse).unwrap().set_len(1 << 40).unwrap();
    let pipe = daemon.path("pipe.o");
    bpfman_tests::command::run(&["mkfifo", &pipe.display().to_string()]);
    let socket = daemon.path("socket.o");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let peak = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let (before, state) = (peak(), daemon.state());
    for path in [&sparse, &pipe, &socket, &daemon.path("")] {
        chown(path, Some(EVE), Some(EVE)).unwrap();
        let request = load(path, &[("xdp_member", Type::Xdp)]);
        let answer =
            within("an odd file is refused", || calls_as(EVE, &daemon.socket(), |wire| wire.load(request)));
        assert!(answer.is_err(), "{}: {answer:?}", path.display());
    }
    assert_eq!(daemon.state(), state);
    assert!(peak() < before + (64 << 10), "{before} kB, then {} kB", peak());
}

#[test]
fn probed_pipe_or_device_keeps_the_daemon() {
    let daemon = daemon(policy(""));
    let path = daemon.path("own.o");
    fs::copy(compile::object("probes"), &path).unwrap();
    chown(&path, Some(EVE), Some(EVE)).unwrap();
    let loaded =
        calls_as(EVE, &daemon.socket(), |wire| wire.load(load(&path, &[("on_uprobe", Type::Uprobe)])));
    let id = loaded.unwrap().programs[0].kernel_info.as_ref().unwrap().id;
    let pipe = daemon.path("pipe").display().to_string();
    bpfman_tests::command::run(&["mkfifo", "-m", "666", &pipe]);
    let before = daemon.state();
    for target in
        [pipe.as_str(), "/dev/zero", "/dev/tty", "/proc/self/mem", "/dev/fd/0", "/sys/kernel/btf/vmlinux"]
    {
        let request = attach(id, Info::UprobeAttachInfo(uprobe(target, "probed")));
        let answer = within("an odd target is refused", || {
            calls_as(EVE, &daemon.socket(), |wire| wire.attach(request))
        });
        assert!(answer.is_err(), "{target}: {answer:?}");
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn descriptors_of_a_client_stay_in_the_daemon() {
    let daemon = daemon(String::new());
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let link = daemon.path("marker");
    fs::write(&link, "").unwrap();
    let marker = fs::File::open(&link).unwrap();
    let holds_marker = || {
        let folder = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).any(|to| to == link)
    };
    let before = open();
    let mut streams = Vec::new();
    for preface in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], bpfman_proto::handover::PREFACE, b"x"] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        for part in preface.chunks(1) {
            let descriptors = [marker.as_fd(); 16];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
            // The daemon may have closed the connection, because it does not know the first bytes.
            let _closed = sendmsg(&stream, &[IoSlice::new(part)], &mut beside, SendFlags::NOSIGNAL);
        }
        stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        let _answer = stream.read(&mut [0; 64]);
        streams.push(stream);
    }
    daemon.bpfman("list programs").success();
    assert!(!holds_marker());
    assert!(open() <= before + 16, "{before} descriptors, then {}", open());
}

#[test]
fn deadline_beyond_all_time_keeps_or_ends_others() {
    let (daemon, network) = (daemon(policy("")), Network::new());
    let own = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let path = daemon.path(format!("own-{EVE}.o"));
    let before = daemon.state();
    let far = network.far.path();
    calls_as(EVE, &daemon.socket(), |wire| {
        for ttl in [u64::MAX, u64::MAX / 1000, i64::MAX as u64, 1 << 62] {
            let request = ext::ChainAttachRequest {
                program_id: own,
                attach: attach(own, xdp(&far, INTERFACE, 50, &[])).attach,
                ttl_seconds: Some(ttl),
                ..Default::default()
            };
            assert!(wire.attach_by_chains(request).is_err(), "{ttl}");
        }
    });
    for ttl in [u64::MAX, 1 << 62] {
        let request = ext::ExtLoadRequest {
            request: Some(load(&path, &[("xdp_member", Type::Xdp)])),
            ttl_seconds: Some(ttl),
            ..Default::default()
        };
        let answer = as_user(EVE, || {
            connected(&daemon.socket(), |channel| async { BpfmanExtClient::new(channel).load(request).await })
        });
        assert!(answer.is_err(), "{ttl}: {answer:?}");
    }
    assert_eq!(daemon.state(), before);
}
