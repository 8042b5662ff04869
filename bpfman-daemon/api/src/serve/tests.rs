use std::sync::atomic::{AtomicUsize, Ordering};

use bpfmand_access::{AccessVerb, GrantCallers};

use super::*;

fn counting(policy: AccessPolicy, identify: Identify) -> Counting {
    // Callers with a unit, which a test gives them for want of a pod, are beside the daemon.
    let is_beside_daemon = |peer: &Peer| Some(peer.unit().is_some());
    Counting { identify, is_beside_daemon, counts_for: |uid| uid + 1, policy: Arc::new(policy) }
}

/// The number of the node agent's user proves nothing where the daemon sees in which pods its callers are.
#[test]
fn user_of_the_agent_in_another_pod_is_not_the_agent() {
    let agent = GrantCallers { users: [60_750].into(), beside_daemon: true, ..GrantCallers::default() };
    let applications = vec!["*".parse().unwrap()];
    let verbs = [AccessVerb::Load].into();
    let grant =
        Grant { name: "node-agent".to_owned(), callers: agent, verbs, applications, ..Grant::default() };
    let policy = AccessPolicy { grants: vec![grant], ..AccessPolicy::default() };
    let looks = counting(policy.clone(), |_, _| Err(io::ErrorKind::Unsupported.into()));
    let callers = Arc::<Callers>::default();
    let peer = |unit: bool| {
        let cgroup = unit.then(|| bpfman_model::GroupPath::new("/system.slice/agent.service", 2, None));
        Peer { uid: 60_750, cgroup, ..Peer::default() }
    };
    let mut places = Vec::new();
    let mut placed = |unit: bool| match looks.place(60_750, &callers, |_| Some(peer(unit))) {
        Admission::Placed(peer, place) => {
            places.push(place);
            let allowed = policy.decide(&peer, AccessVerb::Load, &[]);
            allowed.is_ok_and(|allowed| allowed.speaks_for_all)
        }
        _ => panic!("there is a place"),
    };
    assert_eq!([placed(true), placed(false)], [true, false]);
    // Nor has it the places that are kept for the agent.
    while let Admission::Placed(_, place) = looks.place(60_750, &callers, |_| Some(peer(false))) {
        places.push(place);
    }
    assert!(places.len() <= limits::CONNECTIONS_WITHOUT_GRANT + 1);
    assert!(matches!(looks.place(60_750, &callers, |_| Some(peer(true))), Admission::Placed(..)));
}

#[tokio::test]
async fn process_is_looked_at_once_there_is_a_place() {
    static LOOKED: AtomicUsize = AtomicUsize::new(0);
    let identify: Identify = |stream, _| {
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
    let by_group = counting(policy, |_, _| Err(io::ErrorKind::Unsupported.into()));
    let callers = Arc::<Callers>::default();
    let has_room = std::cell::Cell::new(true);
    let place = |uid: u32, groups: &[u32]| {
        let peer = Peer { uid, groups: groups.to_vec(), ..Peer::default() };
        let identify = |wanted| {
            // Of who has no place, no more than the groups are looked at.
            assert!(wanted == WantedIdentity::Groups || !groups.is_empty() || has_room.get());
            Some(peer.clone())
        };
        match by_group.place(uid, &callers, identify) {
            Admission::Placed(_, place) => Some(place),
            Admission::Full(..) => None,
            Admission::Unknown => panic!("it is known"),
        }
    };
    let users: Vec<_> = (1000..).step_by(2).map_while(|uid| place(uid, &[])).collect();
    has_room.set(false);
    assert!(!users.is_empty() && place(4711, &[]).is_none());
    has_room.set(true);
    let members: Vec<_> = (0..10).map_while(|_| place(4711, &[500])).collect();
    assert_eq!(members.len(), 10);
    drop(members);
    // A place of a member is none of those of users without a grant.
    drop(users);
    let members: Vec<_> = (4711..4719).map_while(|uid| place(uid, &[500])).collect();
    let again: Vec<_> = (1000..).step_by(2).map_while(|uid| place(uid, &[])).collect();
    assert_eq!((members.len(), again.len()), (8, limits::CONNECTIONS_WITHOUT_GRANT));
}
