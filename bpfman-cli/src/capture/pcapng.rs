//! The newer format, pcapng: blocks, of which some are packets.

use super::bytes::{Endian, Reader};
use super::{CaptureError, ETHERNET, Packet};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Option `if_tsresol`.
const RESOLUTION: u16 = 9;
const BLOCK: &str = "a block";
const PACKET: &str = "a packet's block";

/// True if a file is of this format.
pub fn is_one(bytes: &[u8]) -> bool {
    // The number reads the same in both byte orders.
    bytes.starts_with(&SECTION.to_le_bytes())
}

/// What a section says of one of its interfaces.
#[derive(Clone, Copy)]
struct Interface {
    link_type: u32,
    longest: u32,
    /// Nanoseconds of a unit of time, as a fraction.
    unit: (u128, u128),
}

/// All packets of a file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    let mut reader = Reader::new(bytes, Endian::Little);
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut packets = Vec::new();
    while !reader.is_at_end() {
        let begin = reader.at();
        let kind = reader.number(BLOCK, begin)?;
        if kind == SECTION {
            reader.endian = byte_order(&bytes[begin..], begin)?;
            interfaces.clear();
        }
        let length = reader.number(BLOCK, begin)?;
        // The kind, the length, and the length again at the end.
        let body = length.checked_sub(12).filter(|_| length.is_multiple_of(4));
        let body = body.ok_or(CaptureError::Length { what: BLOCK, at: begin, length })?;
        let body = reader.take(body as usize, BLOCK, begin)?;
        reader.number(BLOCK, begin)?;
        let block = Block { reader: Reader::new(body, reader.endian), begin };
        match kind {
            INTERFACE => interfaces.push(block.interface()?),
            ENHANCED_PACKET => packets.push(block.enhanced(&interfaces)?),
            SIMPLE_PACKET => packets.push(block.simple(&interfaces)?),
            // Names, statistics, secrets, and whatever comes later.
            _ => {}
        }
    }
    Ok(packets)
}

/// The byte order of the section that begins here.
fn byte_order(section: &[u8], at: usize) -> Result<Endian, CaptureError> {
    let short = CaptureError::Short { what: "a section's header", at };
    let number: [u8; 4] = section.get(8..12).and_then(|four| four.try_into().ok()).ok_or(short)?;
    match (u32::from_le_bytes(number), u32::from_be_bytes(number)) {
        (BYTE_ORDER, _) => Ok(Endian::Little),
        (_, BYTE_ORDER) => Ok(Endian::Big),
        _ => Err(CaptureError::Unknown),
    }
}

/// The body of a block.
struct Block<'a> {
    reader: Reader<'a>,
    begin: usize,
}

impl Block<'_> {
    fn number(&mut self, what: &'static str) -> Result<u32, CaptureError> {
        self.reader.number(what, self.begin)
    }

    fn half(&self, two: &[u8]) -> u16 {
        match self.reader.endian {
            Endian::Little => u16::from_le_bytes([two[0], two[1]]),
            Endian::Big => u16::from_be_bytes([two[0], two[1]]),
        }
    }

    fn interface(mut self) -> Result<Interface, CaptureError> {
        let what = "an interface's block";
        let head = self.reader.take(4, what, self.begin)?;
        let link_type = u32::from(self.half(head));
        let longest = self.number(what)?;
        let mut unit = (1000, 1);
        while !self.reader.is_at_end() {
            let head = self.reader.take(4, what, self.begin)?;
            let (code, length) = (self.half(head), usize::from(self.half(&head[2..])));
            if code == 0 {
                break;
            }
            let value = self.reader.take(length.next_multiple_of(4), what, self.begin)?;
            if let (RESOLUTION, [resolution, ..]) = (code, value) {
                unit = nanoseconds(*resolution);
            }
        }
        Ok(Interface { link_type, longest, unit })
    }

    fn enhanced(mut self, interfaces: &[Interface]) -> Result<Packet, CaptureError> {
        let number = self.number(PACKET)?;
        let interface = ethernet(interfaces, number, self.begin)?;
        let units = u64::from(self.number(PACKET)?) << 32 | u64::from(self.number(PACKET)?);
        let captured = self.number(PACKET)?;
        let _on_the_wire = self.number(PACKET)?;
        let data = self.reader.take(captured as usize, PACKET, self.begin)?;
        let (times, over) = interface.unit;
        let time = u64::try_from(u128::from(units) * times / over).unwrap_or(u64::MAX);
        Ok(Packet { time, data: data.to_vec() })
    }

    fn simple(mut self, interfaces: &[Interface]) -> Result<Packet, CaptureError> {
        let interface = ethernet(interfaces, 0, self.begin)?;
        let on_the_wire = self.number(PACKET)?;
        let captured = match interface.longest {
            0 => on_the_wire,
            longest => on_the_wire.min(longest),
        };
        let data = self.reader.take(captured as usize, PACKET, self.begin)?;
        Ok(Packet { time: 0, data: data.to_vec() })
    }
}

