//! Random programs that the verifier accepts: packet writes, counters, stack, functions, loops, verdicts.

mod function;
mod parse;
mod random;

use bpfman_model::{BoundText, Insn};

use self::function::Function;
pub use self::parse::parser;
pub use self::random::Random;
use crate::kernel::ProgramKind;

pub const COUNTERS: u32 = 0;
pub const NOTES: u32 = 1;
pub const SETTINGS: u32 = 2;

pub const ENTRIES: u32 = 16;
pub const NOTE_BYTES: u32 = 32;
/// Contents of the map of settings: flags that are off and on, and numbers of all signs and sizes.
pub const SETTING_BYTES: [u8; 32] = [
    0, 0, 0, 0, 1, 0, 0, 0, 0xdc, 0x05, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80, 0, 0, 0, 0, 0x7f, 0x80,
    17, 6, 0, 1, 2, 0xf0,
];

/// Number of packet bytes that every program compares with the packet's end, and then reads.
const REACH: i32 = 40;

const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R10: u8 = 10;

/// Registers kept over calls; shuffled for each program.
struct Kept {
    context: u8,
    packet: u8,
    scratch: u8,
}

struct Generator<'a> {
    random: &'a mut Random,
    kind: ProgramKind,
    kept: Kept,
    functions: Vec<Function>,
    depth: i16,
}

pub fn program(random: &mut Random, kind: ProgramKind, number: usize) -> BoundText {
    let mut generator = Generator::new(random, kind);
    let mut entry = generator.begun();
    for _ in 0..generator.random.below(6) {
        generator.operation(&mut entry, 0);
    }
    if generator.random.one_in(3) {
        generator.load_byte(&mut entry, R1);
        let skip = entry.open(0x25, R1, 0, generator.random.below(200) as i32);
        generator.verdict(&mut entry);
        entry.close(skip);
        for _ in 0..generator.random.below(4) {
            generator.operation(&mut entry, 0);
        }
    }
    generator.verdict(&mut entry);
    generator.linked(entry, number)
}

impl<'a> Generator<'a> {
    fn new(random: &'a mut Random, kind: ProgramKind) -> Self {
        let mut registers = [6, 7, 8, 9];
        for last in (1..registers.len()).rev() {
            registers.swap(last, random.below(last as u64 + 1) as usize);
        }
        let kept = Kept { context: registers[0], packet: registers[1], scratch: registers[2] };
        let depth = -(8 * (6 + random.below(20) as i16));
        Self { random, kind, kept, functions: Vec::new(), depth }
    }

    /// Begins a program. Functions have numbers in the order of their creation; the entry is number 0.
    fn begun(&mut self) -> Function {
        self.functions.push(Function::new("entry"));
        let mut entry = Function::new(format!("entry_{}", self.random.below(1000)));
        entry.copy(self.kept.context, R1);
        self.bounds(&mut entry);
        entry
    }

    fn linked(mut self, entry: Function, number: usize) -> BoundText {
        self.functions[0] = entry;
        function::link(&self.functions, self.random, number)
    }
}

