//! Attacks by two callers at once, by calls on open connections, and by handing over what is open.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::{BpfmanProgramType as Type, UnloadRequest};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, xdp};
use bpfman_tests::{Network, Wire, compile, kernel};
use tonic::Code;

use super::calls_as;
use crate::csi_equipment::{self, Node};
use crate::equipment::Program;
use crate::grants::{daemon, load_as};
use crate::over_others::{Bench, EVE};
use crate::rights::as_user::as_user;

const BOB: u32 = 64_263;

/// The caller is the process that made the connection, even if a process with more rights uses it.
#[test]
fn connection_that_root_was_given_has_roots_rights() {
    let bench = Bench::new("allow = [\"read\"]\n");
    let socket = bench.daemon.socket();
    let given = as_user(EVE, || {
        let wire = Wire::new(&socket);
        wire.list(bpfman_proto::v1::ListRequest::default()).unwrap();
        wire
    });
    let refused = given.unload(UnloadRequest { id: bench.roots.id }).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(kernel::has_program(bench.roots.id));
}

#[test]
fn open_connection_replaces_after_its_grant_is_gone() {
    let bench = Bench::new("allow = [\"load\", \"attach\", \"replace\"]\n");
    let own = load_as(&bench.daemon, EVE);
    bench.attach_as(EVE, own, 20, "").success();
    let path = bench.object("chain");
    let program_id = u32::try_from(own).unwrap();
    let replace = || ext::ReplaceProgramRequest {
        program_id,
        bytecode: Some(bpfman_tests::requests::file(path.as_ref())),
        ..Default::default()
    };
    let policy = bench.daemon.path("policy.toml");
    let wire = as_user(EVE, || {
        let wire = Wire::new(&bench.daemon.socket());
        wire.list(bpfman_proto::v1::ListRequest::default()).unwrap();
        wire
    });
    fs::write(&policy, format!("[files]\nusers = [0, {EVE}]\n")).unwrap();
    let before = bench.daemon.state();
    let rolled = wire.rollback_program(ext::RollbackProgramRequest { program_id });
    let answers = [wire.replace_program(replace()).map(drop), rolled.map(drop)];
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
    }
    assert_eq!(bench.daemon.state(), before);
}

