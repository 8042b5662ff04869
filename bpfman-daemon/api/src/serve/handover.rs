//! Handovers: connections over which the daemon passes a descriptor, as specified in `maps.proto`.
//!
//! The connection itself identifies the caller, so nothing that could be guessed, kept or stolen connects the decision
//! with the descriptor. One connection passes one descriptor: each unread one costs the client a descriptor of its own.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::Peer;
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::handover::{LENGTH, MAX_REQUEST, PREFACE, frame, length};
use bpfmand_journal::Journal;
use prost::Message as _;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Status;
use wire::handover_answer::Answer;
use wire::handover_request::Call as Asked;

use super::limits::{ARRIVAL, STALL};
use crate::audit::Call;
use crate::status;

/// Function that returns the memory, in bytes, of data that a socket sent and its peer has not read.
pub type UnreadBytes = fn(&UnixStream) -> io::Result<usize>;

pub type OpenedMap = Result<(wire::OpenMapResponse, OwnedFd), Status>;

type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// Handlers of the calls whose answer passes a descriptor.
#[derive(Clone)]
pub struct HandoverCalls {
    pub open: Arc<dyn Fn(Asked) -> Answered<(wire::OpenMapResponse, OwnedFd)> + Send + Sync>,
    /// Starts a session on a connection.
    pub start:
        Arc<dyn Fn(wire::StartSessionRequest, OwnedFd) -> Answered<wire::StartSessionResponse> + Send + Sync>,
}

const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Returns the first byte of a connection without consuming it; `None` if the connection ends or sends nothing.
pub async fn first_byte(stream: &UnixStream) -> Option<u8> {
    let mut byte = [0];
    let peek = || -> io::Result<usize> { Ok(recv(stream, &mut byte[..], RecvFlags::PEEK)?.0) };
    let read = timeout(ARRIVAL, stream.async_io(Interest::READABLE, peek)).await.ok()?.ok()?;
    (read == 1).then_some(byte[0])
}

pub async fn serve(
    calls: HandoverCalls,
    unread: UnreadBytes,
    mut stream: UnixStream,
    (peer, journal): (Peer, Arc<Journal>),
    mut ended: watch::Receiver<()>,
) {
    let Ok(Ok(request)) = timeout(ARRIVAL, whole(&mut stream)).await else { return };
    let asked =
        request.and_then(|request| request.call.ok_or_else(|| status::invalid("nothing is asked for")));
    let path = match &asked {
        Ok(Asked::OpenForReading(_)) => "/bpfman.ext.v1.BpfmanMaps/OpenForReading",
        Ok(Asked::OpenForWriting(_)) => "/bpfman.ext.v1.BpfmanMaps/OpenForWriting",
        Ok(Asked::StartSession(_)) => "/bpfman.ext.v1.BpfmanSessions/Start",
        Err(_) => "Handover",
    };
    let call = Call::new(peer, path, journal);
    let opened = match asked {
        Ok(Asked::StartSession(request)) => return start(&calls, request, &stream, &call).await,
        Ok(asked) => Arc::clone(&call).scope((calls.open)(asked)).await,
        Err(status) => Err(status),
    };
    let refused = match opened {
        Ok((map, descriptor)) => match send(&stream, Answer::Opened(map), Some(descriptor)).await {
            Ok(()) => None,
            Err(error) => Some(Status::cancelled(format!("the client took nothing: {error}"))),
        },
        Err(status) => {
            let _gone = send(&stream, Answer::Failure(status::failure_of(&status)), None).await;
            Some(status)
        }
    };
    call.end(refused.as_ref()).await;
    // Keep the place until the descriptor is read: the kernel limits root's descriptors in flight.
    let mut look = FIRST_LOOK;
    while unread(&stream).is_ok_and(|bytes| bytes > 0) {
        tokio::select! {
            _ = ended.changed() => return,
            () = sleep(look) => look = (look * 2).min(LAST_LOOK),
        }
    }
}

/// Starts a session. After the answer, the client and the session's receiver use the connection.
async fn start(
    calls: &HandoverCalls,
    request: wire::StartSessionRequest,
    stream: &UnixStream,
    call: &Arc<Call>,
) {
    let started = match stream.as_fd().try_clone_to_owned() {
        Ok(client) => Arc::clone(call).scope((calls.start)(request, client)).await,
        Err(error) => Err(Status::internal(format!("the connection cannot be passed on: {error}"))),
    };
    let refused = match started {
        Ok(session) => {
            let sent = send(stream, Answer::Session(session), None).await;
            sent.err().map(|error| Status::cancelled(format!("the client took nothing: {error}")))
        }
        Err(status) => {
            let _gone = send(stream, Answer::Failure(status::failure_of(&status)), None).await;
            Some(status)
        }
    };
    call.end(refused.as_ref()).await;
}

async fn whole(stream: &mut UnixStream) -> io::Result<Result<wire::HandoverRequest, Status>> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if preface != *PREFACE {
        return Ok(Err(status::unsupported(
            "the connection begins neither with HTTP/2 nor with a handover of version 1",
        )));
    }
    let mut head = [0; LENGTH];
    stream.read_exact(&mut head).await?;
    let Some(length) = length(head, MAX_REQUEST) else {
        return Ok(Err(status::too_large(format!("a handover's request has at most {MAX_REQUEST} bytes"))));
    };
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    let request = wire::HandoverRequest::decode(&message[..]);
    Ok(request.map_err(|error| status::invalid(format!("the handover's request cannot be read: {error}"))))
}

/// Sends an answer, and a descriptor with its first byte. An answer fits the send buffer of an unused socket.
async fn send(stream: &UnixStream, answer: Answer, descriptor: Option<OwnedFd>) -> io::Result<()> {
    let bytes = frame(&wire::HandoverAnswer { answer: Some(answer) });
    let descriptors: Vec<_> = descriptor.iter().map(|descriptor| descriptor.as_fd()).collect();
    let sends = stream.async_io(Interest::WRITABLE, || -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        Ok(sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?)
    });
    let sent = timeout(STALL, sends).await.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
    if sent < bytes.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "only a part of the answer fits"));
    }
    Ok(())
}
