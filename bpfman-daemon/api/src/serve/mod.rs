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

use bpfman_proto::handover::PREFACE;
use bpfmand_access::AccessPolicy;
use bpfmand_core::Peer;
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

use account::{Account, has_grants_by_identity};
use answer::{AnswerBody, AnswerProgress};
use callers::{Callers, ConnectionPlace, NoPlace};

use crate::audit::Call;
use crate::authorize::AccessSource;
use crate::named_host::NamedHost;

pub use handover::UnreadBytes;
pub(crate) use handover::{OpenMaps, OpenedMap};
pub(crate) use limits::MAX_REQUEST;

/// Function that identifies the process behind a connection.
pub type Identify = fn(&UnixStream) -> io::Result<Peer>;

/// Function that returns unused memory to the system.
pub type Trim = fn();

/// Functions of the operating system that the server of a socket needs.
#[derive(Clone, Copy, Debug)]
pub struct SocketSystem {
    /// Identifies the process behind a connection.
    pub identify: Identify,
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
        let SocketSystem { identify, counts_for, .. } = self.system;
        Counting { identify, counts_for, policy: self.access.policy() }
    }

    /// Serves one connection; its first byte determines the protocol.
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
                // A connection that sends nothing is ignored.
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

/// Assignment of connections to accounts, whose limits they count against.
struct Counting {
    identify: Identify,
    counts_for: fn(u32) -> u32,
    policy: Arc<AccessPolicy>,
}

enum Admission {
    Placed(Peer, ConnectionPlace),
    /// There is none, and the peer may be unknown.
    Full(Option<Peer>, NoPlace),
    /// The process could not be identified.
    Unknown,
}

impl Counting {
    fn account(&self, peer: &Peer) -> Account {
        Account::of_peer(&self.policy, peer, (self.counts_for)(peer.uid))
    }

    /// Gives a connection a place, then identifies its process: only those who have a place cost the dozens of system calls
    /// that this takes. Where no place is left for its user, the process may have one by a grant.
    fn place(&self, uid: u32, callers: &Arc<Callers>, identify: impl Fn() -> Option<Peer>) -> Admission {
        let user = Account::of_user(&self.policy, uid, (self.counts_for)(uid));
        match callers.place(user) {
            Ok(mut place) => {
                let Some(peer) = identify() else { return Admission::Unknown };
                place.count_for(self.account(&peer));
                Admission::Placed(peer, place)
            }
            Err(full) if !has_grants_by_identity(&self.policy) => Admission::Full(None, full),
            Err(_) => {
                let Some(peer) = identify() else { return Admission::Unknown };
                match callers.place(self.account(&peer)) {
                    Ok(place) => Admission::Placed(peer, place),
                    Err(full) => Admission::Full(Some(peer), full),
                }
            }
        }
    }
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
    match counting.place(uid, callers, || (counting.identify)(stream).inspect_err(unknown).ok()) {
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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bpfmand_access::{Grant, GrantCallers};

    use super::*;

    /// Counts by a policy whose callers all are of one group.
    fn counting(policy: AccessPolicy, identify: Identify) -> Counting {
        Counting { identify, counts_for: |uid| uid + 1, policy: Arc::new(policy) }
    }

    #[tokio::test]
    async fn process_is_looked_at_once_there_is_a_place() {
        static LOOKED: AtomicUsize = AtomicUsize::new(0);
        let identify: Identify = |stream| {
            LOOKED.fetch_add(1, Ordering::SeqCst);
            Ok(Peer { uid: stream.peer_cred()?.uid(), ..Peer::default() })
        };
        let (callers, journal) = (Arc::<Callers>::default(), Arc::<Journal>::default());
        let (stream, _other) = UnixStream::pair().unwrap();
        let mut places = Vec::new();
        let looks = counting(AccessPolicy::default(), identify);
        while let Some(admitted) = admit(&stream, &looks, &callers, &journal) {
            places.push(admitted);
        }
        assert!(!places.is_empty());
        assert_eq!(LOOKED.load(Ordering::SeqCst), places.len());
        assert!(admit(&stream, &looks, &callers, &journal).is_none());
        assert_eq!(LOOKED.load(Ordering::SeqCst), places.len());
    }

    #[test]
    fn a_grant_by_group_has_a_place_where_users_have_none() {
        let callers = GrantCallers { groups: [500].into(), ..GrantCallers::default() };
        let grants = vec![Grant { name: "team".to_owned(), callers, ..Grant::default() }];
        let policy = AccessPolicy { grants, ..AccessPolicy::default() };
        let by_group = counting(policy, |_| Err(io::ErrorKind::Unsupported.into()));
        let callers = Arc::<Callers>::default();
        let place = |uid: u32, groups: &[u32]| {
            let peer = Peer { uid, groups: groups.to_vec(), ..Peer::default() };
            match by_group.place(uid, &callers, || Some(peer.clone())) {
                Admission::Placed(_, place) => Some(place),
                Admission::Full(..) => None,
                Admission::Unknown => panic!("it is known"),
            }
        };
        let users: Vec<_> = (1000..).step_by(2).map_while(|uid| place(uid, &[])).collect();
        assert!(!users.is_empty() && place(4711, &[]).is_none());
        let members: Vec<_> = (0..10).map_while(|_| place(4711, &[500])).collect();
        assert_eq!(members.len(), 10);
        drop(members);
        // A place of a member is none of those of users without a grant.
        drop(users);
        let members: Vec<_> = (4711..4719).map_while(|uid| place(uid, &[500])).collect();
        let again: Vec<_> = (1000..).step_by(2).map_while(|uid| place(uid, &[])).collect();
        assert_eq!((members.len(), again.len()), (8, limits::CONNECTIONS_WITHOUT_GRANT));
    }
}
