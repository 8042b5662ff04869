use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bpfman_model::{KeptShare, PodObstacle, PodRelation};
use bpfmand_access::{AccessPolicy, AccessVerb, Grant, GrantCallers};

use super::callers::NoPlace;
use super::*;

/// Returns accounts under a policy, where connections of a user count for the next user id.
fn counting(policy: AccessPolicy, identify: Identify) -> ConnectionAccounts {
    ConnectionAccounts { identify, account_uid: |uid| uid + 1, policy: Arc::new(policy) }
}

fn unsupported() -> Identify {
    |_, _| Err(io::ErrorKind::Unsupported.into())
}

impl ConnectionAccounts {
    /// Admits a connection of a peer at once.
    fn admitted(
        &self,
        uid: u32,
        callers: &Arc<Callers>,
        identify: impl Fn(WantedIdentity) -> Option<Peer>,
    ) -> Result<(Peer, ConnectionPlace), NoPlace> {
        let (peer, place) = self.place(self.enter(uid, callers)?, identify).expect("it is known");
        place.map(|place| (peer, place))
    }
}

/// A daemon in a pod does not trust the agent's user id alone, not even when it cannot see its callers' pods.
#[test]
fn user_of_the_agent_in_another_pod_is_not_the_agent() {
    let agent = GrantCallers { users: [60_750].into(), beside_daemon: true, ..GrantCallers::default() };
    let applications = vec!["*".parse().unwrap()];
    let verbs = [AccessVerb::Load].into();
    let grant =
        Grant { name: "node-agent".to_owned(), callers: agent, verbs, applications, ..Grant::default() };
    let policy = AccessPolicy { grants: vec![grant], ..AccessPolicy::default() };
    let looks = counting(policy.clone(), unsupported());
    let callers = Arc::<Callers>::default();
    let peer = |pod_relation| Peer { uid: 60_750, pod_relation, ..Peer::default() };
    let mut places = Vec::new();
    let mut placed = |relation: &PodRelation| {
        let (peer, place) = looks.admitted(60_750, &callers, |_| Some(peer(relation.clone()))).unwrap();
        places.push(place);
        policy.decide(&peer, AccessVerb::Load, &[]).is_ok_and(|allowed| allowed.speaks_for_all)
    };
    for relation in [PodRelation::SameNamespace, PodRelation::DaemonInNoPod] {
        assert!(placed(&relation), "{relation:?}");
    }
    let obstacles =
        [PodObstacle::OwnPod, PodObstacle::CallerGroup, PodObstacle::LogFolder("/var/log/pods".into())];
    let unknown = obstacles.map(PodRelation::Unknown);
    for relation in unknown.iter().chain(&[PodRelation::OtherNamespace, PodRelation::NotCompared]) {
        assert!(!placed(relation), "{relation:?}");
    }
    // A caller in another namespace does not get the places that are reserved for the agent, either.
    let other = |_| Some(peer(PodRelation::OtherNamespace));
    while let Ok((_, place)) = looks.admitted(60_750, &callers, other) {
        places.push(place);
    }
    assert!(places.len() <= limits::CONNECTIONS_WITHOUT_GRANT + 2);
    assert!(looks.admitted(60_750, &callers, |_| Some(peer(PodRelation::SameNamespace))).is_ok());
}

#[tokio::test]
async fn process_is_looked_at_once_there_is_a_place() {
    static LOOKED: AtomicUsize = AtomicUsize::new(0);
    let identify: Identify = |stream, _| {
        LOOKED.fetch_add(1, Ordering::SeqCst);
        Ok(Peer { uid: stream.peer_cred()?.uid(), ..Peer::default() })
    };
    let (callers, journal) = (Arc::<Callers>::default(), Arc::<Journal>::default());
    let looks = || counting(AccessPolicy::default(), identify);
    let mut places = Vec::new();
    loop {
        let (stream, other) = UnixStream::pair().unwrap();
        let Some(entrance) = enter(&stream, &looks(), &callers, &journal) else { break };
        places.push((admit(stream, entrance, looks(), &journal).await.unwrap(), other));
    }
    assert!(!places.is_empty());
    assert_eq!(LOOKED.load(Ordering::SeqCst), places.len());
}

/// Returns a policy with a grant for a unit and one for the agent: every caller may have a place by its process.
fn policy_by_process() -> AccessPolicy {
    let grant = |name: &str, callers| Grant { name: name.to_owned(), callers, ..Grant::default() };
    let agent = GrantCallers { users: [60_750].into(), beside_daemon: true, ..GrantCallers::default() };
    let unit = GrantCallers { units: ["netops.service".to_owned()].into(), ..GrantCallers::default() };
    AccessPolicy { grants: vec![grant("agent", agent), grant("unit", unit)], ..AccessPolicy::default() }
}

