//! Replacement of all programs of a load by one call.

use std::path::PathBuf;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::flood::{Flood, Trail};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, pairs, tc, xdp};
use bpfman_tests::{Daemon, Launch, Network, compile};
use tonic::Code;

use crate::equipment::{Program, assert_status, get, link};
use crate::flood::assert_whole_chains;

const CHANGES: u8 = 20;

fn ids(loaded: &v1::LoadResponse) -> Vec<u32> {
    loaded.programs.iter().map(|program| program.kernel_info.as_ref().unwrap().id).collect()
}

fn changes_under_flood(launch: &Launch, names: [&str; 2], kind: Type, place: fn(PathBuf, i32) -> Info) {
    let (daemon, network) = (Daemon::start_with(launch), Network::new());
    let wire = daemon.wire();
    let of = |names: &[&str], who: u8| {
        let programs: Vec<_> = names.iter().map(|name| (*name, kind)).collect();
        let mut request = load(&compile::object("flood"), &programs);
        request.global_data.insert("who".to_owned(), number(i32::from(who)));
        request.metadata = pairs(&[("bpfman.io/content", &who.to_string())]);
        request
    };
    let far = network.far.path();
    let put = |program: u32, priority| {
        wire.attach(attach(program, place(far.clone(), priority))).unwrap();
    };
    let trail = |who: u8| -> Trail { vec![who, 1, who + 1] };
    let mut pair = wire.load(of(&names, 2)).unwrap();
    put(ids(&pair)[0], 10);
    put(ids(&wire.load(of(&names[..1], 1)).unwrap())[0], 20);
    put(ids(&pair)[1], 30);
    let mut history = vec![trail(2)];
    let flood = Flood::start(&network);
    flood.meets(&history[0]);
    for change in 1..=CHANGES {
        let who = 2 + 2 * change;
        // Alternate the order of the names, which must not matter.
        let names = if change % 2 == 0 { names } else { [names[1], names[0]] };
        let replaced = wire
            .replace_load(ext::ReplaceLoadRequest {
                program_ids: ids(&pair),
                load: Some(of(&names, who)),
                ..Default::default()
            })
            .unwrap();
        assert_eq!((replaced.links_switched, replaced.programs_removed), (2, 0));
        pair = replaced.load.unwrap();
        assert_eq!(pair.programs[0].info.as_ref().unwrap().metadata["bpfman.io/content"], who.to_string());
        history.push(trail(who));
        flood.meets(&trail(who));
    }
    let runs = flood.end();
    assert_whole_chains(&runs, &history);
    let datagrams: u64 = runs.iter().map(|run| run.datagrams).sum();
    assert_eq!(Program::of(&pair.programs[0]).hits(), 2 * datagrams);
    println!("{datagrams} datagrams, {CHANGES} replacements of two members: none missed, none mixed");
}

#[test]
fn no_datagram_of_a_flood_meets_two_versions_of_a_load_at_xdp() {
    changes_under_flood(&Launch::default(), ["xdp_stamp", "xdp_next"], Type::Xdp, |far, priority| {
        xdp(&far, INTERFACE, priority, &[])
    });
}

#[test]
fn no_datagram_of_a_flood_meets_two_versions_of_a_load_at_tc() {
    changes_under_flood(&Launch::default(), ["tc_stamp", "tc_next"], Type::Tc, |far, priority| {
        tc(&far, INTERFACE, "ingress", priority, &[])
    });
}

#[test]
fn no_datagram_of_a_flood_meets_two_load_versions_at_clsact() {
    let clsact = Launch { config: "tc.attach = \"clsact\"".to_owned(), ..Launch::default() };
    changes_under_flood(&clsact, ["tc_stamp", "tc_next"], Type::Tc, |far, priority| {
        tc(&far, INTERFACE, "ingress", priority, &[])
    });
}

