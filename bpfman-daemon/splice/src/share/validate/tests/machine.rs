//! Runs XDP programs on packets, as far as the tests' members need it.

use bpfman_model::{Insn, ProgramText, op};

use crate::specialise::of_helper;
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, width};

const CONTEXT: u64 = 0x100;
const PACKET: u64 = 0x240;
const STACK: u64 = 0x800;
const VALUE: u64 = 0x900;

/// Effects in order, the verdict, and all memory but the stack; `None` if a program leaves its memory or does not end.
pub(super) type Run = Option<(Vec<u64>, u64, Vec<u8>)>;

struct Machine {
    memory: Vec<u8>,
    registers: [u64; 11],
    log: Vec<u64>,
    seed: u64,
}

pub(super) fn run(text: &ProgramText, packet: &[u8], seed: u64) -> Run {
    let mut machine = Machine { memory: vec![0; 0xa00], registers: [0x77; 11], log: Vec::new(), seed };
    machine.store(CONTEXT, 4, PACKET)?;
    machine.store(CONTEXT + 4, 4, PACKET + packet.len() as u64)?;
    machine.memory[PACKET as usize..][..packet.len()].copy_from_slice(packet);
    machine.registers[1] = CONTEXT;
    machine.registers[10] = STACK;
    let verdict = machine.follow(text)?;
    machine.memory[PACKET as usize + 0x200..STACK as usize].fill(0);
    Some((machine.log, verdict, machine.memory))
}

impl Machine {
    fn load(&self, at: u64, size: usize) -> Option<u64> {
        let bytes = self.memory.get(usize::try_from(at).ok()?..)?.get(..size)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn store(&mut self, at: u64, size: usize, number: u64) -> Option<()> {
        let bytes = self.memory.get_mut(usize::try_from(at).ok()?..)?.get_mut(..size)?;
        bytes.copy_from_slice(&number.to_le_bytes()[..size]);
        Some(())
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.seed >> 33
    }

    fn follow(&mut self, text: &ProgramText) -> Option<u64> {
        let mut at = 0;
        let mut callers: Vec<(usize, [u64; 5])> = Vec::new();
        for _ in 0..5_000 {
            let insn = *text.insns.get(at)?;
            let next = text.insns.get(at + 1).copied();
            at += match effect(insn, next) {
                Effect::Exit => match callers.pop() {
                    Some((back, kept)) => {
                        self.registers[6..].copy_from_slice(&kept);
                        at = back;
                        continue;
                    }
                    None => return Some(self.registers[0]),
                },
                Effect::Jump { distance, conditional } => {
                    if !conditional || self.jumps(insn)? {
                        at = target(at, distance)?;
                        continue;
                    }
                    1
                }
                Effect::LocalCall { distance } => {
                    let kept: [u64; 5] = self.registers[6..].try_into().ok()?;
                    callers.push((at + 1, kept));
                    self.registers[10] -= 64;
                    at = target(at, distance)?;
                    continue;
                }
                Effect::Helper(id) => {
                    self.helper(id)?;
                    1
                }
                Effect::Plain => {
                    self.plain(insn, next)?;
                    width(insn)
                }
                _ => return None,
            };
        }
        None
    }

    fn helper(&mut self, id: i32) -> Option<()> {
        let arguments = self.registers[1..=usize::from(of_helper(id))].to_vec();
        self.log.push(id as u64);
        self.log.extend(&arguments);
        let number = self.random();
        self.registers[0] = match id {
            1 => {
                self.log.push(self.load(arguments[1], 4)?);
                if number.is_multiple_of(4) { 0 } else { VALUE }
            }
            44 => {
                let start = self.load(CONTEXT, 4)?.wrapping_add(arguments[1]);
                self.store(CONTEXT, 4, start)?;
                0
            }
            _ => number,
        };
        (1..6).for_each(|register| self.registers[register] = number ^ register as u64);
        Some(())
    }

    fn operand(&self, insn: Insn) -> u64 {
        match insn.code & opcode::SOURCE_REGISTER {
            0 => i64::from(insn.imm).cast_unsigned(),
            _ => self.registers[usize::from(insn.src()).min(10)],
        }
    }

    fn jumps(&self, insn: Insn) -> Option<bool> {
        let (mut left, mut right) = (self.registers[usize::from(insn.dst()).min(10)], self.operand(insn));
        let (mut low, mut high) = (left.cast_signed(), right.cast_signed());
        if insn.class() == op::CLASS_JMP32 {
            (left, right) = (u64::from(left as u32), u64::from(right as u32));
            (low, high) = (i64::from(left as i32), i64::from(right as i32));
        }
        Some(match insn.code & 0xf0 {
            opcode::JUMP_EQ => left == right,
            opcode::JUMP_NE => left != right,
            opcode::JUMP_GT => left > right,
            opcode::JUMP_GE => left >= right,
            opcode::JUMP_LT => left < right,
            opcode::JUMP_LE => left <= right,
            opcode::JUMP_SET => left & right != 0,
            opcode::JUMP_SGT => low > high,
            opcode::JUMP_SGE => low >= high,
            opcode::JUMP_SLT => low < high,
            opcode::JUMP_SLE => low <= high,
            _ => return None,
        })
    }

    fn plain(&mut self, insn: Insn, next: Option<Insn>) -> Option<()> {
        let (dst, src) = (usize::from(insn.dst()).min(10), usize::from(insn.src()).min(10));
        let size = [4, 2, 1, 8][usize::from(insn.code >> 3 & 3)];
        let address = |base: u64| base.wrapping_add_signed(i64::from(insn.off));
        match insn.class() {
            opcode::CLASS_LD => {
                let high = u64::from(next?.imm.cast_unsigned()) << 32;
                self.registers[dst] = high | u64::from(insn.imm.cast_unsigned());
            }
            opcode::CLASS_LDX => self.registers[dst] = self.load(address(self.registers[src]), size)?,
            opcode::CLASS_ST => {
                self.store(address(self.registers[dst]), size, i64::from(insn.imm).cast_unsigned())?;
            }
            opcode::CLASS_STX => {
                let at = address(self.registers[dst]);
                let is_atomic = insn.code & opcode::MODE == opcode::MODE_ATOMIC;
                let before = if is_atomic { self.load(at, size)? } else { 0 };
                self.store(at, size, before.wrapping_add(self.registers[src]))?;
            }
            _ => self.registers[dst] = compute(insn, self.registers[dst], self.operand(insn))?,
        }
        Some(())
    }
}

fn compute(insn: Insn, left: u64, right: u64) -> Option<u64> {
    let is_wide = insn.class() == opcode::CLASS_ALU64;
    let low = |number: u64| if is_wide { number } else { u64::from(number as u32) };
    let (left, right) = (low(left), low(right));
    let shift = (right & if is_wide { 63 } else { 31 }) as u32;
    let signed = if is_wide { left.cast_signed() } else { i64::from(left as i32) };
    Some(low(match insn.code & 0xf0 {
        opcode::ADD => left.wrapping_add(right),
        opcode::SUB => left.wrapping_sub(right),
        opcode::MUL => left.wrapping_mul(right),
        opcode::OR => left | right,
        opcode::AND => left & right,
        opcode::XOR => left ^ right,
        opcode::LSH => left << shift,
        opcode::RSH => left >> shift,
        opcode::ARSH => (signed >> shift).cast_unsigned(),
        opcode::NEG => left.wrapping_neg(),
        opcode::MOV => right,
        opcode::END if insn.imm == 16 => u64::from((left as u16).swap_bytes()),
        _ => return None,
    }))
}
