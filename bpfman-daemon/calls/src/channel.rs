//! Connection on which messages with buffers and descriptors are exchanged.

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::announced;
use crate::{CallMessage, Head, HeadError, MAX_DESCRIPTORS, PREFIX};

/// Maximum number of buffers of one system call: half of the kernel's limit.
const MAX_SLICES: usize = 512;
/// Size of the first read, in bytes: most messages are shorter.
const AHEAD: usize = 8 << 10;

static SEVERAL_CPUS: LazyLock<bool> =
    LazyLock::new(|| rustix::thread::sched_getaffinity(None).is_ok_and(|set| set.count() > 1));

/// Connection to a process that answers each message before the next one is sent.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl From<UnixStream> for Channel {
    fn from(stream: UnixStream) -> Self {
        Self(stream)
    }
}

impl From<OwnedFd> for Channel {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }
}

impl Channel {
    /// Creates both ends of a connection.
    pub fn pair() -> io::Result<(Self, Self)> {
        UnixStream::pair().map(|(one, other)| (Self(one), Self(other)))
    }

    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// Returns the number of the descriptor.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Sends a message. Descriptors stay open here.
    pub fn send<T: Serialize>(
        &self,
        head: T,
        buffers: &[Vec<u8>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(wrong(HeadError("a message has too many descriptors")));
        }
        let head =
            Head { head, buffers: buffers.iter().map(Vec::len).collect() }.to_bytes().map_err(wrong)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            beside.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let mut slices: Vec<IoSlice<'_>> =
            std::iter::once(&head).chain(buffers).map(|bytes| IoSlice::new(bytes)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let some = &left[..left.len().min(MAX_SLICES)];
            match sendmsg(&self.0, some, &mut beside, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => continue,
                sent => IoSlice::advance_slices(&mut left, sent?),
            }
            // Descriptors go with the first byte only.
            beside.clear();
        }
        Ok(())
    }

    /// Polls for a message for at most this time, without sleeping: the wake-up of an idle CPU costs more
    /// than a short call. Returns whether there is a message, or the other end is closed.
    pub fn look_for_message(&self, most: Duration) -> bool {
        // With a single CPU, busy waiting would delay the other end.
        if !*SEVERAL_CPUS {
            return false;
        }
        let begun = Instant::now();
        let mut byte = [0];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        loop {
            match recv(&self.0, &mut byte, flags) {
                // The process that will answer may wait for this CPU.
                Err(rustix::io::Errno::AGAIN) if begun.elapsed() < most => std::thread::yield_now(),
                Err(rustix::io::Errno::AGAIN) => return false,
                _ => return true,
            }
        }
    }

    /// Waits for a message. Returns false if the other end is closed.
    pub fn wait_for_message(&self) -> io::Result<bool> {
        loop {
            match recv(&self.0, &mut [0], RecvFlags::PEEK) {
                Err(rustix::io::Errno::INTR) => {}
                received => return Ok(received?.1 > 0),
            }
        }
    }

    /// Receives a message; `None` if the other end is closed. That end awaits an answer before its next one.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<CallMessage<T>>> {
        self.receive_ahead(AHEAD, |_| Ok(()))
    }

    /// Receives a message; `admit` is called with the length of its buffers before they take memory.
    pub fn receive_admitted<T: DeserializeOwned>(
        &self,
        admit: impl FnOnce(usize),
    ) -> io::Result<Option<CallMessage<T>>> {
        let admit = |buffers| {
            admit(buffers);
            Ok(())
        };
        self.receive_ahead(AHEAD, admit)
    }

    /// Receives a message, and nothing of the next one, which may follow at once; `None` if the other end is closed.
    pub fn receive_next<T: DeserializeOwned>(&self) -> io::Result<Option<CallMessage<T>>> {
        self.receive_ahead(PREFIX, |_| Ok(()))
    }

    /// Receives a message without buffers, as [`Self::receive_next`] does.
    pub fn receive_short<T: DeserializeOwned>(&self) -> io::Result<Option<CallMessage<T>>> {
        let admit = |buffers| match buffers {
            0 => Ok(()),
            _ => Err(wrong(HeadError("a message has buffers that it must not have"))),
        };
        self.receive_ahead(PREFIX, admit)
    }

    fn receive_ahead<T: DeserializeOwned>(
        &self,
        ahead: usize,
        admit: impl FnOnce(usize) -> io::Result<()>,
    ) -> io::Result<Option<CallMessage<T>>> {
        let mut first = vec![0; ahead];
        let (mut length, descriptors) = self.receive_first(&mut first)?;
        if length == 0 {
            return Ok(None);
        }
        if length < PREFIX {
            (&self.0).read_exact(&mut first[length..PREFIX])?;
            length = PREFIX;
        }
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&first[..PREFIX]);
        let (head, buffers) = announced(prefix).map_err(wrong)?;
        admit(buffers)?;
        let whole = PREFIX + head + buffers;
        if length > whole {
            return Err(wrong(HeadError("a second message came before the answer to the first")));
        }
        first.resize(PREFIX + head.max(length - PREFIX), 0);
        if length < PREFIX + head {
            (&self.0).read_exact(&mut first[length..PREFIX + head])?;
            length = PREFIX + head;
        }
        let parsed = Head::parse(&first[PREFIX..PREFIX + head], buffers).map_err(wrong)?;
        let mut begun = &first[PREFIX + head..length];
        // Read the rest in few calls, and nothing behind it: the buffers of a new command are its many variables.
        let left = whole - length;
        let mut rest = io::BufReader::with_capacity(left.min(AHEAD), (&self.0).take(left as u64));
        let mut contents = Vec::with_capacity(parsed.buffers.len());
        for size in parsed.buffers {
            let (there, others) = begun.split_at(size.min(begun.len()));
            begun = others;
            let mut buffer = there.to_vec();
            if buffer.len() < size {
                buffer.resize(size, 0);
                rest.read_exact(&mut buffer[there.len()..])?;
            }
            contents.push(buffer);
        }
        Ok(Some(CallMessage { head: parsed.head, buffers: contents, descriptors }))
    }

    fn receive_first(&self, first: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let into = &mut [IoSliceMut::new(first)];
            match recvmsg(self.0.as_fd(), into, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        let descriptors = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        Ok((received.bytes, descriptors.flatten().collect()))
    }
}

