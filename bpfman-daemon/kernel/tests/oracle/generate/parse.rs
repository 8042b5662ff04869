//! Parsers like those of real members, of few headers and fields, so that many members test the same ones.

use bpfman_model::BoundText;

use super::function::Function;
use super::random::Random;
use super::{Generator, R0, R1, R2, R3, R4, R10};
use crate::kernel::ProgramKind;

/// Fields of Ethernet, IPv4 and UDP that all parsers test, with values that packets have.
const FIELDS: [(u8, i16, [i32; 2]); 6] = [
    (0x69, 12, [0x0008, 0xb588]),
    (0x71, 12, [8, 0x88]),
    (0x71, 14, [0x45, 0]),
    (0x71, 23, [17, 6]),
    (0x71, 24, [0, 128]),
    (0x61, 26, [0, 1]),
];

/// Depth of nested tests after which only a counter follows.
const INNERMOST: u32 = 3;

/// Returns a program that mostly parses, and mostly lets packets pass.
pub fn parser(random: &mut Random, kind: ProgramKind, number: usize) -> BoundText {
    let mut generator = Generator::new(random, kind);
    let mut entry = generator.begun();
    for _ in 0..2 + generator.random.below(5) {
        match generator.random.below(12) {
            0 => generator.operation(&mut entry, 0),
            1 => generator.resize(&mut entry),
            2 => generator.function_call(&mut entry, 0),
            _ => generator.parse(&mut entry, 1),
        }
    }
    if generator.random.one_in(8) {
        generator.verdict(&mut entry);
    } else {
        entry.mov(R0, if kind == ProgramKind::Xdp { 2 } else { 3 });
        entry.exit();
    }
    generator.linked(entry, number)
}

impl Generator<'_> {
    pub(super) fn parse(&mut self, f: &mut Function, nesting: u32) {
        match self.random.below(8) {
            // Load the packet's bounds again, and test a random length.
            0 | 1 => self.length(f, nesting),
            2 | 3 => self.header_of_variable_length(f, nesting),
            4 => {
                // Write to a field that other members test.
                let (_, at, values) = self.random.pick(&FIELDS);
                f.mov(R1, self.random.pick(&values));
                f.push(0x73, self.kept.packet, R1, at, 0);
            }
            5 => self.repeated(f),
            _ => self.field(f, nesting),
        }
    }

    /// Generates tests in a loop: an iteration may write a byte that the next one tests.
    fn repeated(&mut self, f: &mut Function) {
        // Nothing in the loop uses this slot.
        let slot = self.depth + 32;
        f.push(0x7a, R10, 0, slot, 0);
        let top = f.insns.len();
        self.field(f, INNERMOST);
        self.length(f, INNERMOST);
        f.push(0x79, R1, R10, slot, 0);
        f.push(0x07, R1, 0, 0, 1);
        f.push(0x7b, R10, R1, slot, 0);
        let turns = 2 + self.random.below(3) as i32;
        let jump = f.open(0xa5, R1, 0, turns);
        f.insns[jump].off = -i16::try_from(jump + 1 - top).unwrap();
    }

    fn field(&mut self, f: &mut Function, nesting: u32) {
        let (code, at, values) = self.random.pick(&FIELDS);
        f.push(code, R1, self.kept.packet, at, 0);
        if self.random.one_in(4) {
            f.push(0x57, R1, 0, 0, self.random.pick(&[15, 0xf0, 0xff]));
        }
        let jump =
            self.random.pick(&[0x15, 0x55, 0x55, 0x25, 0xa5, 0xb5, 0x35, 0x16, 0x56, 0x26, 0x65, 0xc6]);
        let skip = f.open(jump, R1, 0, self.random.pick(&values));
        self.inner(f, nesting);
        f.close(skip);
    }

    fn ends(&mut self, f: &mut Function, data: u8, end: u8) {
        let (at_data, at_end) = if self.kind == ProgramKind::Xdp { (0, 4) } else { (76, 80) };
        f.push(0x61, data, self.kept.context, at_data, 0);
        f.push(0x61, end, self.kept.context, at_end, 0);
    }

    fn length(&mut self, f: &mut Function, nesting: u32) {
        self.ends(f, R3, R4);
        let by = self.random.pick(&[14, 34, 40, 41, 42, 43, 60]);
        f.copy(R1, R3);
        f.push(0x07, R1, 0, 0, by);
        let skip = self.beyond(f, R1, R4);
        f.push(0x71, R2, R3, by as i16 - 1, 0);
        self.store_byte(f, R2);
        self.inner(f, nesting);
        f.close(skip);
    }

    /// Generates a jump that is taken if the address is beyond the end, in one of its forms.
    fn beyond(&mut self, f: &mut Function, address: u8, end: u8) -> usize {
        match self.random.below(4) {
            0 => f.open(0x3d, address, end, 0),
            1 => f.open(0xad, end, address, 0),
            _ => f.open(0x2d, address, end, 0),
        }
    }

    /// Generates a parser of UDP behind IPv4 with options.
    fn header_of_variable_length(&mut self, f: &mut Function, nesting: u32) {
        self.ends(f, R3, R4);
        f.copy(R1, R3);
        f.push(0x07, R1, 0, 0, 34);
        let short = f.open(0x2d, R1, R4, 0);
        f.push(0x71, R1, R3, 14, 0);
        f.push(0x57, R1, 0, 0, 15);
        let odd = self.random.one_in(2).then(|| f.open(0xa5, R1, 0, 5));
        f.push(0x67, R1, 0, 0, 2);
        if self.random.one_in(2) {
            f.push(0x07, R3, 0, 0, 14);
            f.push(0x0f, R3, R1, 0, 0);
        } else {
            f.push(0x0f, R3, R1, 0, 0);
            f.push(0x07, R3, 0, 0, 14);
        }
        f.copy(R1, R3);
        f.push(0x07, R1, 0, 0, 8);
        let beyond = self.beyond(f, R1, R4);
        f.push(0x71, R2, R3, self.random.below(8) as i16, 0);
        if self.random.one_in(3) {
            f.push(0x73, R3, R2, self.random.below(8) as i16, 0);
        }
        let skip = f.open(0x55, R2, 0, self.random.pick(&[0, 53, 128]));
        self.inner(f, nesting);
        f.close(skip);
        f.close(beyond);
        odd.into_iter().for_each(|odd| f.close(odd));
        f.close(short);
    }

    /// Generates code after a test that shows the result of the test: a count, further tests, or a verdict.
    fn inner(&mut self, f: &mut Function, nesting: u32) {
        self.count(f);
        if nesting >= INNERMOST {
            return;
        }
        for _ in 0..self.random.below(3) {
            match self.random.below(3) {
                0 => self.operation(f, nesting + 1),
                _ => self.parse(f, nesting + 1),
            }
        }
        if self.random.one_in(6) {
            self.verdict(f);
        }
    }
}
