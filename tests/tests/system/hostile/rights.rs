//! Attacks on other users' objects by calls on the caller's own.

use std::fs;
use std::process::Command;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::adopt_request::What;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_map_entries_client::BpfmanMapEntriesClient;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::{attach, file, image, load, tracepoint, xdp};
use bpfman_tests::target::Target;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile, kernel};

use super::{Watching, calls_as, connected};
use crate::equipment::Program;
use crate::grants::load_as;
use crate::images::publish;
use crate::over_others::{Bench, EVE, id};
use crate::rights::as_user::as_user;

const SCOPED: &str =
    "allow = [\"read\", \"load\", \"attach\", \"maps-read\"]\nscope = \"cgroup\"\nover = \"all\"\n";

/// Root's program has no guard: attached by a tenant, it would show all tasks.
#[test]
fn tenant_attaches_an_unguarded_program_of_root() {
    let bench = Bench::new(SCOPED);
    let mut process = Target::start();
    let watching = Watching::of_root(&bench.daemon.wire(), &process);
    let attached = calls_as(EVE, &bench.daemon.socket(), |wire| watching.attach(wire, Watching::TRACEPOINT));
    process.get_priority();
    assert_eq!(watching.fired(), 0, "{attached:?}");
    assert!(attached.unwrap_err().message().contains("scope = \"cgroup\""));
}

#[test]
fn tenant_attaches_what_it_loaded_before_its_grant_had_a_scope() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\n");
    let mut process = Target::start();
    let path = bench.object("probes");
    let request = Watching::request(path.as_ref(), "on_tracepoint", Type::Tracepoint, &process);
    let socket = bench.daemon.socket();
    let loaded = calls_as(EVE, &socket, |wire| wire.load(request)).unwrap();
    let watching = Watching { program: Program::of(&loaded.programs[0]), place: 0 };
    let policy = bench.daemon.path("policy.toml");
    let scoped = format!("{}scope = \"cgroup\"\n", fs::read_to_string(&policy).unwrap());
    fs::write(&policy, scoped).unwrap();
    let attached = calls_as(EVE, &socket, |wire| watching.attach(wire, Watching::TRACEPOINT));
    process.get_priority();
    assert_eq!(watching.fired(), 0, "{attached:?}");
    assert!(attached.unwrap_err().message().contains("scope = \"cgroup\""));
}

