mod chains;
mod machine;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bpfman_model::{Insn, ProgramText, op};

use self::chains::{Random, member, packet};
use self::machine::run;
use super::{ValidationOutcome, validate};
use crate::share::StackPlaces;
use crate::text::opcode;
use crate::text::testing::{EXIT, add, copy, helper, load, program, set_r0};
use crate::{Member, ProceedMask, SpliceHook, SpliceOptions, splice};

/// A program before the pass and after it, with the origins of its instructions.
type Shared = (ProgramText, ProgramText, Vec<usize>, StackPlaces);

thread_local! {
    pub(super) static SHARED: RefCell<Vec<Shared>> = const { RefCell::new(Vec::new()) };
}

const PASS: ProceedMask = ProceedMask(1 << 2);

fn chains(seeds: std::ops::Range<u64>, longest: u64) -> Vec<Shared> {
    for seed in seeds {
        let mut random = Random(seed);
        let members: Vec<_> = (0..2 + seed % (longest - 1)).map(|_| member(&mut random)).collect();
        let set = random.pick(&[PASS, ProceedMask(6)]);
        let members: Vec<_> = members.iter().map(|text| Member::new("a.o", text, set)).collect();
        let options = SpliceOptions { shares_headers: true, ..SpliceOptions::new(SpliceHook::Xdp) };
        splice("chain", &members, &options).unwrap();
    }
    SHARED.take()
}

fn outcome((before, after, origins, places): &Shared) -> ValidationOutcome {
    validate(before, after, origins, SpliceHook::Xdp, *places)
}

#[test]
fn shared_chains_are_proved_equal() {
    let (mut equal, mut longest, mut insns) = (0, Duration::ZERO, 0);
    let all = chains(0..300, 5);
    for shared in &all {
        let begun = Instant::now();
        equal += usize::from(outcome(shared) == ValidationOutcome::Equal);
        longest = longest.max(begun.elapsed());
        insns = insns.max(shared.1.insns.len());
    }
    println!(
        "{equal} of {} proved equal, {insns} instructions at most, {longest:?} for the longest",
        all.len()
    );
    assert!(all.len() > 200, "{}", all.len());
    assert_eq!(equal, all.len());
}

/// Returns the changes of an instruction that are tried, each with its name.
fn changes(insn: Insn) -> Vec<(&'static str, Insn)> {
    let (dst, src) = (insn.dst(), insn.src());
    let with = |code: u8, dst: u8, src: u8, off: i16, imm: i32| Insn::new(code, dst, src, off, imm);
    let mut changes = vec![("removed", with(op::JA, 0, 0, 0, 0))];
    let by_register = insn.code & opcode::SOURCE_REGISTER != 0;
    let other = |register: u8| (register + 1) % 10;
    match insn.class() {
        opcode::CLASS_LDX => {
            changes.push(("offset", with(insn.code, dst, src, insn.off + 1, 0)));
            changes.push(("offset", with(insn.code, dst, src, insn.off - 8, 0)));
            changes.push(("size", with(insn.code ^ 0x10, dst, src, insn.off, 0)));
            changes.push(("destination", with(insn.code, other(dst), src, insn.off, 0)));
            changes.push(("source", with(insn.code, dst, other(src), insn.off, 0)));
        }
        opcode::CLASS_ST | opcode::CLASS_STX => {
            changes.push(("offset", with(insn.code, dst, src, insn.off + 1, insn.imm)));
            changes.push(("offset", with(insn.code, dst, src, insn.off - 8, insn.imm)));
            changes.push(("destination", with(insn.code, other(dst), src, insn.off, insn.imm)));
            match insn.class() {
                opcode::CLASS_ST => {
                    changes.push(("constant", with(insn.code, dst, src, insn.off, insn.imm ^ 1)))
                }
                _ => changes.push(("source", with(insn.code, dst, other(src), insn.off, insn.imm))),
            }
        }
        opcode::CLASS_ALU | opcode::CLASS_ALU64 => {
            changes.push(("destination", with(insn.code, other(dst), src, insn.off, insn.imm)));
            changes.push(("operation", with(insn.code ^ 0x10, dst, src, insn.off, insn.imm)));
            match by_register {
                true => changes.push(("source", with(insn.code, dst, other(src), insn.off, insn.imm))),
                false => changes.push(("constant", with(insn.code, dst, src, insn.off, insn.imm ^ 1))),
            }
        }
        opcode::CLASS_LD => changes.push(("constant", with(insn.code, dst, src, 0, insn.imm ^ 1))),
        _ if insn.code == op::CALL => changes.push(("constant", with(insn.code, dst, src, 0, insn.imm ^ 4))),
        _ if insn.code == op::EXIT => {}
        _ if insn.code == op::JA => changes.push(("target", with(insn.code, 0, 0, insn.off + 1, 0))),
        class => {
            let negated = [0x50, 0xb0, 0xa0, 0, 0x10, 0xd0, 0xc0, 0, 0, 0x30, 0x20, 0x70, 0x60];
            let code = negated[usize::from(insn.code >> 4) - 1] | insn.code & 8 | class;
            changes.push(("branch", with(code, dst, src, insn.off, insn.imm)));
            changes.push(("target", with(insn.code, dst, src, insn.off + 1, insn.imm)));
            changes.push(("destination", with(insn.code, other(dst), src, insn.off, insn.imm)));
            match by_register {
                true => changes.push(("source", with(insn.code, dst, other(src), insn.off, insn.imm))),
                false => changes.push(("constant", with(insn.code, dst, src, insn.off, insn.imm + 1))),
            }
        }
    }
    changes.retain(|(_, changed)| *changed != insn);
    changes
}

