//! XDP features of interfaces, by generic netlink, family `netdev` (Linux 6.3). No privileges are needed.

use std::collections::BTreeSet;
use std::io;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::GENERIC;

use crate::host::InterfaceIndex;
use crate::netlink::{Answer, ask, attribute, number, written};

const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GET_DEVICE: u8 = 1;
const DEVICE_INTERFACE: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
/// The interface transmits redirected frames (`ndo_xdp_xmit`). For a veth, its peer receives them.
const SENDS_FRAMES: u64 = 1 << 2;
const FAMILY_HEADER: usize = 4;

pub fn frame_senders() -> Result<Option<BTreeSet<InterfaceIndex>>> {
    read().context("cannot ask the kernel which interfaces take frames from XDP")
}

fn read() -> io::Result<Option<BTreeSet<InterfaceIndex>>> {
    let of_name = [&command(GET_FAMILY)[..], &written(FAMILY_NAME, b"netdev\0")[..]].concat();
    let family = match ask(Some(GENERIC), CONTROL, Answer::One, &of_name) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => return Ok(None),
        answer => answer?.iter().find_map(|body| Some(u16::from_ne_bytes(value(body, FAMILY_ID)?))),
    };
    let family = family.ok_or(io::ErrorKind::InvalidData)?;
    let devices = ask(Some(GENERIC), family, Answer::List, &command(GET_DEVICE))?;
    let sends = |body: &Vec<u8>| {
        let features = u64::from_ne_bytes(value(body, DEVICE_XDP_FEATURES)?);
        let index = u32::from_ne_bytes(value(body, DEVICE_INTERFACE)?);
        (features & SENDS_FRAMES != 0).then_some(InterfaceIndex(index))
    };
    Ok(Some(devices.iter().filter_map(sends).collect()))
}

const fn command(number: u8) -> [u8; FAMILY_HEADER] {
    [number, 1, 0, 0]
}

fn value<const LENGTH: usize>(message: &[u8], kind: u16) -> Option<[u8; LENGTH]> {
    number(attribute(message.get(FAMILY_HEADER..)?, kind)?, 0)
}
