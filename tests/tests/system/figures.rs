//! Metrics of programs, chains and maps, as a stream of readings.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{tc, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Network};
use tonic::Code;

use crate::chains::{TC_PIPE, put, tc_program};
use crate::equipment::{Program, assert_status, detach, unload};

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

fn one_reading(daemon: &Daemon, hook: &str) -> ext::Figures {
    let request = ext::FollowFiguresRequest { hook: hook.to_owned(), ..Default::default() };
    let wire = daemon.wire();
    let mut stream = wire.follow_figures(request).unwrap();
    let reading = stream.next_message().unwrap().unwrap();
    assert_eq!(stream.next_message().unwrap(), None, "one reading was asked for");
    reading
}

#[test]
fn packets_are_counted_by_member_of_a_chain() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let passing = Program::member(&wire, "xdp_member", Type::Xdp, 1, XDP_PASS);
    let dropping = Program::member(&wire, "xdp_member", Type::Xdp, 2, XDP_DROP);
    let at = |priority| xdp(&network.far.path(), INTERFACE, priority, &[]);
    let first = put(&wire, &passing, at(10));
    let second = put(&wire, &dropping, at(20));
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let before = one_reading(&daemon, &hook);
    assert_eq!(traffic.send(5), 0);
    let after = one_reading(&daemon, &hook);
    let chain = |reading: &ext::Figures| {
        let [chain] = &reading.chains[..] else { panic!("{reading:?}") };
        assert_eq!((&chain.hook, chain.mode.as_str(), chain.counters), (&hook, "xdp", true));
        chain.members.clone()
    };
    let (before, members) = (chain(&before), chain(&after));
    let ids: Vec<_> = members.iter().map(|member| (member.link_id, member.program_id)).collect();
    assert_eq!(ids, [(first, passing.id), (second, dropping.id)]);
    for (then, now) in before.iter().zip(&members) {
        assert!(now.runs.unwrap() - then.runs.unwrap() >= 5, "{then:?} {now:?}");
    }
    let [verdict] = &members[1].ended[..] else { panic!("{members:?}") };
    assert_eq!((verdict.verdict.as_str(), verdict.packets), ("drop", 5));
    let ids: Vec<u32> = after.programs.iter().map(|program| program.id).collect();
    assert_eq!(ids, [passing.id, dropping.id]);
    let program = &after.programs[0];
    assert_eq!(
        (program.name.as_str(), program.r#type.as_str(), program.owner.as_str()),
        ("xdp_member", "xdp", "root")
    );
    assert_eq!(program.places, std::slice::from_ref(&hook));
    assert!(program.memory_bytes > 0 && program.jited_bytes > 0, "{program:?}");
    let hits = after.maps.iter().find(|map| map.name == "hits").unwrap();
    assert!(hits.memory_bytes > 0 && hits.program_ids.contains(&passing.id), "{hits:?}");

    detach(&wire, first);
    detach(&wire, second);
    let request = ext::FollowFiguresRequest { hook, ..Default::default() };
    assert_status(wire.follow_figures(request), Code::NotFound, "not-found", &["xdp:"]);
}

#[test]
fn stream_has_kernel_times_and_splits_chain_time_among_members() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let at = |priority| tc(&far, INTERFACE, "ingress", priority, &[TC_PIPE]);
    let programs = [tc_program(&wire, 1, TC_PIPE), tc_program(&wire, 2, TC_PIPE)];
    put(&wire, &programs[0], at(10));
    put(&wire, &programs[1], at(20));
    let hook = ext::Hook {
        iface: INTERFACE.to_owned(),
        netns: far.display().to_string(),
        kind: "tc".to_owned(),
        direction: "ingress".to_owned(),
    };
    let timing = ext::SetHookRequest { hook: Some(hook), timing: Some(true), ..Default::default() };
    assert!(wire.set_hook(timing).unwrap().timing);
    let request = ext::FollowFiguresRequest { interval_ms: 100, time_runs: true, ..Default::default() };
    let mut stream = wire.follow_figures(request).unwrap();
    let first = stream.next_message().unwrap().unwrap();
    assert!(first.runs_timed);
    let mut sent = 0;
    let last = loop {
        for _ in 0..10 {
            assert_eq!(traffic.send(50), 50);
            sent += 50;
        }
        let reading = stream.next_message().unwrap().unwrap();
        let [chain] = &reading.chains[..] else { panic!("{reading:?}") };
        let shares: Vec<_> = reading.programs.iter().map(|program| program.nanoseconds_in_chains).collect();
        if chain.members.iter().all(|member| member.nanoseconds_per_run.is_some())
            && shares.iter().all(|share| *share > 0)
        {
            break reading;
        }
        assert!(sent < 200_000, "{reading:?}");
    };
    assert!(last.at_ns > first.at_ns);
    let (before, after) = (&first.chains[0], &last.chains[0]);
    assert!(after.runs > before.runs && after.nanoseconds > before.nanoseconds, "{before:?} {after:?}");
    let shared: u64 = last.programs.iter().map(|program| program.nanoseconds_in_chains).sum();
    assert!(shared <= after.nanoseconds, "{shared} of {}", after.nanoseconds);
}

