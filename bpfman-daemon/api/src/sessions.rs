//! Service `bpfman.ext.v1.BpfmanSessions`: commands whose own calls of bpf(2) the daemon makes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bpfman_model::{Glob, Owner, Peer};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_sessions_server::BpfmanSessions;
use bpfmand_access::{AccessObject, AccessVerb, GrantLimits};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::audit;
use crate::server::{Api, Reply};
use crate::status::{self, denied, invalid, unsupported};

/// Session that access control has allowed.
#[derive(Clone, Debug)]
pub struct WantedSession {
    /// Client.
    pub peer: Peer,
    /// Grant that alone counts; `None` for all of the client's.
    pub grant: Option<String>,
    /// Owner of what its command makes.
    pub owner: Owner,
    /// Limits of the owner.
    pub limits: GrantLimits,
    /// True if the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
}

/// Starts and lists sessions.
pub trait SessionService: Send + Sync {
    /// Starts a session for the client at the other end of a connection, and returns its name. May block.
    fn start(&self, wanted: WantedSession, client: &OwnedFd) -> Result<String, Status>;
    /// Returns the sessions that run.
    fn list(&self) -> Vec<wire::Session>;
}

impl<K: Kernel> Api<K> {
    pub(crate) async fn start_session(
        &self,
        request: wire::StartSessionRequest,
        client: OwnedFd,
    ) -> Result<wire::StartSessionResponse, Status> {
        let permit = self.authorize(&[])?;
        let peer = audit::peer().ok_or_else(|| denied("the calling process cannot be identified"))?;
        if peer.uid == 0 {
            return Err(invalid("root needs no session: run the command itself"));
        }
        let wire::StartSessionRequest { grant, kallsyms } = request;
        let grant = (!grant.is_empty()).then_some(grant);
        if let Some(name) = &grant
            && !self.policy_for(&peer).grants_of(&peer).any(|one| one.name == *name)
        {
            return Err(denied(format!(
                "no grant \"{name}\" is for user {}; `bpfman whoami` lists yours",
                peer.uid
            )));
        }
        if kallsyms {
            // Where the kernel is in memory helps an attacker: as much as probes of every function show.
            let names = Glob::parse("*").map_err(|error| invalid(error.to_string()))?;
            let all = AccessObject::Targets { kind: "kprobe", names: &names };
            let decided = self.policy_for(&peer).decide(&peer, AccessVerb::Raw, &[all]);
            decided.map_err(|denial| status::denial(&denial))?;
        }
        let Some(sessions) = self.sessions.clone() else {
            return Err(unsupported("this daemon serves no sessions"));
        };
        let (owner, limits) = (permit.owner.clone(), permit.limits);
        let wanted = WantedSession { peer, grant, owner, limits, kallsyms };
        let session = self.read(&permit, move |_| sessions.start(wanted, &client)).await?;
        audit::made(format_args!("session {session}"));
        Ok(wire::StartSessionResponse { session })
    }
}

#[tonic::async_trait]
impl<K: Kernel> BpfmanSessions for Api<K> {
    async fn start(&self, _: Request<wire::StartSessionRequest>) -> Reply<wire::StartSessionResponse> {
        Err(unsupported("a session starts by handover, as `bpfman run-as` does: HTTP/2 passes no command"))
    }

    async fn list(&self, _: Request<wire::ListSessionsRequest>) -> Reply<wire::ListSessionsResponse> {
        let _permit = self.authorize(&[])?;
        let sessions = self.sessions.as_ref().map(|sessions| sessions.list()).unwrap_or_default();
        Ok(Response::new(wire::ListSessionsResponse { sessions }))
    }
}

/// Sessions of the daemon; `None` if it serves none.
pub(crate) type OptionalSessions = Option<Arc<dyn SessionService>>;
