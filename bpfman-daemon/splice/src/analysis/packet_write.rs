//! Detects TC programs that write into the packet by pointers: the kernel copies shared packets before their first
//! instruction, so they are better not joined to readers. A missed writer costs time, but never gives a wrong verdict.

use bpfman_model::{Insn, ProgramText};

use crate::analysis::values::{RegisterValue, Values};
use crate::chain::member::{function_at, span};
use crate::text::flow;
use crate::text::opcode;
use crate::text::scan::{Effect, target};

/// `data` and `data_meta` of `__sk_buff`.
const PACKET_FIELDS: [i16; 2] = [76, 140];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kind {
    context: bool,
    packet: bool,
}

impl RegisterValue for Kind {
    fn or(self, other: Self) -> Self {
        Self { context: self.context | other.context, packet: self.packet | other.packet }
    }
}

pub(crate) fn writes(text: &ProgramText) -> bool {
    let mut entries = vec![[Kind::default(); 11]; text.functions.len()];
    entries[0][1].context = true;
    // The arguments of a function depend on its callers: repeat until no caller adds any.
    loop {
        let before = entries.clone();
        for function in 0..text.functions.len() {
            if function_writes(text, function, &mut entries) {
                return true;
            }
        }
        if before == entries {
            return false;
        }
    }
}

fn function_writes(text: &ProgramText, function: usize, entries: &mut [[Kind; 11]]) -> bool {
    let mut writes = false;
    let entry = Values::given(entries[function]);
    flow::run(&text.insns, span(text, function), entry, |at, insn, effect, state| match effect {
        Effect::LocalCall { distance } => {
            if let Some(callee) = target(at, distance).and_then(|to| function_at(text, to)) {
                for (known, given) in entries[callee].iter_mut().zip(state.registers).skip(1).take(5) {
                    *known = known.or(given);
                }
            }
            state.forget_scratch();
        }
        Effect::Helper(_) | Effect::Kfunc { .. } | Effect::OldPacketLoad => state.forget_scratch(),
        _ => writes |= step(insn, state),
    });
    writes
}

fn step(insn: Insn, state: &mut Values<Kind>) -> bool {
    let (dst, src) = (usize::from(insn.dst()), usize::from(insn.src()));
    if dst > 10 || src > 10 {
        return false;
    }
    let frame = usize::from(opcode::FRAME);
    match insn.class() {
        opcode::CLASS_ST => return state.registers[dst].packet,
        opcode::CLASS_STX => {
            if dst == frame && insn.code & 0xe0 != opcode::MODE_ATOMIC {
                state.slots.insert(insn.off.into(), state.registers[src]);
            }
            return state.registers[dst].packet;
        }
        opcode::CLASS_LDX => {
            let from_context = state.registers[src].context && PACKET_FIELDS.contains(&insn.off);
            state.registers[dst] = if src == frame {
                state.slots.get(&insn.off.into()).copied().unwrap_or_default()
            } else {
                Kind { context: false, packet: from_context }
            };
        }
        opcode::CLASS_ALU64 => {
            let register = insn.code & opcode::SOURCE_REGISTER != 0;
            match (insn.code & 0xf0, register) {
                (opcode::MOV, true) if insn.off == 0 => state.registers[dst] = state.registers[src],
                (opcode::ADD, true) => {
                    state.registers[dst] = state.registers[dst].or(state.registers[src]);
                }
                (opcode::ADD | opcode::SUB, false) => {}
                // The difference of two pointers is a number; no other result can be written through.
                _ => state.registers[dst] = Kind::default(),
            }
        }
        opcode::CLASS_ALU | opcode::CLASS_LD => state.registers[dst] = Kind::default(),
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::testing::{EXIT, add, copy, helper, local_call, program, set_r0, spill};

    /// `r<dst> = *(u32 *)(r<src> + offset)`.
    const fn load(dst: u8, src: u8, offset: i16) -> Insn {
        Insn::new(0x61, dst, src, offset, 0)
    }

    /// `*(u8 *)(r<dst> + 3) = 1`.
    const fn store_through(dst: u8) -> Insn {
        Insn::new(0x72, dst, 0, 3, 1)
    }

    fn of(functions: &[&[Insn]]) -> bool {
        writes(&program(functions).0)
    }

    #[test]
    fn stores_through_packet_pointers_are_seen() {
        assert!(of(&[&[load(2, 1, 76), store_through(2), set_r0(0), EXIT]]));
        assert!(of(&[&[copy(6, 1), load(2, 6, 76), add(2, 14), copy(7, 2), store_through(7), EXIT]]));
        assert!(of(&[&[load(2, 1, 140), store_through(2), EXIT]]), "metadata too");
        let spilled = [load(2, 1, 76), spill(-8, 2), helper(7), Insn::new(0x79, 3, 10, -8, 0)];
        assert!(of(&[&[&spilled[..], &[store_through(3), EXIT]].concat()]));
        assert!(of(&[&[local_call(1), EXIT], &[load(2, 1, 76), store_through(2), EXIT]]), "in a function");
        let given = [load(1, 1, 76), local_call(1), EXIT];
        assert!(of(&[&given, &[store_through(1), EXIT]]), "by an argument");
    }

    #[test]
    fn reading_and_writing_elsewhere_is_no_write() {
        assert!(!of(&[&[load(2, 1, 76), load(3, 2, 0), set_r0(0), EXIT]]));
        assert!(!of(&[&[load(2, 1, 8), store_through(2), EXIT]]), "mark is a number");
        assert!(!of(&[&[Insn::new(0x62, 1, 0, 8, 7), set_r0(0), EXIT]]), "the context itself");
        assert!(!of(&[&[load(2, 1, 76), helper(7), store_through(2), EXIT]]), "calls forget registers");
        let local = [copy(2, 10), add(2, -8), store_through(2), set_r0(0), EXIT];
        assert!(!of(&[&local]));
    }
}
