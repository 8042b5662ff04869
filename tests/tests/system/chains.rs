//! Several programs on one hook, under real traffic.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::command::run;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, tc, tcx, xdp};
use bpfman_tests::skip::{has_tcx, lacks_tcx};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile, kernel, requests};
use tonic::Code;

use crate::equipment::{Program, assert_status, detach, link, unload};

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_REDIRECT: i32 = 4;
const DISPATCHER_RETURN: i32 = 31;
pub const TC_SHOT: i32 = 2;
pub const TC_PIPE: i32 = 3;
pub const TC_STOLEN: i32 = 4;
const TC_REDIRECT: i32 = 7;
pub const TCX_NEXT: i32 = -1;

fn xdp_program(wire: &Wire, who: i32, verdict: i32) -> Program {
    Program::member(wire, "xdp_member", Type::Xdp, who, verdict)
}

pub fn tc_program(wire: &Wire, who: i32, verdict: i32) -> Program {
    Program::member(wire, "tc_member", Type::Tc, who, verdict)
}

pub fn put(wire: &Wire, program: &Program, info: Info) -> u32 {
    wire.attach(attach(program.id, info)).unwrap().link_id
}

pub fn tc_daemons() -> [Launch; 2] {
    ["", "tc.attach = \"clsact\""].map(|config| Launch { config: config.to_owned(), ..Launch::default() })
}

#[test]
fn three_xdp_programs_run_by_priority_and_a_drop_ends_the_chain() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let at = |priority| xdp(&network.far.path(), INTERFACE, priority, &[]);
    let first = xdp_program(&wire, 1, XDP_PASS);
    let dropping = xdp_program(&wire, 2, XDP_DROP);
    let last = xdp_program(&wire, 3, XDP_PASS);
    put(&wire, &last, at(300));
    put(&wire, &first, at(100));
    assert_eq!(traffic.send(1), 1);
    assert_eq!(first.trail(), [1, 3]);
    let middle = put(&wire, &dropping, at(200));
    assert_eq!(traffic.send(1), 0);
    assert_eq!(first.trail(), [1, 2]);
    assert_eq!((first.hits(), dropping.hits(), last.hits()), (2, 1, 1));
    detach(&wire, middle);
    put(&wire, &dropping, at(400));
    assert_eq!(traffic.send(1), 0);
    assert_eq!(first.trail(), [1, 3, 2]);
    for program in [&first, &dropping, &last] {
        unload(&wire, program.id);
    }
    assert_eq!(traffic.send(3), 3);
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn a_set_with_redirect_goes_on_as_in_a_dispatcher() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let on_xdp = |verdict, who| xdp_program(&wire, who, verdict);
    let on_tc = |verdict, who| tc_program(&wire, who, verdict);
    let xdp_at = |priority, set: &[i32]| xdp(&far, INTERFACE, priority, set);
    let tc_at = |priority, set: &[i32]| tc(&far, INTERFACE, "ingress", priority, set);
    let hook: [(Program, Program, Program, [Info; 3]); 2] = [
        (
            on_xdp(XDP_REDIRECT, 1),
            on_xdp(XDP_PASS, 2),
            on_xdp(XDP_DROP, 3),
            [xdp_at(10, &[XDP_PASS, XDP_REDIRECT]), xdp_at(20, &[]), xdp_at(30, &[])],
        ),
        (
            on_tc(TC_REDIRECT, 1),
            on_tc(TC_PIPE, 2),
            on_tc(TC_SHOT, 3),
            [tc_at(10, &[TC_PIPE, TC_REDIRECT]), tc_at(20, &[]), tc_at(30, &[])],
        ),
    ];
    for (redirecting, passing, dropping, [first, second, third]) in hook {
        put(&wire, &redirecting, first);
        assert_eq!(traffic.send(2), 2);
        put(&wire, &passing, second);
        assert_eq!(traffic.send(2), 2);
        assert_eq!((redirecting.hits(), passing.hits()), (4, 2));
        put(&wire, &dropping, third);
        assert_eq!(traffic.send(2), 0);
        assert_eq!(dropping.hits(), 2);
        for program in [&redirecting, &passing, &dropping] {
            unload(&wire, program.id);
        }
    }
}