#[test]
fn programs_come_and_go_with_a_load_version_also_across_a_kill() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let object = compile::object("flood");
    let of = |programs: &[(&str, Type)]| load(&object, programs);
    let old = wire.load(of(&[("xdp_stamp", Type::Xdp), ("tc_stamp", Type::Tc)])).unwrap();
    let far = network.far.path();
    let [stamp, other] = ids(&old)[..] else { panic!("{old:?}") };
    let first = wire.attach(attach(stamp, xdp(&far, INTERFACE, 10, &[]))).unwrap().link_id;
    let second = wire.attach(attach(other, tc(&far, INTERFACE, "egress", 10, &[]))).unwrap().link_id;
    let answer = wire
        .replace_load(ext::ReplaceLoadRequest {
            program_ids: vec![other, stamp],
            load: Some(of(&[("tc_next", Type::Tc), ("xdp_stamp", Type::Xdp)])),
            ..Default::default()
        })
        .unwrap();
    assert_eq!((answer.links_switched, answer.programs_removed), (1, 1));
    assert_eq!(answer.maps.len(), 1);
    assert_eq!((answer.maps[0].name.as_str(), answer.maps[0].outcome.as_str()), ("hits", "kept"));
    let new = answer.load.unwrap();
    let [added, stays] = ids(&new)[..] else { panic!("{new:?}") };
    let check = |wire: &bpfman_tests::Wire| {
        assert_eq!(link(wire, first).program_id, stays);
        assert_eq!(get(wire, added).info.unwrap().links, Vec::<u32>::new());
        assert_eq!(get(wire, stays).info.unwrap().links, [first]);
        for gone in [stamp, other] {
            let gone = wire.get(v1::GetRequest { id: gone });
            assert_status(gone, Code::NotFound, "not-found", &["does not exist"]);
        }
        let gone = wire.get_link(ext::GetLinkRequest { link_id: second });
        assert_status(gone, Code::NotFound, "not-found", &[&second.to_string()]);
        let back = wire.rollback_program(ext::RollbackProgramRequest { program_id: stays });
        assert_status(back, Code::FailedPrecondition, "invalid", &["replaced as a whole"]);
    };
    check(&wire);
    daemon.kill();
    daemon.again(&Launch::default());
    check(&daemon.wire());
}

#[test]
fn a_load_that_cannot_be_replaced_is_told_why_and_stays() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let object = compile::object("flood");
    let both = [("xdp_stamp", Type::Xdp), ("xdp_next", Type::Xdp)];
    let programs = ids(&wire.load(load(&object, &both)).unwrap());
    let other = ids(&wire.load(load(&object, &both[..1])).unwrap())[0];
    wire.attach(attach(programs[0], xdp(&network.far.path(), INTERFACE, 10, &[]))).unwrap();
    let sharer =
        v1::LoadRequest { map_owner_id: Some(programs[1]), ..load(&object, &[("tc_stamp", Type::Tc)]) };
    let sharer = ids(&wire.load(sharer).unwrap())[0];
    let state = daemon.state();
    let of = |program_ids: &[u32], load| ext::ReplaceLoadRequest {
        program_ids: program_ids.to_vec(),
        load: Some(load),
        ..Default::default()
    };
    let version = || load(&object, &both);
    let fresh = ext::ReplaceLoadRequest { maps: ext::MapPolicy::Fresh as i32, ..of(&programs, version()) };
    let sharing = sharer.to_string();
    for (request, code, kind, says) in [
        (of(&[], version()), Code::InvalidArgument, "invalid", "no program is named"),
        (of(&[4_000_000_000], version()), Code::NotFound, "not-found", "4000000000"),
        (of(&[programs[0], other], version()), Code::InvalidArgument, "invalid", "different loads"),
        (of(&programs[..1], version()), Code::InvalidArgument, "invalid", "is of the same load"),
        (of(&programs, load(&object, &[("absent", Type::Xdp)])), Code::InvalidArgument, "invalid", "absent"),
        (of(&programs, load(&object, &both[..1])), Code::FailedPrecondition, "invalid", &sharing),
        (fresh, Code::FailedPrecondition, "invalid", &sharing),
        (
            of(&[other], load(&compile::object("broken"), &[("broken", Type::Xdp)])),
            Code::Aborted,
            "kernel-refused",
            "broken",
        ),
    ] {
        assert_status(wire.replace_load(request), code, kind, &[says]);
        assert_eq!(daemon.state(), state, "after {says}");
    }
}
