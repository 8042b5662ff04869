//! All sessions of this daemon.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bpfman_model::{Owner, Peer};
use bpfmand_access::GrantLimits;
use bpfmand_calls::{Channel, ReceiverMessage, SessionOrder};
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::brokered::ProbeEvents;

use crate::serve::{Calls, CurrentPolicy};
use crate::session::{Session, SessionFacts, SessionObjects};
use crate::starter;

/// Maximum number of sessions of one user at a time.
const MAX_OF_USER: usize = 64;
/// Maximum number of channels of a session: one for each thread of its receiver.
const MAX_CHANNELS: usize = 16;
const STACK: usize = 512 << 10;
/// Setting of Yama from which on not even a parent may read a process's memory.
const ONLY_BY_CAPABILITY: u32 = 2;

/// Failure to start a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The starter does not run.
    #[error("the starter of sessions does not listen on {path}; start it: systemctl start bpfman-session.socket")]
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
    /// Yama forbids reading the command's memory.
    #[error(
        "kernel.yama.ptrace_scope is {0}: not even a parent may read the arguments of a command's calls; sessions need 0 or 1"
    )]
    Yama(u32),
    /// The user has too many sessions.
    #[error("user {0} has {MAX_OF_USER} sessions already; end one")]
    TooMany(u32),
}

/// Request for a session that access control has allowed.
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
    /// Whether the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
}

/// Sessions of this daemon.
pub struct Sessions {
    folder: PathBuf,
    policy: CurrentPolicy,
    journal: Arc<Journal>,
    numbers: AtomicU64,
    running: Mutex<BTreeMap<String, Arc<Session>>>,
}

impl Sessions {
    /// Creates it with the folder of the starter's socket.
    pub fn new(folder: PathBuf, policy: CurrentPolicy, journal: Arc<Journal>) -> Arc<Self> {
        let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Arc::new(Self { folder, policy, journal, numbers: AtomicU64::new(first), running: Mutex::default() })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
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
        if self.running().values().filter(|session| session.facts.peer.uid == uid).count() >= MAX_OF_USER {
            return Err(SessionError::TooMany(uid));
        }
        let name = format!("{:x}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let order = SessionOrder { session: name.clone(), kallsyms: new.kallsyms };
        let (receiver, channel) = starter::order(&self.folder, &order, client)?;
        let NewSession { peer, grant, owner, limits, kallsyms: _ } = new;
        let facts =
            SessionFacts { name: name.clone(), peer, grant, owner, limits, started: SystemTime::now(), receiver };
        let session = Arc::new(Session::new(facts));
        self.running().insert(name.clone(), Arc::clone(&session));
        let this = Arc::clone(self);
        let follow = move || this.follow(&session, &channel);
        std::thread::Builder::new()
            .name("session".to_owned())
            .stack_size(STACK)
            .spawn(follow)
            .map_err(SessionError::Starter)?;
        Ok(name)
    }

    /// Serves the channels of a session until its receiver ends.
    fn follow(&self, session: &Arc<Session>, connection: &Channel) {
        let mut channels = 0;
        while let Ok(Some(message)) = connection.receive::<ReceiverMessage>() {
            let ReceiverMessage::Channel = message.head else { continue };
            let Some(channel) = message.descriptors.into_iter().next() else { continue };
            if channels == MAX_CHANNELS {
                tracing::warn!(session = session.facts.name, "the receiver wants more channels than it may have");
                continue;
            }
            channels += 1;
            let calls = Calls {
                session: Arc::clone(session),
                policy: Arc::clone(&self.policy),
                journal: Arc::clone(&self.journal),
                probes: ProbeEvents::of_kernel(),
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
        let _left = std::fs::remove_file(self.folder.join(format!("{}.sock", session.facts.name)));
    }
}

fn check_yama() -> Result<(), SessionError> {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    match scope.ok().and_then(|scope| scope.trim().parse().ok()) {
        Some(scope) if scope >= ONLY_BY_CAPABILITY => Err(SessionError::Yama(scope)),
        _ => Ok(()),
    }
}
