//! Attacks by names and patterns: of applications, files, interfaces, namespaces, targets, images and volumes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::{BpfmanProgramType as Type, LoadRequest};
use bpfman_tests::control_group::Group;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, pairs, uprobe, xdp};
use bpfman_tests::target::{self, Target};
use bpfman_tests::{Daemon, Network, Wire, compile, kernel};

use super::{Watching, calls_as};
use crate::csi_equipment::Node;
use crate::equipment::Program;
use crate::grants::{daemon, load_as};

const EVE: u32 = 64_241;

fn policy(more: &str) -> String {
    format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\n\
         allow = [\"read\", \"load\", \"attach\"]\n{more}\n"
    )
}

fn object(daemon: &Daemon, name: &str) -> std::path::PathBuf {
    let path = daemon.path(format!("eves-{name}.o"));
    fs::copy(compile::object(name), &path).unwrap();
    chown(&path, Some(EVE), Some(EVE)).unwrap();
    path
}

fn member(path: &Path, metadata: &[(&str, &str)]) -> LoadRequest {
    LoadRequest { metadata: pairs(metadata), ..load(path, &[("xdp_member", Type::Xdp)]) }
}

fn as_eve<T: Send>(daemon: &Daemon, calls: impl FnOnce(&Wire) -> T + Send) -> T {
    calls_as(EVE, &daemon.socket(), calls)
}

const NAMESPACE: &str = "bpfman.io/ProgramNamespace";
const NAME: &str = "bpfman.io/ProgramName";

#[test]
fn namespace_that_reads_like_another_is_claimed() {
    let daemon = daemon(policy("applications = [\"shop/*\"]"));
    let path = object(&daemon, "chain");
    let before = daemon.state();
    for (namespace, name) in [
        ("", "wall"),
        ("shop ", "wall"),
        ("shop\n", "wall"),
        ("shop\0", "wall"),
        ("\u{200b}shop", "wall"),
        ("\u{455}hop", "wall"),
        ("shop.", "wall"),
        ("sh%6fp", "wall"),
        ("*", "wall"),
        ("shop", "../bank/wall"),
        ("shop", "wall\n"),
        ("shop", "*"),
    ] {
        let claim = member(&path, &[(NAMESPACE, namespace), (NAME, name), ("bpfman.io/uuid", "1-2")]);
        let answer = as_eve(&daemon, |wire| wire.load(claim));
        assert!(answer.is_err(), "{namespace:?}/{name:?}: {answer:?}");
    }
    for metadata in
        [&[("bpfman.io/uuid", "1-2")][..], &[(NAME, "shop")], &[(NAME, "")], &[(NAMESPACE, "bank")]]
    {
        let answer = as_eve(&daemon, |wire| wire.load(member(&path, metadata)));
        assert!(answer.is_err(), "{metadata:?}: {answer:?}");
    }
    assert_eq!(daemon.state(), before);
    as_eve(&daemon, |wire| wire.load(member(&path, &[(NAMESPACE, "shop"), (NAME, "wall")]))).unwrap();
}

#[test]
fn metadata_key_that_reads_like_a_claim_enters_a_map_group() {
    let daemon = daemon(policy(""));
    let path = object(&daemon, "chain");
    let trail = |program: &Program| kernel::map_named(&program.maps, "trail");
    let shops = member(&compile::object("chain"), &[(NAMESPACE, "shop"), (NAME, "wall")]);
    let shops = Program::of(&daemon.wire().load(shops).unwrap().programs[0]);
    for key in [
        "bpfman.io/programnamespace",
        "bpfman.io/ProgramNamespace ",
        "BPFMAN.IO/ProgramNamespace",
        "bpfman.io/ProgramNamespace\0",
        "bpfman_application",
        "bpfman.io/application",
    ] {
        let Ok(loaded) = as_eve(&daemon, |wire| wire.load(member(&path, &[(key, "shop")]))) else { continue };
        assert_ne!(trail(&Program::of(&loaded.programs[0])), trail(&shops), "{key:?}");
    }
}

