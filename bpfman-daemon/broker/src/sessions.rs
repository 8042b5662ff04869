//! All sessions of this daemon.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bpfman_model::{Owner, Peer};
use bpfmand_access::{AccessVerb, GrantLimits};
use bpfmand_calls::{Channel, ObjectKind, ReceiverMessage, SessionOrder};
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::brokered::ProbeEvents;
use bpfmand_kernel::linux::{caller_process, tasks_of_group};

use crate::large_calls::LargeCalls;
use crate::record::{self, ClientRecord, SessionRecord};
use crate::serve::{CurrentPolicy, SessionCalls};
use crate::session::{BrokeredSession, SessionFacts, SessionObjects};
use crate::starter;

/// Maximum number of sessions of one user at a time.
const MAX_OF_USER: usize = 64;
/// Maximum number of sessions that a user starts at the same time.
const MAX_STARTS: usize = 4;
/// Maximum number of channels of a session: one for each thread of its receiver.
const MAX_CHANNELS: usize = 16;
const STACK: usize = 512 << 10;
/// Setting of Yama from which on not even a parent may read a process's memory.
const ONLY_BY_CAPABILITY: u32 = 2;

/// Failure to start a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The starter does not run.
    #[error(
        "the starter of sessions does not listen on {path}; start it: systemctl start bpfman-session.socket"
    )]
    NoStarter {
        /// Socket of the starter.
        path: PathBuf,
    },
    /// The connection to the starter failed.
    #[error("the starter of sessions cannot be reached: {0}")]
    Starter(#[source] io::Error),
    /// The starter could not prepare the session.
    #[error("the session cannot be prepared: {0}")]
    NotPrepared(String),
    /// The files of the session cannot be written or read.
    #[error("the record of the session cannot be kept: {0}")]
    Record(#[source] io::Error),
    /// Yama forbids reading the command's memory.
    #[error(
        "kernel.yama.ptrace_scope is {0}: not even a parent may read the arguments of a command's calls; sessions need 0 or 1"
    )]
    Yama(u32),
    /// The user has too many sessions.
    #[error("user {0} has {MAX_OF_USER} sessions already; end one")]
    TooMany(u32),
}

/// CallRequest for a session that access control has allowed.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Client.
    pub peer: Peer,
    /// Grant that alone counts.
    pub grant: Option<String>,
    /// Owner of what the command makes.
    pub owner: Owner,
    /// Limits of the owner.
    pub limits: GrantLimits,
    /// True if the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
}

struct Starting<'a> {
    all: &'a Mutex<BTreeMap<u32, usize>>,
    uid: u32,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(&self.uid).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => all.remove(&self.uid),
            left => all.insert(self.uid, left),
        };
    }
}

/// Sessions of this daemon.
pub struct Sessions {
    folder: PathBuf,
    policy: CurrentPolicy,
    journal: Arc<Journal>,
    numbers: AtomicU64,
    running: Mutex<BTreeMap<String, Arc<BrokeredSession>>>,
    /// Starts in progress, by user.
    starting: Mutex<BTreeMap<u32, usize>>,
    /// By user; users stay, since they are few.
    large: Mutex<BTreeMap<u32, Arc<LargeCalls>>>,
}

