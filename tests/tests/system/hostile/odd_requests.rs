//! Attacks by requests with odd values: files without an end, lengths, times, names, and settings of an attachment.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::handover::PREFACE;
use bpfman_proto::v1::{BpfmanProgramType as Type, LoadRequest, LoadResponse};
use bpfman_tests::control_group::naming_hierarchy;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::{attach, load, tc, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::within;
use bpfman_tests::{Daemon, Wire, compile};
use tonic::{Code, Status};

use super::{calls_as, connected};
use crate::equipment::{Program, detach};
use crate::forged_names::{self, Group};
use crate::grants::{daemon, load_as};
use crate::packet_ranks::{Bench, TC, of_tenant, sent};
use crate::rights::as_user::as_user;

const EVE: u32 = 64_261;

fn policy(more: &str) -> String {
    format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\n\
         allow = [\"read\", \"load\", \"attach\", \"maps-read\"]\n{more}\n"
    )
}

fn as_eve<T: Send>(daemon: &Daemon, calls: impl FnOnce(&Wire) -> T + Send) -> T {
    calls_as(EVE, &daemon.socket(), calls)
}

fn load_by_eve(daemon: &Daemon, change: impl FnOnce(&mut LoadRequest)) -> Result<LoadResponse, Status> {
    let path = daemon.path("eves.o");
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(EVE), Some(EVE)).unwrap();
    let mut request = load(&path, &[("xdp_member", Type::Xdp)]);
    change(&mut request);
    as_eve(daemon, |wire| wire.load(request))
}

fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn pipe_or_device_as_a_network_namespace_keeps_a_thread() {
    let daemon = daemon(policy(""));
    let program = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let pipe = daemon.path("pipe").display().to_string();
    bpfman_tests::command::run(&["mkfifo", "-m", "666", &pipe]);
    let before = daemon.state();
    for path in [pipe.as_str(), "/dev/tty", "/dev/zero", "/proc/self/mem", "/proc/kmsg"] {
        let hook = || {
            Some(ext::Hook {
                kind: "xdp".to_owned(),
                iface: INTERFACE.to_owned(),
                netns: path.to_owned(),
                ..Default::default()
            })
        };
        let answers = within("an odd namespace is refused", || {
            as_user(EVE, || {
                connected(&daemon.socket(), async |channel| {
                    let mut node = BpfmanNodeClient::new(channel.clone());
                    let mut chains = BpfmanChainsClient::new(channel);
                    let found = ext::FindNetworkNamespaceRequest { path: path.to_owned() };
                    let shown = ext::ShowChainRequest { hook: hook(), sample_ms: 0 };
                    let explained = ext::ExplainRequest { hook: hook(), ..Default::default() };
                    let attached = ext::ChainAttachRequest {
                        program_id: program,
                        attach: attach(program, xdp(path.as_ref(), INTERFACE, 50, &[])).attach,
                        ..Default::default()
                    };
                    [
                        node.find_network_namespace(found).await.map(drop),
                        chains.show_chain(shown).await.map(drop),
                        chains.explain(explained).await.map(drop),
                        chains.attach(attached).await.map(drop),
                    ]
                })
            })
        });
        assert!(answers.iter().all(Result::is_err), "{path}: {answers:?}");
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn handover_of_four_gibibytes_takes_memory() {
    let daemon = daemon(policy(""));
    let before = peak(&daemon);
    for length in [u32::MAX, 1 << 30, 1 << 20, 0] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.write_all(PREFACE).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        let _ended = stream.write_all(&[0; 64 << 10]);
        let mut answer = Vec::new();
        let _reset = within("the daemon ends the connection", || stream.read_to_end(&mut answer));
        assert!(!answer.windows(2).any(|bytes| bytes == [0x0a, 0x02]), "{length}: {answer:?}");
    }
    assert!(peak(&daemon) < before + (16 << 10), "{before} kB, then {} kB", peak(&daemon));
}

#[test]
fn sample_of_weeks_keeps_a_thread() {
    let daemon = daemon(policy(""));
    let network = bpfman_tests::Network::new();
    let program = load_as(&daemon, EVE);
    let far = network.far.path().display().to_string();
    daemon.bpfman_as(EVE, &format!("attach {program} xdp -i {INTERFACE} -n {far} -p 10")).success();
    let hook =
        ext::Hook { kind: "xdp".to_owned(), iface: INTERFACE.to_owned(), netns: far, ..Default::default() };
    for sample_ms in [u32::MAX, 1 << 31, 3_600_000] {
        let request = ext::ShowChainRequest { hook: Some(hook.clone()), sample_ms };
        let answer = within("a long sample is refused", || as_eve(&daemon, |wire| wire.show_chain(request)));
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument, "{sample_ms}");
    }
    for interval_ms in [1, u32::MAX] {
        let request = ext::FollowFiguresRequest { interval_ms, ..Default::default() };
        let answer = as_eve(&daemon, |wire| wire.follow_figures(request).map(drop));
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument, "{interval_ms}");
    }
}

