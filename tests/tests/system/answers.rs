//! Responses and error codes of every call of `bpfman.v1`.

use std::collections::HashMap;
use std::path::Path;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, image, kprobe, load, number, pairs, tc, tcx, tracepoint, uprobe, xdp};
use bpfman_tests::{Daemon, Network, compile, kernel};
use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound, Unimplemented};

use crate::equipment::{Program, assert_status, detach, get, link, unload};

pub fn good() -> v1::LoadRequest {
    load(&compile::object("chain"), &[("xdp_member", Type::Xdp)])
}

#[test]
fn load_refuses_what_makes_no_sense_and_changes_nothing() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    let with = |change: &dyn Fn(&mut v1::LoadRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let location = |location| Some(v1::BytecodeLocation { location });
    let cases: Vec<(v1::LoadRequest, &str)> = vec![
        (with(&|request| request.bytecode = None), "bytecode"),
        (with(&|request| request.bytecode = location(None)), "neither a file nor an image"),
        (with(&|request| request.info.clear()), "no program"),
        (with(&|request| request.info[0].name.clear()), "no name"),
        (with(&|request| request.info[0].name = "absent".to_owned()), "absent"),
        (with(&|request| request.info[0].program_type = 77), "77"),
        (with(&|request| request.info[0].program_type = Type::Tracepoint.into()), "xdp_member"),
        (with(&|request| request.info.push(request.info[0].clone())), "twice"),
        (
            with(&|request| {
                request.info.clear();
                request
                    .info
                    .extend((0..65).map(|n| v1::LoadInfo { name: n.to_string(), ..Default::default() }));
            }),
            "65 programs",
        ),
        (with(&|request| _ = request.global_data.insert("absent".to_owned(), vec![0; 4])), "absent"),
        (with(&|request| _ = request.global_data.insert("verdict".to_owned(), vec![0; 3])), "verdict"),
        (with(&|request| request.map_owner_id = Some(4_000_000_000)), "4000000000"),
    ];
    for (request, says) in cases {
        assert_status(wire.load(request), InvalidArgument, "invalid", &[says]);
        assert_eq!(daemon.state(), before, "{says}");
    }
    for policy in [-1, 3, 99] {
        let location =
            location(Some(v1::bytecode_location::Location::Image(image("127.0.0.1:1/x:1", policy))));
        let request = v1::LoadRequest { bytecode: location, ..good() };
        assert_status(wire.load(request), InvalidArgument, "invalid", &[&policy.to_string()]);
        let pull = v1::PullBytecodeRequest { image: Some(image("127.0.0.1:1/x:1", policy)) };
        assert_status(wire.pull_bytecode(pull), InvalidArgument, "invalid", &[&policy.to_string()]);
    }
    let absent = load(Path::new("/nonexistent/x.o"), &[("f", Type::Xdp)]);
    assert_status(wire.load(absent), NotFound, "not-found", &["/nonexistent/x.o"]);
    assert_status(
        wire.pull_bytecode(v1::PullBytecodeRequest { image: None }),
        InvalidArgument,
        "invalid",
        &[],
    );
    assert_eq!(daemon.state(), before);
}

#[test]
fn unknown_ids_are_not_found() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    for id in [0, 4_000_000_000] {
        let text = &[&*id.to_string()];
        assert_status(wire.unload(v1::UnloadRequest { id }), NotFound, "not-found", text);
        assert_status(wire.get(v1::GetRequest { id }), NotFound, "not-found", text);
        assert_status(wire.detach(v1::DetachRequest { link_id: id }), NotFound, "not-found", text);
        let info = xdp(Path::new("/proc/self/ns/net"), "lo", 1, &[]);
        assert_status(wire.attach(attach(id, info)), NotFound, "not-found", text);
    }
}

