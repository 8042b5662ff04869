//! Random members that parse, write, count and move packets.

use bpfman_model::{BoundText, FunctionSpan, Insn, MapId};

use crate::text::asm::{Asm, Label};
use crate::text::opcode;
use crate::text::testing::{EXIT, add, add_register, copy, program, set_r0};

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

const FIELDS: [(u8, i16, [i32; 2]); 6] = [
    (0x69, 12, [8, 0xb588]),
    (0x71, 12, [8, 0x88]),
    (0x71, 14, [0x45, 0x46]),
    (0x71, 23, [17, 6]),
    (0x61, 26, [0, 1]),
    (0x71, 30, [0, 128]),
];

pub(super) fn packet(random: &mut Random) -> Vec<u8> {
    let mut packet = vec![0; random.pick(&[20, 33, 34, 35, 41, 42, 43, 60, 62])];
    for (code, at, values) in FIELDS {
        let value = random.pick(&[values[0], values[0], values[1], 77]).to_le_bytes();
        let size = [4, 2, 1][usize::from(code >> 3 & 3)];
        for (at, byte) in (at as usize..).zip(&value[..size]) {
            packet.get_mut(at).into_iter().for_each(|place| *place = *byte);
        }
    }
    packet.get_mut(36).into_iter().for_each(|place| *place = random.pick(&[53, 7]));
    packet.get_mut(40).into_iter().for_each(|place| *place = random.pick(&[53, 7]));
    packet
}

/// Compares register 3 with the end of the packet in register 8.
fn beyond(asm: &mut Asm, random: &mut Random, to: Label) {
    match random.below(4) {
        0 => asm.branch_registers(0x3d, 3, 8, to),
        1 => asm.branch_registers(0xad, 8, 3, to),
        _ => asm.branch_registers(0x2d, 3, 8, to),
    }
}

fn start(asm: &mut Asm, random: &mut Random, out: Label) {
    asm.extend(&[Insn::new(0x61, 7, 6, 0, 0), Insn::new(0x61, 8, 6, 4, 0), copy(3, 7), add(3, 35)]);
    beyond(asm, random, out);
}

fn inner(asm: &mut Asm, random: &mut Random, depth: u64) {
    count(asm, random);
    if depth < 2 && random.below(2) == 0 {
        operation(asm, random, depth + 1);
    }
    if random.below(8) == 0 {
        asm.extend(&[set_r0(random.pick(&[1, 2])), EXIT]);
    }
}

fn count(asm: &mut Asm, random: &mut Random) {
    let none = asm.label();
    asm.push(Insn::new(0x62, 10, 0, -4, random.below(3) as i32));
    asm.load_map(1, MapId(9));
    asm.extend(&[copy(2, 10), add(2, -4)]);
    asm.helper(1);
    asm.branch(0x15, 0, none);
    asm.extend(&[Insn::new(opcode::MOV64_IMM, 1, 0, 0, 1), Insn::new(0xdb, 0, 1, 8, 0)]);
    asm.bind(none);
}

fn operation(asm: &mut Asm, random: &mut Random, depth: u64) {
    let skip = asm.label();
    match random.below(10) {
        0 => {
            asm.extend(&[Insn::new(0x61, 3, 6, 0, 0), Insn::new(0x61, 8, 6, 4, 0)]);
            asm.push(add(3, random.pick(&[34, 41, 42, 43, 60])));
            beyond(asm, random, skip);
            inner(asm, random, depth);
        }
        1 | 2 => {
            asm.push(Insn::new(0x71, 1, 7, 14, 0));
            asm.push(Insn::new(0x57, 1, 0, 0, 15));
            if random.below(2) == 0 {
                asm.branch_on(1, 0xa5, 5, skip);
            }
            asm.extend(&[Insn::new(0x67, 1, 0, 0, 2), copy(3, 7)]);
            asm.extend(&[add(3, 14), add_register(3, 1)]);
            asm.extend(&[copy(4, 3), add(3, 8)]);
            beyond(asm, random, skip);
            asm.push(Insn::new(0x71, 2, 4, 2, 0));
            asm.branch_on(2, 0x55, 53, skip);
            inner(asm, random, depth);
        }
        3 => {
            let (_, at, values) = random.pick(&FIELDS);
            asm.push(Insn::new(0x72, 7, 0, at, random.pick(&values)));
        }
        4 => {
            asm.helper(7);
            asm.branch(0x55, 0, skip);
            inner(asm, random, depth);
        }
        5 if random.below(3) == 0 => {
            let again = asm.label();
            asm.push(Insn::new(opcode::MOV64_IMM, 9, 0, 0, 2));
            asm.bind(again);
            asm.push(add(9, -1));
            field(asm, random, depth, skip);
            asm.branch_on(9, 0x55, 0, again);
        }
        _ => field(asm, random, depth, skip),
    }
    asm.bind(skip);
}

fn field(asm: &mut Asm, random: &mut Random, depth: u64, skip: Label) {
    let (code, at, values) = random.pick(&FIELDS);
    asm.push(Insn::new(code, 1, 7, at, 0));
    if random.below(4) == 0 {
        asm.push(Insn::new(0x57, 1, 0, 0, random.pick(&[15, 0xf0, 0xff])));
    }
    let jump = random.pick(&[0x15, 0x55, 0x55, 0x25, 0xa5, 0xb5, 0x35, 0x16, 0x56, 0x26, 0x65, 0xc6]);
    asm.branch_on(1, jump, random.pick(&values) as u32, skip);
    inner(asm, random, depth);
}

pub(super) fn member(random: &mut Random) -> BoundText {
    let mut asm = Asm::default();
    let (out, callee) = (asm.label(), asm.label());
    asm.push(copy(6, 1));
    start(&mut asm, random, out);
    for _ in 0..1 + random.below(4) {
        match random.below(14) {
            0 => {
                asm.extend(&[copy(1, 6), Insn::new(opcode::MOV64_IMM, 2, 0, 0, random.pick(&[-4, 4]))]);
                asm.helper(44);
                start(&mut asm, random, out);
            }
            1 => {
                asm.push(copy(1, 6));
                asm.call(callee);
                start(&mut asm, random, out);
            }
            _ => operation(&mut asm, random, 0),
        }
    }
    asm.bind(out);
    asm.extend(&[set_r0(random.pick(&[2, 2, 2, 1])), EXIT]);
    let length = asm.here();
    asm.bind(callee);
    asm.helper(7);
    asm.push(EXIT);
    let insns = asm.finish(false).unwrap();
    let mut text = program(&[&insns[..]]);
    if insns.iter().any(|insn| insn.is_local_call()) {
        text.0.functions[0].len = length;
        text.0.functions.push(FunctionSpan { name: "callee".to_owned(), start: length, len: 2 });
    } else {
        text.0.insns.truncate(length);
        text.0.functions[0].len = length;
    }
    text
}
