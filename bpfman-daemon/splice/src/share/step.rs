//! Effect of one instruction on the facts.

use bpfman_model::{Insn, op};

use crate::chain::hook::SpliceHook;
use crate::share::expression::{CONTEXT, END, Expression, ExpressionId, Expressions, START};
use crate::share::state::{PathFacts, TrackedValue};
use crate::specialise::arithmetic;
use crate::text::opcode;
use crate::text::scan::Effect;

/// Helpers that neither write nor move a packet, whatever their arguments. A helper that writes to memory at an
/// argument is listed only if the kernel refuses addresses in the packet as this argument.
#[rustfmt::skip]
const HARMLESS: [i32; 20] = [
    1, 2, 3, // map_lookup_elem, map_update_elem, map_delete_elem
    5, 7, 8, 125, 160, // ktime_get_ns, get_prandom_u32, get_smp_processor_id, ktime_get_boot_ns, ktime_get_coarse_ns
    6, 25, 28, // trace_printk, perf_event_output, csum_diff
    23, 51, // redirect, redirect_map
    26, 189, // skb_load_bytes, xdp_load_bytes
    130, 131, 132, 133, // ringbuf_output, ringbuf_reserve, ringbuf_submit, ringbuf_discard
    195, // map_lookup_percpu_elem
];

/// Harmless helpers that return an address or null.
const RETURNS_ADDRESS: [i32; 3] = [1, 131, 195];

const ADDRESS_SPACE_CAST: i16 = 1;

/// Offsets in the context of the hook's programs.
#[derive(Clone, Copy)]
pub(super) struct PacketFields {
    data: i16,
    end: i16,
}

impl PacketFields {
    pub(super) const fn of(hook: SpliceHook) -> Self {
        match hook {
            SpliceHook::Xdp => Self { data: 0, end: 4 },
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => Self { data: 76, end: 80 },
        }
    }
}

/// Place of the context, as an offset from the frame pointer.
pub(super) type ContextSlot = Option<i16>;

/// Returns the value that an instruction writes to its destination register; `None` for other instructions.
pub(super) fn result(
    insn: Insn,
    next: Option<Insn>,
    (fields, slot): (PacketFields, ContextSlot),
    state: &PathFacts,
    expressions: &mut Expressions,
) -> Option<TrackedValue> {
    let register = |number: u8| state.registers.get(usize::from(number)).copied().unwrap_or_default();
    match insn.class() {
        opcode::CLASS_ALU | opcode::CLASS_ALU64 => {
            Some(computed(insn, register(insn.dst()), register(insn.src()), expressions))
        }
        opcode::CLASS_LDX => {
            if insn.src() == opcode::FRAME && insn.code == opcode::LOAD_DW && Some(insn.off) == slot {
                return Some(state.slot);
            }
            Some(loaded(insn, register(insn.src()), fields, expressions))
        }
        opcode::CLASS_LD if insn.is_ld_imm64() => Some(match (insn.src(), next) {
            (0, Some(high)) => {
                let low = u64::from(insn.imm.cast_unsigned());
                let number = low | u64::from(high.imm.cast_unsigned()) << 32;
                TrackedValue::Known(expressions.number(number))
            }
            (op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE, _) => TrackedValue::Elsewhere,
            _ => TrackedValue::Unknown,
        }),
        _ => None,
    }
}

fn loaded(
    insn: Insn,
    base: TrackedValue,
    fields: PacketFields,
    expressions: &mut Expressions,
) -> TrackedValue {
    let mode = insn.code & opcode::MODE;
    let size = insn.code & opcode::SIZE;
    match base {
        TrackedValue::Known(CONTEXT) => match (insn.code, insn.off) {
            (opcode::LOAD_W, off) if off == fields.data => TrackedValue::Known(START),
            (opcode::LOAD_W, off) if off == fields.end => TrackedValue::Known(END),
            _ => TrackedValue::Unknown,
        },
        TrackedValue::Known(id) => match expressions.as_address(id) {
            Some((base, by)) if matches!(mode, opcode::MODE_MEM | opcode::MODE_MEMSX) => {
                let by = by + i64::from(insn.off);
                TrackedValue::Known(expressions.id(Expression::Loaded { code: insn.code, base, by }))
            }
            _ => TrackedValue::Unknown,
        },
        // Only values of eight bytes on the stack are addresses.
        TrackedValue::Elsewhere if size != opcode::SIZE_DW => TrackedValue::Number,
        // Fields of a context may be addresses, too, but not those of one or two bytes.
        _ if matches!(size, opcode::SIZE_B | opcode::SIZE_H) => TrackedValue::Number,
        _ => TrackedValue::Unknown,
    }
}

