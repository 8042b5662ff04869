//! Service `bpfman.ext.v1.BpfmanSessions`: commands whose own calls of bpf(2) the daemon makes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bpfman_model::{Glob, Hint, Owner, Peer, Reason};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_sessions_server::BpfmanSessions;
use bpfmand_access::{AccessObject, AccessVerb, OwnedObject};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::audit;
use crate::server::{Api, Reply};
use crate::status::{self, invalid, unsupported};

/// Session that access control has allowed.
#[derive(Clone, Debug)]
pub struct WantedSession {
    pub peer: Peer,
    /// The only grant that applies; `None`: all grants of the client apply.
    pub grant: Option<String>,
    /// True if a grant that applies keeps pins.
    pub keep: bool,
    /// True if the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
}

/// Starts and lists sessions.
pub trait SessionService: Send + Sync {
    /// Starts a session for the client at the other end of a connection, and returns its name. May block.
    fn start(&self, wanted: WantedSession, client: &OwnedFd) -> Result<String, Status>;
    /// Returns the sessions, each with the owner of its objects. Queries the kernel for each object.
    fn list(&self) -> Vec<(Owner, wire::Session)>;
    /// Returns the owners of programs and links of sessions.
    fn object_owners(&self) -> ObjectOwners;
    fn owner_of_left(&self, session: &str) -> Result<Owner, Status>;
    /// Removes what a session left. May block.
    fn remove(&self, session: &str) -> Result<(), Status>;
}

/// Owners of programs and links of sessions, as text, by kernel id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOwners {
    pub programs: BTreeMap<u32, String>,
    pub links: BTreeMap<u32, String>,
}

impl ObjectOwners {
    /// Returns the owner of a program; empty if no session has it.
    #[must_use]
    pub fn of_program(&self, id: u32) -> String {
        self.programs.get(&id).cloned().unwrap_or_default()
    }

    /// Returns the owner of a link; empty if no session has it.
    #[must_use]
    pub fn of_link(&self, id: u32) -> String {
        self.links.get(&id).cloned().unwrap_or_default()
    }
}

impl<K: Kernel> Api<K> {
    pub(crate) fn object_owners(&self) -> ObjectOwners {
        self.sessions.as_ref().map(|sessions| sessions.object_owners()).unwrap_or_default()
    }

    fn session_service(&self) -> Result<Arc<dyn SessionService>, Status> {
        self.sessions.clone().ok_or_else(|| unsupported("this daemon serves no sessions"))
    }

    pub(crate) async fn start_session(
        &self,
        request: wire::StartSessionRequest,
        client: OwnedFd,
    ) -> Result<wire::StartSessionResponse, Status> {
        let permit = self.authorize(&[])?;
        let peer = audit::caller()?;
        if peer.uid == 0 {
            return Err(invalid("root needs no session: run the command itself"));
        }
        let wire::StartSessionRequest { grant, kallsyms } = request;
        let grant = (!grant.is_empty()).then_some(grant);
        let policy = self.policy_for(&peer);
        if let Some(name) = &grant
            && !policy.grants_of(&peer).any(|one| one.name == *name)
        {
            let what = format!("no grant \"{name}\" is for user {}", peer.uid);
            return Err(status::refusal_with(Reason::Denied, &what, Some(Hint::Whoami)));
        }
        if kallsyms {
            // Kernel addresses help an attacker: they require the permission to probe every kernel function.
            let names = Glob::parse("*").map_err(|error| invalid(error.to_string()))?;
            let all = AccessObject::Targets { kind: "kprobe", names: &names };
            let decided = policy.decide(&peer, AccessVerb::Raw, &[all]);
            decided.map_err(|denial| status::denial(&denial))?;
        }
        let sessions = self.session_service()?;
        let counts = |one: &&bpfmand_access::Grant| grant.as_ref().is_none_or(|name| one.name == *name);
        let keep = policy
            .grants_of(&peer)
            .filter(counts)
            .any(|one| one.keep && one.verbs.contains(&AccessVerb::Raw));
        let wanted = WantedSession { peer, grant, keep, kallsyms };
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
        let permit = self.authorize(&[])?;
        let peer = audit::caller()?;
        let policy = self.policy_for(&peer);
        // A grant for the radar shows commands of others, so it shows their sessions, too.
        let sees_all = policy.decide(&peer, AccessVerb::Radar, &[]).is_ok();
        let list = |api: &Self| Ok(api.sessions.as_ref().map(|all| all.list()).unwrap_or_default());
        let all = self.read(&permit, list).await?;
        let is_shown = |(owner, session): &(Owner, wire::Session)| {
            sees_all || session.uid == peer.uid || policy.concerns(&peer, owner)
        };
        let sessions = all.into_iter().filter(is_shown).map(|(_, session)| session).collect();
        Ok(Response::new(wire::ListSessionsResponse { sessions }))
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveSessionRequest>,
    ) -> Reply<wire::RemoveSessionResponse> {
        let name = request.into_inner().name;
        audit::object(format_args!("session {name}"));
        let permit = self.authorize(&[])?;
        let peer = audit::caller()?;
        let sessions = self.session_service()?;
        let owner = sessions.owner_of_left(&name)?;
        audit::owner(&owner);
        let thing = AccessObject::Owned { thing: OwnedObject::LeftBy(&name), owner: &owner };
        let decided = self.policy_for(&peer).decide(&peer, AccessVerb::Raw, &[thing]);
        decided.map_err(|denial| status::denial(&denial))?;
        self.change(&permit, move |_| sessions.remove(&name)).await?;
        Ok(Response::new(wire::RemoveSessionResponse {}))
    }
}

/// Sessions of the daemon; `None` if it serves none.
pub(crate) type OptionalSessions = Option<Arc<dyn SessionService>>;
