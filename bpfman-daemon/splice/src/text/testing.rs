//! Members for unit tests, written as instructions.

use bpfman_model::{BoundText, FunctionSpan, Insn, op};

pub(crate) const EXIT: Insn = Insn::new(op::EXIT, 0, 0, 0, 0);

/// `r0 = value`.
pub(crate) const fn set_r0(value: i32) -> Insn {
    Insn::new(0xb7, 0, 0, 0, value)
}

pub(crate) const fn helper(id: i32) -> Insn {
    Insn::new(op::CALL, 0, 0, 0, id)
}

pub(crate) const fn local_call(distance: i32) -> Insn {
    Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, distance)
}

/// `*(u64 *)(r10 + offset) = 0`.
pub(crate) const fn store(offset: i16) -> Insn {
    Insn::new(0x7a, 10, 0, offset, 0)
}

/// `*(u64 *)(r10 + offset) = r<register>`.
pub(crate) const fn spill(offset: i16, register: u8) -> Insn {
    Insn::new(0x7b, 10, register, offset, 0)
}

/// `r<dst> = *(u64 *)(r<src> + offset)`.
pub(crate) const fn load(dst: u8, src: u8, offset: i16) -> Insn {
    Insn::new(0x79, dst, src, offset, 0)
}

/// `r<dst> = r<src>`.
pub(crate) const fn copy(dst: u8, src: u8) -> Insn {
    Insn::new(0xbf, dst, src, 0, 0)
}

/// `r<dst> += value`.
pub(crate) const fn add(dst: u8, value: i32) -> Insn {
    Insn::new(0x07, dst, 0, 0, value)
}

/// `r<dst> += r<src>`.
pub(crate) const fn add_register(dst: u8, src: u8) -> Insn {
    Insn::new(0x0f, dst, src, 0, 0)
}

/// Returns a program of these functions, the entry first, without type information.
pub(crate) fn program(functions: &[&[Insn]]) -> BoundText {
    let mut insns = Vec::new();
    let mut spans = Vec::new();
    for (number, function) in functions.iter().enumerate() {
        let name = if number == 0 { "entry".to_owned() } else { format!("function_{number}") };
        spans.push(FunctionSpan { name, start: insns.len(), len: function.len() });
        insns.extend_from_slice(function);
    }
    let mut text = BoundText::of_one_function("entry", "GPL", insns);
    text.0.functions = spans;
    text
}

pub(crate) fn constant(value: i32) -> BoundText {
    program(&[&[set_r0(value), EXIT]])
}

pub(crate) fn unknown() -> BoundText {
    program(&[&[helper(7), EXIT]])
}