fn ethernet(interfaces: &[Interface], number: u32, at: usize) -> Result<Interface, CaptureError> {
    let interface =
        interfaces.get(number as usize).ok_or(CaptureError::Interface { at, interface: number })?;
    match interface.link_type {
        ETHERNET => Ok(*interface),
        other => Err(CaptureError::LinkType(other)),
    }
}

/// Nanoseconds of a unit, as a fraction: a power of ten, or of two where the highest bit is set.
fn nanoseconds(resolution: u8) -> (u128, u128) {
    let exponent = u32::from(resolution & 0x7f);
    match resolution & 0x80 {
        0 if exponent <= 9 => (10_u128.pow(9 - exponent), 1),
        // Finer units than nobody has; more would not fit.
        0 => (1, 10_u128.pow((exponent - 9).min(28))),
        _ => (1_000_000_000, 1 << exponent.min(90)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    struct File(Vec<u8>, Endian);

    impl File {
        fn numbers(&mut self, numbers: &[u32]) {
            for number in numbers {
                self.0.extend(match self.1 {
                    Endian::Little => number.to_le_bytes(),
                    Endian::Big => number.to_be_bytes(),
                });
            }
        }

        fn halves(&mut self, first: u16, second: u16) {
            let (low, high) = match self.1 {
                Endian::Little => (first, second),
                Endian::Big => (second, first),
            };
            self.numbers(&[u32::from(low) | u32::from(high) << 16]);
        }

        /// A section, an interface with a resolution, a block that nobody knows, one packet of each kind.
        fn sample(endian: Endian, link_type: u16, resolution: u8) -> Vec<u8> {
            let mut file = Self(Vec::new(), endian);
            file.numbers(&[SECTION, 28, BYTE_ORDER, 1, u32::MAX, u32::MAX, 28]);
            file.numbers(&[INTERFACE, 32]);
            file.halves(link_type, 0);
            file.numbers(&[4]);
            file.halves(RESOLUTION, 1);
            file.0.extend([resolution, 0, 0, 0]);
            file.halves(0, 0);
            file.numbers(&[32]);
            file.numbers(&[77, 16, 5, 16]);
            file.numbers(&[ENHANCED_PACKET, 36, 0, 0, 5, 3, 3]);
            file.0.extend([1, 2, 3, 0]);
            file.numbers(&[36, SIMPLE_PACKET, 20, 60]);
            file.0.extend([4, 5, 6, 7]);
            file.numbers(&[20]);
            file.0
        }
    }

    /// A whole file with two packets.
    pub fn sample() -> Vec<u8> {
        File::sample(Endian::Little, 1, 6)
    }

    #[test]
    fn both_byte_orders_and_both_kinds_of_packets() {
        for endian in [Endian::Little, Endian::Big] {
            let packets = parse(&File::sample(endian, 1, 6)).unwrap();
            assert_eq!(packets[0], Packet { time: 5000, data: vec![1, 2, 3] });
            assert_eq!(packets[1], Packet { time: 0, data: vec![4, 5, 6, 7] });
            assert_eq!(packets.len(), 2);
        }
    }

    #[test]
    fn units_are_powers_of_ten_or_two() {
        let time = |resolution| parse(&File::sample(Endian::Little, 1, resolution)).unwrap()[0].time;
        assert_eq!((time(9), time(0), time(0x80 | 1)), (5, 5_000_000_000, 2_500_000_000));
        assert_eq!((time(0x7f), time(0xff)), (0, 0));
    }

    #[test]
    fn damage_is_named_and_never_believed() {
        let file = File::sample(Endian::Little, 1, 6);
        for end in 4..file.len() {
            // It may end between blocks, and nowhere else.
            match parse(&file[..end]) {
                Ok(packets) => assert!(packets.len() < 2, "{end}"),
                Err(error) => assert!(matches!(error, CaptureError::Short { .. }), "{end}: {error}"),
            }
        }
        assert_eq!(parse(&File::sample(Endian::Big, 113, 6)), Err(CaptureError::LinkType(113)));
        let mut odd = file.clone();
        odd[4] = 29;
        assert!(matches!(parse(&odd), Err(CaptureError::Length { at: 0, length: 29, .. })));
        let mut stray = file;
        stray[28] = 77;
        assert!(matches!(parse(&stray), Err(CaptureError::Interface { interface: 0, .. })));
    }
}