#[test]
fn freeze_of_one_is_ended_by_another_or_holds_root() {
    let bench = Bench::new(
        "allow = [\"load\", \"attach\", \"settings\"]\n[[grants]]\nname = \"bob\"\nusers = [64263]\nallow = [\"settings\"]\n",
    );
    let network = Network::new();
    let near = network.near.path().display().to_string();
    let hook = ext::Hook {
        kind: "xdp".to_owned(),
        iface: INTERFACE.to_owned(),
        netns: near.clone(),
        ..Default::default()
    };
    let own = load_as(&bench.daemon, EVE);
    bench.daemon.bpfman_as(EVE, &format!("attach {own} xdp -i {INTERFACE} -p 20 -n {near}")).success();
    let set = |user, held| {
        let request =
            ext::SetHookRequest { hook: Some(hook.clone()), held: Some(held), ..Default::default() };
        calls_as(user, &bench.daemon.socket(), |wire| wire.set_hook(request))
    };
    let held_by = || {
        let request = ext::ShowChainRequest { hook: Some(hook.clone()), sample_ms: 0 };
        bench.daemon.wire().show_chain(request).unwrap().held_by
    };
    assert_eq!(set(BOB, true).unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(held_by(), "");
    set(EVE, true).unwrap();
    let frozen = held_by();
    assert!(frozen.contains(&EVE.to_string()), "{frozen}");
    assert_eq!(set(BOB, false).unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(held_by(), frozen);
    let drops = Program::member(&bench.daemon.wire(), "xdp_member", Type::Xdp, 9, 1);
    let at = xdp(&network.near.path(), INTERFACE, 1, &[]);
    bench.daemon.wire().attach(attach(drops.id, at)).unwrap();
    let request = ext::ShowChainRequest { hook: Some(hook.clone()), sample_ms: 0 };
    assert_eq!(bench.daemon.wire().show_chain(request).unwrap().members.len(), 2);
    bench.daemon.bpfman(&format!("unload {}", drops.id)).success();
    bench.daemon.bpfman(&format!("unload {own}")).success();
    kernel::program_ends(u32::try_from(own).unwrap());
}

#[test]
fn trace_of_an_interface_whose_name_begins_the_same() {
    let grant =
        format!("allow = [\"load\", \"attach\", \"trace\", \"maps-write\"]\nhooks = [\"xdp:{INTERFACE}\"]\n");
    let bench = Bench::new(&grant);
    let far = &bench.network.far;
    let longer = format!("{INTERFACE}1");
    far.ip(&["link", "add", &longer, "type", "veth", "peer", "name", "other-end"]);
    let at = attach(bench.roots.id, xdp(&far.path(), &longer, 10, &[]));
    bench.daemon.wire().attach(at).unwrap();
    let before = bench.roots.hits();
    for name in [&longer, INTERFACE] {
        let hook = ext::Hook {
            kind: "xdp".to_owned(),
            iface: name.to_owned(),
            netns: far.path().display().to_string(),
            ..Default::default()
        };
        let packets = vec![ext::TracePacket { data: vec![0; 64], mark: 0 }];
        for for_real in [false, true] {
            let request =
                ext::TraceChainRequest { hook: Some(hook.clone()), packets: packets.clone(), for_real };
            let refused =
                calls_as(EVE, &bench.daemon.socket(), |wire| wire.trace_chain(request)).unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{name}: {refused}");
        }
    }
    assert_eq!(bench.roots.hits(), before);
}

#[test]
fn two_callers_make_a_map_by_name_at_once() {
    let bench = Bench::new("allow = [\"load\"]\n");
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
    let (socket, path) = (bench.daemon.socket(), bench.object("chain"));
    for _ in 0..10 {
        let both = Barrier::new(2);
        let loaded = |user| {
            calls_as(user, &socket, |wire| {
                wire.list(bpfman_proto::v1::ListRequest::default()).unwrap();
                both.wait();
                let loaded = wire.load(load(path.as_ref(), &[("xdp_member", Type::Xdp)])).unwrap();
                Program::of(&loaded.programs[0])
            })
        };
        let (roots, eves) = std::thread::scope(|scope| {
            let roots = scope.spawn(|| loaded(0));
            (loaded(EVE), roots.join().unwrap())
        });
        let maps: BTreeSet<u32> = roots.maps.iter().chain(&eves.maps).copied().collect();
        assert_eq!(maps.len(), roots.maps.len() + eves.maps.len(), "{roots:?} {eves:?}");
        for program in [roots, eves] {
            bench.daemon.wire().unload(UnloadRequest { id: program.id }).unwrap();
        }
    }
}

#[test]
fn program_unloaded_under_an_attach_leaves_a_link() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\n");
    let (socket, path) = (bench.daemon.socket(), bench.object("chain"));
    let far = bench.network.far.path();
    let before = bench.daemon.state();
    for _ in 0..15 {
        let loaded = calls_as(EVE, &socket, |wire| {
            wire.load(load(path.as_ref(), &[("xdp_member", Type::Xdp)])).unwrap()
        });
        let program = Program::of(&loaded.programs[0]);
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                calls_as(EVE, &socket, |wire| {
                    both.wait();
                    let _refused_or_not = wire.attach(attach(program.id, xdp(&far, INTERFACE, 20, &[])));
                });
            });
            let wire = bench.daemon.wire();
            both.wait();
            wire.unload(UnloadRequest { id: program.id }).unwrap();
        });
        kernel::program_ends(program.id);
        assert_eq!(bench.daemon.state(), before);
    }
    assert_eq!(bench.chain()["members"].as_array().map(Vec::len), Some(1), "{}", bench.chain());
}

