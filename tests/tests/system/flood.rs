//! Chains that change under a flood: every datagram passes either the old chain or the new one, completely.
//!
//! Each member writes its number into the datagram, so that its path can be compared with all chains that existed: a
//! missing number is an unfiltered packet, a mixture is a chain that was never requested. `make flood` makes 1,000
//! changes instead of 60; `FLOOD_CHANGES` and `FLOOD_SEED` set others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::flood::{Flood, Run, Trail};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::random::{Random, setting};
use bpfman_tests::requests::{attach, file, load, number, tc, tcx, xdp};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile};

use crate::equipment::{Program, detach, test_name};

const MEMBERS: u8 = 12;
const MAX_MEMBERS: usize = 8;

struct Place {
    priority: i32,
    who: u8,
    link: u32,
}

const VERSION: u8 = 16;

struct Hook<'a> {
    wire: &'a Wire,
    programs: Vec<Program>,
    stamps: Vec<u8>,
    place: Box<dyn Fn(i32) -> Info>,
    is_row: bool,
    chain: Vec<Place>,
    history: Vec<Trail>,
}

impl Hook<'_> {
    fn trail(&self) -> Trail {
        self.chain.iter().map(|place| self.stamps[usize::from(place.who) - 1]).collect()
    }

    fn changed(&mut self) {
        self.chain.sort_by_key(|place| place.priority);
        self.history.push(self.trail());
    }

    fn add(&mut self, who: u8, priority: i32) {
        let program = self.programs[usize::from(who) - 1].id;
        let link = self.wire.attach(attach(program, (self.place)(priority))).unwrap().link_id;
        self.chain.push(Place { priority, who, link });
        self.changed();
    }

    /// The kernel cannot move a tcx link: a packet may pass it twice, at both positions.
    fn shift(&mut self, at: usize, priority: i32) {
        if self.is_row {
            let mut both: Vec<(i32, u8)> =
                self.chain.iter().map(|place| place.priority).zip(self.trail()).collect();
            both.push((priority, both[at].1));
            both.sort_by_key(|(priority, _)| *priority);
            self.history.push(both.into_iter().map(|(_, stamp)| stamp).collect());
        }
        let link_id = self.chain[at].link;
        let request = ext::UpdateLinkRequest { link_id, priority: Some(priority), ..Default::default() };
        self.wire.update_link(request).unwrap();
        self.chain[at].priority = priority;
        self.changed();
    }

    fn renew(&mut self, at: usize) {
        let who = usize::from(self.chain[at].who) - 1;
        let request = ext::ReplaceProgramRequest {
            program_id: self.programs[who].id,
            bytecode: Some(file(&compile::object("flood"))),
            global_data: [("who".to_owned(), number(i32::from(self.stamps[who] ^ VERSION)))].into(),
            ..Default::default()
        };
        let replaced = self.wire.replace_program(request).unwrap();
        self.renewed(who, replaced);
    }

    fn roll_back(&mut self, at: usize) {
        let who = usize::from(self.chain[at].who) - 1;
        let request = ext::RollbackProgramRequest { program_id: self.programs[who].id };
        let replaced = self.wire.rollback_program(request).unwrap();
        self.renewed(who, replaced);
    }

    fn renewed(&mut self, who: usize, replaced: ext::ReplaceProgramResponse) {
        self.programs[who].id = replaced.program.unwrap().kernel_info.unwrap().id;
        self.stamps[who] ^= VERSION;
        self.changed();
    }

    fn remove(&mut self, at: usize) -> Place {
        let place = self.chain.remove(at);
        detach(self.wire, place.link);
        self.changed();
        place
    }

    fn absent(&self, random: &mut Random) -> u8 {
        let absent: Vec<u8> =
            (1..=MEMBERS).filter(|who| self.chain.iter().all(|place| place.who != *who)).collect();
        absent[random.below(absent.len())]
    }

    fn free_priority(&self, random: &mut Random) -> i32 {
        loop {
            let priority = 1 + random.below(999) as i32;
            if self.chain.iter().all(|place| place.priority != priority) {
                return priority;
            }
        }
    }

    /// Changes a member, and never empties the hook: without members, the chain handles no packets.
    fn change(&mut self, random: &mut Random, flood: &Flood) {
        let length = self.chain.len();
        match random.below(7) {
            0 | 1 if length < MAX_MEMBERS => {
                let (who, priority) = (self.absent(random), self.free_priority(random));
                self.add(who, priority);
            }
            2 if length > 1 => {
                let place = self.remove(random.below(length));
                flood.meets(&self.trail());
                let priority = self.free_priority(random);
                self.add(place.who, priority);
            }
            3 if length > 1 => {
                let priority = self.free_priority(random);
                self.shift(random.below(length), priority);
            }
            4 => {
                let at = random.below(length);
                self.renew(at);
                if random.below(2) == 0 {
                    flood.meets(&self.trail());
                    self.roll_back(at);
                }
            }
            // The successor is attached before its predecessor is detached.
            5 if length < MAX_MEMBERS => {
                let at = random.below(length);
                let (who, old) = (self.absent(random), self.chain[at].priority);
                if old > 1 && self.chain.iter().all(|place| place.priority != old - 1) {
                    self.add(who, old - 1);
                    flood.meets(&self.trail());
                    self.remove(at + 1);
                }
            }
            _ if length > 1 => {
                self.remove(random.below(length));
            }
            _ => {
                let (who, priority) = (self.absent(random), self.free_priority(random));
                self.add(who, priority);
            }
        }
        flood.meets(&self.trail());
    }
}