#[test]
fn attach_refuses_what_makes_no_sense_and_changes_nothing() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let far = network.far.path();
    let xdp_program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let tc_program = Program::member(&wire, "tc_member", Type::Tc, 1, 2).id;
    let tcx_program = Program::member(&wire, "tcx_member", Type::Tcx, 1, 2).id;
    let probes = compile::object("probes");
    let names =
        [("on_tracepoint", Type::Tracepoint), ("on_uprobe", Type::Uprobe), ("on_kprobe", Type::Kprobe)];
    let probes: Vec<u32> = wire
        .load(load(&probes, &names))
        .unwrap()
        .programs
        .iter()
        .map(|loaded| Program::of(loaded).id)
        .collect();
    let [tracepoint_program, uprobe_program, kprobe_program] = probes[..] else { panic!() };
    let before = daemon.state();
    let target = bpfman_tests::target::binary().display().to_string();
    let with = |change: &dyn Fn(&mut v1::UprobeAttachInfo)| {
        let mut info = uprobe(&target, "probed");
        change(&mut info);
        Info::UprobeAttachInfo(info)
    };
    let elsewhere = Path::new("/nonexistent/netns");
    let cases: Vec<(u32, Info, tonic::Code, &str)> = vec![
        (xdp_program, xdp(&far, "absent0", 1, &[]), InvalidArgument, "absent0"),
        (xdp_program, xdp(&far, "", 1, &[]), InvalidArgument, "interface"),
        (xdp_program, xdp(elsewhere, INTERFACE, 1, &[]), InvalidArgument, "/nonexistent/netns"),
        (xdp_program, xdp(Path::new("/etc/passwd"), INTERFACE, 1, &[]), InvalidArgument, "/etc/passwd"),
        (xdp_program, xdp(&far, INTERFACE, -1, &[]), InvalidArgument, "-1"),
        (xdp_program, xdp(&far, INTERFACE, 1, &[99]), InvalidArgument, "99"),
        (xdp_program, xdp(&far, INTERFACE, 1, &[5]), InvalidArgument, "5"),
        (xdp_program, tracepoint("syscalls/sys_enter_getpriority"), FailedPrecondition, "xdp"),
        (xdp_program, tcx(&far, INTERFACE, "ingress", 1), FailedPrecondition, "tcx"),
        (tc_program, tc(&far, INTERFACE, "sideways", 1, &[]), InvalidArgument, "sideways"),
        (tc_program, tc(&far, INTERFACE, "", 1, &[]), InvalidArgument, "direction"),
        (tc_program, tc(&far, INTERFACE, "ingress", 1, &[31]), InvalidArgument, "31"),
        (tc_program, tcx(&far, INTERFACE, "ingress", 1), FailedPrecondition, "tcx"),
        (tcx_program, tcx(&far, INTERFACE, "ingress", -5), InvalidArgument, "-5"),
        (tcx_program, tc(&far, INTERFACE, "ingress", 1, &[]), FailedPrecondition, "tc"),
        (tracepoint_program, tracepoint("getpriority"), InvalidArgument, "category/name"),
        (tracepoint_program, tracepoint("a/b/c"), InvalidArgument, "a/b/c"),
        (tracepoint_program, tracepoint("../../etc/x"), InvalidArgument, "../../etc/x"),
        (tracepoint_program, tracepoint("syscalls/sys_enter_getpriorit"), NotFound, "sys_enter_getpriority"),
        (uprobe_program, with(&|info| info.target.clear()), InvalidArgument, "target"),
        (
            uprobe_program,
            with(&|info| info.target = "/nonexistent/bin".to_owned()),
            NotFound,
            "/nonexistent/bin",
        ),
        (uprobe_program, with(&|info| info.target = "libabsent".to_owned()), NotFound, "libabsent"),
        (uprobe_program, with(&|info| info.fn_name = Some("absent".to_owned())), NotFound, "absent"),
        (uprobe_program, with(&|info| info.pid = Some(0)), InvalidArgument, "0"),
        (uprobe_program, with(&|info| info.container_pid = Some(-4)), InvalidArgument, "-4"),
        (kprobe_program, kprobe(""), InvalidArgument, "function"),
        (
            kprobe_program,
            Info::KprobeAttachInfo(v1::KprobeAttachInfo {
                fn_name: "vfs_read".to_owned(),
                container_pid: Some(1),
                ..Default::default()
            }),
            Unimplemented,
            "container",
        ),
        (kprobe_program, with(&|_| ()), FailedPrecondition, "uprobe"),
    ];
    for (program, info, code, says) in cases {
        let case = format!("{info:?}");
        let status = wire.attach(attach(program, info)).expect_err(&case);
        assert_eq!(status.code(), code, "{case}: {status:?}");
        assert!(status.message().contains(says), "{case}: {status:?}");
        assert_eq!(daemon.state(), before, "{case}");
    }
    let nothing = v1::AttachRequest { id: xdp_program, attach: None };
    assert_status(wire.attach(nothing), InvalidArgument, "invalid", &["attach point"]);
    let empty = v1::AttachRequest { id: xdp_program, attach: Some(v1::AttachInfo { info: None }) };
    assert_status(wire.attach(empty), InvalidArgument, "invalid", &["attach point"]);
    assert_eq!(daemon.state(), before);
}

