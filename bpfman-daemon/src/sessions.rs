//! Adapter from the crate `broker`: sessions of `bpfman run-as` for the API.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bpfman_proto::ext::v1 as wire;
use bpfmand_api::{SessionService, WantedSession};
use bpfmand_broker::{NewSession, SessionError, SessionFacts, SessionObjects, Sessions};
use bpfmand_calls::ObjectKind;
use tonic::Status;

pub struct BrokeredSessions(pub Arc<Sessions>);

impl SessionService for BrokeredSessions {
    fn start(&self, wanted: WantedSession, client: &OwnedFd) -> Result<String, Status> {
        let WantedSession { peer, grant, owner, limits, kallsyms } = wanted;
        let new = NewSession { peer, grant, owner, limits, kallsyms };
        self.0.start(new, client.as_fd()).map_err(|error| match &error {
            SessionError::TooMany(_) => bpfmand_api::busy(error.to_string()),
            SessionError::Yama(_) | SessionError::NoStarter { .. } => {
                bpfmand_api::unsupported(error.to_string())
            }
            SessionError::Starter(_) | SessionError::NotPrepared(_) | SessionError::Record(_) => {
                bpfmand_api::failed(error.to_string())
            }
        })
    }

    fn list(&self) -> Vec<wire::Session> {
        self.0.list().into_iter().map(|(facts, objects)| shown(&facts, &objects)).collect()
    }
}

fn shown(facts: &SessionFacts, objects: &SessionObjects) -> wire::Session {
    wire::Session {
        name: facts.name.clone(),
        uid: facts.peer.uid,
        owner: facts.owner.to_string(),
        grant: facts.grant.clone().unwrap_or_default(),
        receiver: facts.receiver,
        started: facts.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        programs: objects.ids(ObjectKind::Program).collect(),
        maps: objects.ids(ObjectKind::Map).collect(),
        links: objects.ids(ObjectKind::Link).collect(),
    }
}
