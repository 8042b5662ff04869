use std::net::Ipv6Addr;

use bpfman_tests::Outcome;
use bpfman_tests::checksum::internet_checksum;
use bpfman_tests::hex::hex;

use super::bridge::{Host, INTERFACE};

pub const UDP: u8 = 17;
pub const ICMP: u8 = 58;

pub type Extension = (u8, [u8; 7]);

const PADDING: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];
pub const HOP_BY_HOP: Extension = (0, PADDING);
pub const DESTINATION_OPTIONS: Extension = (60, PADDING);
pub const ROUTER_ALERT: Extension = (0, [0, 5, 2, 0, 0, 1, 0]);

pub const fn fragment(offset: u8, more: bool) -> Extension {
    (44, [0, 0, offset << 3 | more as u8, 0, 0, 0, 77])
}

pub struct Way {
    macs: [[u8; 6]; 2],
    addresses: [Ipv6Addr; 2],
}

impl Way {
    pub fn new(from: &Host, to: &Host) -> Self {
        let addresses = [from, to].map(|host| host.address_v6().parse().unwrap());
        Self { macs: [from, to].map(mac), addresses }
    }

    pub fn of_reports(from: &Host) -> Self {
        let addresses = [from.local_address().as_str(), "ff02::16"].map(|text| text.parse().unwrap());
        Self { macs: [mac(from), [0x33, 0x33, 0, 0, 0, 0x16]], addresses }
    }

    pub fn checked(&self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let mut all: Vec<u8> = self.addresses.iter().flat_map(Ipv6Addr::octets).collect();
        all.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        all.extend([0, 0, 0, protocol]);
        all.extend(&bytes);
        bytes[at..at + 2].copy_from_slice(&internet_checksum(&all));
        bytes
    }

    pub fn frame(&self, extensions: &[Extension], protocol: u8, bytes: &[u8]) -> Vec<u8> {
        let [from, to] = self.macs;
        let mut numbers = extensions.iter().map(|(number, _)| *number).chain([protocol]);
        let mut frame = [to, from].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(u16::try_from(8 * extensions.len() + bytes.len()).unwrap().to_be_bytes());
        frame.extend(numbers.next());
        frame.push(255);
        frame.extend(self.addresses.iter().flat_map(Ipv6Addr::octets));
        for ((_, rest), next) in extensions.iter().zip(numbers) {
            frame.push(next);
            frame.extend(rest);
        }
        frame.extend(bytes);
        frame
    }
}

fn mac(host: &Host) -> [u8; 6] {
    [2, 0, 0, 0, 0, host.number]
}

pub fn send(from: &Host, frame: &[u8]) {
    let bytes = hex(frame);
    let script = format!(
        "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('{INTERFACE}', 0)); \
         s.send(bytes.fromhex('{bytes}'))"
    );
    Outcome::of(from.namespace.command("/usr/bin/python3").args(["-c", &script])).success();
}