#[test]
fn programs_of_others_are_shown_where_they_are_asked_for() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let ours = Program::member(&wire, "xdp_member", Type::Xdp, 1, XDP_PASS);
    let other = Daemon::start();
    let theirs = Program::member(&other.wire(), "xdp_member", Type::Xdp, 1, XDP_PASS);
    let programs = |others| {
        let request = ext::FollowFiguresRequest { others, ..Default::default() };
        wire.follow_figures(request).unwrap().next_message().unwrap().unwrap().programs
    };
    let own: Vec<_> = programs(false).iter().map(|program| program.id).collect();
    assert_eq!(own, [ours.id]);
    let all = programs(true);
    let found = all.iter().find(|program| program.id == theirs.id).unwrap();
    assert!(!found.ours && found.owner.is_empty() && found.r#type == "xdp", "{found:?}");
}

#[test]
fn a_stream_of_changes_tells_what_came_went_or_ran() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let ours = Program::member(&wire, "xdp_member", Type::Xdp, 1, XDP_PASS);
    let request = ext::FollowFiguresRequest {
        interval_ms: 100,
        time_runs: true,
        changes_only: true,
        ..Default::default()
    };
    let mut stream = wire.follow_figures(request).unwrap();
    let ids =
        |programs: &[ext::ProgramFigures]| programs.iter().map(|program| program.id).collect::<Vec<_>>();
    let first = stream.next_message().unwrap().unwrap();
    assert!(!first.changes, "the first is whole");
    assert_eq!(ids(&first.programs), [ours.id]);
    let second = stream.next_message().unwrap().unwrap();
    let quiet = ext::Figures { changes: true, at_ns: second.at_ns, runs_timed: true, ..Default::default() };
    assert_eq!(second, quiet, "nothing has changed");
    assert!(second.at_ns > first.at_ns);

    let other = Program::member(&wire, "xdp_member", Type::Xdp, 2, XDP_PASS);
    let mut next = |wanted: &dyn Fn(&ext::Figures) -> bool| loop {
        let reading = stream.next_message().unwrap().unwrap();
        assert!(reading.changes);
        if wanted(&reading) {
            return reading;
        }
    };
    let came = next(&|reading| !reading.programs.is_empty());
    assert_eq!(ids(&came.programs), [other.id], "and nothing of the one that was told");
    let new_maps = came.maps.iter().all(|map| map.program_ids.contains(&other.id));
    assert!(!came.maps.is_empty() && new_maps, "{came:?}");
    unload(&wire, other.id);
    let went = next(&|reading| !reading.gone_programs.is_empty());
    assert_eq!((went.gone_programs, ids(&went.programs)), (vec![other.id], vec![]));
    let (own, shared): (Vec<_>, Vec<_>) = came.maps.iter().partition(|map| map.program_ids == [other.id]);
    assert!(!own.is_empty());
    let ids_of = |maps: &[&ext::MapFigures]| maps.iter().map(|map| map.id).collect::<Vec<_>>();
    assert_eq!(went.gone_maps, ids_of(&own));
    assert_eq!(ids_of(&went.maps.iter().collect::<Vec<_>>()), ids_of(&shared), "it has one program less");

    let link = put(&wire, &ours, xdp(&network.far.path(), INTERFACE, 10, &[]));
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let attached = next(&|reading| !reading.programs.is_empty());
    assert_eq!(attached.programs[0].places, std::slice::from_ref(&hook));
    assert_eq!(attached.chains[0].hook, hook);
    let ran = next(&|reading| {
        assert_eq!(traffic.send(5), 5);
        !reading.counts.is_empty()
    });
    assert_eq!(ran.counts[0].id, ours.id);
    assert!(ran.counts[0].runs > 0 && ran.counts[0].nanoseconds > 0, "{ran:?}");
    assert!(ran.programs.is_empty(), "what it is was told: {ran:?}");
    detach(&wire, link);
    let detached = next(&|reading| !reading.gone_chains.is_empty());
    assert_eq!(detached.gone_chains, [hook]);
}

#[test]
fn a_stream_has_bounds_and_so_have_all_of_one_user() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let request = |interval_ms| ext::FollowFiguresRequest { interval_ms, ..Default::default() };
    assert_status(
        wire.follow_figures(request(99)),
        Code::InvalidArgument,
        "invalid",
        &["99 ms", "100 to 60000"],
    );
    assert_status(wire.follow_figures(request(60_001)), Code::InvalidArgument, "invalid", &["60001 ms"]);
    // Clients that read nothing keep their streams. Root may use all 32; a connection is limited to 32 calls.
    let others = [daemon.wire(), daemon.wire()];
    let idle: Vec<_> =
        others.iter().flat_map(|wire| (0..16).map(|_| wire.follow_figures(request(100)).unwrap())).collect();
    assert_status(
        wire.follow_figures(request(100)),
        Code::ResourceExhausted,
        "busy",
        &["streams of figures"],
    );
    drop(idle);
    until("places are free again", || wire.follow_figures(request(0)).is_ok());
}