fn wrong(error: HeadError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Write as _;

    use super::*;

    #[test]
    fn message_arrives_with_its_buffers_and_descriptors() {
        let (here, there) = Channel::pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let buffers = vec![vec![1; 3], Vec::new(), vec![7; 1 << 20]];
        let sender = std::thread::spawn(move || {
            here.send("head", &buffers, &[writer.as_fd()]).unwrap();
            here
        });
        let message = there.receive::<String>().unwrap().unwrap();
        assert_eq!((message.head.as_str(), message.descriptors.len()), ("head", 1));
        assert_eq!(message.buffers.iter().map(Vec::len).collect::<Vec<_>>(), [3, 0, 1 << 20]);
        assert!(message.buffers[2].iter().all(|byte| *byte == 7));
        drop(sender.join().unwrap());
        assert!(there.receive::<String>().unwrap().is_none());
        std::fs::File::from(message.descriptors.into_iter().next().unwrap()).write_all(b"x").unwrap();
        let mut byte = [0];
        { reader }.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
    }

    #[test]
    fn messages_of_many_buffers_arrive_whole() {
        let (here, there) = Channel::pair().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let buffers: Vec<Vec<u8>> = (0..5000).map(|index| vec![index as u8; index % 7]).collect();
        let sent = buffers.clone();
        let sender = std::thread::spawn(move || here.send((), &sent, &[reader.as_fd()]).unwrap());
        let message = there.receive_next::<()>().unwrap().unwrap();
        sender.join().unwrap();
        assert_eq!((message.buffers, message.descriptors.len()), (buffers, 1));
        let (here, there) = Channel::pair().unwrap();
        here.send((), &[vec![1]], &[]).unwrap();
        assert_eq!(there.receive_short::<()>().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn messages_that_follow_each_other_are_received_one_by_one() {
        let (here, there) = Channel::pair().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        here.send(1, &[], &[]).unwrap();
        here.send(2, &[vec![5]], &[reader.as_fd()]).unwrap();
        drop(here);
        let next =
            || there.receive_next::<u8>().unwrap().map(|one| (one.head, one.buffers, one.descriptors.len()));
        assert_eq!(next(), Some((1, vec![], 0)));
        assert_eq!(next(), Some((2, vec![vec![5]], 1)));
        assert_eq!(next(), None);
    }

    #[test]
    fn malformed_messages_are_refused() {
        for bytes in [
            &b"\xff\xff\xff\xff\0\0\0\0"[..],
            b"\x02\0\0\0\xff\xff\xff\xff{}",
            b"\x02\0\0\0\0\0\0\0{}",
            b"\x1e\0\0\0\x04\0\0\0{\"head\":\"head\",\"buffers\":[9]}abcd",
            b"\x1d\0\0\0\0\0\0\0{\"head\":\"head\",\"buffers\":[]} more than the message",
        ] {
            let (here, there) = Channel::pair().unwrap();
            (&here.0).write_all(bytes).unwrap();
            drop(here);
            let error = there.receive::<String>().unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
                "{error}"
            );
        }
    }
}
