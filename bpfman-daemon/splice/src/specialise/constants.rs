//! Known contents of registers: constants, and addresses in read-only data, as the verifier knows them since 5.10.

use bpfman_model::{Insn, MapId, op};

use crate::analysis::values::RegisterValue;
use crate::specialise::ReadOnlyMap;
use crate::text::opcode;
use crate::text::scan::Effect;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum KnownValue {
    #[default]
    Nothing,
    Number(u64),
    /// Byte of a read-only map's value.
    Address {
        map: MapId,
        at: i64,
    },
}

impl RegisterValue for KnownValue {
    fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Nothing }
    }
}

pub(super) type Registers = [KnownValue; 11];

pub(super) fn step(
    insn: Insn,
    next: Option<Insn>,
    effect: Effect,
    maps: &[ReadOnlyMap<'_>],
    known: &mut Registers,
) {
    let (dst, src) = (usize::from(insn.dst()), usize::from(insn.src()));
    match effect {
        Effect::Helper(_) | Effect::Kfunc { .. } | Effect::LocalCall { .. } | Effect::OldPacketLoad => {
            known[..6].fill(KnownValue::Nothing);
        }
        _ if dst > 10 => {}
        _ => match insn.class() {
            opcode::CLASS_ALU | opcode::CLASS_ALU64 => known[dst] = computed(insn, known),
            opcode::CLASS_LDX => {
                let base = known.get(src).copied().unwrap_or_default();
                known[dst] = loaded(insn, base, maps).map_or(KnownValue::Nothing, KnownValue::Number);
            }
            opcode::CLASS_STX if insn.code & 0xe0 == opcode::MODE_ATOMIC => {
                for written in [0, dst, src.min(10)] {
                    known[written] = KnownValue::Nothing;
                }
            }
            opcode::CLASS_LD => known[dst] = wide(insn, next, maps),
            _ => {}
        },
    }
}

fn wide(insn: Insn, next: Option<Insn>, maps: &[ReadOnlyMap<'_>]) -> KnownValue {
    let Some(half) = next.filter(|_| insn.is_ld_imm64()) else { return KnownValue::Nothing };
    let map = MapId(insn.imm.cast_unsigned());
    match insn.src() {
        0 => KnownValue::Number(
            u64::from(insn.imm.cast_unsigned()) | u64::from(half.imm.cast_unsigned()) << 32,
        ),
        op::PSEUDO_MAP_VALUE if maps.iter().any(|one| one.map == map) => {
            KnownValue::Address { map, at: i64::from(half.imm.cast_unsigned()) }
        }
        _ => KnownValue::Nothing,
    }
}

pub(super) fn loaded(insn: Insn, base: KnownValue, maps: &[ReadOnlyMap<'_>]) -> Option<u64> {
    let KnownValue::Address { map, at } = base else { return None };
    let value = maps.iter().find(|one| one.map == map)?.value;
    let from = usize::try_from(at.checked_add(i64::from(insn.off))?).ok()?;
    let bytes = |count: usize| value.get(from..from.checked_add(count)?);
    let number = match insn.code & opcode::SIZE {
        opcode::SIZE_B => u64::from(*bytes(1)?.first()?),
        opcode::SIZE_H => u64::from(u16::from_ne_bytes(bytes(2)?.try_into().ok()?)),
        opcode::SIZE_W => u64::from(u32::from_ne_bytes(bytes(4)?.try_into().ok()?)),
        _ => u64::from_ne_bytes(bytes(8)?.try_into().ok()?),
    };
    match insn.code & opcode::MODE {
        opcode::MODE_MEM => Some(number),
        opcode::MODE_MEMSX => Some(match insn.code & opcode::SIZE {
            opcode::SIZE_B => i64::from((number as u8).cast_signed()).cast_unsigned(),
            opcode::SIZE_H => i64::from((number as u16).cast_signed()).cast_unsigned(),
            _ => i64::from((number as u32).cast_signed()).cast_unsigned(),
        }),
        _ => None,
    }
}

fn operand(insn: Insn, known: &Registers) -> KnownValue {
    if insn.code & opcode::SOURCE_REGISTER == 0 {
        KnownValue::Number(i64::from(insn.imm).cast_unsigned())
    } else {
        known.get(usize::from(insn.src())).copied().unwrap_or_default()
    }
}

fn computed(insn: Insn, known: &Registers) -> KnownValue {
    // A nonzero offset marks sign-extending or address-space moves, and signed divisions.
    if insn.off != 0 {
        return KnownValue::Nothing;
    }
    let is_wide = insn.class() == opcode::CLASS_ALU64;
    let (left, right) = (known[usize::from(insn.dst())], operand(insn, known));
    let operation = insn.code & 0xf0;
    match (left, right) {
        (_, KnownValue::Number(number)) if operation == opcode::MOV => {
            KnownValue::Number(if is_wide { number } else { number & u64::from(u32::MAX) })
        }
        (_, moved) if operation == opcode::MOV && is_wide => moved,
        (KnownValue::Number(left), KnownValue::Number(right)) => {
            arithmetic(operation, is_wide, left, right).map_or(KnownValue::Nothing, KnownValue::Number)
        }
        (KnownValue::Address { map, at }, KnownValue::Number(number)) if is_wide => {
            let distance = number.cast_signed();
            let moved = match operation {
                opcode::ADD => at.checked_add(distance),
                opcode::SUB => at.checked_sub(distance),
                _ => None,
            };
            moved.map_or(KnownValue::Nothing, |at| KnownValue::Address { map, at })
        }
        _ => KnownValue::Nothing,
    }
}

pub(crate) fn arithmetic(operation: u8, is_wide: bool, left: u64, right: u64) -> Option<u64> {
    let bits = if is_wide { 64 } else { 32 };
    let low = |number: u64| if is_wide { number } else { number & u64::from(u32::MAX) };
    let (left, right) = (low(left), low(right));
    let shift = u32::try_from(right).ok().filter(|shift| *shift < bits);
    let number = match operation {
        opcode::ADD => Some(left.wrapping_add(right)),
        opcode::SUB => Some(left.wrapping_sub(right)),
        opcode::MUL => Some(left.wrapping_mul(right)),
        opcode::OR => Some(left | right),
        opcode::AND => Some(left & right),
        opcode::XOR => Some(left ^ right),
        opcode::LSH => shift.map(|shift| left << shift),
        opcode::RSH => shift.map(|shift| left >> shift),
        opcode::ARSH if is_wide => shift.map(|shift| (left.cast_signed() >> shift).cast_unsigned()),
        opcode::ARSH => {
            let signed = (left as u32).cast_signed();
            shift.map(|shift| u64::from((signed >> shift).cast_unsigned()))
        }
        _ => None,
    };
    number.map(low)
}

pub(super) fn decided(insn: Insn, known: &Registers) -> Option<bool> {
    let KnownValue::Number(left) = *known.get(usize::from(insn.dst()))? else { return None };
    let KnownValue::Number(right) = operand(insn, known) else { return None };
    let (left, right, signed) = if insn.class() == op::CLASS_JMP32 {
        let (left, right) = (left as u32, right as u32);
        let signed = i64::from(left.cast_signed()).cmp(&i64::from(right.cast_signed()));
        (u64::from(left), u64::from(right), signed)
    } else {
        (left, right, left.cast_signed().cmp(&right.cast_signed()))
    };
    Some(match insn.code & 0xf0 {
        opcode::JUMP_EQ => left == right,
        opcode::JUMP_NE => left != right,
        opcode::JUMP_GT => left > right,
        opcode::JUMP_GE => left >= right,
        opcode::JUMP_LT => left < right,
        opcode::JUMP_LE => left <= right,
        opcode::JUMP_SET => left & right != 0,
        opcode::JUMP_SGT => signed.is_gt(),
        opcode::JUMP_SGE => signed.is_ge(),
        opcode::JUMP_SLT => signed.is_lt(),
        opcode::JUMP_SLE => signed.is_le(),
        _ => return None,
    })
}