#[test]
fn callers_at_once_pass_the_limit_of_a_grant() {
    let policy = format!(
        "[files]\nusers = [0, {EVE}, {BOB}]\n[[grants]]\nname = \"team\"\nusers = [{EVE}, {BOB}]\nallow = [\"load\"]\n\
         limits = {{ programs = 3 }}\n"
    );
    let daemon = daemon(policy);
    let socket = daemon.socket();
    let paths = [EVE, BOB].map(|user| {
        let path = daemon.path(format!("of-{user}.o"));
        fs::copy(compile::object("chain"), &path).unwrap();
        std::os::unix::fs::chown(&path, Some(user), Some(user)).unwrap();
        (user, path)
    });
    let all = Barrier::new(8);
    let answers: Vec<bool> = std::thread::scope(|scope| {
        let callers = paths.iter().cycle().take(8).map(|(user, path)| {
            let (all, socket) = (&all, &socket);
            scope.spawn(move || {
                calls_as(*user, socket, |wire| {
                    wire.list(bpfman_proto::v1::ListRequest::default()).unwrap();
                    all.wait();
                    wire.load(load(path, &[("xdp_member", Type::Xdp)])).is_ok()
                })
            })
        });
        let callers: Vec<_> = callers.collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let loaded = answers.into_iter().filter(|loaded| *loaded).count();
    assert_eq!(loaded, 3);
    assert_eq!(daemon.bpfman("list programs -o json").json()["programs"].as_array().unwrap().len(), loaded);
}

/// A user namespace gives a pod's process rights over mounts that it makes, but not over inherited ones.
#[test]
fn volume_for_reading_is_remounted_in_a_user_namespace() {
    let node = Node::new();
    let program = node.load_with(&[
        ("bpfman.io/ProgramName", csi_equipment::APPLICATION),
        ("bpfman.io/map-exports", "*=*"),
    ]);
    let mut request = node.request("pod-a", "hits");
    request.readonly = true;
    node.csi().publish(request).unwrap();
    let target = node.target("pod-a").display().to_string();
    let user = csi_equipment::USER.to_string();
    let remount = format!(
        "mount -o remount,bind,rw {target}; mount --bind {target} /mnt && mount -o remount,bind,rw /mnt; \
         for place in {target} /mnt; do mkdir $place/more; chmod 666 $place/hits; done; cat /proc/self/mountinfo"
    );
    let look = format!("ls -ln {target}; grep {target} /proc/self/mountinfo");
    let seen = || {
        let output = node.namespace.command("sh").args(["-c", &look]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = seen();
    assert!(before.contains("hits") && before.contains(" ro,"), "{before}");
    for rights in [
        &["--reuid", &user, "--regid", &user, "--clear-groups", "--", "unshare", "-Urm"][..],
        &["--bounding-set", "-sys_admin,-mac_admin,-bpf,-perfmon", "--inh-caps", "-all", "--", "env"],
    ] {
        let mut command = node.namespace.command("setpriv");
        let output = command.args(rights).args(["sh", "-c", &remount]).output().unwrap();
        let mounts = String::from_utf8_lossy(&output.stdout).into_owned();
        let of_volume =
            |line: &&str| line.split(' ').nth(4).is_some_and(|place| place == target || place == "/mnt");
        let options = |line: &str| line.split(' ').nth(5).unwrap().to_owned();
        let options: Vec<String> = mounts.lines().filter(of_volume).map(options).collect();
        assert!(!options.is_empty() && options.iter().all(|one| one.starts_with("ro")), "{mounts}");
        assert_eq!(seen(), before);
    }
    let written = node.access(csi_equipment::USER, "", "pod-a", "hits", &["write", "77"]);
    assert_ne!(written.code, 0, "{written:?}");
    assert_eq!(program.hits(), 0);
}
