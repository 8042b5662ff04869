//! The classic format, pcap: a header, then one record a packet.

use super::bytes::{Endian, Reader};
use super::{CaptureError, ETHERNET, Packet};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const HEADER: &str = "the file's header";
const RECORD: &str = "a packet's record";
/// What the header promises of our own files, and the most that other tools accept.
const LONGEST_PACKET: u32 = 262_144;

/// What the first number of a file says of the rest.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    endian: Endian,
    /// Nanoseconds of a unit of the second part of a time.
    unit: u64,
}

impl Format {
    /// The format of a file; none if it is not of this kind.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let first: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        for (endian, number) in
            [(Endian::Little, u32::from_le_bytes(first)), (Endian::Big, u32::from_be_bytes(first))]
        {
            match number {
                MICROSECONDS => return Some(Self { endian, unit: 1000 }),
                NANOSECONDS => return Some(Self { endian, unit: 1 }),
                _ => {}
            }
        }
        None
    }
}

/// All packets of a file.
pub fn parse(bytes: &[u8], format: Format) -> Result<Vec<Packet>, CaptureError> {
    let mut reader = Reader::new(bytes, format.endian);
    // The number again, versions, zone and accuracy, longest packet.
    reader.take(20, HEADER, 0)?;
    // The upper bits say how long a frame check sequence is.
    let link_type = reader.number(HEADER, 0)? & 0x0fff_ffff;
    if link_type != ETHERNET {
        return Err(CaptureError::LinkType(link_type));
    }
    let mut packets = Vec::new();
    while !reader.is_at_end() {
        let begin = reader.at();
        let seconds = reader.number(RECORD, begin)?;
        let fraction = reader.number(RECORD, begin)?;
        let length = reader.number(RECORD, begin)?;
        let _on_the_wire = reader.number(RECORD, begin)?;
        if length > LONGEST_PACKET {
            return Err(CaptureError::Length { what: RECORD, at: begin, length });
        }
        let data = reader.take(length as usize, "a packet", begin)?;
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * format.unit;
        packets.push(Packet { time, data: data.to_vec() });
    }
    Ok(packets)
}

/// Packets as a file with nanoseconds, least byte first.
pub fn encode(packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    let number = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    // Version 2.4 in two halves.
    for value in [NANOSECONDS, 2 | 4 << 16, 0, 0, LONGEST_PACKET, ETHERNET] {
        number(&mut file, value);
    }
    for packet in packets {
        let seconds = u32::try_from(packet.time / 1_000_000_000).unwrap_or(u32::MAX);
        let length = packet.data.len() as u32;
        for value in [seconds, (packet.time % 1_000_000_000) as u32, length, length] {
            number(&mut file, value);
        }
        file.extend_from_slice(&packet.data);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one packet of three bytes, written with the largest byte first.
    fn big_endian(link_type: u32) -> Vec<u8> {
        let numbers = [MICROSECONDS, 0x0002_0004, 0, 0, 65_535, link_type, 5, 7, 3, 1500];
        let mut file: Vec<u8> = numbers.iter().flat_map(|number: &u32| number.to_be_bytes()).collect();
        file.extend([1, 2, 3]);
        file
    }

    fn read(file: &[u8]) -> Result<Vec<Packet>, CaptureError> {
        parse(file, Format::of(file).unwrap())
    }

    #[test]
    fn both_byte_orders_and_units_are_read() {
        let packets = read(&big_endian(ETHERNET)).unwrap();
        assert_eq!(packets, [Packet { time: 5_000_007_000, data: vec![1, 2, 3] }]);
        let own = [Packet { time: 5_000_000_007, data: vec![1, 2, 3] }];
        assert_eq!(read(&encode(&own)).unwrap(), own);
    }

    #[test]
    fn other_link_types_are_refused_by_number() {
        assert_eq!(read(&big_endian(113)), Err(CaptureError::LinkType(113)));
        assert!(read(&big_endian(ETHERNET | 0x4000_0000)).is_ok(), "a frame check sequence is no link type");
    }

    #[test]
    fn a_file_that_ends_anywhere_is_short_or_whole() {
        let file = big_endian(ETHERNET);
        for end in 4..file.len() {
            let outcome = read(&file[..end]);
            if end == 24 {
                assert_eq!(outcome, Ok(vec![]));
            } else {
                assert!(matches!(outcome, Err(CaptureError::Short { .. })), "{end}: {outcome:?}");
            }
        }
    }

    #[test]
    fn an_impossible_length_is_not_believed() {
        let mut file = big_endian(ETHERNET);
        file[32..36].fill(0xff);
        assert!(matches!(read(&file), Err(CaptureError::Length { at: 24, length: u32::MAX, .. })));
    }
}