impl Generator<'_> {
    fn bounds(&mut self, f: &mut Function) {
        let (data, end) = if self.kind == ProgramKind::Xdp { (0, 4) } else { (76, 80) };
        f.push(0x61, self.kept.packet, self.kept.context, data, 0);
        f.push(0x61, R2, self.kept.context, end, 0);
        f.copy(R1, self.kept.packet);
        f.push(0x07, R1, 0, 0, REACH);
        let long_enough = f.open(0xbd, R1, R2, 0);
        f.mov(R0, if self.kind == ProgramKind::Xdp { 2 } else { 0 });
        f.exit();
        f.close(long_enough);
    }

    fn offset(&mut self) -> i16 {
        self.random.below(REACH as u64 - 8) as i16
    }

    fn load_byte(&mut self, f: &mut Function, to: u8) {
        let offset = self.offset();
        f.push(0x71, to, self.kept.packet, offset, 0);
    }

    fn store_byte(&mut self, f: &mut Function, from: u8) {
        let offset = self.offset();
        f.push(0x73, self.kept.packet, from, offset, 0);
    }

    fn operation(&mut self, f: &mut Function, nesting: u32) {
        match self.random.below(18) {
            15..=17 => self.parse(f, nesting),
            0 => {
                self.load_byte(f, R1);
                f.push(self.random.pick(&[0x07, 0xa7, 0x27]), R1, 0, 0, self.random.below(255) as i32 + 1);
                self.store_byte(f, R1);
            }
            1 | 2 => self.count(f),
            3 => self.note(f),
            4 => self.stack_sum(f),
            5 => self.kept_over_call(f),
            6 | 7 => self.function_call(f, nesting),
            8 => self.bounded_loop(f),
            9 if nesting < 3 => {
                self.load_byte(f, R1);
                let code = self.random.pick(&[0x15, 0x25, 0x55, 0xa5, 0x16, 0x26, 0x46]);
                let skip = f.open(code, R1, 0, self.random.below(256) as i32);
                for _ in 0..=self.random.below(3) {
                    self.operation(f, nesting + 1);
                }
                f.close(skip);
            }
            10 => self.resize(f),
            11..=13 => self.setting(f, nesting),
            _ => self.context_fields(f),
        }
    }

    fn count(&mut self, f: &mut Function) {
        if self.random.one_in(2) {
            f.push(0x62, R10, 0, -4, self.random.below(u64::from(ENTRIES)) as i32);
        } else {
            self.load_byte(f, R1);
            f.push(0x57, R1, 0, 0, ENTRIES.cast_signed() - 1);
            f.push(0x63, R10, R1, -4, 0);
        }
        f.copy(R2, R10);
        f.push(0x07, R2, 0, 0, -4);
        f.map(R1, COUNTERS);
        f.call(1);
        let missing = f.open(0x15, R0, 0, 0);
        f.mov(R1, self.random.below(1000) as i32);
        f.push(0xdb, R0, R1, 0, 0);
        f.close(missing);
    }

    fn note(&mut self, f: &mut Function) {
        let base = self.depth;
        for word in 0..4 {
            f.push(0x7a, R10, 0, base + word * 8, self.random.next() as i32);
        }
        self.load_byte(f, R1);
        f.push(0x7b, R10, R1, base + 8, 0);
        f.push(0x62, R10, 0, -4, self.random.below(u64::from(ENTRIES)) as i32);
        f.map(R1, NOTES);
        f.copy(R2, R10);
        f.push(0x07, R2, 0, 0, -4);
        f.copy(R3, R10);
        f.push(0x07, R3, 0, 0, i32::from(base));
        f.mov(R4, 0);
        f.call(2);
    }

    fn setting(&mut self, f: &mut Function, nesting: u32) {
        self.read_setting(f, R1);
        for _ in 0..self.random.below(3) {
            let operation = self.random.pick(&[0x07, 0x17, 0x27, 0x47, 0x57, 0x67, 0x77, 0xa7, 0xc7]);
            let is_shift = matches!(operation, 0x67 | 0x77 | 0xc7);
            let imm = if is_shift { self.random.below(32) as i32 } else { self.random.next() as i32 >> 20 };
            f.push(if self.random.one_in(2) { operation } else { operation & !0x03 }, R1, 0, 0, imm);
        }
        if self.random.one_in(4) {
            f.push(self.random.pick(&[0xbc, 0xbf]), R2, R1, 0, 0);
            f.copy(R1, R2);
        }
        if nesting >= 3 || self.random.one_in(3) {
            return self.store_byte(f, R1);
        }
        let by_register = self.random.one_in(3);
        let code = self.random.pick(&[0x15, 0x25, 0x35, 0x45, 0x55, 0x65, 0x75, 0xa5, 0xb5, 0xc5, 0xd5]);
        let code = if self.random.one_in(3) { code & !0x07 | 0x06 } else { code };
        let skip = if by_register {
            match self.random.below(2) {
                0 => self.read_setting(f, R2),
                _ => self.load_byte(f, R2),
            }
            f.open(code | 0x08, R1, R2, 0)
        } else {
            f.open(code, R1, 0, self.random.pick(&[0, 1, -1, 17, 1500]))
        };
        self.load_byte(f, R3);
        let inner = f.open(0x15, R3, 0, 0);
        self.load_byte(f, R4);
        for _ in 0..self.random.below(3) {
            self.operation(f, nesting + 1);
        }
        f.close(inner);
        f.close(skip);
    }

    fn read_setting(&mut self, f: &mut Function, to: u8) {
        let (code, bytes) = self.random.pick(&[(0x71, 1), (0x69, 2), (0x61, 4), (0x79, 8)]);
        let at = bytes * self.random.below(SETTING_BYTES.len() as u64 / bytes);
        let split = self.random.below(at + 1);
        f.value(R3, SETTINGS, split as i32);
        if self.random.one_in(3) {
            f.push(0x07, R3, 0, 0, (at - split) as i32);
            f.push(code, to, R3, 0, 0);
        } else {
            f.push(code, to, R3, (at - split) as i16, 0);
        }
    }

    fn stack_sum(&mut self, f: &mut Function) {
        let slot = self.depth + 8 * self.random.below(3) as i16;
        self.load_byte(f, R1);
        f.push(0x7b, R10, R1, slot, 0);
        self.load_byte(f, R2);
        f.push(0x79, R3, R10, slot, 0);
        f.push(0x0f, R2, R3, 0, 0);
        self.store_byte(f, R2);
    }

    fn kept_over_call(&mut self, f: &mut Function) {
        self.load_byte(f, self.kept.scratch);
        f.call(8); // bpf_get_smp_processor_id
        f.push(0x07, self.kept.scratch, 0, 0, 3);
        self.store_byte(f, self.kept.scratch);
    }

    fn function_call(&mut self, f: &mut Function, nesting: u32) {
        let number = if self.functions.len() > 1 && self.random.one_in(2) {
            1 + self.random.below(self.functions.len() as u64 - 1) as usize
        } else {
            self.new_function(nesting)
        };
        if number == 0 || self.functions[number].name.starts_with("callback") {
            return;
        }
        self.load_byte(f, R1);
        f.call_function(number);
        self.store_byte(f, R0);
    }

    fn new_function(&mut self, nesting: u32) -> usize {
        let callee = (nesting < 3 && self.random.one_in(3)).then(|| self.new_function(nesting + 1));
        let number = self.functions.len();
        let mut f = Function::new(format!("function_{number}"));
        let slot = -8 * (1 + self.random.below(6) as i16);
        f.push(0x7b, R10, R1, slot, 0);
        f.copy(R2, R10);
        f.push(0x07, R2, 0, 0, i32::from(slot));
        if let Some(callee) = callee {
            f.call_function(callee);
            f.push(0x79, R1, R10, slot, 0);
            f.push(0x0f, R0, R1, 0, 0);
        } else {
            f.push(0x79, R0, R2, 0, 0);
        }
        f.push(0x27, R0, 0, 0, self.random.below(50) as i32 + 1);
        f.push(0x57, R0, 0, 0, 0xff);
        f.exit();
        self.functions.push(f);
        number
    }

    fn bounded_loop(&mut self, f: &mut Function) {
        let number = self.functions.len();
        let mut callback = Function::new(format!("callback_{number}"));
        callback.push(0x79, R3, R2, 0, 0);
        callback.push(0x0f, R3, R1, 0, 0);
        callback.push(0x07, R3, 0, 0, self.random.below(9) as i32);
        callback.push(0x7b, R2, R3, 0, 0);
        callback.mov(R0, 0);
        callback.exit();
        self.functions.push(callback);
        let slot = self.depth + 16;
        f.push(0x7a, R10, 0, slot, 7);
        // Linux 6.18 removes the callback of a loop with no iterations, and then misses it ("verifier bug").
        f.mov(R1, 1 + self.random.below(12) as i32);
        f.address_of(R2, number);
        f.copy(R3, R10);
        f.push(0x07, R3, 0, 0, i32::from(slot));
        f.mov(R4, 0);
        f.call(181);
        f.push(0x79, R1, R10, slot, 0);
        self.store_byte(f, R1);
    }

    fn resize(&mut self, f: &mut Function) {
        f.copy(R1, self.kept.context);
        if self.kind == ProgramKind::Xdp {
            let (helper, by) = self.random.pick(&[(44, 4), (44, -8), (65, -2), (65, 4), (54, -8), (54, 4)]);
            f.mov(R2, by);
            f.call(helper);
            self.bounds(f);
            // Overwrite bytes from the headroom: a chain need not keep bytes that an earlier member cut off.
            match (helper, by) {
                (44, -8) => f.push(0x7a, self.kept.packet, 0, 0, 0),
                (54, -8) => {
                    f.push(0x61, R1, self.kept.context, 8, 0); // data_meta
                    f.copy(R2, R1);
                    f.push(0x07, R2, 0, 0, 8);
                    let too_short = f.open(0x2d, R2, self.kept.packet, 0);
                    f.push(0x7a, R1, 0, 0, 0);
                    f.close(too_short);
                }
                _ => {}
            }
        } else {
            f.push(0x61, R2, self.kept.context, 0, 0); // len
            f.push(0x07, R2, 0, 0, self.random.pick(&[-2, 3, 8]));
            f.mov(R3, 0);
            f.call(38); // bpf_skb_change_tail
            self.bounds(f);
        }
    }

    /// TC: fields that one program leaves for the next. XDP: a redirect target that must not stay.
    fn context_fields(&mut self, f: &mut Function) {
        if self.kind == ProgramKind::Xdp || self.random.one_in(4) {
            f.mov(R1, 1);
            f.mov(R2, 0);
            f.call(23);
            return;
        }
        let (field, other) = (self.random.pick(&[8, 32, 48, 52, 64]), self.random.pick(&[8, 48, 60]));
        f.push(0x61, R1, self.kept.context, other, 0);
        self.load_byte(f, R2);
        f.push(0x0f, R1, R2, 0, 0);
        f.push(0x63, self.kept.context, R1, field, 0);
    }

    fn verdict(&mut self, f: &mut Function) {
        let usual: &[i32] = match self.kind {
            ProgramKind::Xdp => &[0, 1, 2, 2, 2, 2, 3, 4, 31],
            ProgramKind::Tcx | ProgramKind::Clsact => &[-1, 0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 30],
        };
        if self.random.one_in(2) {
            f.mov(R0, self.random.pick(usual));
        }
        match self.random.below(9) {
            7 if !self.functions.is_empty() => {
                let number = self.new_function(3);
                self.load_byte(f, R1);
                f.call_function(number);
            }
            8 => {
                self.load_byte(f, self.kept.scratch);
                f.push(0x54, self.kept.scratch, 0, 0, 7);
                f.call(8);
                f.copy(R0, self.kept.scratch);
            }
            0 | 1 => f.mov(R0, self.random.pick(usual)),
            2 => f.push(0xb4, R0, 0, 0, self.random.pick(usual)),
            3 => {
                self.load_byte(f, R1);
                f.push(0x57, R1, 0, 0, self.random.pick(&[1, 3, 7, 15, 63]));
                if self.random.one_in(2) {
                    f.copy(R0, R1);
                } else {
                    f.push(0x73, R10, R1, -1, 0);
                    f.push(0x71, R0, R10, -1, 0);
                }
            }
            4 => {
                self.load_byte(f, R1);
                f.mov(R0, self.random.pick(usual));
                let keep = f.open(0x25, R1, 0, self.random.below(256) as i32);
                f.mov(R0, self.random.pick(usual));
                f.close(keep);
            }
            5 => {
                let low = self.random.pick(usual);
                f.push(0x18, R0, 0, 0, low);
                f.push(0, 0, 0, 0, self.random.pick(&[0, -1, 5, i32::MIN]));
            }
            _ => {
                let odd = [32, 33, 34, 64 + 2, 255, 256 + 2, i32::MIN, i32::MIN + 2, i32::MAX, -2, 29];
                f.mov(R0, self.random.pick(&odd));
            }
        }
        f.exit();
    }
}

/// Inserts non-redundant stack stores: the kernel removes redundant ones one at a time, 20 seconds for 80,000.
pub fn lengthen(text: &mut BoundText, by: usize) {
    let program = &mut text.0;
    // The context arrives in register 1, which the program copies first.
    program.insns.splice(1..1, std::iter::repeat_n(Insn::new(0x7a, R10, 0, -8, 0), by));
    program.functions[0].len += by;
    let moved = |at: u32| if at == 0 { 0 } else { at + by as u32 };
    for function in &mut program.functions[1..] {
        function.start += by;
    }
    program.func_info.iter_mut().for_each(|info| info.insn_off = moved(info.insn_off));
    program.line_info.iter_mut().for_each(|line| line.insn_off = moved(line.insn_off));
}
