//! Numbers of network namespaces in the daemon's table (`ip netns list-id`). A number ends with its namespace: the
//! recorded number shows whether the namespace still exists, even if no path leads to it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use bpfman_model::NetnsId;

use super::netlink::{ACK, DUMP, Message, NetlinkError, Request, attribute, talk, u32_at};

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const RTGENMSG: usize = 4;
/// First number assigned by the daemon. The kernel itself assigns the lowest free number from 0, and so none of these.
const FIRST: u32 = 0x6270_0000;
const ATTEMPTS: u32 = 16;

/// Returns or assigns the number of a namespace. Must be called in the namespace of the daemon.
pub fn number_of(file: &impl AsFd, netns: NetnsId) -> io::Result<u32> {
    if let Some(number) = lookup(file)? {
        return Ok(number);
    }
    let offset = (netns.cookie.wrapping_mul(251) ^ netns.inode) as u32;
    for attempt in 0..ATTEMPTS {
        let number = FIRST | (offset.wrapping_add(attempt) & 0xffff);
        let request = Request::new(RTM_NEWNSID, ACK, &[0; RTGENMSG])
            .attribute(NETNSA_NSID, &number.to_ne_bytes())
            .attribute(NETNSA_FD, &file.as_fd().as_raw_fd().to_ne_bytes());
        match talk(&request.finish()) {
            Ok(_) => return Ok(number),
            // The namespace got a number meanwhile, or another namespace has this number.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                if let Some(number) = lookup(file)? {
                    return Ok(number);
                }
            }
            Err(error) => return Err(error.in_words()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

pub fn lookup(file: &impl AsFd) -> io::Result<Option<u32>> {
    let request = Request::new(RTM_GETNSID, ACK, &[0; RTGENMSG])
        .attribute(NETNSA_FD, &file.as_fd().as_raw_fd().to_ne_bytes());
    Ok(talk(&request.finish()).map_err(NetlinkError::in_words)?.iter().find_map(number))
}

pub fn all() -> io::Result<BTreeSet<u32>> {
    let request = Request::new(RTM_GETNSID, DUMP, &[0; RTGENMSG]);
    Ok(talk(&request.finish()).map_err(NetlinkError::in_words)?.iter().filter_map(number).collect())
}

/// The kernel reports -1 for a namespace without a number.
fn number((kind, body): &Message) -> Option<u32> {
    if *kind != RTM_NEWNSID {
        return None;
    }
    let number = u32_at(attribute(body.get(RTGENMSG..)?, NETNSA_NSID)?, 0)?;
    (number.cast_signed() >= 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reason_is_passed_on() {
        let no_namespace = std::fs::File::open("/dev/null").unwrap();
        let error = lookup(&no_namespace).unwrap_err().to_string();
        assert!(error.contains("Peer netns reference is invalid"), "{error}");
    }
}
