//! Packet captures: reads pcap and pcapng with Ethernet packets, and writes pcap with nanoseconds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bpfman_image_format::causes;
use pcap_file::pcap::{PcapError, PcapHeader, PcapPacket, PcapParser, PcapTsResolution, PcapWriter};
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, SIMPLE_PACKET_BLOCK};
use pcap_file::pcapng::{Block, PcapNgParseError, PcapNgParser};
use pcap_file::{DataLink, Endianness};

use crate::error::CliError;

/// Maximum size of a capture, in bytes: all packets are held in memory, and each is run more than once.
const MAX_FILE: u64 = 64 << 20;

/// Maximum packet length in the header of written files, the same that other tools write.
const MAX_PACKET: u32 = 262_144;

/// Bits of a pcap header's link type; the bits above are the length of a frame check sequence.
const LINK_TYPE_BITS: u32 = 0x0fff_ffff;

/// First number of a pcapng file; it is the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Packet, from its Ethernet header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Time of capture, since 1970; zero if unknown.
    pub time: Duration,
    pub data: Vec<u8>,
}

/// Error of a file that is no capture, or an unsupported one.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("not a capture: it begins with neither pcap's nor pcapng's header")]
    Unknown,
    #[error("the capture ends in the middle of what begins at byte {at}")]
    Short {
        /// Offset of the incomplete part, in bytes.
        at: usize,
    },
    #[error("the capture is malformed at byte {at}")]
    Malformed {
        /// Offset of the packet or block, in bytes.
        at: usize,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "its packets have the link type {0}; programs of XDP and TC hooks take Ethernet packets (link type 1)"
    )]
    LinkType(u32),
}

/// Reads all packets of a capture.
pub fn read(path: &Path) -> Result<Vec<Packet>, CliError> {
    let file = |source| CliError::File { path: path.to_path_buf(), source };
    let size = fs::metadata(path).map_err(file)?.len();
    if size > MAX_FILE {
        return Err(CliError::Invalid {
            what: format!("{}: the capture has {size} bytes; the limit is {MAX_FILE}", path.display()),
            hint: Some(
                "cut it into pieces: `editcap -c 10000 IN OUT`, or `tcpdump -r IN -c 10000 -w OUT`".into(),
            ),
        });
    }
    let bytes = fs::read(path).map_err(file)?;
    parse(&bytes).map_err(|error| CliError::Invalid {
        what: format!("{}: {}", path.display(), causes(&error)),
        hint: matches!(error, CaptureError::Unknown)
            .then(|| "capture with `tcpdump -w FILE`, or give packets by --packet HEX".into()),
    })
}

pub fn write(path: &Path, packets: &[Packet]) -> Result<(), CliError> {
    let bytes = encode(packets).map_err(|error| CliError::Encode(causes(&error)))?;
    fs::write(path, bytes).map_err(|source| CliError::File { path: path.to_path_buf(), source })
}

fn encode(packets: &[Packet]) -> Result<Vec<u8>, PcapError> {
    let header = PcapHeader {
        snaplen: MAX_PACKET,
        ts_resolution: PcapTsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut file = PcapWriter::with_header(Vec::new(), header)?;
    for Packet { time, data } in packets {
        // The format has 32 bits for seconds.
        let time = (*time).min(Duration::from_secs(u32::MAX.into()));
        file.write_packet(&PcapPacket::new(time, data.len() as u32, data)?)?;
    }
    Ok(file.into_inner())
}

fn parse(bytes: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    if bytes.starts_with(&SECTION_HEADER) { parse_pcapng(bytes) } else { parse_pcap(bytes) }
}

/// Parses a pcap file. Ignores the lengths in its header, which tools set differently.
fn parse_pcap(bytes: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|_| CaptureError::Unknown)?;
    let header = parser.header();
    require_ethernet(u32::from(header.datalink) & LINK_TYPE_BITS)?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        // An incomplete packet is the only possible error here.
        let (after, packet) = parser.next_raw_packet(rest).map_err(|_| CaptureError::Short { at })?;
        let fraction = u64::from(packet.ts_frac);
        let fraction = match header.ts_resolution {
            PcapTsResolution::MicroSecond => Duration::from_micros(fraction),
            PcapTsResolution::NanoSecond => Duration::from_nanos(fraction),
        };
        let time = Duration::from_secs(packet.ts_sec.into()) + fraction;
        packets.push(Packet { time, data: packet.data.into_owned() });
        rest = after;
    }
    Ok(packets)
}

/// Parses a pcapng file. Decodes only blocks of packets: errors in names or statistics do not matter.
fn parse_pcapng(bytes: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    let damaged = |at, error| match error {
        PcapNgParseError::IncompleteBuffer(..) => CaptureError::Short { at },
        error => CaptureError::Malformed { at, source: error.into() },
    };
    let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|error| damaged(0, error))?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (after, block) = parser.next_raw_block(rest).map_err(|error| damaged(at, error))?;
        rest = after;
        if !matches!(block.type_, ENHANCED_PACKET_BLOCK | SIMPLE_PACKET_BLOCK) {
            continue;
        }
        let block = block.try_into_block(parser.state()).map_err(|error| damaged(at, error.into()))?;
        let (interface, time, data) = match block {
            Block::EnhancedPacket(packet) => (packet.interface_id, packet.timestamp, packet.data),
            // Simple packets have no time, and belong to the first interface.
            Block::SimplePacket(packet) => (0, Duration::ZERO, packet.data),
            _ => continue,
        };
        // The parser has checked that the interface is described.
        if let Some(described) = parser.interfaces().get(interface as usize) {
            require_ethernet(described.linktype.into())?;
        }
        packets.push(Packet { time, data: data.into_owned() });
    }
    Ok(packets)
}