#[test]
fn metadata_without_an_end_keeps_others_from_lists() {
    let daemon = daemon(policy(""));
    let long = "x".repeat(3 << 20);
    let mut refused = 0;
    for turn in 0..4 {
        let loaded = load_by_eve(&daemon, |request| {
            request.metadata.insert(format!("of-eve-{turn}"), long.clone());
        });
        refused += usize::from(loaded.is_err());
    }
    let many = load_by_eve(&daemon, |request| {
        request.metadata.extend((0..50_000).map(|number| (format!("of-eve-{number}"), "x".repeat(50))));
    });
    assert!(refused == 4 && many.is_err(), "{refused} of 4 were refused, and {:?}", many.map(drop));
    daemon.bpfman("list programs").success();
}

#[test]
fn unspecified_address_has_a_weaker_rule_than_localhost() {
    let registry = Registry::start();
    let (_, port) = registry.address().rsplit_once(':').unwrap();
    let rules = format!(
        "[[images]]\npattern = \"localhost:{port}/*\"\ndigests = [\"sha256:{}\"]\nunsigned = true\n\
         [[images]]\npattern = \"*\"\nunsigned = true\n",
        "0".repeat(64)
    );
    let daemon = daemon(format!("{rules}{}", policy("")));
    let image = registry.image("wall:v1");
    daemon.bpfman(&format!("image build -t {image} -b {}", compile::object("chain").display())).success();
    daemon.bpfman(&format!("image push {image}")).success();
    let before = daemon.state();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:0.0.0.0]",
        "[::ffff:127.0.0.1]",
        "127.0.0.1.",
    ] {
        let line = format!("load image -i {host}:{port}/wall:v1 --programs xdp:xdp_member");
        let loaded = daemon.bpfman_as(EVE, &line);
        assert_ne!(loaded.code, 0, "{host}: {}", loaded.stdout);
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn history_of_roots_objects_by_number_name_and_page() {
    let daemon = daemon(policy(""));
    let roots = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    load_as(&daemon, EVE);
    let requests = [
        ext::HistoryRequest { id: roots.id, ..Default::default() },
        ext::HistoryRequest { by: "root".to_owned(), ..Default::default() },
        ext::HistoryRequest { by: "0".to_owned(), ..Default::default() },
        ext::HistoryRequest { accesses: true, ..Default::default() },
        ext::HistoryRequest { before: u64::MAX, limit: u32::MAX, ..Default::default() },
        ext::HistoryRequest { before: 1, limit: u32::MAX, ..Default::default() },
    ];
    let pages = as_user(EVE, || {
        connected(&daemon.socket(), async |channel| {
            let mut client = BpfmanNodeClient::new(channel);
            let mut found = Vec::new();
            for request in requests {
                let mut stream = client.history(request).await.unwrap().into_inner();
                while let Some(page) = stream.message().await.unwrap() {
                    found.extend(page.entries.into_iter().map(|line| format!("{line:?}")));
                }
            }
            found
        })
    });
    assert!(!pages.is_empty() && pages.iter().all(|line| line.contains(&EVE.to_string())), "{pages:?}");
}

#[test]
fn unit_with_a_name_near_to_the_granted_one_has_its_grant() {
    let daemon = daemon(forged_names::policy());
    let (unit, pod) = (forged_names::unit(), forged_names::pod());
    let name = unit.trim_end_matches(".service");
    for path in [
        format!("system.slice/{unit}@1.service"),
        format!("system.slice/{name}@x.service"),
        format!("system.slice/x{unit}"),
        format!("system.slice/{}", unit.to_uppercase()),
        format!("system.slice/{name}.scope"),
        format!("system.slice/{name}.service.service"),
        format!("kubepods.slice/kubepods-pod{}.slice", pod.to_uppercase().replace('-', "_")),
        format!("kubepods.slice/kubepods-pod{}0.slice", pod.replace('-', "_")),
    ] {
        let group = Group::delegated(&naming_hierarchy(), &path);
        let seen = forged_names::client(group.run_inside(""), &daemon, "whoami -o json").json();
        assert_eq!(seen["grants"], serde_json::json!([]), "{path}: {seen}");
    }
}

#[test]
fn settings_of_an_attachment_pass_the_machines_program() {
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let wall = Program::member(&wire, TC.member, TC.program_type, 9, TC.drop);
    bench.attach(&wire, TC, &wall);
    let tenants = of_tenant(&wire, TC, TC.accept);
    let near = bench.network.near.path();
    let flags = [(true, false, false), (false, true, false), (false, false, true), (true, true, true)];
    for (shadow, isolated, redirect_may_proceed) in flags {
        let request = ext::ChainAttachRequest {
            program_id: tenants.id,
            attach: attach(
                tenants.id,
                tc(&near, INTERFACE, "egress", i32::MIN.wrapping_add(1).max(0), &[0, 7]),
            )
            .attach,
            shadow,
            isolated,
            redirect_may_proceed,
            again: true,
            ..Default::default()
        };
        let attached = wire.attach_by_chains(request);
        let case = format!("{shadow}, {isolated}, {redirect_may_proceed}: {attached:?}");
        assert_eq!(sent(&traffic, [&wall, &tenants]).0, 0, "{case}");
        let Ok(link) = attached else { continue };
        for change in [
            ext::UpdateLinkRequest { position: Some(0), ..Default::default() },
            ext::UpdateLinkRequest { priority: Some(0), ..Default::default() },
            ext::UpdateLinkRequest {
                set_proceed_on: true,
                proceed_on: vec!["pipe".to_owned()],
                ..Default::default()
            },
            ext::UpdateLinkRequest { shadow: Some(!shadow), isolated: Some(!isolated), ..Default::default() },
        ] {
            let changed = wire.update_link(ext::UpdateLinkRequest { link_id: link.id, ..change });
            assert_eq!(sent(&traffic, [&wall, &tenants]).0, 0, "{case}, then {changed:?}");
        }
        detach(&wire, link.id);
    }
    assert!(wall.hits() > 0 && tenants.hits() > 0);
}

#[test]
fn dry_run_tells_a_hidden_file_from_none() {
    let daemon = daemon(policy(""));
    let folder = daemon.path("hidden");
    fs::create_dir(&folder).unwrap();
    fs::copy(compile::object("chain"), folder.join("there.o")).unwrap();
    fs::write(folder.join("text.o"), "no object").unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let own = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let said = |name: &str| {
        let path = folder.join(name);
        let request = || load(&path, &[("xdp_member", Type::Xdp)]);
        let answers = as_eve(&daemon, |wire| {
            let replaced = ext::ReplaceLoadRequest {
                program_ids: vec![own],
                load: Some(request()),
                ..Default::default()
            };
            let tried = wire.dry_run(ext::DryRunRequest { load: Some(request()), ..Default::default() });
            let failure = tried.unwrap().failure.unwrap();
            let others = [wire.replace_load(replaced).map(drop), wire.load(request()).map(drop)];
            let others = others.map(|answer| answer.unwrap_err().message().to_owned());
            [failure.message].into_iter().chain(others).collect::<Vec<_>>()
        });
        answers.into_iter().map(|text| text.replace(name, "NAME")).collect::<Vec<_>>()
    };
    let hidden = said("there.o");
    assert_eq!(hidden, said("absent.o"));
    assert_eq!(hidden, said("text.o"));
}

#[test]
fn names_of_mebibytes_fill_log_and_history() {
    let daemon = daemon(policy(""));
    let program = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let long = "x".repeat(1 << 20);
    let taken = || {
        let du = bpfman_tests::command::run(&["du", "-sk", &daemon.path("").display().to_string()]);
        du.split_whitespace().next().unwrap().parse::<usize>().unwrap() + (daemon.log().len() >> 10)
    };
    let before = taken();
    for turn in 0..16 {
        let name = format!("{long}{turn}");
        let refused = load_by_eve(&daemon, |request| name.clone_into(&mut request.info[0].name));
        assert!(refused.is_err());
        let refused = as_eve(&daemon, |wire| {
            let netns = format!("/{name}");
            [
                wire.attach(attach(program, xdp(netns.as_ref(), INTERFACE, 5, &[]))).map(drop),
                wire.attach(attach(program, xdp("".as_ref(), &name, 5, &[]))).map(drop),
                wire.load(load(format!("/{name}").as_ref(), &[("x", Type::Xdp)])).map(drop),
            ]
        });
        assert!(refused.iter().all(Result::is_err));
    }
    assert!(taken() < before + (2 << 10), "{before} KiB, then {} KiB", taken());
}
