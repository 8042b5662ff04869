//! What the kernel says of the interfaces of this network namespace in connection with XDP: generic netlink, family `netdev`
//! (Linux 6.3). That takes no privileges.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::GENERIC;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::host::InterfaceIndex;

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

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// Bytes of a message's header, and of the family's own behind it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// Interfaces out of which frames can be sent; none if the kernel does not say.
pub fn frame_senders() -> Result<Option<BTreeSet<InterfaceIndex>>> {
    read().context("cannot ask the kernel which interfaces take frames from XDP")
}

fn read() -> io::Result<Option<BTreeSet<InterfaceIndex>>> {
    let (address, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(address, kind, SocketFlags::CLOEXEC, Some(GENERIC))?;
    let family = match ask(&socket, &request(CONTROL, REQUEST, GET_FAMILY, b"netdev\0")) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => return Ok(None),
        answer => answer?.iter().find_map(|body| Some(u16::from_ne_bytes(attribute(body, FAMILY_ID)?))),
    };
    let family = family.ok_or(io::ErrorKind::InvalidData)?;
    let devices = ask(&socket, &request(family, REQUEST | DUMP, GET_DEVICE, &[]))?;
    let sends = |body: &Vec<u8>| {
        let features = u64::from_ne_bytes(attribute(body, DEVICE_XDP_FEATURES)?);
        let index = u32::from_ne_bytes(attribute(body, DEVICE_INTERFACE)?);
        (features & SENDS_FRAMES != 0).then_some(InterfaceIndex(index))
    };
    Ok(Some(devices.iter().filter_map(sends).collect()))
}

/// A request, with the name of a family if one is given.
fn request(kind: u16, flags: u16, command: u8, name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes.extend([command, 1, 0, 0]);
    if let Ok(length) = u16::try_from(name.len() + 4)
        && !name.is_empty()
    {
        bytes.extend(length.to_ne_bytes());
        bytes.extend(FAMILY_NAME.to_ne_bytes());
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// The attributes of each message of the answer.
fn ask(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    rustix::net::send(socket, request, SendFlags::empty())?;
    let (mut messages, mut buffer) = (Vec::new(), vec![0_u8; 64 << 10]);
    let whole_list = request[7] != 0;
    loop {
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()).map(|got| (got.0, got.1))
        })?;
        let mut rest = &buffer[..length];
        while let (Some(size), Some(kind)) = (number(rest, 0).map(u32::from_ne_bytes), number(rest, 4)) {
            let body = rest.get(HEADER..size as usize).ok_or(io::ErrorKind::InvalidData)?;
            match u16::from_ne_bytes(kind) {
                NLMSG_DONE => return Ok(messages),
                NLMSG_ERROR => {
                    let code = number(body, 0).map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
                }
                _ => messages.push(body.get(FAMILY_HEADER..).unwrap_or_default().to_vec()),
            }
            rest = rest.get((size as usize).next_multiple_of(4)..).unwrap_or_default();
        }
        if !whole_list {
            return Ok(messages);
        }
    }
}

/// The value of the first attribute of a kind.
fn attribute<const LENGTH: usize>(mut bytes: &[u8], wanted: u16) -> Option<[u8; LENGTH]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(number(bytes, 0)?));
        if u16::from_ne_bytes(number(bytes, 2)?) == wanted {
            return number(bytes.get(..length)?, 4);
        }
        // One that has no end is the last.
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn number<const LENGTH: usize>(bytes: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_never_beyond_the_end() {
        let bytes = [5, 0, 9, 0, 1, 0, 0, 0, 8, 0, 1, 0, 7, 0, 0, 0];
        assert_eq!(attribute(&bytes, 1), Some(7_u32.to_ne_bytes()));
        assert_eq!(attribute::<4>(&bytes, 9), None, "it is shorter");
        assert_eq!(attribute::<4>(&bytes, 3), None);
        assert_eq!(attribute::<4>(&bytes[..14], 1), None, "cut off");
        assert_eq!(attribute::<4>(&[0; 8], 1), None);
    }
}
