//! Tests of folding: instructions that are folded, and instructions that must stay.

use bpfman_model::{Insn, op};

use super::*;
use crate::text::opcode;
use crate::text::testing::{EXIT, add, copy, helper, local_call, program, set_r0, spill};

const DATA: MapId = MapId(7);
/// `enabled` at 0 is 0, `limit` at 4 is 1500, at 8 is -2, at 16 more than 32 bits.
fn value() -> Vec<u8> {
    let words = [0_u32, 1500, -2_i32 as u32, -1_i32 as u32, 0, 1];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn address(register: u8, at: i32) -> [Insn; 2] {
    [
        Insn::new(op::LD_IMM64, register, op::PSEUDO_MAP_VALUE, 0, 7),
        Insn { imm: at, ..Insn::new(0, 0, 0, 0, 0) },
    ]
}

fn load_word(dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(opcode::LOAD_W, dst, src, off, 0)
}

fn number(register: u8, number: i32) -> Insn {
    Insn::new(opcode::MOV32_IMM, register, 0, 0, number)
}

fn if_zero(register: u8, distance: i16) -> Insn {
    Insn::new(opcode::JEQ64, register, 0, distance, 0)
}

fn folded_with(body: &[Insn], fixed: &[usize]) -> Vec<Insn> {
    let text = program(&[body]);
    let value = value();
    let maps = [ReadOnlyMap { map: DATA, value: &value }];
    specialised(&text, fixed, &maps).map_or_else(|| body.to_vec(), |text| text.0.insns)
}

fn folded(body: &[Insn]) -> Vec<Insn> {
    folded_with(body, &[])
}

#[test]
fn a_load_becomes_a_number_and_its_address_goes() {
    let [high, low] = address(1, 0);
    assert_eq!(
        folded(&[high, low, load_word(2, 1, 4), spill(-8, 2), EXIT]),
        [NOTHING, NOTHING, number(2, 1500), spill(-8, 2), EXIT]
    );
    let [high, low] = address(3, 2);
    let moved = [high, low, copy(1, 3), add(1, 1), load_word(0, 1, 1), EXIT];
    assert_eq!(folded(&moved), [NOTHING, NOTHING, NOTHING, NOTHING, number(0, 1500), EXIT]);
}

#[test]
fn numbers_have_the_width_and_sign_that_a_load_gives_them() {
    let load = |code, off| {
        let [high, low] = address(1, 0);
        folded(&[high, low, Insn::new(code, 0, 1, off, 0), EXIT])[2]
    };
    assert_eq!(load(opcode::LOAD_W, 8), number(0, -2), "zero-extended by the kernel");
    assert_eq!(load(opcode::LOAD_DW, 8), Insn::new(opcode::MOV64_IMM, 0, 0, 0, -2));
    let sign_extending = opcode::MODE_MEMSX | opcode::CLASS_LDX;
    assert_eq!(load(sign_extending, 8), Insn::new(opcode::MOV64_IMM, 0, 0, 0, -2));
    assert_eq!(
        load(sign_extending | opcode::SIZE_B, 8),
        Insn::new(opcode::MOV64_IMM, 0, 0, 0, if cfg!(target_endian = "little") { -2 } else { -1 })
    );
    assert_eq!(load(opcode::LOAD_DW, 16), Insn::new(opcode::LOAD_DW, 0, 1, 16, 0));
}

#[test]
fn arithmetic_and_comparisons_with_a_setting_use_its_value() {
    let [high, low] = address(1, 0);
    let with = |insn: Insn| folded(&[high, low, load_word(2, 1, 4), insn, EXIT])[3];
    assert_eq!(with(Insn::new(0x5d, 6, 2, 0, 0)), NOTHING, "a question without a consequence");
    assert_eq!(with(Insn::new(0x0f, 0, 2, 0, 0)), add(0, 1500));
    assert_eq!(with(copy(0, 2)), set_r0(1500));
    let stay = [
        Insn::new(0x3f, 0, 2, 0, 0),  // division
        Insn::new(0x6f, 0, 2, 0, 0),  // a shift by too much
        Insn::new(0xbf, 0, 2, 16, 0), // a sign-extending move
    ];
    stay.into_iter().for_each(|insn| assert_eq!(with(insn), insn));
    let large = |insn: Insn| folded(&[high, low, load_word(2, 1, 8), insn, EXIT])[3];
    assert_eq!(
        large(Insn::new(0x5f, 0, 2, 0, 0)),
        Insn::new(0x5f, 0, 2, 0, 0),
        "sign-extended it would be more"
    );
    assert_eq!(large(Insn::new(0x5c, 0, 2, 0, 0)), Insn::new(0x54, 0, 0, 0, -2));
    let asks = [high, low, load_word(2, 1, 4), Insn::new(0x5d, 6, 2, 1, 0), spill(-8, 6), EXIT];
    assert_eq!(folded(&asks)[3], Insn::new(0x55, 6, 0, 1, 1500));
}

#[test]
fn uncertain_loads_are_not_folded() {
    let [high, low] = address(1, 0);
    let [other_high, other_low] = address(1, 4);
    let unsure = [if_zero(6, 3), high, low, Insn::new(op::JA, 0, 0, 2, 0), other_high, other_low];
    let both_ways = [&unsure[..], &[load_word(0, 1, 0), EXIT]].concat();
    assert_eq!(folded(&both_ways), both_ways, "two addresses");
    let beyond = [high, low, load_word(0, 1, 21), EXIT];
    assert_eq!(folded(&beyond), beyond, "out of bounds");
    let called = [high, low, helper(7), load_word(0, 1, 0), EXIT];
    assert_eq!(folded(&called), called, "a call leaves nothing in register 1");
    let stranger = [Insn::new(op::LD_IMM64, 1, op::PSEUDO_MAP_VALUE, 0, 8), low, load_word(0, 1, 0), EXIT];
    assert_eq!(folded(&stranger), stranger, "another map");
    let text = [high, low, load_word(0, 1, 4), EXIT];
    assert_eq!(folded_with(&text, &[2]), text, "an instruction that has to stay");
}

#[test]
fn unused_parsing_of_disabled_member_is_removed() {
    let [high, low] = address(1, 0);
    let parses = [
        copy(6, 1),
        high,
        low,
        load_word(2, 1, 0),
        Insn::new(opcode::LOAD_W, 3, 6, 0, 0),
        if_zero(3, 4),
        Insn::new(opcode::LOAD_W, 4, 3, 8, 0),
        if_zero(4, 2),
        if_zero(2, 1),
        spill(-8, 4),
        set_r0(2),
        EXIT,
    ];
    let left: Vec<Insn> = folded(&parses).into_iter().filter(|insn| *insn != NOTHING).collect();
    // The store is unreachable, and stays for the verifier to remove.
    assert_eq!(left, [number(2, 0), if_zero(2, 1), spill(-8, 4), set_r0(2), EXIT]);
}

#[test]
fn calls_stores_and_the_ways_to_them_stay() {
    let [high, low] = address(7, 4);
    let acts = [
        copy(6, 1),
        high,
        low,
        load_word(3, 7, 0),
        Insn::new(opcode::LOAD_W, 4, 6, 0, 0),
        if_zero(4, 1),
        spill(-8, 3),
        helper(12),
        EXIT,
    ];
    // A call may take any of its five registers.
    assert_eq!(folded(&acts), [&acts[..1], &[NOTHING, NOTHING, number(3, 1500)], &acts[4..]].concat());
}

/// The result of the first write is used before it is repeated, so that jumps over the first write stay.
#[test]
fn jump_over_a_repeated_write_stays() {
    let [high, low] = address(7, 4);
    let body = [
        high,
        low,
        load_word(2, 7, 0),
        number(1, 0),
        spill(-8, 1),
        Insn::new(0x55, 2, 0, 1, 0),
        Insn::new(opcode::LOAD_W, 1, 6, 0, 0),
        number(1, 0),
        spill(-16, 1),
        Insn::new(0x0f, 7, 3, 0, 0),
        Insn::new(opcode::LOAD_W, 0, 7, 0, 0),
        EXIT,
    ];
    let folded = folded(&body);
    let loads = |insns: &[Insn]| insns.contains(&body[6]);
    let asks = |insns: &[Insn]| insns.contains(&body[5]);
    assert!(!loads(&folded) || asks(&folded) || folded.contains(&number(1, 0)), "{folded:?}");
    let behind = &folded[7..9];
    assert!(behind[0] == number(1, 0) || !loads(&folded) || asks(&folded), "{folded:?}");
}

/// The type id is written again when types are merged.
#[test]
fn a_type_id_is_not_copied() {
    let [high, low] = address(1, 4);
    let body = [number(6, 12), high, low, load_word(2, 1, 0), copy(1, 6), copy(3, 6), helper(12), EXIT];
    let folded = folded_with(&body, &[0]);
    assert_eq!((folded[0], folded[4], folded[5]), (body[0], body[4], body[5]));
}

#[test]
fn each_function_is_folded_separately() {
    let [high, low] = address(1, 4);
    let entry = [high, low, local_call(1), EXIT];
    let function = [load_word(0, 1, 0), high, low, load_word(2, 1, 0), Insn::new(0x0f, 0, 2, 0, 0), EXIT];
    let text = program(&[&entry, &function]);
    let value = value();
    let folded = specialised(&text, &[], &[ReadOnlyMap { map: DATA, value: &value }]).unwrap();
    assert_eq!(folded.0.insns[..4], entry, "the callee reads what it is given");
    let expected = [function[0], NOTHING, NOTHING, NOTHING, add(0, 1500), EXIT];
    assert_eq!(folded.0.insns[4..], expected);
}

#[test]
fn a_chain_of_much_that_is_needless_takes_the_kernel_too_long() {
    let member = |needless: usize, others: usize| {
        let insns = [vec![NOTHING; needless], vec![number(0, 0); others]].concat();
        BoundText::of_one_function("member", "GPL", insns)
    };
    let (usual, large) = (member(100, 900), member(20_000, 100));
    assert!(is_soon_removed(&[usual.clone(), usual.clone(), usual.clone()]));
    assert!(!is_soon_removed([&large]));
    assert!(!is_soon_removed([&usual, &member(0, 1_000_000)]));
}

#[test]
fn without_read_only_data_there_is_nothing_to_fold() {
    let dead = program(&[&[Insn::new(opcode::LOAD_W, 3, 1, 0, 0), set_r0(2), EXIT]]);
    let value = value();
    assert_eq!(specialised(&dead, &[], &[ReadOnlyMap { map: DATA, value: &value }]), None);
    let [high, low] = address(1, 4);
    let reads = program(&[&[high, low, load_word(0, 1, 0), EXIT]]);
    assert_eq!(specialised(&reads, &[], &[]), None);
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::specialise::constants::{KnownValue, decided, step};
    use crate::text::scan::{Effect, effect, target, width};

    /// Returns the effects of a run: arguments of calls, stores, and the result.
    fn ran(insns: &[Insn], maps: &[ReadOnlyMap<'_>], given: u64) -> Vec<u64> {
        let mut registers = [KnownValue::Number(given); 11];
        let mut did = Vec::new();
        let text = |known: KnownValue| match known {
            KnownValue::Number(number) => number,
            KnownValue::Address { at, .. } => at.cast_unsigned() | 1 << 40,
            KnownValue::Nothing => unreachable!("everything is known here"),
        };
        let mut at = 0;
        loop {
            let insn = insns[at];
            let effect = effect(insn, insns.get(at + 1).copied());
            let taken = match effect {
                Effect::Exit => {
                    did.push(text(registers[0]));
                    return did;
                }
                Effect::Helper(id) => {
                    did.extend(registers[1..4].iter().map(|one| text(*one)));
                    let seed = did.iter().fold(id as u64, |all, one| all.wrapping_mul(31).wrapping_add(*one));
                    registers[..6].fill(KnownValue::Number(seed));
                    None
                }
                Effect::Jump { distance, conditional: false } => Some(distance),
                Effect::Jump { distance, .. } => {
                    let numbers = registers.map(|one| KnownValue::Number(text(one)));
                    decided(insn, &numbers).unwrap().then_some(distance)
                }
                _ => {
                    if insn.class() == opcode::CLASS_STX {
                        did.extend([u64::MAX, text(registers[usize::from(insn.src())])]);
                    } else if insn.class() == opcode::CLASS_LDX
                        && !matches!(registers[usize::from(insn.src())], KnownValue::Address { .. })
                    {
                        // Other memory: what it holds depends on the address.
                        let from = text(registers[usize::from(insn.src())]);
                        registers[usize::from(insn.dst())] = KnownValue::Number(from.rotate_left(7) ^ 0x55);
                    } else {
                        step(insn, insns.get(at + 1).copied(), effect, maps, &mut registers);
                        for one in &mut registers {
                            *one = if *one == KnownValue::Nothing { KnownValue::Number(3) } else { *one };
                        }
                    }
                    None
                }
            };
            at = match taken {
                Some(distance) => target(at, distance).unwrap(),
                None => at + width(insn),
            };
        }
    }

    fn insn() -> impl Strategy<Value = Vec<Insn>> {
        let register = || 0_u8..8;
        let small = || prop_oneof![Just(0), Just(1), Just(2), Just(-2), Just(1500), any::<i32>()];
        let alu = prop_oneof![
            Just(opcode::ADD),
            Just(opcode::SUB),
            Just(opcode::MUL),
            Just(opcode::OR),
            Just(opcode::AND),
            Just(opcode::XOR),
            Just(opcode::MOV)
        ];
        let jump = prop_oneof![
            Just(opcode::JUMP_EQ),
            Just(opcode::JUMP_NE),
            Just(opcode::JUMP_GT),
            Just(opcode::JUMP_SLT),
            Just(opcode::JUMP_SET)
        ];
        let class = prop_oneof![Just(opcode::CLASS_ALU), Just(opcode::CLASS_ALU64)];
        prop_oneof![
            3 => (register(), 0..5_i32, prop_oneof![Just(0x61), Just(0x69), Just(0x71), Just(0x79)], 0..8_i16, register()).prop_map(
                |(dst, word, code, off, base)| {
                    let [high, low] = address(base, word * 4);
                    vec![high, low, Insn::new(code, dst, base, off, 0)]
                }
            ),
            2 => (register(), small()).prop_map(|(dst, imm)| vec![Insn::new(opcode::MOV64_IMM, dst, 0, 0, imm)]),
            4 => (alu, class, any::<bool>(), register(), register(), small()).prop_map(
                |(operation, class, by_register, dst, src, imm)| {
                    let source = if by_register { opcode::SOURCE_REGISTER } else { 0 };
                    let (src, imm) = if by_register { (src, 0) } else { (0, imm) };
                    vec![Insn::new(operation | class | source, dst, src, 0, imm)]
                }
            ),
            2 => (register(), register()).prop_map(|(dst, src)| vec![Insn::new(opcode::LOAD_DW, dst, src, 0, 0)]),
            1 => (register()).prop_map(|src| vec![spill(-8, src)]),
            1 => Just(vec![helper(12)]),
            // Distances count blocks here, and are converted to instructions below.
            4 => (jump, register(), register(), small(), 1..6_i16, any::<bool>()).prop_map(
                |(operation, dst, src, imm, blocks, by_register)| {
                    let source = if by_register { opcode::SOURCE_REGISTER } else { 0 };
                    let (src, imm) = if by_register { (src, 0) } else { (0, imm) };
                    vec![Insn::new(operation | op::CLASS_JMP | source, dst, src, blocks, imm)]
                }
            ),
            1 => (1..6_i16).prop_map(|blocks| vec![Insn::new(op::JA, 0, 0, blocks, 0)]),
        ]
    }

    /// Jumps go forward, between starts of blocks, or to the exit.
    fn function() -> impl Strategy<Value = Vec<Insn>> {
        proptest::collection::vec(insn(), 1..60).prop_map(|blocks| {
            let mut starts = vec![0];
            for block in &blocks {
                starts.push(starts.last().unwrap() + block.len());
            }
            let end = blocks.len();
            let mut insns: Vec<Insn> = Vec::new();
            for (number, block) in blocks.into_iter().enumerate() {
                let jumps = |insn: &Insn| matches!(effect(*insn, None), Effect::Jump { .. });
                insns.extend(block.into_iter().map(|insn| {
                    if !jumps(&insn) {
                        return insn;
                    }
                    let to = starts[(number + 1 + insn.off as usize).min(end)];
                    Insn { off: (to - starts[number] - 1) as i16, ..insn }
                }));
            }
            insns.push(EXIT);
            insns
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn a_folded_function_does_what_it_did(insns in function(), given in any::<u64>()) {
            let value = value();
            let maps = [ReadOnlyMap { map: DATA, value: &value }];
            let Some(folded) = specialised(&program(&[&insns]), &[], &maps) else { return Ok(()) };
            prop_assert_eq!(ran(&insns, &maps, given), ran(&folded.0.insns, &maps, given));
            prop_assert_eq!(specialised(&folded, &[], &maps).map(|again| again.0.insns), None);
        }
    }
}