#[test]
fn every_call_succeeds_in_its_turn() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let object = compile::object("chain");
    let mut request = good();
    request.metadata = pairs(&[("bpfman_application", "shop"), ("owner", "acme")]);
    request.global_data.insert("who".to_owned(), number(7));
    request.uuid = Some(String::new());
    request.map_owner_id = Some(0);
    let loaded = wire.load(request.clone()).unwrap().programs.remove(0);
    let (info, facts) = (loaded.info.unwrap(), loaded.kernel_info.unwrap());
    assert_eq!(info.name, "xdp_member");
    assert_eq!(facts.name, "xdp_member");
    let path = v1::bytecode_location::Location::File(object.display().to_string());
    assert_eq!(info.bytecode, Some(v1::BytecodeLocation { location: Some(path) }));
    assert_eq!((info.global_data, info.metadata), (request.global_data, request.metadata));
    assert_eq!((info.map_owner_id, info.map_used_by), (None, vec![facts.id.to_string()]));
    assert_eq!(Path::new(&info.map_pin_path), daemon.fs().join("maps").join(facts.id.to_string()));
    assert!(Path::new(&info.map_pin_path).join("hits").exists());
    assert!(info.links.is_empty());

    let mut point = xdp(&network.far.path(), INTERFACE, 35, &[1, 2]);
    if let Info::XdpAttachInfo(xdp) = &mut point {
        xdp.metadata = pairs(&[("bpfman.io/uuid", "12")]);
        xdp.position = 55;
    }
    let link_id = wire.attach(attach(facts.id, point)).unwrap().link_id;
    assert_ne!(link_id, 0);
    let shown = link(&wire, link_id);
    assert_eq!(shown.metadata, pairs(&[("bpfman.io/uuid", "12"), ("bpfman_application", "shop")]));
    assert_eq!((shown.program_id, shown.position, shown.state.as_str()), (facts.id, Some(0), "ok"));
    let Some(Info::XdpAttachInfo(xdp)) = shown.attach_info.unwrap().info else { panic!() };
    assert_eq!((xdp.priority, xdp.iface.as_str(), xdp.proceed_on), (35, INTERFACE, vec![1, 2]));

    let got = get(&wire, facts.id);
    assert_eq!(got.info.as_ref().unwrap().links, [link_id]);
    assert_eq!(got.kernel_info.as_ref(), Some(&facts));
    let listed =
        wire.list(v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() }).unwrap();
    assert_eq!(listed.results.len(), 1);
    assert_eq!((&listed.results[0].info, &listed.results[0].kernel_info), (&got.info, &got.kernel_info));
    detach(&wire, link_id);
    unload(&wire, facts.id);
    assert_status(wire.get(v1::GetRequest { id: facts.id }), NotFound, "not-found", &[]);
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn one_program_that_fails_undoes_the_whole_load() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    let names = [("sound", Type::Xdp), ("broken", Type::Xdp)];
    let answer = wire.load(load(&compile::object("broken"), &names));
    assert_status(answer, tonic::Code::Aborted, "kernel-refused", &["broken"]);
    assert_eq!(daemon.state(), before);
    wire.load(load(&compile::object("broken"), &names[..1])).unwrap();
}