#[test]
fn path_leads_out_of_the_folder_that_a_grant_names() {
    let daemon = Daemon::prepare();
    let folder = daemon.path("objects").display().to_string();
    let mut daemon = daemon;
    let policy = policy(&format!("files = [\"{folder}/team/*.o\"]"));
    daemon.again(&bpfman_tests::Launch { policy, ..Default::default() });
    daemon.open_to_users();
    for place in ["team", "other"] {
        fs::create_dir_all(format!("{folder}/{place}")).unwrap();
        let path = format!("{folder}/{place}/chain.o");
        fs::copy(compile::object("chain"), &path).unwrap();
        chown(&path, Some(EVE), Some(EVE)).unwrap();
    }
    let before = daemon.state();
    for path in [
        format!("{folder}/other/chain.o"),
        format!("{folder}/team/../other/chain.o"),
        format!("{folder}/team/./../other/chain.o"),
        format!("{folder}/team//../other//chain.o"),
        format!("{folder}/team/chain.o/../../other/chain.o"),
        format!("/proc/self/root{folder}/other/chain.o"),
        format!("{folder}/other/chain.o\0{folder}/team/chain.o"),
        format!("{folder}/team\0/../other/chain.o"),
    ] {
        let answer = as_eve(&daemon, |wire| wire.load(member(path.as_ref(), &[])));
        assert!(answer.is_err(), "{path:?}: {answer:?}");
    }
    assert_eq!(daemon.state(), before);
    as_eve(&daemon, |wire| wire.load(member(format!("{folder}/team/chain.o").as_ref(), &[]))).unwrap();
}

