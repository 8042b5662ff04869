//! What the kernel says of the interfaces of this network namespace in connection with XDP: generic netlink, family `netdev`
//! (Linux 6.3). That takes no privileges.

use std::collections::BTreeSet;
use std::io;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::GENERIC;

use crate::host::InterfaceIndex;
use crate::netlink::{Answer, ask, attribute, number, written};

/// Of the family that knows all families: its number, the request, and its attributes.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Of `netdev`, as `linux/netdev.h` has it.
const GET_DEVICE: u8 = 1;
const DEVICE_INTERFACE: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
/// Takes frames that are sent out of it (`ndo_xdp_xmit`). Of a veth: the other end does.
const SENDS_FRAMES: u64 = 1 << 2;
/// Bytes of a family's own header, before attributes.
const FAMILY_HEADER: usize = 4;

/// Interfaces out of which frames can be sent; none if the kernel does not say.
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

/// The header of a family's request.
const fn command(number: u8) -> [u8; FAMILY_HEADER] {
    [number, 1, 0, 0]
}

/// Of an attribute of a family's message.
fn value<const LENGTH: usize>(message: &[u8], kind: u16) -> Option<[u8; LENGTH]> {
    number(attribute(message.get(FAMILY_HEADER..)?, kind)?, 0)
}
