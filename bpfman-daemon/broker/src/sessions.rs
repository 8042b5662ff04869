//! All sessions of this daemon.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bpfman_model::{Owner, Peer};
use bpfmand_calls::{Channel, CommandFile, ReceiverMessage, SessionOrder, StartVerdict};
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::brokered::ProbeEvents;
use bpfmand_kernel::linux::{caller_process, tasks_of_group};

use crate::admission;
use crate::channels::SessionChannels;
use crate::details::{SessionDetails, SessionOwners};
use crate::lasting::LastingRecord;
use crate::left::LeftSessions;
use crate::record::{self, ClientRecord, RecordLine, SessionRecord};
use crate::serve::{self, CurrentPolicy, SessionCalls};
use crate::session::{BrokeredSession, SessionFacts};
use crate::session_error::{MAX_OF_USER, MAX_STARTS, SessionError};
use crate::starter;
use crate::usage::OwnerUse;
use crate::user_calls::UserCalls;

/// Maximum number of receivers of a session, so that it cannot make the daemon connect again and again.
const MAX_RECEIVERS: usize = 8;
const STACK: usize = 512 << 10;
/// Value of Yama's `ptrace_scope` from which on not even a parent may read a process's memory.
const ONLY_BY_CAPABILITY: u32 = 2;

/// Request for a session that access control has allowed.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub peer: Peer,
    pub grant: Option<String>,
    /// True if the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
    /// True if a grant of the client keeps pins.
    pub keep: bool,
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
    pub(crate) folder: PathBuf,
    policy: CurrentPolicy,
    journal: Arc<Journal>,
    numbers: AtomicU64,
    running: Mutex<BTreeMap<String, Arc<BrokeredSession>>>,
    /// Starts in progress, by user.
    starting: Mutex<BTreeMap<u32, usize>>,
    /// Calls by user. Entries stay, since users are few.
    calls: Mutex<BTreeMap<u32, Arc<UserCalls>>>,
    looks: Arc<AtomicBool>,
    /// Use by owner. Entries stay, since owners are few.
    owners: Mutex<BTreeMap<Owner, Arc<OwnerUse>>>,
    pub(crate) left: LeftSessions,
}