/// The kernel cuts names of interfaces behind 15 bytes in some of its calls.
#[test]
fn interface_name_is_cut_or_read_as_a_pattern() {
    const LONGEST: &str = "abcdefghijklmno";
    let (daemon, network) = (daemon(policy("hooks = [\"xdp:*-team\"]")), Network::new());
    network.far.ip(&["link", "add", LONGEST, "type", "veth", "peer", "name", "other"]);
    let (program, far) = (u32::try_from(load_as(&daemon, EVE)).unwrap(), network.far.path());
    let before = daemon.state();
    for name in [
        format!("{LONGEST}-team"),
        format!("{LONGEST}\0-team"),
        format!("{LONGEST}%-team"),
        format!("{LONGEST}@-team"),
        "*-team".to_owned(),
        format!("{}-team", "a".repeat(123)),
        format!("{INTERFACE}\t-team"),
    ] {
        let answer = as_eve(&daemon, |wire| wire.attach(attach(program, xdp(&far, &name, 50, &[]))));
        assert!(answer.is_err(), "{name:?}: {answer:?}");
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn namespace_path_leads_to_another_than_the_pattern_names() {
    let network = Network::new();
    let [near, far] = [&network.near, &network.far].map(|end| end.path().display().to_string());
    let far_name = far.rsplit('/').next().unwrap().to_owned();
    let daemon = daemon(policy(&format!("hooks = [\"xdp:{INTERFACE}\"]\nnetns = [\"{near}*\"]")));
    let program = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let before = daemon.state();
    for path in [
        format!("{near}/../{far_name}"),
        format!("{near}x/../{far_name}"),
        format!("{near}\0/../{far_name}"),
        format!("/run/netns/./{far_name}"),
        format!("/proc/self/root{far}"),
        far.clone(),
    ] {
        let point = xdp(path.as_ref(), INTERFACE, 50, &[]);
        let answer = as_eve(&daemon, |wire| wire.attach(attach(program, point)));
        assert!(answer.is_err(), "{path:?}: {answer:?}");
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn tracepoint_name_leads_to_another_category() {
    let daemon = daemon(policy("targets = [\"tracepoint:sched/*\"]"));
    let mut process = Target::start();
    let path = object(&daemon, "probes");
    let request = Watching::request(&path, "on_tracepoint", Type::Tracepoint, &process);
    let loaded = as_eve(&daemon, |wire| wire.load(request)).unwrap();
    let watching = Watching { program: Program::of(&loaded.programs[0]), place: 0 };
    for name in [
        "sched/../syscalls/sys_enter_getpriority",
        "sched/.././syscalls/sys_enter_getpriority",
        "sched//../syscalls/sys_enter_getpriority",
        "sched/sched_switch/../../syscalls/sys_enter_getpriority",
        "sched/\0/../syscalls/sys_enter_getpriority",
        "syscalls/sys_enter_getpriority",
    ] {
        let answer = as_eve(&daemon, |wire| watching.attach(wire, name));
        assert!(answer.is_err(), "{name:?}: {answer:?}");
        process.get_priority();
        assert_eq!(watching.fired(), 0, "{name:?}");
    }
}

#[test]
fn probed_path_leads_out_of_the_folder_that_a_grant_names() {
    let mut daemon = Daemon::prepare();
    let folder = daemon.path("binaries").display().to_string();
    for place in ["team", "other"] {
        fs::create_dir_all(format!("{folder}/{place}")).unwrap();
        fs::copy(target::binary(), format!("{folder}/{place}/target")).unwrap();
    }
    let policy = policy(&format!("targets = [\"uprobe:{folder}/team/*\"]"));
    daemon.again(&bpfman_tests::Launch { policy, ..Default::default() });
    daemon.open_to_users();
    let mut process = Target::start_by(&mut std::process::Command::new(format!("{folder}/other/target")));
    let path = object(&daemon, "probes");
    let request = Watching::request(&path, "on_uprobe", Type::Uprobe, &process);
    let loaded = as_eve(&daemon, |wire| wire.load(request)).unwrap();
    let watching = Watching { program: Program::of(&loaded.programs[0]), place: 3 };
    let at = |path: &str| attach(watching.program.id, Info::UprobeAttachInfo(uprobe(path, "probed")));
    for path in [
        format!("{folder}/other/target"),
        format!("{folder}/team/../other/target"),
        format!("{folder}/team/./../other/target"),
        format!("/proc/{}/exe", process.pid()),
        format!("/proc/self/root{folder}/other/target"),
        format!("{folder}/other/target\0{folder}/team/target"),
        "target".to_owned(),
    ] {
        let answer = as_eve(&daemon, |wire| wire.attach(at(&path)));
        assert!(answer.is_err(), "{path:?}: {answer:?}");
        process.call();
        assert_eq!(watching.fired(), 0, "{path:?}");
    }
    as_eve(&daemon, |wire| wire.attach(at(&format!("{folder}/team/target")))).unwrap();
}

/// The digest selects the content, whatever tag precedes it.
#[test]
fn digest_behind_a_tag_fetches_what_no_pattern_names() {
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = registry.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // The registry answers nothing: a connection shows that the daemon would have fetched the image.
    std::thread::spawn(move || {
        for _connection in registry.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let daemon = daemon(policy(&format!(
        "images = [\"{address}/team/a:v*\"]\n[[images]]\npattern = \"{address}/team/*\"\nunsigned = true"
    )));
    let pull = |image: &str| daemon.bpfman_as(EVE, &format!("image pull -i {address}/team/{image}"));
    let digest = format!("sha256:{}", "0".repeat(64));
    for image in [format!("a:v1@{digest}"), format!("a@{digest}"), "a:dev".to_owned(), "b:v1".to_owned()] {
        let refused = pull(&image);
        assert_eq!(asked.load(Ordering::SeqCst), 0, "{image}: {refused:?}");
        refused.fails(4, &["\"images\""]);
    }
    assert_ne!(pull("a:v1").code, 0);
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[test]
fn volume_names_an_application_of_another_namespace() {
    let node = Node::new();
    let owned = [("bpfman.io/uuid", "1-2"), (NAMESPACE, "shop"), (NAME, "telling")];
    let _shops = node.load_with(&owned);
    let asked = |namespace: &str, program: &str, maps: &str| {
        let mut request = node.request("pod", maps);
        let attributes =
            [("csi.storage.k8s.io/pod.namespace", namespace), ("csi.bpfman.io/program", program)];
        request.volume_context.extend(attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
        request.readonly = true;
        request
    };
    for (namespace, program) in [
        ("evil", "shop/telling"),
        ("evil", "telling"),
        ("evil", "/telling"),
        ("evil", "./shop/telling"),
        ("evil", "evil/../shop/telling"),
        ("evil", "shop//telling"),
        ("evil", "shop/telling\0"),
        ("evil", "evil/telling"),
        ("evil", "*"),
        ("evil", "*/telling"),
        ("", "telling"),
        ("", "shop/telling"),
        ("shop\0", "telling"),
        ("Shop", "telling"),
    ] {
        let answer = node.csi().publish(asked(namespace, program, "hits"));
        assert!(answer.is_err(), "{namespace:?} {program:?}");
        node.assert_absent("pod");
    }
    for maps in ["*", "HITS", "hits\u{200b}", "hit?", "hits;trail", ".bss", "who", "verdict"] {
        assert!(node.csi().publish(asked("shop", "telling", maps)).is_err(), "{maps:?}");
        node.assert_absent("pod");
    }
    node.csi().publish(asked("shop", "telling", "hits")).unwrap();
}

#[test]
fn path_of_a_group_leads_out_of_the_one_that_the_grant_names() {
    let (own, other) = (Group::new("eves-group"), Group::new("other-group"));
    let targets = format!("types = [\"cgroup_sock_addr\"]\ntargets = [\"cgroup:{}*\"]", own.path);
    let daemon = daemon(policy(&targets));
    let file = object(&daemon, "points").display().to_string();
    let loaded = daemon.bpfman_as(EVE, &format!("load file -p {file} --programs cgroup_sock_addr:forbid -q"));
    let program = loaded.success();
    let program = program.trim();
    let name = other.path.trim_start_matches('/');
    for path in [
        other.path.clone(),
        format!("{}/../{name}", own.path),
        format!("{}/./../{name}", own.path),
        format!("{}//..//{name}", own.path),
        format!("{}/../{name}/", own.folder.display()),
        format!("/proc/self/root{}/../{name}", own.folder.display()),
        format!("{}/../../..{}", own.folder.display(), other.folder.display()),
    ] {
        let answer = daemon.bpfman_as(EVE, &format!("attach {program} cgroup --path {path}"));
        assert_ne!(answer.code, 0, "{path}: {answer:?}");
        assert!(other.connects(), "{path}: {answer:?}");
    }
    daemon.bpfman_as(EVE, &format!("attach {program} cgroup --path {}", own.path)).success();
    assert!(!own.connects() && other.connects());
}

#[test]
fn selector_matches_interfaces_beyond_the_pattern_of_the_grant() {
    let network = Network::new();
    let far = network.far.path().display().to_string();
    let daemon = daemon(policy("hooks = [\"xdp:eve*\"]"));
    let program = u32::try_from(load_as(&daemon, EVE)).unwrap();
    for names in [
        &["*"][..],
        &["e*"],
        &["[!x]*"],
        &["?*"],
        &["eve*", "*"],
        &["eve[!0-9]*", INTERFACE],
        &["*eve*"],
        &["ev[e-z]*"],
        &["eve\\*", "te?t*"],
        &[],
    ] {
        let request = ext::AttachMatchingRequest {
            program_id: program,
            attach: attach(program, xdp(&network.far.path(), "", 20, &[])).attach,
            r#match: Some(ext::InterfaceMatch {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                netns: vec![far.clone()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = as_eve(&daemon, |wire| wire.attach_matching(request));
        assert!(answer.is_err(), "{names:?}: {answer:?}");
    }
    let state = daemon.state();
    assert!(state.links.is_empty(), "{state:?}");
}