fn computed(
    insn: Insn,
    left: TrackedValue,
    right: TrackedValue,
    expressions: &mut Expressions,
) -> TrackedValue {
    let operation = insn.code & 0xf0;
    let is_wide = insn.class() == opcode::CLASS_ALU64;
    let by_register = insn.code & opcode::SOURCE_REGISTER != 0;
    let is_unary = matches!(operation, opcode::NEG | opcode::END);
    if operation == opcode::MOV && insn.off == ADDRESS_SPACE_CAST {
        return TrackedValue::Unknown;
    }
    let right = match (is_unary, by_register) {
        (true, _) => None,
        (false, true) => Some(right),
        (false, false) => {
            let number = i64::from(insn.imm).cast_unsigned();
            let number = if is_wide { number } else { number & u64::from(u32::MAX) };
            Some(TrackedValue::Known(expressions.number(number)))
        }
    };
    match (operation, right) {
        (opcode::MOV, Some(moved)) if is_wide && insn.off == 0 => return moved,
        (opcode::MOV, Some(TrackedValue::Known(moved)))
            if insn.off == 0 && expressions.is_number(moved) && expressions.bits(moved) <= 32 =>
        {
            return TrackedValue::Known(moved);
        }
        (opcode::ADD | opcode::SUB, Some(right)) if is_wide && insn.off == 0 => {
            if let Some(sum) = address(operation, left, right, expressions) {
                return sum;
            }
        }
        _ => {}
    }
    let of_numbers = match (operation, left, right) {
        (opcode::MOV, _, Some(TrackedValue::Known(moved))) => Some((moved, None)),
        (_, TrackedValue::Known(left), None) => Some((left, None)),
        (_, TrackedValue::Known(left), Some(TrackedValue::Known(right))) => Some((left, Some(right))),
        _ => None,
    };
    match of_numbers {
        Some((left, right))
            if expressions.is_number(left) && right.is_none_or(|right| expressions.is_number(right)) =>
        {
            number(insn, left, right, expressions)
        }
        // Any other result of two addresses, or of an address and a number, is a number.
        _ => TrackedValue::Number,
    }
}

fn number(
    insn: Insn,
    left: ExpressionId,
    right: Option<ExpressionId>,
    expressions: &mut Expressions,
) -> TrackedValue {
    let constants = (expressions.as_number(left), right.and_then(|right| expressions.as_number(right)));
    if let (Some(left), Some(right)) = constants
        && insn.off == 0
        && let Some(number) = arithmetic(insn.code & 0xf0, insn.class() == opcode::CLASS_ALU64, left, right)
    {
        return TrackedValue::Known(expressions.number(number));
    }
    // The second operand is in the expression: members may have it in any register.
    let imm = if right.is_some() && insn.code & opcode::SOURCE_REGISTER != 0 { 0 } else { insn.imm };
    let right = if insn.code & opcode::SOURCE_REGISTER == 0 { None } else { right };
    TrackedValue::Known(expressions.id(Expression::Computed {
        code: insn.code,
        off: insn.off,
        imm,
        left,
        right,
    }))
}

