//! Instructions with labels: assembles glue and bodies before offsets are known.

use bpfman_model::{Insn, MapId, op};

use crate::text::opcode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JumpOutOfRange {
    pub(crate) at: usize,
    /// False for an unconditional jump: only this kind can have a 32-bit offset.
    pub(crate) conditional: bool,
}

#[derive(Default)]
pub(crate) struct Asm {
    insns: Vec<Insn>,
    places: Vec<Option<usize>>,
    open: Vec<(usize, Label)>,
}

impl Asm {
    pub(crate) fn here(&self) -> usize {
        self.insns.len()
    }

    pub(crate) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    pub(crate) fn bind(&mut self, label: Label) {
        self.places[label.0] = Some(self.here());
    }

    pub(crate) fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    pub(crate) fn extend(&mut self, insns: &[Insn]) {
        self.insns.extend_from_slice(insns);
    }

    pub(crate) fn jump(&mut self, to: Label) {
        self.open.push((self.here(), to));
        self.push(Insn::new(op::JA, 0, 0, 0, 0));
    }

    pub(crate) fn call(&mut self, to: Label) {
        self.open.push((self.here(), to));
        self.push(Insn::new(op::CALL, 0, op::PSEUDO_CALL, 0, 0));
    }

    pub(crate) fn helper(&mut self, number: i32) {
        self.push(Insn::new(op::CALL, 0, 0, 0, number));
    }

    pub(crate) fn load_map(&mut self, register: u8, map: MapId) {
        self.push(Insn::new(op::LD_IMM64, register, op::PSEUDO_MAP_FD, 0, map.0.cast_signed()));
        self.push(Insn::default());
    }

    /// Emits a conditional jump, which compares register 0.
    pub(crate) fn branch(&mut self, code: u8, value: u32, to: Label) {
        self.branch_on(0, code, value, to);
    }

    pub(crate) fn branch_on(&mut self, register: u8, code: u8, value: u32, to: Label) {
        self.open.push((self.here(), to));
        self.push(Insn::new(code, register, 0, 0, value.cast_signed()));
    }

    pub(crate) fn branch_registers(&mut self, code: u8, left: u8, right: u8, to: Label) {
        self.open.push((self.here(), to));
        self.push(Insn::new(code, left, right, 0, 0));
    }

    pub(crate) fn turn_into_jump(&mut self, at: usize, to: Label) {
        self.open.push((at, to));
        self.insns[at] = Insn::new(op::JA, 0, 0, 0, 0);
    }

    /// Emits a 32-bit move: the high half becomes zero.
    pub(crate) fn set(&mut self, register: u8, value: i32) {
        self.push(Insn::new(opcode::MOV32_IMM, register, 0, 0, value));
    }

    pub(crate) fn exit(&mut self) {
        self.push(Insn::new(op::EXIT, 0, 0, 0, 0));
    }

    /// Resolves labels. If `wide`, unconditional jumps too far for a 16-bit offset use a 32-bit offset.
    pub(crate) fn finish(mut self, wide: bool) -> Result<Vec<Insn>, JumpOutOfRange> {
        for (at, label) in self.open {
            let conditional = !matches!(self.insns[at].code, op::JA);
            let far = JumpOutOfRange { at, conditional };
            let to = self.places[label.0].ok_or(far)?;
            // Both are indexes below two million.
            let distance = to as i64 - at as i64 - 1;
            if self.insns[at].is_local_call() {
                self.insns[at].imm = i32::try_from(distance).map_err(|_| far)?;
                continue;
            }
            match (i16::try_from(distance), i32::try_from(distance)) {
                (Ok(near), _) => self.insns[at].off = near,
                (Err(_), Ok(distance)) if wide && !conditional => {
                    self.insns[at] = Insn::new(op::JA32, 0, 0, 0, distance);
                }
                _ => return Err(far),
            }
        }
        Ok(self.insns)
    }
}
