//! Server of the daemon's socket: no caller can occupy more of the daemon than its share.
//!
//! A request is read completely before a service sees it, within a time limit and in memory of its user's share; an
//! answer is sent in pieces as its client reads them. Both are bounded by user, so that no user can take the share of
//! another. A connection that does not begin with HTTP/2 is a handover.

mod account;
mod admission;
mod answer;
mod callers;
mod handover;
mod limits;
mod request;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{KeptShare, Peer};
use bpfman_proto::handover::PREFACE;
use bpfmand_journal::Journal;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

use admission::{ConnectionAccounts, Entrance, admit, enter};
use answer::{AnswerBody, AnswerProgress};
use callers::{Callers, ConnectionPlace};

use crate::audit::Call;
use crate::authorize::AccessSource;
use crate::named_host::NamedHost;

pub(crate) use callers::IDENTIFYING;
pub use handover::UnreadBytes;
pub(crate) use handover::{HandoverCalls, OpenedMap};
pub(crate) use limits::MAX_REQUEST;

/// Function that identifies the process behind a connection, as far as it is needed.
pub type Identify = fn(&UnixStream, WantedIdentity) -> io::Result<Peer>;

/// Part of a caller's identity that a decision needs. Each costs more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedIdentity {
    /// User and groups, as the kernel noted them.
    Groups,
    /// Unit, pod and namespace of the process, and the tasks of its cgroup.
    Process,
}

/// Function that returns unused memory to the system.
pub type Trim = fn();

/// Functions of the operating system that the server of a socket needs.
#[derive(Clone, Copy, Debug)]
pub struct SocketSystem {
    /// Identifies the process behind a connection, on a thread where it may block.
    pub identify: Identify,
    /// Returns the memory of data that a client has not read yet.
    pub unread: UnreadBytes,
    /// Returns the uid that connections of a user count for: subordinate users of one user count together.
    pub account_uid: fn(u32) -> u32,
    /// Returns memory to the system after connections have ended.
    pub trim: Trim,
}

pub(crate) struct Connections {
    pub routes: Routes,
    pub handovers: HandoverCalls,
    pub system: SocketSystem,
    pub journal: Arc<Journal>,
    pub access: Arc<dyn AccessSource>,
    /// Connections that are kept for root and those that act for applications.
    pub kept: KeptShare,
}

impl Connections {
    /// Serves until `stop` is ready, then ends each connection when its requests have ended.
    pub async fn serve(self, listener: UnixListener, stop: impl Future<Output = ()>) {
        let callers = Arc::new(Callers::new(self.kept));
        let (end, ended) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        let mut untidy = false;
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let counting = self.counting();
                        if let Some(entrance) = enter(&stream, &counting, &callers, &self.journal) {
                            connections.spawn(self.connection(stream, (entrance, counting), ended.clone()));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be taken");
                        // Wait: the error may mean that no descriptors are left, and would occur again at once.
                        sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => untidy = true,
                () = sleep(Duration::from_secs(1)), if untidy => {
                    untidy = false;
                    (self.system.trim)();
                }
            }
        }
        drop((listener, ended));
        let _all_gone = end.send(());
        while connections.join_next().await.is_some() {}
    }

    fn counting(&self) -> ConnectionAccounts {
        let SocketSystem { identify, account_uid, .. } = self.system;
        ConnectionAccounts { identify, account_uid, policy: self.access.policy() }
    }

    /// Identifies the process behind a connection, and serves it; its first byte determines the protocol.
    fn connection(
        &self,
        stream: UnixStream,
        (entrance, counting): (Entrance, ConnectionAccounts),
        ended: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + use<> {
        let (routes, handovers, unread) = (self.routes.clone(), self.handovers.clone(), self.system.unread);
        let journal = Arc::clone(&self.journal);
        async move {
            let Some((stream, peer, place)) = admit(stream, entrance, counting, &journal).await else {
                return;
            };
            match handover::first_byte(&stream).await {
                None => {}
                Some(byte) if byte == PREFACE[0] => {
                    handover::serve(handovers, unread, stream, (peer, journal), ended).await;
                    drop(place);
                }
                Some(_) => http((routes, journal), stream, peer, place, ended).await,
            }
        }
    }
}

async fn http(
    (routes, journal): (Routes, Arc<Journal>),
    stream: UnixStream,
    peer: Peer,
    place: ConnectionPlace,
    mut ended: watch::Receiver<()>,
) {
    let (place, progress) = (Arc::new(place), Arc::<AnswerProgress>::default());
    let taken = Arc::clone(&progress);
    let service = service_fn(move |request| {
        let (routes, peer) = (routes.clone(), peer.clone());
        let (place, progress) = (Arc::clone(&place), Arc::clone(&progress));
        let call = Call::new(peer.clone(), request.uri().path(), Arc::clone(&journal));
        async move { Ok::<_, Infallible>(answer(routes, (peer, call), &place, progress, request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_header_list_size(limits::HEADERS)
        .max_send_buf_size(limits::SEND_BUFFER)
        .keep_alive_interval(limits::KEEPALIVE)
        .keep_alive_timeout(limits::KEEPALIVE_ANSWER);
    let mut served = pin!(builder.serve_connection(TokioIo::new(NamedHost::new(stream)), service));
    let mut look = interval(limits::STALL / 6);
    let mut ending = false;
    loop {
        tokio::select! {
            result = &mut served => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            _ = ended.changed(), if !ending => {
                ending = true;
                served.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                if taken.has_stalled() {
                    tracing::warn!("a connection is ended: its client takes no answers");
                    return;
                }
            }
        }
    }
}

async fn answer(
    routes: Routes,
    (peer, call): (Peer, Arc<Call>),
    place: &ConnectionPlace,
    progress: Arc<AnswerProgress>,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Body> {
    place.answers_read().await;
    let response = call.follow(serve(routes, peer, place, request)).await;
    response.map(|body| Body::new(AnswerBody::new(body, place.unread(), progress)))
}

async fn serve(
    mut routes: Routes,
    peer: Peer,
    place: &ConnectionPlace,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Body> {
    let (mut parts, body) = request.into_parts();
    match request::whole(body, place).await {
        Ok((message, room)) => {
            parts.extensions.insert(peer);
            let request = hyper::Request::from_parts(parts, Body::new(Full::new(message)));
            let response = match routes.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            drop(room);
            response
        }
        Err(status) => status.into_http(),
    }
}

#[cfg(test)]
mod tests;