#[test]
fn refused_connections_are_identified_only_a_few_at_a_time() {
    let callers = Arc::<Callers>::default();
    let looks = counting(policy_by_process(), unsupported());
    let known = |uid| move |_: WantedIdentity| Some(Peer { uid, ..Peer::default() });
    let mut places = Vec::new();
    while let Ok(placed) = looks.admitted(4711, &callers, known(4711)) {
        places.push(placed);
    }
    // Connections without a place wait for their identification; their number is limited per user and in total.
    let waiting = |uid: u32| std::iter::from_fn(|| looks.enter(uid, &callers).ok()).collect::<Vec<_>>();
    let of_one = waiting(4711);
    assert_eq!(of_one.len(), limits::CANDIDATES_OF_A_USER);
    // Another user has its places meanwhile.
    let (other, place) = looks.admitted(5000, &callers, known(5000)).unwrap();
    assert_eq!(other.uid, 5000);
    drop(place);
    drop(of_one);
    assert!(looks.enter(4711, &callers).is_ok(), "the first have been refused");
    // The process of a user is not identified if no grant could apply to it.
    let agent_alone =
        AccessPolicy { grants: vec![policy_by_process().grants.remove(0)], ..AccessPolicy::default() };
    let looks = counting(agent_alone, unsupported());
    assert!(looks.enter(4711, &callers).is_err());
}

#[tokio::test]
async fn callers_are_accepted_while_others_are_identified() {
    static IDENTIFIED: AtomicUsize = AtomicUsize::new(0);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    // The first caller is not identified before the test ends.
    let identify: Identify = |_, _| {
        if IDENTIFIED.fetch_add(1, Ordering::SeqCst) == 0 {
            while !IS_OVER.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }
        Ok(Peer { uid: 4711, ..Peer::default() })
    };
    let system = SocketSystem { identify, unread: |_| Ok(0), account_uid: |uid| uid, trim: || {} };
    let handovers = HandoverCalls {
        open: Arc::new(|_| Box::pin(async { Err(tonic::Status::unimplemented("none")) })),
        start: Arc::new(|_, _| Box::pin(async { Err(tonic::Status::unimplemented("none")) })),
    };
    let access: Arc<dyn AccessSource> = Arc::new(Arc::<AccessPolicy>::default());
    let connections = Connections {
        routes: Routes::default(),
        handovers,
        system,
        journal: Arc::default(),
        access,
        kept: KeptShare::default(),
    };
    let listener = UnixListener::bind(&path).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(connections.serve(listener, async { drop(stopped.await) }));
    let first = UnixStream::connect(&path).await.unwrap();
    while IDENTIFIED.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The second, an empty handover, is answered.
    let mut second = UnixStream::connect(&path).await.unwrap();
    let empty = bpfman_proto::handover::frame(&bpfman_proto::ext::v1::HandoverRequest::default());
    let message = [&bpfman_proto::handover::PREFACE[..], &empty].concat();
    tokio::io::AsyncWriteExt::write_all(&mut second, &message).await.unwrap();
    let mut byte = [0];
    tokio::io::AsyncReadExt::read_exact(&mut second, &mut byte).await.unwrap();
    IS_OVER.store(true, Ordering::SeqCst);
    drop((first, second, stop));
    served.await.unwrap();
}

#[test]
fn a_grant_by_group_has_a_place_where_users_have_none() {
    let callers = GrantCallers { groups: [500].into(), ..GrantCallers::default() };
    let grants = vec![Grant { name: "team".to_owned(), callers, ..Grant::default() }];
    let policy = AccessPolicy { grants, ..AccessPolicy::default() };
    let by_group = counting(policy, unsupported());
    let callers = Arc::<Callers>::default();
    let has_room = std::cell::Cell::new(true);
    let place = |uid: u32, groups: &[u32]| {
        let peer = Peer { uid, groups: groups.to_vec(), ..Peer::default() };
        let identify = |wanted| {
            // Of a caller without a place, only the groups are identified.
            assert!(wanted == WantedIdentity::Groups || !groups.is_empty() || has_room.get());
            Some(peer.clone())
        };
        by_group.admitted(uid, &callers, identify).ok().map(|(_, place)| place)
    };
    let users: Vec<_> = (1000..).step_by(2).map_while(|uid| place(uid, &[])).collect();
    has_room.set(false);
    assert!(!users.is_empty() && place(4711, &[]).is_none());
    has_room.set(true);
    let members: Vec<_> = (0..10).map_while(|_| place(4711, &[500])).collect();
    assert_eq!(members.len(), 10);
    drop(members);
    // Members of the group do not use the places of users without a grant.
    drop(users);
    let members: Vec<_> = (4711..4719).map_while(|uid| place(uid, &[500])).collect();
    let again: Vec<_> = (1000..).step_by(2).map_while(|uid| place(uid, &[])).collect();
    assert_eq!((members.len(), again.len()), (8, limits::CONNECTIONS_WITHOUT_GRANT));
}
