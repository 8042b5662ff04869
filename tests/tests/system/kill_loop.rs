//! The daemon is killed repeatedly while clients make changes and while it starts, and every second time the bpffs is
//! wiped as by a reboot. Acknowledged changes survive, others take effect completely or not at all, nothing is left
//! over, no packet passes a filter, and none is lost in a chain that passes it.
//!
//! Makes a dozen rounds; `make kill-loop` makes 2,000. `KILL_ROUNDS` and `KILL_SEED` set others. With `KILL_TC=clsact`,
//! TC chains are in filters, which have no kernel link, and some members are isolated, so that chains depend on their
//! pins. With `KILL_UNNAMED=yes`, the guarded namespaces have names only while clients work: in each round a name is
//! removed or given to another namespace, and a process named by an attachment exits. With `KILL_COPIED=yes`, another mount
//! namespace has a copy of each bpffs that is wiped, so that links run on without their pins.

use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::random::{Random, setting};
use bpfman_tests::requests::attach;
use bpfman_tests::skip::has_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, kernel};

use crate::kill_loop_client::{Client, There, member};
use crate::kill_loop_place::{Guarded, Mode, Place};

const CLIENTS: usize = 4;
const XDP_DROP: i32 = 1;
const TC_SHOT: i32 = 2;

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn assert_nothing_is_left_over(daemon: &Daemon, there: &There, filters: bool) {
    let pins = kernel::pins(&daemon.fs());
    let starting = |prefix: &str| pins.iter().filter(|pin| pin.starts_with(prefix)).count();
    assert_eq!(starting("pending"), 0, "{pins:?}");
    assert_eq!(starting("prog_"), there.programs.len() + 2, "{pins:?}");
    let own = there.links.values().filter(|(_, program)| program.starts_with("tcx")).count();
    assert_eq!(starting("links/"), own, "{pins:?}");
    let numbers = std::fs::read_dir(daemon.fs().join("namespaces")).unwrap();
    let numbers: Vec<_> = numbers.map(|folder| folder.unwrap().file_name()).collect();
    assert_eq!(numbers.len(), usize::from(filters), "{numbers:?}");
}

#[test]
fn kills_at_any_time_lose_nothing_leak_nothing_open_no_filter() {
    kill_and_start(Mode::of_environment());
}

#[test]
fn kills_lose_nothing_in_filters_of_unnamed_namespaces() {
    kill_and_start(Mode { clsact: true, unnamed: true, copied: false });
}

#[test]
fn kills_lose_nothing_beside_copies_of_the_bpffs() {
    kill_and_start(Mode { clsact: false, unnamed: true, copied: true });
}

fn kill_and_start(mode: Mode) {
    let rounds = setting("KILL_ROUNDS", 12);
    let seed = setting("KILL_SEED", u64::from(std::process::id()) | 1);
    println!("{rounds} rounds, KILL_SEED={seed}");
    let mut random = Random(seed);
    let mut place =
        Place { xdp: Guarded::new(mode), tc: Guarded::new(mode), mode, has_tcx: has_tcx(), copy: None };
    let launch = mode.launch();
    let mut daemon = Daemon::start_with(&launch);
    let wire = daemon.wire();
    let filter = |request: v1::LoadRequest, point: Info| {
        let id = wire.load(request).unwrap().programs[0].kernel_info.as_ref().unwrap().id;
        wire.attach(attach(id, point)).unwrap();
    };
    filter(member("xdp_member", Type::Xdp, XDP_DROP), place.xdp_at(0, &mut random));
    filter(member("tc_member", Type::Tc, TC_SHOT), place.tc_at(0, &mut random));
    let traffic = [Traffic::new(&place.xdp.network), Traffic::new(&place.tc.network)];
    let mut sent = 0;
    let mut guarded = |what: &str| {
        for (traffic, filter) in traffic.iter().zip(["XDP", "TC"]) {
            assert_eq!(traffic.send(20), 0, "{what}: datagrams passed the {filter} filter");
            sent += 20;
        }
    };
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|index| Client::new(daemon.wire(), index, seed)).collect();
    let mut killed_starts = 0;
    for round in 0..rounds {
        place.xdp.name();
        place.tc.name();
        let lose_names = |random: &mut Random| {
            place.xdp.lose_name(random);
            place.tc.lose_name(random);
        };
        let is_quiet = mode.unnamed && random.below(3) == 0;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Stops the clients even if an assertion fails: the scope waits for them.
            let _stops = StopAtEnd(&stop);
            let working: Vec<_> =
                clients.iter_mut().map(|client| scope.spawn(|| client.work(&place, &stop))).collect();
            for _ in 0..=random.below(6) {
                guarded("while clients change things");
            }
            if is_quiet {
                stop.store(true, Ordering::Relaxed);
                working.into_iter().for_each(|client| client.join().unwrap());
                lose_names(&mut random);
                guarded("after the names went");
                daemon.kill();
            } else {
                daemon.kill();
                stop.store(true, Ordering::Relaxed);
                working.into_iter().for_each(|client| client.join().unwrap());
                lose_names(&mut random);
            }
        });
        guarded("after the kill");
        let wiped = round % 2 == 1;
        if wiped {
            place.wipe(&daemon);
        }
        for _ in 0..if round % 4 < 2 { 0 } else { 1 + random.below(2) } {
            let mut start = daemon.command(&launch).spawn().unwrap();
            for _ in 0..random.below(6) {
                for traffic in &traffic {
                    let _passed_or_not = traffic.send(1);
                }
            }
            start.kill().unwrap();
            start.wait().unwrap();
            killed_starts += 1;
            if !wiped {
                guarded("after a start was killed");
            }
        }
        let logged = daemon.log().len();
        daemon.again(&launch);
        // Discard datagrams that arrived while the hooks were empty.
        for traffic in &traffic {
            let _while_bare = traffic.received();
        }
        guarded("after the start");
        let log = daemon.log();
        assert!(!log[logged..].contains("not mended"), "round {round}: {}", &log[logged..]);
        let there = There::of(&daemon.wire(), mode);
        clients.iter_mut().for_each(|client| client.check(&there));
        assert_nothing_is_left_over(&daemon, &there, mode.clsact || !place.has_tcx);
        assert!(!mode.clsact || place.tc.filters() == 1, "round {round}: one filter guards");
        if round % 50 == 49 {
            println!("{} rounds, {killed_starts} killed starts: nothing lost, left or passed", round + 1);
        }
    }
    let calls: usize = clients.iter().map(|client| client.calls).sum();
    println!(
        "{rounds} rounds, {killed_starts} killed starts, {calls} acknowledged calls, {sent} datagrams: 0 lost, 0 leaked, 0 passed"
    );
    assert!(calls as u64 > rounds, "{calls} calls");
}
