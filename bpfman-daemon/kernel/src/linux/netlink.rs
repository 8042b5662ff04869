use std::os::fd::OwnedFd;
use std::time::Duration;
use std::{fmt, io};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::sys;

pub const REQUEST: u16 = 0x01;
pub const ACK: u16 = 0x04;
pub const DUMP: u16 = 0x300;
pub const REPLACE: u16 = 0x100;
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const CAPPED: u16 = 0x100;
const ERROR_ATTRIBUTES: u16 = 0x200;
const ERROR_TEXT: u16 = 1;
const DUMP_INTERRUPTED: u16 = 0x10;
/// The second attempt follows at once, later ones after growing delays, since bursts of changes have gaps.
const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const HEADER: usize = 16;
pub const NESTED: u16 = 0x8000;

#[derive(Debug)]
pub struct NetlinkError {
    source: io::Error,
    words: Option<String>,
}

impl NetlinkError {
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    pub fn in_words(self) -> io::Error {
        match self.words {
            Some(_) => io::Error::new(self.source.kind(), self.to_string()),
            None => self.source,
        }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Some(words) => write!(f, "{}: {words}", self.source),
            None => self.source.fmt(f),
        }
    }
}

impl From<io::Error> for NetlinkError {
    fn from(source: io::Error) -> Self {
        Self { source, words: None }
    }
}

impl From<rustix::io::Errno> for NetlinkError {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// ENODEV keeps its number, by which callers recognise a missing interface; a text would replace the number.
impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> Self {
        if error.raw_os_error() == Some(libc::ENODEV) { error.source } else { error.in_words() }
    }
}

pub struct Request(Vec<u8>);

impl Request {
    pub fn new(message: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&message.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        bytes.extend(body);
        Self(bytes)
    }

    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        put_attribute(&mut self.0, kind, value);
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0[0..4].copy_from_slice(&length);
        self.0
    }
}

pub fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub type Message = (u16, Vec<u8>);

struct Part {
    messages: Vec<Message>,
    done: bool,
    interrupted: bool,
}

pub fn socket() -> io::Result<OwnedFd> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sys::explain_errors(&socket);
    Ok(socket)
}

fn words_of(flags: u16, body: &[u8]) -> Option<String> {
    if flags & ERROR_ATTRIBUTES == 0 {
        return None;
    }
    // The body is the error number, then the request, which may be truncated to its header.
    let quoted = if flags & CAPPED == 0 { u32_at(body, 4)? as usize } else { HEADER };
    let attributes = body.get(4 + quoted.next_multiple_of(4)..)?;
    attribute(attributes, ERROR_TEXT).map(super::facts::text).filter(|words| !words.is_empty())
}

fn parse(mut rest: &[u8]) -> Result<Part, NetlinkError> {
    let mut part = Part { messages: Vec::new(), done: false, interrupted: false };
    while rest.len() >= HEADER {
        let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        let flags = u16::from_ne_bytes([rest[6], rest[7]]);
        let Some(body) = rest.get(HEADER..size) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        };
        part.interrupted |= flags & DUMP_INTERRUPTED != 0;
        match kind {
            NLMSG_DONE => part.done = true,
            NLMSG_ERROR => match u32_at(body, 0).map_or(0, u32::cast_signed) {
                0 => part.done = true,
                code => {
                    let source = io::Error::from_raw_os_error(code.wrapping_neg());
                    return Err(NetlinkError { source, words: words_of(flags, body) });
                }
            },
            _ => part.messages.push((kind, body.to_vec())),
        }
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(part)
}

pub fn notices(datagram: &[u8]) -> io::Result<Vec<Message>> {
    Ok(parse(datagram)?.messages)
}

/// Sends a request and returns the answer. Repeats a listing that changed meanwhile.
pub fn talk(request: &[u8]) -> Result<Vec<Message>, NetlinkError> {
    talk_by(&socket()?, request)
}

pub fn talk_by(socket: &OwnedFd, request: &[u8]) -> Result<Vec<Message>, NetlinkError> {
    for attempt in 0..ATTEMPTS {
        if let Some(doublings) = attempt.checked_sub(2) {
            std::thread::sleep(FIRST_PAUSE * 2_u32.pow(doublings));
        }
        let (messages, interrupted) = ask(socket, request)?;
        if !interrupted {
            return Ok(messages);
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "what was to be listed keeps changing").into())
}

fn ask(socket: &OwnedFd, request: &[u8]) -> Result<(Vec<Message>, bool), NetlinkError> {
    rustix::net::send(socket, request, SendFlags::empty())?;
    let mut messages = Vec::new();
    let mut interrupted = false;
    let mut buffer = vec![0_u8; 32 << 10];
    loop {
        let (length, whole) = match rustix::net::recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Err(rustix::io::Errno::INTR) => continue,
            received => received?,
        };
        if whole > buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is too long").into());
        }
        let mut part = parse(&buffer[..length])?;
        messages.append(&mut part.messages);
        interrupted |= part.interrupted;
        if part.done {
            return Ok((messages, interrupted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(flags: u16, quoted: &[u8], attributes: &[u8]) -> NetlinkError {
        let mut message = vec![0; HEADER];
        message.extend((-libc::EOPNOTSUPP).to_ne_bytes());
        message.extend(quoted);
        message.resize(message.len().next_multiple_of(4), 0);
        message.extend(attributes);
        let length = (message.len() as u32).to_ne_bytes();
        message[..4].copy_from_slice(&length);
        message[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        message[6..8].copy_from_slice(&flags.to_ne_bytes());
        parse(&message).err().unwrap()
    }

    #[test]
    fn the_kernels_reason_is_passed_on() {
        let mut text = Vec::new();
        put_attribute(&mut text, 2, &7_u32.to_ne_bytes());
        put_attribute(&mut text, ERROR_TEXT, b"Egress block is shared\0");
        let request = Request::new(44, ACK, &[0; 20]).attribute(1, b"bpf\0").finish();
        for (flags, quoted) in
            [(ERROR_ATTRIBUTES, &request[..]), (ERROR_ATTRIBUTES | CAPPED, &request[..HEADER])]
        {
            let error = error(flags, quoted, &text);
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
            assert!(error.to_string().ends_with(": Egress block is shared"), "{error}");
            assert!(error.in_words().to_string().contains("Egress block is shared"));
        }
        let passed_on = || -> io::Result<()> { Err(error(ERROR_ATTRIBUTES, &request, &text))? };
        assert!(passed_on().unwrap_err().to_string().contains("Egress block is shared"));
        let plain = error(0, &request, &[]);
        assert_eq!(io::Error::from(plain).raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(error(ERROR_ATTRIBUTES, &request[..HEADER], &[]).words, None);
        assert_eq!(error(ERROR_ATTRIBUTES | CAPPED, &request[..HEADER], &[9, 0, 1]).words, None);
    }
}
