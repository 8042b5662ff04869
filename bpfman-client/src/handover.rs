//! Receiving a map from the daemon: one connection, one request, one answer with a descriptor.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::handover::{LENGTH, MAX_ANSWER, PREFACE, frame, length};
use ext::handover_answer::Answer;
use ext::handover_request::Call;
use prost::Message as _;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use crate::{Error, MapAccess, MapFile};

#[derive(Debug)]
pub enum RequestedMap {
    Id(u32),
    OfProgram {
        /// Kernel's id of the program.
        program: u32,
        name: String,
    },
}

pub async fn receive(socket: &Path, wanted: RequestedMap, access: MapAccess) -> Result<MapFile, Error> {
    let stream = UnixStream::connect(socket).await.map_err(|source| Error::of_connect(socket, source))?;
    let broke = |source| Error::Handover { path: socket.to_path_buf(), source };
    let (answer, descriptor) = ask(stream, wanted, access).await.map_err(broke)?;
    match (answer, descriptor) {
        (Answer::Failure(failure), _) => Err(failure.into()),
        (Answer::Opened(opened), Some(descriptor)) => {
            let description = opened.map.ok_or(crate::client::lacks("OpenMap", "the map"))?;
            Ok(MapFile::new(description, descriptor))
        }
        (Answer::Session(_), _) => Err(broke(foreign())),
        // The kernel drops the descriptor if this process is at its limit of open files.
        (Answer::Opened(_), None) => Err(broke(io::Error::other(
            "no descriptor came with the answer; this process may have as many open as it may have",
        ))),
    }
}

async fn ask(
    mut stream: UnixStream,
    wanted: RequestedMap,
    access: MapAccess,
) -> io::Result<(Answer, Option<OwnedFd>)> {
    use ext::open_map_request::Map;
    let map = match wanted {
        RequestedMap::Id(id) => Map::MapId(id),
        RequestedMap::OfProgram { program, name } => {
            Map::OfProgram(ext::MapOfProgram { program_id: program, name })
        }
    };
    let request = ext::OpenMapRequest { map: Some(map) };
    let call = match access {
        MapAccess::Read => Call::OpenForReading(request),
        MapAccess::Write => Call::OpenForWriting(request),
    };
    let request = frame(&ext::HandoverRequest { call: Some(call) });
    stream.write_all(&[&PREFACE[..], &request].concat()).await?;
    let (mut read, mut descriptor) = (Vec::new(), None);
    loop {
        if let Some((head, rest)) = read.split_first_chunk::<LENGTH>() {
            let length = length(*head, MAX_ANSWER).ok_or_else(foreign)?;
            if rest.len() >= length {
                let answer = ext::HandoverAnswer::decode(&rest[..length]).map_err(|_other| foreign())?;
                return Ok((answer.answer.ok_or_else(foreign)?, descriptor));
            }
        }
        let (bytes, came) = some(&stream).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&bytes);
        descriptor = descriptor.or(came);
    }
}

async fn some(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; 4 << 10];
    let receive = || -> io::Result<(usize, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let rights = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((received.bytes, rights))
    };
    let (count, descriptor) = stream.async_io(Interest::READABLE, receive).await?;
    bytes.truncate(count);
    Ok((bytes, descriptor))
}

fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it does not answer as a daemon of this version; it may be older",
    )
}
