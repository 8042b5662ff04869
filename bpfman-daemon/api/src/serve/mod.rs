//! Server of the daemon's socket: no caller can occupy more of the daemon than its share.
//!
//! A request is read completely before a service sees it, within a time limit and in memory of its user's share; an
//! answer is sent in pieces as its client reads them. Both are bounded by user, so that no user can take the share of
//! another. A connection that does not begin with HTTP/2 is a handover.

mod account;
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

use bpfman_model::Peer;
use bpfman_proto::handover::PREFACE;
use bpfmand_access::{AccessPolicy, Grant};
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

use account::{Account, needed_for_grants};
use answer::{AnswerBody, AnswerProgress};
use callers::{Callers, ConnectionPlace, NoPlace};

use crate::audit::Call;
use crate::authorize::AccessSource;
use crate::named_host::NamedHost;

pub use handover::UnreadBytes;
pub(crate) use handover::{OpenMaps, OpenedMap};
pub(crate) use limits::MAX_REQUEST;

/// Function that identifies the process behind a connection, as far as it is needed.
pub type Identify = fn(&UnixStream, WantedIdentity) -> io::Result<Peer>;

/// Part of a caller's identity that a decision needs. Each costs more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedIdentity {
    /// User and groups, as the kernel noted them.
    Groups,
    /// Unit, pod and namespace of the process.
    Process,
    /// Tasks of its cgroup too, for which programs of a grant with a scope run.
    Tasks,
}

/// Function that returns unused memory to the system.
pub type Trim = fn();

/// Functions of the operating system that the server of a socket needs.
#[derive(Clone, Copy, Debug)]
pub struct SocketSystem {
    /// Identifies the process behind a connection.
    pub identify: Identify,
    /// Returns whether a caller is in a pod of the daemon's own namespace; none where the daemon is in no pod.
    pub is_beside_daemon: fn(&Peer) -> Option<bool>,
    /// Returns the memory of data that a client has not read yet.
    pub unread: UnreadBytes,
    /// Returns the uid that connections of a user count for: subordinate users of one user count together.
    pub counts_for: fn(u32) -> u32,
    /// Returns memory to the system after connections have ended.
    pub trim: Trim,
}

pub(crate) struct Connections {
    pub routes: Routes,
    pub maps: OpenMaps,
    pub system: SocketSystem,
    pub journal: Arc<Journal>,
    pub access: Arc<dyn AccessSource>,
}

impl Connections {
    /// Serves until `stop` is ready, then ends each connection when its requests have ended.
    pub async fn serve(self, listener: UnixListener, stop: impl Future<Output = ()>) {
        let callers = Arc::<Callers>::default();
        let (end, ended) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        let mut untidy = false;
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let admitted = admit(&stream, &self.counting(), &callers, &self.journal);
                        if let Some((peer, place)) = admitted {
                            let ended = ended.clone();
                            connections.spawn(self.connection(stream, peer, place, ended));
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

    fn counting(&self) -> Counting {
        let SocketSystem { identify, is_beside_daemon, counts_for, .. } = self.system;
        Counting { identify, is_beside_daemon, counts_for, policy: self.access.policy() }
    }

    fn connection(
        &self,
        stream: UnixStream,
        peer: Peer,
        place: ConnectionPlace,
        ended: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + use<> {
        let (routes, maps, unread) = (self.routes.clone(), Arc::clone(&self.maps), self.system.unread);
        let journal = Arc::clone(&self.journal);
        async move {
            match handover::first_byte(&stream).await {
                None => {}
                Some(byte) if byte == PREFACE[0] => {
                    handover::serve(maps, unread, stream, (peer, journal), ended).await;
                    drop(place);
                }
                Some(_) => http((routes, journal), stream, peer, place, ended).await,
            }
        }
    }
}

struct Counting {
    identify: Identify,
    is_beside_daemon: fn(&Peer) -> Option<bool>,
    counts_for: fn(u32) -> u32,
    policy: Arc<AccessPolicy>,
}

enum Admission {
    Placed(Peer, ConnectionPlace),
    /// There is none, and the peer may be unknown.
    Full(Option<Peer>, NoPlace),
    Unknown,
}

impl Counting {
    fn account(&self, peer: &Peer) -> Account {
        Account::of_peer(&self.policy, peer, (self.counts_for)(peer.uid))
    }

    /// Gives a connection a place, then identifies its process: only those who have a place cost the dozens of system calls
    /// that this takes. Where no place is left for its user, the process may have one by a grant.
    fn place(
        &self,
        uid: u32,
        callers: &Arc<Callers>,
        identify: impl Fn(WantedIdentity) -> Option<Peer>,
    ) -> Admission {
        let counts_for = (self.counts_for)(uid);
        let beside = |grant: &Grant| grant.callers.beside_daemon && grant.callers.users.contains(&uid);
        let is_asked_for = self.policy.grants.iter().any(beside);
        let identify = |wanted| {
            let mut peer = identify(wanted)?;
            peer.counts_for = Some(counts_for);
            if is_asked_for && wanted >= WantedIdentity::Process {
                peer.is_beside_daemon = (self.is_beside_daemon)(&peer);
            }
            Some(peer)
        };
        let wanted = wanted_by(&self.policy);
        let user = Account::of_user(&self.policy, uid, counts_for);
        match callers.place(user) {
            Ok(mut place) => {
                let Some(peer) = identify(wanted) else { return Admission::Unknown };
                place.count_for(self.account(&peer));
                Admission::Placed(peer, place)
            }
            Err(full) => {
                // A grant may have a place for it: by a group, which takes one system call, or by more.
                let Some(needed) = needed_for_grants(&self.policy) else {
                    return Admission::Full(None, full);
                };
                let Some(peer) = identify(needed) else { return Admission::Unknown };
                match callers.place(self.account(&peer)) {
                    Ok(place) if needed >= wanted => Admission::Placed(peer, place),
                    Ok(place) => match identify(wanted) {
                        Some(peer) => Admission::Placed(peer, place),
                        None => Admission::Unknown,
                    },
                    Err(full) => Admission::Full(Some(peer), full),
                }
            }
        }
    }
}

fn wanted_by(policy: &AccessPolicy) -> WantedIdentity {
    let has_scope = policy.grants.iter().any(|grant| grant.tenant.is_some());
    if has_scope { WantedIdentity::Tasks } else { WantedIdentity::Process }
}

fn admit(
    stream: &UnixStream,
    counting: &Counting,
    callers: &Arc<Callers>,
    journal: &Arc<Journal>,
) -> Option<(Peer, ConnectionPlace)> {
    let unknown = |error: &io::Error| {
        tracing::warn!(%error, "a connection is refused: the process that made it is unknown");
    };
    let credentials = stream.peer_cred().inspect_err(unknown).ok()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let identify = |wanted| (counting.identify)(stream, wanted).inspect_err(unknown).ok();
    match counting.place(uid, callers, identify) {
        Admission::Placed(peer, place) => Some((peer, place)),
        Admission::Unknown => None,
        Admission::Full(peer, NoPlace { open, own }) => {
            let whose = if own { "of this user" } else { "of users like this one" };
            let reason = format!("{open} connections {whose} are open, as many as may be");
            let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
            let peer = peer.unwrap_or_else(|| Peer { uid, gid, pid, ..Peer::default() });
            Call::new(peer, "Connect", Arc::clone(journal))
                .refuse(&tonic::Status::resource_exhausted(reason));
            None
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