#[test]
fn proceed_on_says_after_which_verdicts_the_next_program_runs() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let last = xdp_program(&wire, 9, XDP_PASS);
    put(&wire, &last, xdp(&network.far.path(), INTERFACE, 900, &[]));
    for (verdict, proceed_on, next_runs) in [
        (XDP_PASS, &[][..], true),
        (XDP_PASS, &[XDP_DROP], false),
        (XDP_PASS, &[XDP_DROP, XDP_PASS], true),
        (XDP_DROP, &[], false),
        (XDP_DROP, &[XDP_DROP], true),
        (XDP_DROP, &[XDP_PASS, DISPATCHER_RETURN], false),
        // Aborted is verdict 0, the lowest bit of the set.
        (0, &[0], true),
        (0, &[], false),
    ] {
        let program = xdp_program(&wire, 1, verdict);
        let id = put(&wire, &program, xdp(&network.far.path(), INTERFACE, 100, proceed_on));
        let arrived = traffic.send(1);
        let case = format!("verdict {verdict}, proceed on {proceed_on:?}");
        assert_eq!(last.trail(), if next_runs { vec![1, 9] } else { vec![1] }, "{case}");
        assert_eq!(arrived, usize::from(next_runs || verdict == XDP_PASS), "{case}");
        let Some(Info::XdpAttachInfo(shown)) = link(&wire, id).attach_info.unwrap().info else { panic!() };
        let expected = if proceed_on.is_empty() { &[XDP_PASS, DISPATCHER_RETURN][..] } else { proceed_on };
        assert_eq!(shown.proceed_on, expected, "{case}");
        unload(&wire, program.id);
    }
}

#[test]
fn a_member_finds_nothing_that_others_left_on_the_stack() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let object = compile::object("stack_rest");
    let program = |name| {
        let loaded = wire.load(requests::load(&object, &[(name, Type::Xdp)])).unwrap();
        Program::of(&loaded.programs[0])
    };
    let [leaves, looks, both] = ["leaves", "looks", "leaves_and_looks"].map(program);
    let at = |priority| xdp(&network.far.path(), INTERFACE, priority, &[XDP_PASS]);
    put(&wire, &leaves, at(10));
    put(&wire, &looks, at(20));
    put(&wire, &both, at(30));
    assert_eq!(traffic.send(20), 20);
    let seen =
        |program: &Program, place| kernel::array_value(kernel::map_named(&program.maps, "seen"), place);
    assert!(seen(&looks, 0) >= 20);
    assert_eq!(seen(&looks, 1), 0, "words of another member");
    // Another packet of the kernel may pass between two readings.
    bpfman_tests::wait::until("what is there is found", || seen(&both, 1) == 4 * seen(&both, 0));
}

#[test]
fn thirty_two_members_all_run_and_one_more_is_refused() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let members: Vec<_> = (1..=33).map(|who| xdp_program(&wire, who, XDP_PASS)).collect();
    // Attach from the last to the first, so that each is inserted before the others.
    let at = |who: i32| xdp(&far, INTERFACE, who * 10, &[]);
    let mut links: Vec<_> =
        (1..=32).rev().map(|who| put(&wire, &members[who as usize - 1], at(who))).collect();
    links.reverse();
    assert_eq!(traffic.send(1), 1);
    assert_eq!(members[0].trail(), (1..=32).collect::<Vec<u64>>());
    let before = daemon.state();
    let answer = wire.attach(attach(members[32].id, at(33)));
    assert_status(answer, Code::FailedPrecondition, "conflict", &["32 programs", INTERFACE]);
    assert_eq!(daemon.state(), before);
    detach(&wire, links[3]);
    put(&wire, &members[32], at(33));
    assert_eq!(traffic.send(1), 1);
    assert_eq!(members[0].trail(), (1..=33).filter(|who| *who != 4).collect::<Vec<u64>>());
    for member in &members {
        unload(&wire, member.id);
    }
    assert_eq!(daemon.state().pins, [""; 0]);
    let lone = xdp_program(&wire, 1, XDP_DROP);
    put(&wire, &lone, at(1));
    assert_eq!(traffic.send(1), 0);
}