impl Sessions {
    /// Creates the sessions of a daemon, with the folder of the starter's socket.
    pub fn new(folder: PathBuf, policy: CurrentPolicy, journal: Arc<Journal>) -> Arc<Self> {
        let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Arc::new(Self {
            folder,
            policy,
            journal,
            numbers: AtomicU64::new(first),
            running: Mutex::default(),
            calls: Mutex::default(),
            looks: Arc::default(),
            owners: Mutex::default(),
            left: LeftSessions::default(),
            starting: Mutex::default(),
        })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<BrokeredSession>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_running(&self) -> Vec<Arc<BrokeredSession>> {
        self.running().values().cloned().collect()
    }

    pub(crate) fn forget_running(&self, session: &BrokeredSession) {
        self.running().remove(&session.facts.name);
    }

    pub(crate) fn running_named(&self, name: &str) -> bool {
        self.running().contains_key(name)
    }

    /// Returns all sessions with their objects: those that run, and those that left something.
    pub fn list(&self) -> Vec<SessionDetails> {
        self.forget_empty();
        let running = self.all_running();
        let running = running.iter().map(|session| session.details(false));
        let left = self.left.list();
        running.chain(left.iter().map(|session| session.details(true))).collect()
    }

    /// Returns the owners of programs and links.
    pub fn object_owners(&self) -> SessionOwners {
        let mut owners = SessionOwners::default();
        self.all_running().iter().for_each(|session| session.add_to(&mut owners, false));
        self.left.list().iter().for_each(|session| session.add_to(&mut owners, true));
        owners
    }

    /// Starts a session for the client of a connection. Returns once the client may send its command.
    pub fn start(self: &Arc<Self>, new: NewSession, client: BorrowedFd<'_>) -> Result<String, SessionError> {
        check_yama()?;
        let uid = new.peer.uid;
        let _starting = self.begin_start(uid)?;
        let name = format!("{:x}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let NewSession { peer, grant, kallsyms, keep } = new;
        let order = SessionOrder { session: name.clone(), kallsyms, keep };
        let client_record = ClientRecord::new(&peer, grant.clone());
        let record =
            SessionRecord::create(&self.folder, &name, &client_record).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::NotFound => SessionError::NoStarter { path: self.folder.clone() },
                    _ => SessionError::Record(source),
                }
            })?;
        let begun = starter::order(&self.folder, order, client);
        let (receiver, channel) = begun.inspect_err(|_| {
            if let Err(error) = self.remove_pins(&name) {
                tracing::warn!(%error, "the folder of a session that did not start stays");
            }
            record.remove();
        })?;
        let started = client_record.started();
        let unit = client_record.unit;
        let facts = SessionFacts { name: name.clone(), peer, grant, unit, started, receiver };
        self.begin(BrokeredSession::new(facts, Some(record)), channel)?;
        Ok(name)
    }

    fn begin(self: &Arc<Self>, session: BrokeredSession, channel: Channel) -> Result<(), SessionError> {
        let (name, session) = (session.facts.name.clone(), Arc::new(session));
        self.running().insert(name.clone(), Arc::clone(&session));
        let this = Arc::clone(self);
        let follow = move || this.follow(&session, channel);
        let thread = std::thread::Builder::new().name("session".to_owned()).stack_size(STACK);
        thread.spawn(follow).map(drop).map_err(|error| {
            self.running().remove(&name);
            SessionError::Starter(error)
        })
    }

    /// Returns the number of sessions of a user, with those that left something.
    fn count_of(&self, uid: u32) -> usize {
        let is_of = |session: &&Arc<BrokeredSession>| session.facts.peer.uid == uid;
        self.running().values().filter(is_of).count() + self.left.list().iter().filter(is_of).count()
    }

    /// Counts a start until the result is dropped: each takes a thread of the daemon.
    fn begin_start(&self, uid: u32) -> Result<Starting<'_>, SessionError> {
        let mut running = self.count_of(uid);
        if running >= MAX_OF_USER {
            self.forget_empty();
            running = self.count_of(uid);
        }
        let mut starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = starting.entry(uid).or_default();
        if *of_user >= MAX_STARTS {
            return Err(SessionError::TooManyStarts(uid));
        }
        if running + *of_user >= MAX_OF_USER {
            return Err(SessionError::TooMany(uid));
        }
        *of_user += 1;
        Ok(Starting { all: &self.starting, uid })
    }

    /// Continues the sessions of an earlier daemon that still run, and ends the others.
    pub fn adopt(self: &Arc<Self>) {
        for name in record::names(&self.folder) {
            match self.adopt_one(&name) {
                Ok(()) => tracing::info!(session = name, "an earlier daemon's session goes on"),
                Err(error) => {
                    tracing::info!(session = name, %error, "an earlier daemon's session has ended");
                    self.end_earlier(&name);
                }
            }
        }
    }

    fn connect(&self, name: &str) -> io::Result<UnixStream> {
        UnixStream::connect(self.folder.join(format!("{name}.{}", record::SOCKET)))
    }

    fn adopt_one(self: &Arc<Self>, name: &str) -> Result<(), SessionError> {
        let connection = self.connect(name).map_err(SessionError::Starter)?;
        let (record, client, mut lines) =
            SessionRecord::open(&self.folder, name).map_err(SessionError::Record)?;
        let (peer, receiver) = peer_of(&connection, &client).map_err(SessionError::Starter)?;
        let facts = client.into_facts(name, peer, receiver);
        for line in &mut lines {
            let RecordLine::Command { command } = line else { continue };
            // A removed grant allows no new calls. A running command keeps its owner, without limits.
            command.limits = admission::limits(&facts, &(self.policy)(), command);
        }
        let session = BrokeredSession::of_record(facts, record, lines);
        let known = std::mem::take(&mut *session.left());
        session.lasting().extend(known.into_iter().filter_map(LastingRecord::open));
        self.begin(session, Channel::from(connection))
    }

    /// Ends a session whose command ended while no daemon ran.
    fn end_earlier(&self, name: &str) {
        let Ok((record, client, lines)) = SessionRecord::open(&self.folder, name) else {
            if let Err(error) = self.remove_pins(name) {
                tracing::warn!(%error, session = name, "pins without a record stay");
            }
            return record::remove(&self.folder, name);
        };
        let peer =
            Peer { uid: client.uid, gid: client.gid, groups: client.groups.clone(), ..Peer::default() };
        let facts = client.into_facts(name, peer, 0);
        self.end(&Arc::new(BrokeredSession::of_record(facts, record, lines)));
    }

    fn calls_of(&self, uid: u32) -> Arc<UserCalls> {
        Arc::clone(self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(uid).or_default())
    }

    fn use_of(&self, owner: Owner) -> Arc<OwnerUse> {
        Arc::clone(self.owners.lock().unwrap_or_else(PoisonError::into_inner).entry(owner).or_default())
    }

    fn beside(&self, own: &BrokeredSession) -> Vec<Arc<BrokeredSession>> {
        let (owner, mut others) = (own.owner(), self.all_running());
        others.extend(self.left.list());
        others.retain(|one| one.owner() == owner && one.facts.name != own.facts.name);
        others
    }

    /// Decides about the file of a session's command. Returns whether it may start.
    fn admit(&self, session: &Arc<BrokeredSession>, connection: &Channel, file: CommandFile) -> bool {
        let (path, digest) = (file.path.clone(), file.sha256.clone());
        let admitted = admission::admit(session, &(self.policy)(), file);
        let (verdict, denied) = match &admitted {
            Ok(command) => (StartVerdict::Start { held: command.held }, None),
            Err(why) => (StartVerdict::Denied(why.clone()), Some(why.as_str())),
        };
        let what = match digest {
            Some(digest) => format!("{path} (sha256:{digest})"),
            None => path,
        };
        serve::record(&self.journal, session, what, denied);
        let is_admitted = admitted.map(|command| session.begin(command)).is_ok();
        connection.send(verdict, &[], &[]).is_ok() && is_admitted
    }

    /// Serves a session until its receiver and all spare ones have ended.
    fn follow(self: &Arc<Self>, session: &Arc<BrokeredSession>, mut connection: Channel) {
        let mut channels = SessionChannels::default();
        for _ in 0..MAX_RECEIVERS {
            self.serve_connection(session, &connection, &mut channels);
            let Ok(next) = self.connect(&session.facts.name) else { break };
            connection = next.into();
        }
        // Wait for calls that still run: their attachments, too, end with the session.
        drop(channels);
        self.end(session);
    }

    fn serve_connection(
        self: &Arc<Self>,
        session: &Arc<BrokeredSession>,
        connection: &Channel,
        channels: &mut SessionChannels,
    ) {
        while let Ok(Some(message)) = connection.receive_short::<ReceiverMessage>() {
            match message.head {
                ReceiverMessage::Channel if session.command().is_some() => {}
                ReceiverMessage::Channel => break,
                ReceiverMessage::Runs(_) => continue,
                ReceiverMessage::Executes(file) => {
                    if session.command().is_none() && self.admit(session, connection, file) {
                        continue;
                    }
                    break;
                }
            }
            let Some(channel) = message.descriptors.into_iter().next() else { continue };
            let calls = SessionCalls {
                session: Arc::clone(session),
                policy: Arc::clone(&self.policy),
                journal: Arc::clone(&self.journal),
                probes: ProbeEvents::of_kernel(),
                user: self.calls_of(session.facts.peer.uid),
                looks: Arc::clone(&self.looks),
                others: {
                    let (all, own) = (Arc::clone(self), Arc::clone(session));
                    Box::new(move || all.beside(&own))
                },
                owner: self.use_of(session.owner()),
            };
            if let Err(error) = channels.serve(channel, calls) {
                tracing::warn!(%error, session = session.facts.name, "a channel of a session is not served");
                return;
            }
        }
    }
}

/// Returns the client of a session, and the process of the receiver, which is in the client's cgroup.
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
