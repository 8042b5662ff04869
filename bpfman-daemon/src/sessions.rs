//! Adapter from the crate `broker`: sessions of `bpfman run-as` for the API.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bpfman_model::{Hint, Owner, Reason};
use bpfman_proto::ext::v1 as wire;
use bpfmand_api::{ObjectOwners, SessionService, WantedSession};
use bpfmand_broker::{NewSession, RemovalError, SessionDetails, SessionError, Sessions};
use tonic::Status;

pub struct BrokeredSessions(pub Arc<Sessions>);

impl SessionService for BrokeredSessions {
    fn start(&self, wanted: WantedSession, client: &OwnedFd) -> Result<String, Status> {
        let WantedSession { peer, grant, keep, kallsyms } = wanted;
        self.0
            .start(NewSession { peer, grant, kallsyms, keep }, client.as_fd())
            .map_err(|error| failed(&error))
    }

    fn list(&self) -> Vec<(Owner, wire::Session)> {
        self.0.list().into_iter().map(|session| (session.owner.clone(), shown(session))).collect()
    }

    fn object_owners(&self) -> ObjectOwners {
        let bpfmand_broker::SessionOwners { programs, links } = self.0.object_owners();
        ObjectOwners { programs, links }
    }

    fn owner_of_left(&self, session: &str) -> Result<Owner, Status> {
        self.0.owner_of_left(session).map_err(not_removed)
    }

    fn remove(&self, session: &str) -> Result<(), Status> {
        self.0.remove(session).map_err(not_removed)
    }
}

fn failed(error: &SessionError) -> Status {
    match error {
        SessionError::TooMany(_) | SessionError::TooManyStarts(_) => bpfmand_api::busy(error.to_string()),
        SessionError::Yama(_) => bpfmand_api::unsupported(error.to_string()),
        SessionError::NoStarter { .. } => {
            bpfmand_api::refusal_with(Reason::Unsupported, &error.to_string(), Some(Hint::StartSessions))
        }
        SessionError::Starter(_)
        | SessionError::NotPrepared(_)
        | SessionError::PinsStay { .. }
        | SessionError::Record(_) => bpfmand_api::failed(error.to_string()),
    }
}

fn not_removed(error: RemovalError) -> Status {
    match error {
        RemovalError::Unknown(_) => {
            bpfmand_api::refusal_with(Reason::NotFound, &error.to_string(), Some(Hint::ListSessions))
        }
        RemovalError::Runs(name) => bpfmand_api::conflict(
            &format!("session {name} runs"),
            "what it has ends with its command: end that, as by a signal to `bpfman run-as`",
        ),
        RemovalError::Pins(error) => failed(&error),
    }
}

fn shown(session: SessionDetails) -> wire::Session {
    let SessionDetails { facts, command, owner, programs, maps, links, .. } = session;
    let file = command.map(|command| command.file).unwrap_or_default();
    wire::Session {
        name: facts.name,
        uid: facts.peer.uid,
        owner: owner.to_string(),
        grant: facts.grant.unwrap_or_default(),
        receiver: facts.receiver,
        started: facts.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        programs,
        maps,
        links,
        executable: file.path,
        sha256: file.sha256.unwrap_or_default(),
        command: file.line,
        unit: facts.unit.unwrap_or_default(),
        calls_granted: session.granted,
        calls_refused: session.refused,
        map_memory: session.map_memory,
        attachments: u32::try_from(session.attachments).unwrap_or(u32::MAX),
        left: session.is_left,
    }
}