#[test]
fn newcomer_runs_first_among_equals_and_by_name_after_rebuild() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let at = |priority| xdp(&network.far.path(), INTERFACE, priority, &[]);
    let member = |name, who| Program::member(&wire, name, Type::Xdp, who, XDP_PASS);
    let (another, plain, third) =
        (member("xdp_another", 1), member("xdp_member", 2), member("xdp_member", 3));
    put(&wire, &another, at(50));
    put(&wire, &plain, at(50));
    assert_eq!(traffic.send(1), 1);
    assert_eq!(plain.trail(), [2, 1]);
    let link = put(&wire, &third, at(0));
    assert_eq!(traffic.send(1), 1);
    assert_eq!(plain.trail()[0], 3);
    detach(&wire, link);
    assert_eq!(traffic.send(1), 1);
    assert_eq!(plain.trail(), [1, 2]);
}

#[test]
fn a_chain_is_described_as_it_runs() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let hook = ext::Hook {
        kind: "xdp".to_owned(),
        iface: INTERFACE.to_owned(),
        netns: far.display().to_string(),
        ..Default::default()
    };
    let chain = || wire.get_chain(ext::GetChainRequest { hook: Some(hook.clone()) });
    assert_status(chain(), Code::NotFound, "not-found", &[INTERFACE]);
    let (late, early) = (xdp_program(&wire, 2, XDP_PASS), xdp_program(&wire, 1, XDP_PASS));
    put(&wire, &late, xdp(&far, INTERFACE, 20, &[]));
    let alone = chain().unwrap();
    assert_eq!((alone.strategy.as_str(), alone.program_id), ("direct", Some(late.id)));
    let first = put(&wire, &early, xdp(&far, INTERFACE, 10, &[XDP_PASS]));
    let both = chain().unwrap();
    assert_eq!(both.strategy, "splice");
    let entry = both.program_id.unwrap();
    assert_eq!(kernel::program(entry)["tag"], both.program_tag.as_str());
    assert_eq!(both.program_name, "xdp_chain");
    assert_eq!(both.kernel_link_id, alone.kernel_link_id);
    assert_eq!(kernel::link(both.kernel_link_id.unwrap())["prog_id"], entry);
    let order: Vec<_> = both.members.iter().map(|member| (member.program_id, member.position)).collect();
    assert_eq!(order, [(early.id, 0), (late.id, 1)]);
    assert_eq!(both.members[0].link_id, first);
    assert_eq!(both.members[0].proceed_on, ["pass"]);
    assert_eq!(link(&wire, first).running_program_id, Some(entry));
    assert_eq!(link(&wire, first).attachment, format!("{INTERFACE} pos-0"));
    assert_eq!(traffic.send(1), 1);
    unload(&wire, early.id);
    kernel::program_ends(entry);
    assert_eq!(chain().unwrap().strategy, "direct");
}

#[test]
fn a_swap_of_a_chain_that_drops_lets_nothing_through() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let dropping = xdp_program(&wire, 1, XDP_DROP);
    put(&wire, &dropping, xdp(&far, INTERFACE, 500, &[]));
    let passing: Vec<_> = (2..=4).map(|who| xdp_program(&wire, who, XDP_PASS)).collect();
    let stream = traffic.stream();
    for _ in 0..5 {
        let links: Vec<_> = (1..)
            .zip(&passing)
            .map(|(priority, program)| put(&wire, program, xdp(&far, INTERFACE, priority, &[])))
            .collect();
        links.into_iter().for_each(|link| detach(&wire, link));
    }
    let sent = stream.end();
    // Datagrams that passed during the swaps would wait in the socket and be counted here.
    assert_eq!(traffic.send(1), 0);
    assert!(sent > 0);
    assert_eq!(dropping.hits(), sent as u64 + 1);
}