/// Returns a sum or difference of 64 bits that is, or may be, an address.
fn address(
    operation: u8,
    left: TrackedValue,
    right: TrackedValue,
    expressions: &mut Expressions,
) -> Option<TrackedValue> {
    let is_number = |value: TrackedValue, expressions: &Expressions| match value {
        TrackedValue::Number => true,
        TrackedValue::Known(id) => expressions.is_number(id),
        TrackedValue::Unknown | TrackedValue::Elsewhere => false,
    };
    let (left, right) = match (left, right) {
        (left, right) if is_number(left, expressions) && operation == opcode::ADD => (right, left),
        both => both,
    };
    if is_number(left, expressions) && is_number(right, expressions) {
        return None;
    }
    if !is_number(right, expressions) {
        // The difference of two addresses would be a number, but an address may be null.
        return Some(TrackedValue::Unknown);
    }
    Some(match left {
        // Null plus a number is not an address that may be used.
        TrackedValue::Elsewhere => TrackedValue::Elsewhere,
        TrackedValue::Known(left) => match (expressions.as_address(left), right) {
            (Some((base, by)), TrackedValue::Known(right)) => match expressions.as_number(right) {
                Some(number) => {
                    let number = number.cast_signed();
                    let sum = match operation {
                        opcode::ADD => by.checked_add(number),
                        _ => by.checked_sub(number),
                    };
                    match sum.filter(|sum| sum.unsigned_abs() <= 1 << 30) {
                        Some(by) => TrackedValue::Known(expressions.at(base, by)),
                        None => TrackedValue::Unknown,
                    }
                }
                None if operation == opcode::ADD => {
                    let base = expressions.id(Expression::Moved { base, by: right });
                    TrackedValue::Known(expressions.at(base, by))
                }
                None => TrackedValue::Unknown,
            },
            _ => TrackedValue::Unknown,
        },
        _ => TrackedValue::Unknown,
    })
}

/// Updates the facts after an instruction other than a jump. `written` is its result, from [`result`].
pub(super) fn step(
    insn: Insn,
    effect: Effect,
    written: Option<TrackedValue>,
    slot: ContextSlot,
    state: &mut PathFacts,
    expressions: &Expressions,
) {
    match effect {
        Effect::Helper(id) => {
            if !HARMLESS.contains(&id) {
                state.packet_moved(expressions);
            }
            state.registers[1..6].fill(TrackedValue::Unknown);
            state.registers[0] = match id {
                id if RETURNS_ADDRESS.contains(&id) => TrackedValue::Elsewhere,
                id if HARMLESS.contains(&id) => TrackedValue::Number,
                _ => TrackedValue::Unknown,
            };
            return;
        }
        Effect::Kfunc { .. } | Effect::LocalCall { .. } => {
            state.packet_moved(expressions);
            state.registers[..6].fill(TrackedValue::Unknown);
            return;
        }
        _ => {}
    }
    if let Some(written) = written {
        if let Some(register) = state.registers.get_mut(usize::from(insn.dst())) {
            *register = written;
        }
        return;
    }
    if matches!(insn.class(), opcode::CLASS_ST | opcode::CLASS_STX) {
        store(insn, slot, state, expressions);
    }
}

fn store(insn: Insn, slot: ContextSlot, state: &mut PathFacts, expressions: &Expressions) {
    let (dst, src) = (usize::from(insn.dst()).min(10), usize::from(insn.src()).min(10));
    let is_atomic = insn.class() == opcode::CLASS_STX && insn.code & opcode::MODE == opcode::MODE_ATOMIC;
    if insn.dst() == opcode::FRAME {
        if let Some(slot) = slot
            && overlaps(insn, slot)
        {
            let is_whole = insn.code == opcode::STORE_DW_REG && insn.off == slot;
            state.slot = if is_whole { state.registers[src] } else { TrackedValue::Unknown };
        }
    } else if !matches!(state.registers[dst], TrackedValue::Elsewhere | TrackedValue::Known(CONTEXT)) {
        // An unknown address may be in the packet.
        state.packet_written(expressions);
    }
    if is_atomic {
        match insn.imm {
            opcode::ATOMIC_LOAD_ACQUIRE => state.registers[dst] = TrackedValue::Unknown,
            opcode::ATOMIC_CMPXCHG => state.registers[0] = TrackedValue::Unknown,
            operation if operation & opcode::ATOMIC_FETCH != 0 => {
                state.registers[src] = TrackedValue::Unknown
            }
            _ => {}
        }
    }
}

/// Returns whether a store by the frame pointer touches the eight bytes of the slot.
pub(super) fn overlaps(insn: Insn, slot: i16) -> bool {
    let size = i32::from(opcode::access_size(insn.code));
    let (from, slot) = (i32::from(insn.off), i32::from(slot));
    from < slot + 8 && from + size > slot
}
