//! Captures of packets: files as `tcpdump` and Wireshark write them.
//!
//! Read are pcap (both byte orders, microseconds and nanoseconds) and pcapng with Ethernet packets; written is pcap
//! with nanoseconds. Formats: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html> and
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>.

mod bytes;
mod classic;
mod pcapng;

use std::fs;
use std::path::Path;

use crate::error::CliError;

/// Larger captures are refused: all packets are held in memory, and each is run more than once.
const LARGEST_FILE: u64 = 64 << 20;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;

/// A packet from its Ethernet header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured, in nanoseconds since 1970; 0 where nobody knows.
    pub time: u64,
    /// What was captured of it.
    pub data: Vec<u8>,
}

/// A file that is no capture, or one that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// Neither of the formats.
    #[error("not a capture: it begins with neither pcap's nor pcapng's number")]
    Unknown,
    /// It ends in the middle of something.
    #[error("the capture ends in the middle of {what} at byte {at}")]
    Short {
        /// Of what.
        what: &'static str,
        /// Where that begins.
        at: usize,
    },
    /// A length that cannot be.
    #[error("{what} at byte {at} has the impossible length {length}")]
    Length {
        /// Of what.
        what: &'static str,
        /// Where it begins.
        at: usize,
        /// What it says.
        length: u32,
    },
    /// Packets of another kind.
    #[error(
        "its packets have the link type {0}; programs of XDP and TC hooks take Ethernet packets (link type 1)"
    )]
    LinkType(u32),
    /// A packet of an interface that was not described.
    #[error("a packet at byte {at} names interface {interface}, which the capture does not describe")]
    Interface {
        /// Where the packet begins.
        at: usize,
        /// The interface's number.
        interface: u32,
    },
}

/// Reads all packets of a capture.
pub fn read(path: &Path) -> Result<Vec<Packet>, CliError> {
    let file = |source| CliError::File { path: path.to_path_buf(), source };
    let size = fs::metadata(path).map_err(file)?.len();
    if size > LARGEST_FILE {
        return Err(CliError::Invalid {
            what: format!("{}: the capture has {size} bytes; the limit is {LARGEST_FILE}", path.display()),
            hint: Some(
                "cut it into pieces: `editcap -c 10000 IN OUT`, or `tcpdump -r IN -c 10000 -w OUT`".into(),
            ),
        });
    }
    let bytes = fs::read(path).map_err(file)?;
    parse(&bytes).map_err(|error| CliError::Invalid {
        what: format!("{}: {error}", path.display()),
        hint: matches!(error, CaptureError::Unknown)
            .then(|| "capture with `tcpdump -w FILE`, or give packets by --packet HEX".to_owned()),
    })
}

/// Writes packets as a capture.
pub fn write(path: &Path, packets: &[Packet]) -> Result<(), CliError> {
    fs::write(path, classic::encode(packets))
        .map_err(|source| CliError::File { path: path.to_path_buf(), source })
}

fn parse(bytes: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    match classic::Format::of(bytes) {
        Some(format) => classic::parse(bytes, format),
        None if pcapng::is_one(bytes) => pcapng::parse(bytes),
        None => Err(CaptureError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_else_is_named_with_what_to_do() {
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
    fn no_damage_of_one_byte_brings_it_down() {
        let whole = [
            classic::encode(&[Packet { time: 7, data: vec![1; 60] }, Packet { time: 8, data: vec![2; 20] }]),
            pcapng::tests::sample(),
        ];
        for file in whole {
            assert_eq!(parse(&file).unwrap().len(), 2);
            for at in 0..file.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = file.clone();
                    damaged[at] = value;
                    // Whatever it makes of it: no more than the file holds.
                    let bytes = parse(&damaged)
                        .map_or(0, |packets| packets.iter().map(|packet| packet.data.len()).sum());
                    assert!(bytes <= file.len(), "byte {at} as {value}");
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.pcap");
        let packets = [
            Packet { time: 1_700_000_000_123_456_789, data: vec![1; 60] },
            Packet { time: 0, data: vec![2; 1514] },
        ];
        write(&path, &packets).unwrap();
        assert_eq!(read(&path).unwrap(), packets);
    }
}