impl Sessions {
    /// Creates it with the folder of the starter's socket.
    pub fn new(folder: PathBuf, policy: CurrentPolicy, journal: Arc<Journal>) -> Arc<Self> {
        let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Arc::new(Self {
            folder,
            policy,
            journal,
            numbers: AtomicU64::new(first),
            running: Mutex::default(),
            large: Mutex::default(),
            starting: Mutex::default(),
        })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<BrokeredSession>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all sessions with their objects.
    pub fn list(&self) -> Vec<(SessionFacts, SessionObjects)> {
        self.running().values().map(|session| (session.facts.clone(), session.objects().clone())).collect()
    }

    /// Starts a session for the client at the other end of a connection. It returns once the client may send its command.
    pub fn start(self: &Arc<Self>, new: NewSession, client: BorrowedFd<'_>) -> Result<String, SessionError> {
        check_yama()?;
        let uid = new.peer.uid;
        let _starting = self.begin_start(uid)?;
        let name = format!("{:x}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let order = SessionOrder { session: name.clone(), kallsyms: new.kallsyms };
        let NewSession { peer, grant, owner, limits, kallsyms: _ } = new;
        let client_record = ClientRecord::new(uid, peer.gid, peer.groups.clone(), grant.clone());
        let record =
            SessionRecord::create(&self.folder, &name, &client_record).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::NotFound => SessionError::NoStarter { path: self.folder.clone() },
                    _ => SessionError::Record(source),
                }
            })?;
        let begun = starter::order(&self.folder, &order, client);
        let (receiver, channel) = begun.inspect_err(|_| record.remove())?;
        let started = client_record.started();
        let facts = SessionFacts { name: name.clone(), peer, grant, owner, limits, started, receiver };
        self.begin(BrokeredSession::new(facts, Some(record), Vec::new()), channel)?;
        Ok(name)
    }

    fn begin(self: &Arc<Self>, session: BrokeredSession, channel: Channel) -> Result<(), SessionError> {
        let session = Arc::new(session);
        self.running().insert(session.facts.name.clone(), Arc::clone(&session));
        let this = Arc::clone(self);
        let follow = move || this.follow(&session, &channel);
        let thread = std::thread::Builder::new().name("session".to_owned()).stack_size(STACK);
        thread.spawn(follow).map(drop).map_err(SessionError::Starter)
    }

    /// Counts a start until the result is dropped: each takes a thread of the daemon.
    fn begin_start(&self, uid: u32) -> Result<Starting<'_>, SessionError> {
        let running = self.running().values().filter(|session| session.facts.peer.uid == uid).count();
        let mut starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = starting.entry(uid).or_default();
        if *of_user >= MAX_STARTS || running + *of_user >= MAX_OF_USER {
            return Err(SessionError::TooMany(uid));
        }
        *of_user += 1;
        Ok(Starting { all: &self.starting, uid })
    }

    /// Goes on with the sessions of an earlier daemon, and removes what is left of those that have ended.
    pub fn adopt(self: &Arc<Self>) {
        for name in record::names(&self.folder) {
            match self.adopt_one(&name) {
                Ok(()) => tracing::info!(session = name, "an earlier daemon's session goes on"),
                Err(error) => {
                    tracing::info!(session = name, %error, "an earlier daemon's session has ended");
                    record::remove(&self.folder, &name);
                }
            }
        }
    }

    fn adopt_one(self: &Arc<Self>, name: &str) -> Result<(), SessionError> {
        let path = self.folder.join(format!("{name}.{}", record::SOCKET));
        let connection = UnixStream::connect(path).map_err(SessionError::Starter)?;
        let (record, client, known) =
            SessionRecord::open(&self.folder, name).map_err(SessionError::Record)?;
        let (peer, receiver) = peer_of(&connection, &client).map_err(SessionError::Starter)?;
        // A grant that is gone allows nothing more; what runs stays the user's.
        let allowed = (self.policy)().decide(&peer, AccessVerb::Raw, &[]).ok();
        let owner = allowed.as_ref().map_or(Owner::of_user(peer.uid), |allowed| allowed.owner.clone());
        let limits = allowed.map(|allowed| allowed.limits).unwrap_or_default();
        let (name, started) = (name.to_owned(), client.started());
        let facts = SessionFacts { name, peer, grant: client.grant, owner, limits, started, receiver };
        self.begin(BrokeredSession::new(facts, Some(record), known), Channel::from(connection))
    }

    fn large_calls_of(&self, uid: u32) -> Arc<LargeCalls> {
        Arc::clone(self.large.lock().unwrap_or_else(PoisonError::into_inner).entry(uid).or_default())
    }

    fn count_beside(&self, own: &BrokeredSession, kind: ObjectKind) -> usize {
        let others = |one: &&Arc<BrokeredSession>| {
            one.facts.owner == own.facts.owner && one.facts.name != own.facts.name
        };
        self.running().values().filter(others).map(|one| one.count(kind)).sum()
    }

    /// Serves the channels of a session until its receiver ends.
    fn follow(self: &Arc<Self>, session: &Arc<BrokeredSession>, connection: &Channel) {
        let mut channels = 0;
        while let Ok(Some(message)) = connection.receive_next::<ReceiverMessage>() {
            let ReceiverMessage::Channel = message.head else { continue };
            let Some(channel) = message.descriptors.into_iter().next() else { continue };
            if channels == MAX_CHANNELS {
                tracing::warn!(
                    session = session.facts.name,
                    "the receiver wants more channels than it may have"
                );
                continue;
            }
            channels += 1;
            let calls = SessionCalls {
                session: Arc::clone(session),
                policy: Arc::clone(&self.policy),
                journal: Arc::clone(&self.journal),
                probes: ProbeEvents::of_kernel(),
                large: self.large_calls_of(session.facts.peer.uid),
                others: {
                    let (all, own) = (Arc::clone(self), Arc::clone(session));
                    Box::new(move |kind| all.count_beside(&own, kind))
                },
            };
            let serve = move || {
                if let Err(error) = calls.serve(&Channel::from(channel)) {
                    tracing::debug!(%error, "a channel of a session broke off");
                }
            };
            let started = std::thread::Builder::new().name("calls".to_owned()).stack_size(STACK).spawn(serve);
            if let Err(error) = started {
                tracing::warn!(%error, "no thread serves a channel of a session");
            }
        }
        session.end_lasting();
        self.running().remove(&session.facts.name);
        session.remove_record();
    }
}

/// Returns the client of a session. Its receiver is in the same cgroup, and listens on the socket.
fn peer_of(connection: &UnixStream, client: &ClientRecord) -> io::Result<(Peer, u32)> {
    let receiver = rustix::net::sockopt::socket_peercred(connection)?.pid.as_raw_pid().cast_unsigned();
    let process = caller_process(connection, receiver, client.uid).unwrap_or_default();
    let mut peer = Peer {
        uid: client.uid,
        gid: client.gid,
        groups: client.groups.clone(),
        pid: Some(receiver),
        unified: process.groups.unified,
        cgroup: process.groups.best,
        netns: process.netns,
        ..Peer::default()
    };
    let tasks = peer.group().map(|path| tasks_of_group(&path));
    peer.group_tasks = tasks.and_then(Result::ok);
    Ok((peer, receiver))
}

fn check_yama() -> Result<(), SessionError> {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    match scope.ok().and_then(|scope| scope.trim().parse().ok()) {
        Some(scope) if scope >= ONLY_BY_CAPABILITY => Err(SessionError::Yama(scope)),
        _ => Ok(()),
    }
}
