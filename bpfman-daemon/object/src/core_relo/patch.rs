//! Patches an instruction with the result of a relocation.

use bpfman_model::{Insn, op};

use super::CoreError;
use super::spec::Spec;
use super::value::{RelocKind, evaluate};
use crate::btf::ext::CoreRecord;
use crate::btf::{Btf, Kind};

/// Number of libbpf, so that known explanations of the verifier log apply.
const POISON: i32 = 0x0bad_2310;
const CLASS_LD: u8 = 0;
const CLASS_LDX: u8 = 1;
const CLASS_ST: u8 = 2;
const CLASS_STX: u8 = 3;
const CLASS_ALU: u8 = 4;
const CLASS_ALU64: u8 = 7;
const SOURCE_REGISTER: u8 = 0x08;
const SIZE_MASK: u8 = 0x18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    Changed,
    Refused,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    /// Number written by the compiler, if it can be checked.
    before: Option<u64>,
    /// `None`: the verifier refuses the instruction.
    after: Option<u64>,
    access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Same,
    Bytes(u64),
    /// A signed number needs sign extension in another width.
    Impossible,
}

impl Patch {
    pub(super) fn compute(
        kind: RelocKind,
        local: (&Btf, &Spec),
        target: Option<(&Btf, &Spec)>,
    ) -> Result<Self, CoreError> {
        let before = evaluate(kind, Some(local))?;
        let after = evaluate(kind, target)?;
        let mut access = Access::Same;
        let fields = before.and_then(|value| value.field).zip(after.and_then(|value| value.field));
        if let (Some(((old, old_id), (new, new_id))), Some((target, _))) = (fields, target)
            && old != new
        {
            let unsigned = |btf: &Btf, id: u32| {
                btf.resolve(id).is_some_and(|ty| ty.kind == Kind::Int && ty.int_encoding() & 1 == 0)
            };
            let pointer = |btf: &Btf, id: u32| btf.resolve(id).is_some_and(|ty| ty.kind == Kind::Ptr);
            let widens = unsigned(local.0, old_id) && unsigned(target, new_id)
                || pointer(local.0, old_id) && pointer(target, new_id);
            access = if widens { Access::Bytes(new) } else { Access::Impossible };
        }
        Ok(Self {
            before: before.filter(|value| value.checked).map(|value| value.number),
            after: after.map(|value| widened(kind, target, value.number)),
            access,
        })
    }

    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.after == other.after
    }

    pub(super) const fn has_answer(&self) -> bool {
        self.after.is_some()
    }

    pub(super) fn apply(&self, insns: &mut [Insn], at: usize) -> Result<Applied, CoreError> {
        let Some(insn) = insns.get(at).copied() else {
            return Err(CoreError::NoAnswer("a CO-RE relocation outside"));
        };
        let wide = insn.is_ld_imm64();
        if wide && at + 1 >= insns.len() {
            return Err(CoreError::HalfLoad);
        }
        let memory = matches!(insn.class(), CLASS_LDX | CLASS_ST | CLASS_STX);
        let (Some(after), false) = (self.after, memory && self.access == Access::Impossible) else {
            insns[at] = Insn::new(op::CALL, 0, 0, 0, POISON);
            if wide {
                insns[at + 1] = Insn::new(op::CALL, 0, 0, 0, POISON);
            }
            return Ok(Applied::Refused);
        };
        let found = match insn.class() {
            CLASS_ALU | CLASS_ALU64 if insn.code & SOURCE_REGISTER == 0 => {
                u64::from(insn.imm.cast_unsigned())
            }
            CLASS_LDX | CLASS_ST | CLASS_STX => u64::from(insn.off.cast_unsigned()),
            CLASS_LD if wide && insn.src() == 0 => {
                u64::from(insn.imm.cast_unsigned()) | u64::from(insns[at + 1].imm.cast_unsigned()) << 32
            }
            _ => return Err(CoreError::WrongOperation(insn.code)),
        };
        let narrow = matches!(insn.class(), CLASS_ALU | CLASS_ALU64);
        let differs = |before: u64| if narrow { before as u32 as u64 != found } else { before != found };
        if let Some(before) = self.before.filter(|before| differs(*before)) {
            return Err(CoreError::Differs { found, expected: before });
        }
        if narrow {
            // The instruction itself sign-extends signed enumerators.
            let fits = u32::try_from(after).is_ok() || i32::try_from(after.cast_signed()).is_ok();
            if !fits {
                return Err(CoreError::NumberTooLarge(after));
            }
            insns[at].imm = after as u32 as i32;
        } else if memory {
            insns[at].off = i16::try_from(after).map_err(|_| CoreError::OffsetTooLarge(after))?;
            if let Access::Bytes(bytes) = self.access {
                insns[at].code = insn.code & !SIZE_MASK | size_bits(bytes)?;
            }
        } else {
            insns[at].imm = after as u32 as i32;
            insns[at + 1].imm = (after >> 32) as u32 as i32;
        }
        Ok(Applied::Changed)
    }
}

/// Sign-extends 32-bit enumerators, as libbpf does: kernels without 64-bit enums report only the low half.
fn widened(kind: RelocKind, target: Option<(&Btf, &Spec)>, number: u64) -> u64 {
    let is_enum = |(btf, spec): (&Btf, &Spec)| {
        spec.steps.first().and_then(|step| btf.get(step.type_id)).is_some_and(|ty| ty.kind == Kind::Enum)
    };
    if kind == RelocKind::EnumeratorValue && target.is_some_and(is_enum) {
        i64::from((number as u32).cast_signed()).cast_unsigned()
    } else {
        number
    }
}

fn size_bits(bytes: u64) -> Result<u8, CoreError> {
    match bytes {
        1 => Ok(0x10),
        2 => Ok(0x08),
        4 => Ok(0x00),
        8 => Ok(0x18),
        _ => Err(CoreError::AccessWidth(bytes)),
    }
}

/// `starts` is true at the first slot of each instruction.
pub(crate) fn patch_local(
    record: &CoreRecord,
    insns: &mut [Insn],
    starts: &[bool],
    at: usize,
) -> Result<(), CoreError> {
    if let Some(insn) = insns.get(at)
        && !takes_type_id(insns, starts, at)
    {
        return Err(CoreError::WrongOperation(insn.code));
    }
    let patch = Patch { before: None, after: Some(u64::from(record.type_id)), access: Access::Same };
    patch.apply(insns, at).map(drop)
}

/// Returns whether the immediate may be a type id, which splicing rewrites: no map index, call target or offset.
pub(crate) fn takes_type_id(insns: &[Insn], starts: &[bool], at: usize) -> bool {
    let Some(insn) = insns.get(at).filter(|_| starts.get(at) == Some(&true)) else { return false };
    let takes_immediate = matches!(insn.class(), CLASS_ALU | CLASS_ALU64) && insn.code & SOURCE_REGISTER == 0;
    takes_immediate || insn.is_ld_imm64() && insn.src() == 0
}

/// Returns whether each slot begins an instruction: false for second halves.
pub(crate) fn starts(insns: &[Insn]) -> Vec<bool> {
    let mut starts = vec![true; insns.len()];
    let mut at = 0;
    while at < insns.len() {
        if insns[at].is_ld_imm64() {
            if let Some(half) = starts.get_mut(at + 1) {
                *half = false;
            }
            at += 1;
        }
        at += 1;
    }
    starts
}