pub fn assert_whole_chains(runs: &[Run], history: &[Trail]) {
    let mut generation = 0;
    for (number, run) in runs.iter().enumerate() {
        let Some(later) = history[generation..].iter().position(|trail| *trail == run.trail) else {
            panic!(
                "{} datagrams met {:?}, which was no chain from change {generation} on: before it {:?}, then {:?}",
                run.datagrams,
                run.trail,
                &runs[number.saturating_sub(3)..number],
                &history[generation..(generation + 4).min(history.len())],
            );
        };
        generation += later;
    }
}

fn changes_under_flood(launch: &Launch, name: &str, kind: Type, place: fn(PathBuf, i32) -> Info) {
    let seed = setting("FLOOD_SEED", 0x5eed);
    let changes = setting("FLOOD_CHANGES", 60);
    let mut random = Random(seed | 1);
    let (daemon, network) = (Daemon::start_with(launch), Network::new());
    let wire = daemon.wire();
    let programs: Vec<Program> = (1..=MEMBERS)
        .map(|who| {
            let mut request = load(&compile::object("flood"), &[(name, kind)]);
            request.global_data.insert("who".to_owned(), number(i32::from(who)));
            Program::of(&wire.load(request).unwrap().programs[0])
        })
        .collect();
    let far = network.far.path();
    let place = Box::new(move |priority| place(far.clone(), priority));
    let stamps = (1..=MEMBERS).collect();
    let is_row = kind == Type::Tcx;
    let mut hook =
        Hook { wire: &wire, programs, stamps, place, is_row, chain: Vec::new(), history: Vec::new() };
    hook.add(1, 500);
    let flood = Flood::start(&network);
    for _ in 0..changes {
        hook.change(&mut random, &flood);
    }
    let runs = flood.end();
    assert_whole_chains(&runs, &hook.history);
    let mut met = BTreeMap::<u8, u64>::new();
    for run in &runs {
        for who in &run.trail {
            *met.entry(*who % VERSION).or_default() += run.datagrams;
        }
    }
    for (who, program) in (1..).zip(&hook.programs) {
        assert_eq!(program.hits(), met.get(&who).copied().unwrap_or(0), "datagrams that met member {who}");
    }
    let datagrams: u64 = runs.iter().map(|run| run.datagrams).sum();
    println!(
        "{datagrams} datagrams, {changes} changes that made {} chains, seed {seed:#x}: none missed, none mixed",
        hook.history.len()
    );
}

#[test]
fn no_datagram_of_a_flood_meets_a_mixed_xdp_chain() {
    changes_under_flood(&Launch::default(), "xdp_stamp", Type::Xdp, |far, priority| {
        xdp(&far, INTERFACE, priority, &[])
    });
}

#[test]
fn no_datagram_of_a_flood_meets_a_mixed_tc_chain() {
    changes_under_flood(&Launch::default(), "tc_stamp", Type::Tc, |far, priority| {
        tc(&far, INTERFACE, "ingress", priority, &[])
    });
}

#[test]
fn no_datagram_of_a_flood_meets_a_mixed_clsact_chain() {
    let clsact = Launch { config: "tc.attach = \"clsact\"".to_owned(), ..Launch::default() };
    changes_under_flood(&clsact, "tc_stamp", Type::Tc, |far, priority| {
        tc(&far, INTERFACE, "ingress", priority, &[])
    });
}

#[test]
fn no_datagram_of_a_flood_meets_a_mixed_row_of_tcx_links() {
    if lacks_tcx(&test_name()) {
        return;
    }
    changes_under_flood(&Launch::default(), "tcx_stamp", Type::Tcx, |far, priority| {
        tcx(&far, INTERFACE, "ingress", priority)
    });
}

fn run(trail: &[u8]) -> Run {
    Run { trail: trail.to_vec(), datagrams: 1 }
}

fn some_history() -> [Trail; 4] {
    [vec![1], vec![1, 2], vec![2], vec![1, 2]]
}

#[test]
fn datagrams_may_skip_a_chain_and_meet_one_that_came_back() {
    assert_whole_chains(&[run(&[1]), run(&[2]), run(&[1, 2])], &some_history());
}

#[test]
#[should_panic(expected = "was no chain")]
fn a_datagram_without_a_stamp_is_seen() {
    assert_whole_chains(&[run(&[1]), run(&[])], &some_history());
}

#[test]
#[should_panic(expected = "was no chain")]
fn a_datagram_with_stamps_of_two_chains_is_seen() {
    assert_whole_chains(&[run(&[1]), run(&[2, 1])], &some_history());
}

#[test]
#[should_panic(expected = "was no chain")]
fn datagram_that_meets_an_older_chain_after_a_newer_is_detected() {
    assert_whole_chains(&[run(&[2]), run(&[1])], &some_history());
}