fn require_ethernet(link_type: u32) -> Result<(), CaptureError> {
    if link_type == u32::from(DataLink::ETHERNET) { Ok(()) } else { Err(CaptureError::LinkType(link_type)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbers: &[u32], big_endian: bool) -> Vec<u8> {
        let bytes = |number: &u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        numbers.iter().flat_map(bytes).collect()
    }

    fn pcap(link_type: u32) -> Vec<u8> {
        let mut file = numbers(&[0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, link_type, 5, 7, 3, 1500], true);
        file.extend([1, 2, 3]);
        file
    }

    fn halves(first: u16, second: u16, big_endian: bool) -> u32 {
        let (low, high) = if big_endian { (second, first) } else { (first, second) };
        u32::from(low) | u32::from(high) << 16
    }

    fn pcapng(link_type: u16, resolution: u8, big_endian: bool) -> Vec<u8> {
        let half = |first, second| halves(first, second, big_endian);
        let mut file =
            numbers(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, half(1, 0), u32::MAX, u32::MAX, 28], big_endian);
        file.extend(numbers(&[1, 32, half(link_type, 0), 4, half(9, 1)], big_endian));
        file.extend([resolution, 0, 0, 0]);
        file.extend(numbers(&[0, 32, 77, 16, 5, 16, 6, 36, 0, 0, 5, 3, 3], big_endian));
        file.extend([1, 2, 3, 0]);
        file.extend(numbers(&[36, 3, 20, 60], big_endian));
        file.extend([4, 5, 6, 7]);
        file.extend(numbers(&[20], big_endian));
        file
    }

    #[test]
    fn both_byte_orders_and_units_of_pcap_are_read() {
        let time = Duration::from_micros(5_000_007);
        assert_eq!(parse(&pcap(1)).unwrap(), [Packet { time, data: vec![1, 2, 3] }]);
        let own = [Packet { time: Duration::from_nanos(5_000_000_007), data: vec![1, 2, 3] }];
        assert_eq!(parse(&encode(&own).unwrap()).unwrap(), own);
    }

    #[test]
    fn both_byte_orders_and_both_pcapng_packet_blocks_are_read() {
        for big_endian in [false, true] {
            let packets = parse(&pcapng(1, 6, big_endian)).unwrap();
            assert_eq!(packets[0], Packet { time: Duration::from_micros(5), data: vec![1, 2, 3] });
            assert_eq!(packets[1], Packet { time: Duration::ZERO, data: vec![4, 5, 6, 7] });
            assert_eq!(packets.len(), 2);
        }
    }

    #[test]
    fn units_of_pcapng_are_powers_of_ten_or_two() {
        let time = |resolution| parse(&pcapng(1, resolution, false)).unwrap()[0].time.as_nanos();
        assert_eq!((time(9), time(0), time(0x80 | 1)), (5, 5_000_000_000, 2_500_000_000));
    }

    #[test]
    fn other_link_types_are_refused_by_number() {
        for file in [pcap(113), pcapng(113, 6, true)] {
            assert!(matches!(parse(&file), Err(CaptureError::LinkType(113))));
        }
        assert!(parse(&pcap(1 | 0x4000_0000)).is_ok(), "a frame check sequence is no link type");
    }

    #[test]
    fn a_file_that_ends_anywhere_is_short_or_whole() {
        for (file, header) in [(pcap(1), 24), (pcapng(1, 6, false), 28)] {
            for end in header..file.len() {
                match parse(&file[..end]) {
                    Ok(packets) => assert!(packets.len() < 2, "{end}"),
                    Err(error) => assert!(matches!(error, CaptureError::Short { .. }), "{end}: {error}"),
                }
            }
        }
    }

    #[test]
    fn damage_is_named_with_its_place_and_never_believed() {
        let mut long = pcap(1);
        long[32..36].fill(0xff);
        assert!(matches!(parse(&long), Err(CaptureError::Short { at: 24 })));
        let mut odd = pcapng(1, 6, false);
        odd[28 + 4] = 29;
        assert!(matches!(parse(&odd), Err(CaptureError::Malformed { at: 28, .. })));
        let mut without_interface = pcapng(1, 6, false);
        without_interface[28] = 77;
        let error = parse(&without_interface).unwrap_err();
        assert!(
            causes(&error).contains("malformed at byte 76: ") && causes(&error).contains("interface"),
            "{error}"
        );
    }

    #[test]
    fn other_files_are_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in ["", "ab", "these are no packets"] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("notes.txt: not a capture"), "{error}");
            assert!(error.hints()[0].contains("tcpdump -w"));
        }
        assert_eq!(read(&folder.path().join("absent")).unwrap_err().exit(), crate::exit::Exit::NotFound);
    }

    #[test]
    fn one_damaged_byte_causes_no_panic() {
        let packet = |time, data| Packet { time: Duration::from_nanos(time), data };
        let own = encode(&[packet(7, vec![1; 60]), packet(8, vec![2; 20])]).unwrap();
        for file in [own, pcapng(1, 6, false)] {
            assert_eq!(parse(&file).unwrap().len(), 2);
            for at in 0..file.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = file.clone();
                    damaged[at] = value;
                    let bytes = parse(&damaged)
                        .map_or(0, |packets| packets.iter().map(|packet| packet.data.len()).sum());
                    assert!(bytes <= file.len(), "byte {at} as {value}");
                }
            }
        }
    }

    #[test]
    fn written_capture_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.pcap");
        let packets = [
            Packet { time: Duration::from_nanos(1_700_000_000_123_456_789), data: vec![1; 60] },
            Packet { time: Duration::ZERO, data: vec![2; 1514] },
        ];
        write(&path, &packets).unwrap();
        assert_eq!(read(&path).unwrap(), packets);
    }
}