#[test]
fn entered_hook_keeps_its_entry_when_configuration_changes() {
    if lacks_tcx("chains::entered_hook_keeps_its_entry_when_configuration_changes") {
        return;
    }
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let far = network.far.path();
    let first = tc_program(&daemon.wire(), 1, TC_PIPE);
    put(&daemon.wire(), &first, tc(&far, INTERFACE, "ingress", 10, &[]));
    daemon.terminate();
    let [_, by_clsact] = tc_daemons();
    daemon.again(&by_clsact);
    // At a tcx hook a stolen packet must be reported as dropped: the untranslated verdict would let it pass.
    let thief = tc_program(&daemon.wire(), 2, TC_STOLEN);
    put(&daemon.wire(), &thief, tc(&far, INTERFACE, "ingress", 20, &[]));
    assert_eq!(Traffic::new(&network).send(3), 0);
    assert_eq!((first.hits(), thief.hits()), (3, 3));
}

#[test]
fn an_interface_that_comes_back_with_its_old_index_is_a_new_one() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let far = network.far.path();
    let netns = format!("--net={}", far.display());
    let ip = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        run(&[&["nsenter", &netns, "ip", "link"][..], &words].concat())
    };
    let make = || ip("add index 77 name again type veth peer name other");
    make();
    let (first, second) = (xdp_program(&wire, 1, XDP_PASS), xdp_program(&wire, 2, XDP_PASS));
    let old = put(&wire, &first, xdp(&far, "again", 10, &[]));
    ip("del again");
    make();
    let new = put(&wire, &second, xdp(&far, "again", 20, &[]));
    let shown = ip("show dev again");
    assert!(shown.contains("xdp"), "something runs there: {shown}");
    detach(&wire, old);
    detach(&wire, new);
    assert!(!ip("show dev again").contains("prog/xdp"));
    assert_eq!(daemon.state().links, Vec::<String>::new());
}

#[test]
fn a_deleted_namespace_stops_neither_detach_nor_unload() {
    for launch in tc_daemons() {
        let (daemon, network) = (Daemon::start_with(&launch), Network::new());
        let wire = daemon.wire();
        let far = network.far.path();
        let members: Vec<_> = (1..=2).map(|who| xdp_program(&wire, who, XDP_PASS)).collect();
        let (filter, second) = (tc_program(&wire, 3, TC_PIPE), tc_program(&wire, 5, TC_PIPE));
        let tcx_program = Program::member(&wire, "tcx_member", Type::Tcx, 4, TCX_NEXT);
        let links: Vec<_> =
            members.iter().map(|member| put(&wire, member, xdp(&far, INTERFACE, 50, &[]))).collect();
        let links: Vec<_> = links
            .into_iter()
            .chain(
                [&filter, &second].map(|member| put(&wire, member, tc(&far, INTERFACE, "ingress", 50, &[]))),
            )
            .collect();
        if has_tcx() {
            put(&wire, &tcx_program, tcx(&far, INTERFACE, "ingress", 50));
        }
        network.far.delete();
        for link in links {
            detach(&wire, link);
        }
        for program in [&members[0], &members[1], &filter, &second, &tcx_program] {
            unload(&wire, program.id);
        }
        let state = daemon.state();
        assert_eq!((state.pins, state.links), (vec![], vec![]));
    }
}

#[test]
fn equal_interface_numbers_of_two_namespaces_are_two_hooks() {
    let (daemon, first, second) = (Daemon::start(), Network::new(), Network::new());
    let wire = daemon.wire();
    let program = xdp_program(&wire, 1, XDP_DROP);
    put(&wire, &program, xdp(&first.far.path(), INTERFACE, 50, &[]));
    assert_eq!((Traffic::new(&first).send(1), Traffic::new(&second).send(1)), (0, 1));
    put(&wire, &program, xdp(&second.far.path(), INTERFACE, 50, &[]));
    assert_eq!(Traffic::new(&second).send(1), 0);
}
