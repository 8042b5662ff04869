use std::io;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const HEADER: usize = 16;
const KIND: u16 = 0x3fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    One,
    List,
}

pub fn ask(protocol: Option<Protocol>, kind: u16, answer: Answer, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let (family, socket_type) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, socket_type, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::send(&socket, &request(kind, answer, body), SendFlags::empty())?;
    let (mut messages, mut buffer) = (Vec::new(), vec![0_u8; 64 << 10]);
    loop {
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty()).map(|got| (got.0, got.1))
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
                _ => messages.push(body.to_vec()),
            }
            rest = rest.get((size as usize).next_multiple_of(4)..).unwrap_or_default();
        }
        if answer == Answer::One {
            return Ok(messages);
        }
    }
}

fn request(kind: u16, answer: Answer, body: &[u8]) -> Vec<u8> {
    let flags = if answer == Answer::List { REQUEST | DUMP } else { REQUEST };
    let mut bytes = vec![0; HEADER];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes.extend(body);
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

pub fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(number(bytes, 0)?));
        if u16::from_ne_bytes(number(bytes, 2)?) & KIND == wanted {
            return bytes.get(4..length);
        }
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

pub fn number<const LENGTH: usize>(bytes: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub fn written(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or_default();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_never_beyond_the_end() {
        let bytes = [written(9, &[1]), written(1, &7_u32.to_ne_bytes())].concat();
        assert_eq!(attribute(&bytes, 1), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(&bytes, 9), Some(&[1][..]));
        assert_eq!(attribute(&bytes, 3), None);
        assert_eq!(attribute(&bytes[..14], 1), None, "cut off");
        assert_eq!(attribute(&[0; 8], 1), None);
        assert_eq!(attribute(&[0; 8], 0), None, "shorter than its own header");
        let nested = written(1 | 0x8000, &[]);
        assert_eq!(attribute(&nested, 1), Some(&[][..]), "flags are no part of the kind");
    }
}