#[test]
fn changed_instructions_are_found() {
    let mut random = Random(1);
    let packets: Vec<_> = (0..250).map(|seed| (packet(&mut random), seed)).collect();
    let mut tally: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for shared in chains(0..4, 2) {
        let runs: Vec<_> = packets.iter().map(|(packet, seed)| run(&shared.0, packet, *seed)).collect();
        assert!(runs.iter().all(Option::is_some));
        for at in 0..shared.1.functions[0].len {
            if at > 0 && shared.1.insns[at - 1].is_ld_imm64() {
                continue;
            }
            for (name, changed) in changes(shared.1.insns[at]) {
                let mut damaged = shared.clone();
                damaged.1.insns[at] = changed;
                let differs = || {
                    packets
                        .iter()
                        .zip(&runs)
                        .any(|((packet, seed), was)| run(&damaged.1, packet, *seed) != *was)
                };
                let result = match outcome(&damaged) {
                    ValidationOutcome::Different { .. } => "reported",
                    ValidationOutcome::TooMany => "not followed",
                    ValidationOutcome::Equal => {
                        assert!(!differs(), "{name} at {at}: {changed:?}, of {:?}", shared.1.insns);
                        "equal"
                    }
                };
                *tally.entry((name, result)).or_default() += 1;
            }
        }
    }
    println!("{tally:#?}");
    // Some changes have no effect: loads of a register's present value, jumps to another end with the same verdict.
    let count =
        |result: &str| tally.iter().filter(|((_, one), _)| *one == result).map(|(_, count)| count).sum();
    let (reported, equal): (usize, usize) = (count("reported"), count("equal"));
    assert!(equal * 30 < reported, "{tally:?}");
    assert!(!tally.contains_key(&("branch", "equal")), "{tally:?}");
}

fn pair(before: &[Insn], after: &[Insn], origins: &[usize]) -> ValidationOutcome {
    let text = |insns: &[Insn]| program(&[insns]).0;
    let places = StackPlaces { context: None, frame: 0, slots: 1 };
    outcome(&(text(before), text(after), origins.to_vec(), places))
}

const START: Insn = Insn::new(opcode::LOAD_W, 7, 1, 0, 0);
const END: Insn = Insn::new(opcode::LOAD_W, 8, 1, 4, 0);
const TYPE: Insn = Insn::new(0x71, 9, 7, 12, 0);
const RESULT: Insn = copy(0, 9);

/// Compares two programs that differ only in the order of `TYPE` and `second`.
fn exchanged(second: &[Insn]) -> ValidationOutcome {
    let head = [copy(6, 1), helper(131), copy(5, 0), copy(1, 6), START];
    let before = [&head[..], &[TYPE], second, &[RESULT, EXIT]].concat();
    let after = [&head[..], second, &[TYPE, RESULT, EXIT]].concat();
    let (at, end) = (head.len(), head.len() + 1 + second.len());
    let origins: Vec<usize> = (0..at).chain(at + 1..end).chain([at]).chain(end..end + 2).collect();
    pair(&before, &after, &origins)
}

