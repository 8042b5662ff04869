//! Admission of connections, which have limits. Processes are identified outside of the loop that accepts connections.

use std::io;
use std::sync::Arc;

use bpfman_model::Peer;
use bpfmand_access::AccessPolicy;
use bpfmand_journal::Journal;
use tokio::net::UnixStream;

use super::account::{Account, needed_for_grants};
use super::callers::{Callers, CandidatePlace, ConnectionPlace, NoPlace};
use super::{Identify, WantedIdentity};
use crate::audit::Call;

/// Assignment of connections to accounts, whose limits they count against.
pub struct ConnectionAccounts {
    pub identify: Identify,
    pub account_uid: fn(u32) -> u32,
    pub policy: Arc<AccessPolicy>,
}

/// Connection whose process is not identified yet.
#[derive(Debug)]
pub enum Entrance {
    Placed(ConnectionPlace),
    /// The user has no place left, but a grant may give the process one.
    Candidate(CandidatePlace, WantedIdentity),
}

impl ConnectionAccounts {
    fn account(&self, peer: &Peer) -> Account {
        Account::of_peer(&self.policy, peer, (self.account_uid)(peer.uid))
    }

    /// Gives a connection a place by its user id. To identify a process takes dozens of system calls: only
    /// connections with a place, and few others of each user, get that far.
    pub fn enter(&self, uid: u32, callers: &Arc<Callers>) -> Result<Entrance, NoPlace> {
        let account = (self.account_uid)(uid);
        callers.place(Account::of_user(&self.policy, uid, account)).map(Entrance::Placed).or_else(|full| {
            // A grant may admit the process: its groups take one system call to read, other facts take more.
            let needed = needed_for_grants(&self.policy, uid).ok_or(full)?;
            Ok(Entrance::Candidate(callers.candidate(account, full)?, needed))
        })
    }

    /// Identifies the process behind a connection, and moves the connection to the account of the process.
    /// Returns the peer, if it is known, with its place or the reason why there is none.
    pub fn place(
        &self,
        entrance: Entrance,
        identify: impl Fn(WantedIdentity) -> Option<Peer>,
    ) -> Option<(Peer, Result<ConnectionPlace, NoPlace>)> {
        let identify = |wanted| {
            let mut peer = identify(wanted)?;
            peer.account_uid = Some((self.account_uid)(peer.uid));
            Some(peer)
        };
        match entrance {
            Entrance::Placed(mut place) => {
                let peer = identify(WantedIdentity::Process)?;
                place.count_for(self.account(&peer));
                Some((peer, Ok(place)))
            }
            Entrance::Candidate(candidate, needed) => {
                let peer = identify(needed)?;
                match candidate.callers().place(self.account(&peer)) {
                    Ok(place) if needed < WantedIdentity::Process => {
                        Some((identify(WantedIdentity::Process)?, Ok(place)))
                    }
                    placed => Some((peer, placed)),
                }
            }
        }
    }
}

/// Returns the entrance of a connection; `None` if it is refused.
pub fn enter(
    stream: &UnixStream,
    counting: &ConnectionAccounts,
    callers: &Arc<Callers>,
    journal: &Arc<Journal>,
) -> Option<Entrance> {
    let credentials = stream.peer_cred().inspect_err(note_unknown).ok()?;
    let refuse = |full: &NoPlace| {
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let account_uid = Some((counting.account_uid)(uid));
        refuse(Peer { uid, gid, pid, account_uid, ..Peer::default() }, full, journal);
    };
    counting.enter(credentials.uid(), callers).inspect_err(refuse).ok()
}

/// Identifies the process behind a connection, on one of the threads for that; `None` if the connection is refused.
pub async fn admit(
    stream: UnixStream,
    entrance: Entrance,
    counting: ConnectionAccounts,
    journal: &Arc<Journal>,
) -> Option<(UnixStream, Peer, ConnectionPlace)> {
    let thread = entrance.callers().thread().await;
    let identified = tokio::task::spawn_blocking(move || {
        let _thread = thread;
        let identify = |wanted| (counting.identify)(&stream, wanted).inspect_err(note_unknown).ok();
        let placed = counting.place(entrance, identify);
        (stream, placed)
    });
    let (stream, placed) = identified.await.ok()?;
    match placed? {
        (peer, Ok(place)) => Some((stream, peer, place)),
        (peer, Err(full)) => {
            refuse(peer, &full, journal);
            None
        }
    }
}

impl Entrance {
    fn callers(&self) -> &Arc<Callers> {
        match self {
            Self::Placed(place) => place.callers(),
            Self::Candidate(candidate, _) => candidate.callers(),
        }
    }
}

fn refuse(peer: Peer, full: &NoPlace, journal: &Arc<Journal>) {
    let whose = if full.own { "of this user" } else { "of users like this one" };
    let reason = format!("{} connections {whose} are open, as many as may be", full.open);
    Call::new(peer, "Connect", Arc::clone(journal)).refuse(&tonic::Status::resource_exhausted(reason));
}

fn note_unknown(error: &io::Error) {
    tracing::warn!(%error, "a connection is refused: the process that made it is unknown");
}