#[test]
fn lists_are_selected_by_type_and_by_all_pairs_of_metadata() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let member = |name, kind, metadata: &[(&str, &str)]| {
        let mut request = load(&compile::object("chain"), &[(name, kind)]);
        request.metadata = pairs(metadata);
        Program::of(&wire.load(request).unwrap().programs[0]).id
    };
    let old = member("xdp_member", Type::Xdp, &[("bpfman_application", "shop"), ("owner", "acme")]);
    let new = member("tc_member", Type::Tc, &[("bpfman.io/application", "shop")]);
    let tcx = member("tcx_member", Type::Tcx, &[("owner", "acme")]);
    let listed = |program_type, programs_only, metadata: &[(&str, &str)]| {
        let request = v1::ListRequest {
            program_type,
            bpfman_programs_only: programs_only,
            match_metadata: pairs(metadata),
        };
        let results = wire.list(request).unwrap().results;
        results.iter().map(|result| result.kernel_info.as_ref().unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, Some(true), &[]), [old, new, tcx]);
    // The filter has the kernel's numbers of types: tc and tcx are one type.
    assert_eq!(listed(Some(6), Some(true), &[]), [old]);
    assert_eq!(listed(Some(3), Some(true), &[]), [new, tcx]);
    assert_eq!(listed(Some(5), Some(true), &[]), [0; 0]);
    // With metadata, third-party programs are excluded.
    assert_eq!(listed(None, None, &[("owner", "acme")]), [old, tcx]);
    assert_eq!(listed(None, None, &[("owner", "acme"), ("bpfman_application", "shop")]), [old]);
    assert_eq!(listed(None, None, &[("owner", "nobody")]), [0; 0]);
    let all = listed(None, None, &[]);
    assert!([old, new, tcx].iter().all(|id| all.contains(id)));
    let shop = daemon.bpfman("list programs --application shop -q").success();
    assert_eq!(shop, format!("{old}\n{new}\n"));
}

#[test]
fn requests_at_the_same_time_do_not_disturb_each_other() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let far = network.far.path();
    std::thread::scope(|scope| {
        for who in 0..8 {
            let (daemon, far) = (&daemon, &far);
            scope.spawn(move || {
                let wire = daemon.wire();
                for _ in 0..3 {
                    let program = Program::member(&wire, "xdp_member", Type::Xdp, who, 2);
                    let id = wire.attach(attach(program.id, xdp(far, INTERFACE, who, &[]))).unwrap().link_id;
                    assert_eq!(get(&wire, program.id).info.unwrap().links, [id]);
                    detach(&wire, id);
                    unload(&wire, program.id);
                }
            });
        }
    });
    let state = daemon.state();
    assert_eq!((state.pins, state.held, state.programs), (vec![], vec![], vec![]));
    assert_eq!(kernel::hooks(&far)[0]["xdp"], serde_json::json!([]));
}

#[test]
fn credentials_are_blank_in_answers() {
    let registry = bpfman_tests::registry::Registry::start();
    let policy = "mode = \"off\"\n".to_owned();
    let daemon = Daemon::start_with(&bpfman_tests::Launch { policy, ..Default::default() });
    let name = registry.image("chain:1");
    crate::images::publish(&daemon, &name, "chain");
    let wire = daemon.wire();
    let secret = v1::BytecodeImage {
        username: Some("user".to_owned()),
        password: Some("secret".to_owned()),
        ..image(&name, 0)
    };
    let location = v1::bytecode_location::Location::Image(secret);
    let request =
        v1::LoadRequest { bytecode: Some(v1::BytecodeLocation { location: Some(location) }), ..good() };
    let loaded = wire.load(request).unwrap().programs.remove(0);
    let id = loaded.kernel_info.unwrap().id;
    let blank =
        v1::BytecodeImage { username: Some(String::new()), password: Some(String::new()), ..image(&name, 0) };
    for info in [loaded.info.unwrap(), get(&wire, id).info.unwrap()] {
        let Some(v1::bytecode_location::Location::Image(shown)) = info.bytecode.unwrap().location else {
            panic!()
        };
        assert_eq!(shown, blank);
    }
    assert_eq!(HashMap::<String, String>::new(), get(&wire, id).info.unwrap().metadata);
    let store = std::fs::read_dir(daemon.path("run/state/store")).unwrap();
    for file in store {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"), "no secret is kept");
    }
    assert!(!daemon.log().contains("secret"));
}
