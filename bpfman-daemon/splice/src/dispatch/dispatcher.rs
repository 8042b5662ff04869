//! A dispatcher in libxdp's protocol (`protocol.org`), with a function per slot that other programs replace.

use bpfman_model::{BoundText, FuncInfo, FunctionSpan, Insn, MapId, ProgramText, op};

use crate::dispatch::dispatcher_types;
use crate::text::asm::Asm;
use crate::text::opcode;

/// Name of the program, by which libxdp recognizes it.
pub const DISPATCHER_NAME: &str = "xdp_dispatcher";
pub const DISPATCHER_SLOTS: usize = 10;
/// Result of an unused slot.
pub const DISPATCHER_EMPTY_SLOT: u32 = 31;
/// Size of the configuration in bytes, the only value of the only map.
pub const DISPATCHER_CONFIG_SIZE: usize = 4 + 3 * DISPATCHER_SLOTS * 4;

const ACTIONS: i16 = 4;
const PASS: i32 = 2;
/// `bpf_xdp_adjust_tail`.
const ADJUST_TAIL: i32 = 65;
/// Preserved by calls.
const CONTEXT: u8 = 6;
const CONFIG: u8 = 7;

/// Returns the name of a slot's function.
#[must_use]
pub fn dispatcher_slot(slot: usize) -> String {
    format!("prog{slot}")
}

/// Returns the type id of a slot's function in the dispatcher's own BTF.
#[must_use]
pub fn dispatcher_slot_type(slot: usize) -> u32 {
    dispatcher_types::FIRST_SLOT + slot as u32
}

/// Returns a dispatcher with at most [`DISPATCHER_SLOTS`] slots; `config` is the map of its configuration.
#[must_use]
pub fn dispatcher(slots: usize, config: MapId, frags: bool) -> BoundText {
    let slots = slots.min(DISPATCHER_SLOTS);
    let mut asm = Asm::default();
    let (out, functions) = (asm.label(), (0..slots).map(|_| asm.label()).collect::<Vec<_>>());
    asm.push(Insn::new(opcode::MOV64_REG, CONTEXT, 1, 0, 0));
    asm.push(Insn::new(op::LD_IMM64, CONFIG, op::PSEUDO_MAP_VALUE, 0, config.0.cast_signed()));
    asm.push(Insn::default());
    for (slot, function) in functions.iter().enumerate() {
        asm.push(Insn::new(opcode::MOV64_REG, 1, CONTEXT, 0, 0));
        asm.call(*function);
        // No proceed set has a bit for a larger code: return the code.
        asm.branch(opcode::JGT32, DISPATCHER_EMPTY_SLOT, out);
        asm.push(Insn::new(opcode::LOAD_W, 1, CONFIG, ACTIONS + 4 * slot as i16, 0));
        asm.push(Insn::new(opcode::RSH32_REG, 1, 0, 0, 0));
        asm.push(Insn::new(opcode::AND32_IMM, 1, 0, 0, 1));
        asm.branch_on(1, opcode::JEQ32, 0, out);
    }
    asm.set(0, PASS);
    asm.bind(out);
    asm.exit();
    let mut spans = vec![FunctionSpan { name: DISPATCHER_NAME.to_owned(), start: 0, len: asm.here() }];
    for (slot, function) in functions.iter().enumerate() {
        let start = asm.here();
        asm.bind(*function);
        // Shows the verifier that a replacement may change the packet (Linux 6.13); runs only in an unused slot.
        asm.push(Insn::new(opcode::MOV64_IMM, 2, 0, 0, 0));
        asm.helper(ADJUST_TAIL);
        asm.set(0, DISPATCHER_EMPTY_SLOT as i32);
        asm.exit();
        spans.push(FunctionSpan { name: dispatcher_slot(slot), start, len: asm.here() - start });
    }
    let types = std::iter::once(dispatcher_types::entry(slots)).chain((0..slots).map(dispatcher_slot_type));
    let func_info = spans.iter().zip(types);
    BoundText(ProgramText {
        name: DISPATCHER_NAME.to_owned(),
        license: "GPL".to_owned(),
        func_info: func_info
            .map(|(span, type_id)| FuncInfo { insn_off: span.start as u32, type_id })
            .collect(),
        functions: spans,
        // The program has about a hundred instructions: every jump reaches its target.
        insns: asm.finish(false).unwrap_or_default(),
        btf: Some(dispatcher_types::btf(slots).into()),
        line_info: Vec::new(),
        frags,
        sleepable: false,
        modules: Vec::new(),
        jump_tables: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_is_a_function_of_its_own_type() {
        for slots in 1..=DISPATCHER_SLOTS {
            let BoundText(text) = dispatcher(slots, MapId(7), false);
            assert!(!text.insns.is_empty());
            assert_eq!(text.functions.len(), slots + 1);
            let calls: Vec<usize> = (0..text.insns.len())
                .filter(|at| text.insns[*at].is_local_call())
                .map(|at| (at as i64 + 1 + i64::from(text.insns[at].imm)) as usize)
                .collect();
            let starts: Vec<usize> = text.functions[1..].iter().map(|function| function.start).collect();
            assert_eq!(calls, starts, "the slots are called in their order");
            let mut types: Vec<u32> = text.func_info.iter().map(|info| info.type_id).collect();
            assert_eq!(types.remove(1), dispatcher_slot_type(0));
            types.sort_unstable();
            types.dedup();
            assert_eq!(types.len(), slots);
        }
    }

    #[test]
    fn the_same_request_gives_the_same_program() {
        assert_eq!(dispatcher(3, MapId(7), true), dispatcher(3, MapId(7), true));
        assert_eq!(dispatcher(3, MapId(7), true).map_ids(), [MapId(7)]);
    }
}
