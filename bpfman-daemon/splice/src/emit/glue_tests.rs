use super::*;
use crate::analysis::values::RegisterValue;
use bpfman_model::{Insn, op};

/// Interprets glue: returns the code, and whether it reached the end instead of the label.
fn run(build: impl Fn(&mut Asm, Label), code: u64) -> (u64, bool) {
    let mut asm = Asm::default();
    let stop = asm.label();
    build(&mut asm, stop);
    let end = asm.here();
    asm.push(Insn::default());
    asm.bind(stop);
    let insns = asm.finish(false).unwrap();
    let mut registers = [0u64; 11];
    registers[0] = code;
    let mut at = 0;
    while at < end {
        let insn = insns[at];
        let (dst, src) = (usize::from(insn.dst()), usize::from(insn.src()));
        let (low, imm) = (registers[dst] as u32, insn.imm.cast_unsigned());
        let taken = match insn.code {
            opcode::JEQ32 => low == imm,
            opcode::JNE32 => low != imm,
            opcode::JGT32 => low > imm,
            opcode::JLT32 => low < imm,
            opcode::JLE32 => low <= imm,
            opcode::JSET32 => low & imm != 0,
            op::JA => true,
            op::EXIT => return (registers[0], true),
            _ => {
                registers[dst] = u64::from(match insn.code {
                    opcode::MOV32_IMM => imm,
                    opcode::MOV32_REG => registers[src] as u32,
                    opcode::ADD32_IMM => low.wrapping_add(imm),
                    opcode::LSH32_REG => low.wrapping_shl(registers[src] as u32),
                    opcode::RSH32_REG => low.wrapping_shr(registers[src] as u32),
                    other => panic!("{other:#x}"),
                });
                false
            }
        };
        at = if taken { at.wrapping_add_signed(isize::from(insn.off)) } else { at } + 1;
    }
    (registers[0], at == end)
}

const HOOKS: [SpliceHook; 3] = [SpliceHook::Xdp, SpliceHook::TcTcx, SpliceHook::TcClsact];

/// Includes codes that agree in the low bits only.
fn codes() -> impl Iterator<Item = i32> {
    (-3..=40).chain([62, 64, 66, 255, 256, 258, i32::MAX, i32::MIN, i32::MIN + 2])
}

fn test_agrees(hook: SpliceHook, set: ProceedMask) {
    for code in codes() {
        for high in [0u64, 0xffff_ffff, 5] {
            let register = high << 32 | u64::from(code.cast_unsigned());
            let (left, passed) = run(|asm, stop| emit_test(asm, hook, set, stop), register);
            assert_eq!(passed, set.contains(hook, code), "{hook:?} {set:x?} {code}");
            assert_eq!(left, register, "the code must stay as it was");
        }
    }
}

#[test]
fn every_small_set_is_tested_right() {
    for hook in HOOKS {
        for set in 0..1 << 10 {
            test_agrees(hook, ProceedMask(set));
        }
        for bit in 0..32 {
            test_agrees(hook, ProceedMask(1 << bit));
            test_agrees(hook, ProceedMask(!(1 << bit)));
        }
        test_agrees(hook, ProceedMask(u32::MAX));
    }
}

proptest::proptest! {
    #[test]
    fn every_set_is_tested_right(bits in proptest::num::u32::ANY) {
        for hook in HOOKS {
            test_agrees(hook, ProceedMask(bits));
        }
    }
}

fn length(hook: SpliceHook, set: u32) -> usize {
    let mut asm = Asm::default();
    let stop = asm.label();
    emit_test(&mut asm, hook, ProceedMask(set), stop);
    asm.here()
}

#[test]
fn tests_are_as_short_as_their_sets_allow() {
    assert_eq!(length(SpliceHook::Xdp, 1 << 2), 1, "one code");
    assert_eq!(length(SpliceHook::TcTcx, 1), 1, "-1 alone");
    assert_eq!(length(SpliceHook::Xdp, 1 << 2 | 1 << 31), 2, "XDP's default");
    assert_eq!(length(SpliceHook::TcTcx, 1 << 4 | 1 << 31), 2, "TC's default");
    assert_eq!(length(SpliceHook::Xdp, 0b111), 1, "a run from zero");
    assert_eq!(length(SpliceHook::Xdp, u32::MAX >> 1), 1, "all codes but the last");
    assert_eq!(length(SpliceHook::Xdp, ProceedMask::EVERYTHING.0), 0, "a shadow");
    assert_eq!(length(SpliceHook::TcTcx, u32::MAX >> 1), 2, "all codes but the last, and -1");
    assert_eq!(length(SpliceHook::Xdp, 0x5555_5555), 5, "no run to use");
    assert_eq!(length(SpliceHook::TcTcx, 0x5555_5555), 7);
}

fn answer(hook: SpliceHook, codes: Codes, code: i32) -> i32 {
    let (left, _) = run(|asm, _| stopped(asm, hook, codes), u64::from(code.cast_unsigned()));
    (left as u32).cast_signed()
}

#[test]
fn the_end_of_a_chain_answers_by_the_table() {
    let any = crate::analysis::verdicts::possible(&crate::text::testing::unknown().0);
    for hook in HOOKS {
        for code in codes() {
            assert_eq!(answer(hook, any, code), hook.translate(code), "{hook:?} {code}");
        }
    }
}

#[test]
fn constants_that_tcx_knows_need_no_table() {
    let length = |codes: Codes| {
        let mut asm = Asm::default();
        stopped(&mut asm, SpliceHook::TcTcx, codes);
        asm.here()
    };
    let constant = |value| crate::analysis::verdicts::possible(&crate::text::testing::constant(value).0);
    assert_eq!(length(constant(2)), 1);
    assert_eq!(length(constant(0).or(constant(-1)).or(constant(7))), 1);
    assert!(length(constant(3)) > 1);
    assert!(length(constant(2).or(constant(9))) > 1);
}