fn reason(outcome: ValidationOutcome) -> &'static str {
    match outcome {
        ValidationOutcome::Different { reason, .. } => reason,
        ValidationOutcome::Equal => "equal",
        ValidationOutcome::TooMany => "too many",
    }
}

#[test]
fn load_is_not_moved_over_a_change_of_the_packet() {
    let value = "another value";
    assert_eq!(reason(exchanged(&[copy(2, 3)])), "equal");
    assert_eq!(reason(exchanged(&[Insn::new(0x72, 5, 0, 0, 1)])), "equal", "a store elsewhere");
    assert_eq!(reason(exchanged(&[Insn::new(0x72, 7, 0, 30, 1)])), value, "a store into the packet");
    assert_eq!(reason(exchanged(&[Insn::new(0x72, 4, 0, 0, 1)])), value, "a store to an unknown address");
    assert_eq!(reason(exchanged(&[helper(7)])), "equal", "a helper that leaves the packet alone");
    assert_eq!(reason(exchanged(&[helper(44)])), value, "bpf_xdp_adjust_head");
    assert_eq!(reason(exchanged(&[helper(9999)])), value, "an unknown helper");
}

#[test]
fn another_verdict_is_found() {
    assert_eq!(reason(pair(&[set_r0(1), EXIT], &[set_r0(2), EXIT], &[0, 1])), "another value");
    assert_eq!(reason(pair(&[set_r0(1), EXIT], &[Insn::new(0xb4, 0, 0, 0, 1), EXIT], &[0, 1])), "equal");
}

/// Compares a program with two tests of the packet's length, by these constants, to one without the second test.
fn lengths(first: i32, jump: u8, second: i32) -> ValidationOutcome {
    let test = |by: i32, code: u8, off: i16| [copy(3, 7), add(3, by), Insn::new(code, 3, 8, off, 0)];
    let tail = [TYPE, RESULT, EXIT, set_r0(1), EXIT];
    let before = [&[START, END][..], &test(first, 0x2d, 6), &test(second, jump, 3), &tail].concat();
    let after = [&[START, END][..], &test(first, 0x2d, 3), &tail].concat();
    pair(&before, &after, &[0, 1, 2, 3, 4, 8, 9, 10, 11, 12])
}

#[test]
fn shorter_bound_follows_from_a_longer_one() {
    assert_eq!(reason(lengths(34, 0x2d, 34)), "equal");
    assert_eq!(reason(lengths(34, 0x2d, 14)), "equal");
    assert_eq!(reason(lengths(34, 0x3d, 33)), "equal", "at or beyond the end");
    assert_ne!(reason(lengths(34, 0x3d, 34)), "equal");
    assert_ne!(reason(lengths(34, 0x2d, 35)), "equal");
}

#[test]
fn jump_on_an_equal_condition_is_not_turned() {
    let before = [START, TYPE, Insn::new(0x55, 9, 0, 2, 8), set_r0(1), EXIT, set_r0(2), EXIT];
    let mut after = before;
    let origins: Vec<usize> = (0..7).collect();
    assert_eq!(pair(&before, &after, &origins), ValidationOutcome::Equal);
    after[2].code = 0x15;
    let ValidationOutcome::Different { path, .. } = pair(&before, &after, &origins) else { panic!("equal") };
    assert_eq!(path.len(), 1, "the branch is in the message");
    after[2] = Insn::new(0x55, 9, 0, 2, 9);
    assert_ne!(pair(&before, &after, &origins), ValidationOutcome::Equal);
}

#[test]
fn reserved_slot_keeps_what_was_saved() {
    let save = Insn::new(opcode::STORE_DW_REG, 10, 7, -8, 0);
    let before = [copy(6, 1), START, helper(7), Insn::new(opcode::LOAD_W, 7, 6, 0, 0), copy(0, 7), EXIT];
    let after = [copy(6, 1), START, save, helper(7), load(7, 10, -8), copy(0, 7), EXIT];
    let origins = [0, 1, 1, 2, 3, 4, 5];
    assert_eq!(reason(pair(&before, &after, &origins)), "equal");
    let moved = |insns: &[Insn]| {
        insns.iter().map(|insn| if *insn == helper(7) { helper(44) } else { *insn }).collect::<Vec<_>>()
    };
    assert_eq!(reason(pair(&moved(&before), &moved(&after), &origins)), "another value");
}
