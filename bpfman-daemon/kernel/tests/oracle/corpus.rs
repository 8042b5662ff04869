//! Chains of tests/members, one source per known problem of chains, and of the objects of Debian's xdp-tools.

use bpfmand_splice::{ProceedMask, SpliceOptions};

use crate::chain::Loaded;
use crate::generate::Random;
use crate::kernel::ProgramKind;
use crate::objects::{self, Corpus};
use crate::pool::{self, PACKETS, Shape, packets};
use crate::together::{Tally, options};

/// Members in `apart` have tests of their own: deep stacks, long runs, big packets, effects outside of test-run.
struct Source {
    file: &'static str,
    needs: Option<&'static str>,
    apart: &'static [&'static str],
}

const fn source(file: &'static str) -> Source {
    Source { file, needs: None, apart: &[] }
}

const XDP: &[Source] = &[
    Source { apart: &["read_stack", "dirty_stack"], ..source("xdp.c") },
    Source { needs: Some("bpf_throw"), ..source("exits.c") },
    source("stacks.c"),
    source("plain.c"),
    Source { needs: Some("bpf_wq_start"), ..source("deferred.c") },
    Source { needs: Some("bpf_task_work_schedule_signal_impl"), ..source("task_work.c") },
    Source { needs: Some("bpf_iter_num_new"), apart: &["loop_to_the_end"], ..source("loops.c") },
    source("maps.c"),
    source("redirects.c"),
    Source { apart: &["shorter"], ..source("frags.c") },
];

const TC: &[Source] = &[
    source("tc.c"),
    // Test-run does not return VLAN tags, which are beside the packet: `traffic` tests these members.
    Source { apart: &["push_tag", "pop_tag"], ..source("packets.c") },
    Source { needs: Some("bpf_rbtree_first"), ..source("objects.c") },
];

const PAIRS: [&str; 26] = [
    "prefix_filter",
    "global_counter",
    "stack_array",
    "global_function",
    "looped",
    "locked",
    "cut_packet",
    "full_stack",
    "jump_from_entry",
    "jump_from_function",
    "throw_from_entry",
    "throw_and_pass",
    "catch_nothing",
    "frame_of_480",
    "deep_leaf",
    "eight_frames",
    "untyped_functions",
    "start_timer",
    "run_errand",
    "loop_a_little",
    "iterate",
    "ring_dynptr",
    "to_interface_or_not",
    "leave_metadata",
    "take_metadata",
    "last_bytes",
];

pub fn corpus_of(kind: ProgramKind) -> Corpus {
    let sources = if kind == ProgramKind::Xdp { XDP } else { TC };
    let mut corpus = Corpus::default();
    for source in sources {
        if let Some(function) = source.needs.filter(|function| !objects::kernel_has(function)) {
            println!("skipped: {}: this kernel has no {function}", source.file);
            continue;
        }
        corpus.add(kind, source.file, &objects::compile(source.file), |name| !source.apart.contains(&name));
    }
    corpus
}

fn chains_agree(kind: ProgramKind, chains: usize, seed: u64) {
    let corpus = corpus_of(kind);
    let pool: Vec<&Loaded> = corpus.members.iter().collect();
    pool::agrees(kind, &pool, &corpus.maps, chains, seed, Shape::LONG);
}

#[test]
fn random_xdp_chains_of_the_corpus_agree() {
    chains_agree(ProgramKind::Xdp, 300, 4);
}

#[test]
fn random_tc_chains_of_the_corpus_agree() {
    chains_agree(ProgramKind::Tcx, 200, 5);
    chains_agree(ProgramKind::Clsact, 150, 6);
}

fn all_pairs_agree(kind: ProgramKind, wanted: impl Fn(&str) -> bool) {
    let corpus = corpus_of(kind);
    let members: Vec<&Loaded> = corpus.members.iter().filter(|member| wanted(member.name())).collect();
    let mut random = Random::new(30);
    let mut tally = Tally::default();
    let always = ProceedMask(u32::MAX);
    for first in &members {
        for second in &members {
            let members = [(*first, always), (*second, always)];
            let packets = packets(&mut random, kind, Shape::LONG);
            let options = SpliceOptions { counters: random.one_in(2), ..options(kind) };
            if let Err(difference) = tally.check(kind, &members, &corpus.maps, &options, &packets) {
                panic!("{}: {difference}", pool::describe(&members, &options));
            }
        }
    }
    println!("{} members: {tally:?}", members.len());
    assert_eq!(tally.packets, tally.chains * PACKETS);
}

#[test]
fn all_ordered_pairs_of_xdp_members_agree() {
    all_pairs_agree(ProgramKind::Xdp, |name| PAIRS.contains(&name));
}

#[test]
fn all_ordered_pairs_of_tc_members_agree() {
    all_pairs_agree(ProgramKind::Tcx, |_| true);
}

#[test]
fn installed_objects_do_in_chains_what_they_do_alone() {
    let kind = ProgramKind::Xdp;
    let mut corpus = Corpus::default();
    for (name, object) in objects::installed() {
        corpus.add(kind, &name, &object, |_| true);
    }
    if corpus.members.is_empty() {
        println!("skipped: xdp-tools is not installed");
        return;
    }
    let pool: Vec<&Loaded> = corpus.members.iter().collect();
    pool::agrees(kind, &pool, &corpus.maps, 6, 7, Shape { longest: 10, ..Shape::GENERATED });
    let ten: Vec<_> = pool.iter().take(10).map(|member| (*member, ProceedMask(0x7))).collect();
    let packets = packets(&mut Random::new(8), kind, Shape::GENERATED);
    let mut tally = Tally::default();
    tally.check(kind, &ten, &corpus.maps, &options(kind), &packets).unwrap();
    assert_eq!((tally.packets, tally.fallbacks.len()), (PACKETS, 0));
}