#[test]
fn tenant_puts_a_program_of_root_into_the_machines_rank() {
    let bench = Bench::new(SCOPED);
    let traffic = Traffic::new(&bench.network);
    let drops = Program::member(&bench.daemon.wire(), "xdp_member", Type::Xdp, 9, 1);
    let far = bench.network.far.path();
    let at = attach(drops.id, xdp(&far, INTERFACE, 0, &[]));
    let matching = ext::AttachMatchingRequest {
        program_id: drops.id,
        attach: at.attach.clone(),
        r#match: Some(ext::InterfaceMatch {
            names: vec![INTERFACE.to_owned()],
            netns: vec![far.display().to_string()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let (one, matched) =
        calls_as(EVE, &bench.daemon.socket(), |wire| (wire.attach(at), wire.attach_matching(matching)));
    assert_eq!(traffic.send(2), 2, "{one:?} {matched:?}");
    assert_eq!(drops.hits(), 0);
}

#[test]
fn descriptor_for_reading_is_frozen_or_emptied() {
    let bench = Bench::new("allow = [\"maps-read\"]\nover = \"all\"\n");
    let hits = kernel::map_named(&bench.roots.maps, "hits");
    let taker = bench.daemon.path("take_map");
    fs::copy(compile::executable("take_map"), &taker).unwrap();
    let run = |user: u32, words: &[&str]| {
        let user = user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        Outcome::of(command.arg(&taker).arg(bench.daemon.socket()).arg(hits.to_string()).args(words))
    };
    let traffic = Traffic::new(&bench.network);
    assert_eq!(traffic.send(3), 3);
    let spoiled = run(EVE, &["spoil"]).stdout;
    assert!(spoiled.starts_with("took: ok\n") && spoiled.lines().count() == 7, "{spoiled}");
    assert!(spoiled.lines().skip(1).all(|line| !line.ends_with(": ok")), "{spoiled}");
    assert_eq!(kernel::array_value(hits, 0), 3);
    assert_eq!(run(0, &["write", "17"]).success(), "took: ok\nupdate: ok\n", "the map is not frozen");
}

#[test]
fn type_that_no_grant_names_is_loaded_by_its_section() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\ntypes = [\"uprobe\", \"kprobe\"]\n");
    let path = bench.object("probes");
    let before = bench.daemon.state();
    let declared = |name: &str, kind: Type| {
        let request = load(path.as_ref(), &[(name, kind)]);
        calls_as(EVE, &bench.daemon.socket(), |wire| wire.load(request))
    };
    for (name, kind) in [("on_uretprobe", Type::Uprobe), ("on_kretprobe", Type::Kprobe)] {
        let answer = declared(name, kind);
        assert!(answer.is_err(), "{name}: {answer:?}");
        assert_eq!(bench.daemon.state(), before, "{name}");
    }
    declared("on_uprobe", Type::Uprobe).unwrap();
    let policy = bench.daemon.path("policy.toml");
    let both = fs::read_to_string(&policy).unwrap().replace("\"uprobe\"", "\"uprobe\", \"uretprobe\"");
    fs::write(&policy, both).unwrap();
    declared("on_uretprobe", Type::Uprobe).unwrap();
}

#[test]
fn load_under_a_lease_of_root() {
    let bench = Bench::new("allow = [\"load\"]\n");
    let (socket, path) = (bench.daemon.socket(), bench.object("chain"));
    let before = bench.daemon.state();
    connected(&socket, |channel| async {
        let mut stream =
            BpfmanExtClient::new(channel).hold_lease(ext::HoldLeaseRequest {}).await.unwrap().into_inner();
        let lease = stream.message().await.unwrap().unwrap().lease;
        for guessed in [0, lease - 1, lease, lease + 1, u64::MAX] {
            let request = ext::ExtLoadRequest {
                request: Some(load(path.as_ref(), &[("xdp_member", Type::Xdp)])),
                lease: Some(guessed),
                ..Default::default()
            };
            let refused = as_user(EVE, || {
                connected(&socket, |channel| async { BpfmanExtClient::new(channel).load(request).await })
            });
            assert!(refused.is_err(), "{guessed}: {refused:?}");
        }
    });
    assert_eq!(bench.daemon.state(), before);
}

#[test]
fn maps_of_a_third_party_program_are_shared_or_written() {
    let bench = Bench::new("allow = [\"load\", \"maps-read\", \"maps-write\"]\n");
    let pin = bench.daemon.fs().join("third-party");
    let object = compile::object("reach").display().to_string();
    let pinned = pin.display().to_string();
    bpfman_tests::command::run(&["bpftool", "prog", "load", &object, &pinned, "type", "xdp"]);
    let shown = bpfman_tests::command::run(&["bpftool", "-j", "prog", "show", "pinned", &pinned]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let number = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let foreign = number(&shown["id"]);
    let maps: Vec<u32> = shown["map_ids"].as_array().unwrap().iter().map(number).collect();
    let before = bench.daemon.state();
    let path = bench.object("reach");
    let socket = bench.daemon.socket();
    let mut request = load(path.as_ref(), &[("xdp_reach", Type::Xdp)]);
    request.map_owner_id = Some(foreign);
    calls_as(EVE, &socket, |wire| wire.load(request)).unwrap_err();
    for map in maps {
        let named = Some(ext::NamedMap { map: Some(ext::named_map::Map::MapId(map)) });
        let set = ext::SetMapEntryRequest {
            map: named.clone(),
            key: vec![0; 4],
            value: vec![1; 8],
            ..Default::default()
        };
        let get = ext::GetMapEntryRequest { map: named, key: vec![0; 4] };
        as_user(EVE, || {
            connected(&socket, |channel| async {
                let mut entries = BpfmanMapEntriesClient::new(channel);
                entries.set_map_entry(set).await.unwrap_err();
                entries.get_map_entry(get).await.unwrap_err();
            });
        });
        if kernel::map(map)["type"] == "array" {
            assert_eq!(kernel::array_value(map, 0), 0);
        }
    }
    assert_eq!(bench.daemon.state(), before);
    fs::remove_file(&pin).unwrap();
}

#[test]
fn replacement_of_own_programs_takes_one_of_root_along() {
    let bench = Bench::new("allow = [\"load\", \"replace\", \"attach\"]\n");
    let own = u32::try_from(load_as(&bench.daemon, EVE)).unwrap();
    let path = bench.object("chain");
    let before = bench.daemon.state();
    let version = || Some(load(path.as_ref(), &[("xdp_member", Type::Xdp)]));
    for program_ids in [vec![own, bench.roots.id], vec![bench.roots.id, own], vec![bench.roots.id]] {
        let replace = ext::ReplaceLoadRequest {
            program_ids: program_ids.clone(),
            load: version(),
            ..Default::default()
        };
        let trial =
            ext::DryRunRequest { load: version(), replaces: program_ids.clone(), ..Default::default() };
        let one = ext::ReplaceProgramRequest {
            program_id: program_ids[0],
            bytecode: Some(file(path.as_ref())),
            ..Default::default()
        };
        calls_as(EVE, &bench.daemon.socket(), |wire| {
            wire.replace_load(replace).unwrap_err();
            wire.dry_run(trial).unwrap_err();
            if program_ids[0] == bench.roots.id {
                wire.replace_program(one).unwrap_err();
            }
        });
        assert_eq!(bench.daemon.state(), before, "{program_ids:?}");
    }
}

#[test]
fn user_moves_roots_link_of_its_own_program() {
    let bench = Bench::new("allow = [\"load\", \"attach\", \"settings\"]\n");
    let own = load_as(&bench.daemon, EVE);
    let link = bench.attach_as(0, own, 20, "").json()["link_id"].to_string();
    let before = bench.daemon.state();
    for line in [
        format!("update link {link} -p 5"),
        format!("update link {link} --position 0"),
        format!("update link {link} --before {}", bench.chain()["members"][0]["link_id"]),
        format!("detach {link}"),
    ] {
        bench.daemon.bpfman_as(EVE, &line).fails(4, &["\"over\""]);
        assert_eq!(bench.daemon.state(), before, "{line}");
    }
}

/// The caller can guess the number of the next link: a detach has to be refused before it waits for a thread.
#[test]
fn call_that_waits_is_for_a_link_that_root_makes_meanwhile() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\n");
    let (socket, path) = (bench.daemon.socket(), bench.object("hostile"));
    let last = bench.chain()["members"][0]["link_id"].as_u64().unwrap() as u32;
    let traffic = Traffic::new(&bench.network);
    let far = bench.network.far.path();
    std::thread::scope(|scope| {
        let (socket, path) = (&socket, &path);
        let mut calls = Vec::new();
        for _ in 0..10 {
            calls.push(scope.spawn(move || {
                let slow = load(path.as_ref(), &[("xdp_long", Type::Xdp)]);
                calls_as(EVE, socket, |wire| wire.load(slow)).map(drop)
            }));
        }
        until("they work", || {
            let listed = std::fs::read_dir(format!("/proc/{}/task", bench.daemon.pid())).unwrap().count();
            listed > 8
        });
        for link_id in last + 1..last + 34 {
            let detach = bpfman_proto::v1::DetachRequest { link_id };
            calls.push(scope.spawn(move || calls_as(EVE, socket, |wire| wire.detach(detach)).map(drop)));
        }
        let wall = Program::member(&bench.daemon.wire(), "xdp_member", Type::Xdp, 9, 1);
        bench.daemon.wire().attach(attach(wall.id, xdp(&far, INTERFACE, 5, &[]))).unwrap();
        for call in calls {
            let _refused = call.join().unwrap();
        }
        assert_eq!(traffic.send(2), 0, "root's program is attached, and drops");
        assert_eq!(wall.hits(), 2);
    });
}

#[test]
fn number_of_another_kind_reaches_no_object() {
    let bench = Bench::new("allow = [\"all\"]\n");
    let own = load_as(&bench.daemon, EVE);
    let loaded = bench.load("probes", "tracepoint:on_tracepoint");
    let traced = attach(u32::try_from(id(&loaded)).unwrap(), tracepoint(Watching::TRACEPOINT));
    let socket = bench.daemon.socket();
    let link = calls_as(EVE, &socket, |wire| wire.attach(traced)).unwrap().link_id;
    let roots = bench.chain()["members"][0]["link_id"].as_u64().unwrap() as u32;
    let before = bench.daemon.state();
    calls_as(EVE, &socket, |wire| {
        for number in [roots, link, bench.roots.id, u32::try_from(own).unwrap(), 0, u32::MAX] {
            wire.detach_matching(ext::DetachMatchingRequest { id: number }).unwrap_err();
        }
        for number in [roots, 0, u32::MAX] {
            wire.detach(bpfman_proto::v1::DetachRequest { link_id: number }).unwrap_err();
        }
    });
    assert_eq!(bench.daemon.state(), before);
}

#[test]
fn pin_of_root_is_adopted_by_a_path_of_the_caller() {
    let bench = Bench::new("allow = [\"read\", \"adopt\", \"attach\"]\n");
    let (stranger, network) = (Daemon::start(), Network::new());
    let theirs = Program::member(&stranger.wire(), "xdp_member", Type::Xdp, 1, 2);
    let at = attach(theirs.id, xdp(&network.far.path(), INTERFACE, 10, &[]));
    stranger.wire().attach(at).unwrap();
    let link = stranger.bpfman("list links -o json").json()["links"][0].take();
    let pin = std::path::PathBuf::from(link["pin_path"].as_str().unwrap());
    let alias = bench.daemon.path("eves-pin");
    std::os::unix::fs::symlink(&pin, &alias).unwrap();
    std::os::unix::fs::lchown(&alias, Some(EVE), Some(EVE)).unwrap();
    let through = format!("/proc/self/root{}", pin.display());
    let socket = bench.daemon.socket();
    let kernel_link = u32::try_from(link["kernel_link_id"].as_u64().unwrap()).unwrap();
    let before = bench.daemon.state();
    for what in [
        What::KernelLinkId(kernel_link),
        What::PinPath(pin.display().to_string()),
        What::PinPath(alias.display().to_string()),
        What::PinPath(through),
    ] {
        let request = ext::AdoptRequest {
            what: Some(what.clone()),
            iface: INTERFACE.to_owned(),
            netns: network.far.path().display().to_string(),
            ..Default::default()
        };
        let answer = calls_as(EVE, &socket, |wire| wire.adopt(request));
        assert!(answer.is_err(), "{what:?}: {answer:?}");
    }
    assert_eq!(bench.daemon.state(), before);
    let traffic = Traffic::new(&network);
    assert_eq!((traffic.send(3), theirs.hits()), (3, 3));
}

#[test]
fn private_image_in_the_cache_is_taken_without_its_password() {
    let open = Registry::start();
    let closed = open.with_password();
    let policy = format!(
        "mode = \"off\"\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\nallow = [\"read\", \"load\", \"attach\", \"replace\"]\n"
    );
    let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
    publish(&daemon, &open.image("team/private:1"), "chain");
    publish(&daemon, &open.image("team/public:1"), "chain");
    let name = closed.image("team/private:1");
    daemon.bpfman(&format!("image pull -i {name} --registry-auth YW5uOnMzY3JldDp3b3Jk")).success();
    let own = daemon.bpfman_as(
        EVE,
        &format!("load image -i {} --programs xdp:xdp_member -q", open.image("team/public:1")),
    );
    let own = own.success().trim().to_owned();
    let before = daemon.state();
    for line in [
        format!("load image -i {name} -p IfNotPresent --programs xdp:xdp_member"),
        format!("load image -i {name} -p Never --programs xdp:xdp_member"),
        format!("image pull -i {name} -p IfNotPresent"),
        format!("replace {own} image -i {name} -p Never"),
    ] {
        daemon.bpfman_as(EVE, &line).fails(4, &["team/private"]);
    }
    let sent = |want_object| {
        let request = ext::PullRequest { image: Some(image(&name, 1)), want_object };
        as_user(EVE, || {
            connected(&daemon.socket(), |channel| async {
                let mut stream = BpfmanExtClient::new(channel).pull(request).await?.into_inner();
                while stream.message().await?.is_some() {}
                Ok::<(), tonic::Status>(())
            })
        })
    };
    for want_object in [false, true] {
        assert!(sent(want_object).is_err(), "{want_object}");
    }
    assert_eq!(daemon.state(), before);
}
