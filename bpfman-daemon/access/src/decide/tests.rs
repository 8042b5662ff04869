#![allow(clippy::unwrap_used, reason = "tests")]
use bpfman_model::{
    Direction, Glob, Hint, HookKind, Interface, InterfaceMatch, LinkId, OrderIntent, OwningApplication,
    PodObstacle, PodRelation, ProgramId, ProgramType,
};
use proptest::prelude::*;

use super::*;
use crate::policy_file::tests::Machine;
use crate::{AccessPolicy, GrantCallers};

const TEAM: &str = r#"
[[grants]]
name = "network-team"
users = [1000]
allow = ["load", "attach", "replace"]
images = ["registry.example.com/network/*"]
types = ["xdp", "tc"]
hooks = ["xdp:eth*", "tc:*:ingress"]
priorities = "100-900"
"#;

fn policy(text: &str) -> AccessPolicy {
    AccessPolicy::parse(text, &Machine).unwrap()
}

fn user(uid: u32) -> Peer {
    Peer { uid, gid: uid, ..Peer::default() }
}

fn at(kind: HookKind, name: &str, netns: Option<&str>, in_callers_netns: bool) -> AccessObject<'static> {
    let interface = Interface { name: name.to_owned(), netns: netns.map(Into::into) };
    AccessObject::Hook { kind, interface: Box::leak(Box::new(interface)), in_callers_netns }
}

fn image(reference: &str) -> AccessObject<'static> {
    AccessObject::Image(reference.parse().unwrap())
}

fn xdp(name: &str) -> AccessObject<'static> {
    at(HookKind::Xdp, name, None, false)
}

#[test]
fn without_grants_root_changes_and_the_sockets_group_reads() {
    let policy = AccessPolicy::default();
    for verb in AccessVerb::GRANTABLE {
        let root = policy.decide(&user(0), verb, &[xdp("eth0")]).unwrap();
        assert_eq!((root.by, root.owner), (By::Root, Owner::Root));
        assert_eq!(policy.decide(&user(1000), verb, &[]).is_ok(), verb == AccessVerb::Read, "{verb}");
    }
    let denied = policy.decide(&user(1000), AccessVerb::Attach, &[xdp("eth0")]).unwrap_err();
    assert!(denied.message.contains("user 1000 may not attach: xdp:eth0"), "{denied}");
    let unread = policy.decide(&user(1000), AccessVerb::MapsRead, &[]).unwrap_err();
    assert!(unread.message.starts_with("user 1000 may not read maps;"), "{unread}");
    assert_eq!(denied.hint.to_string(), "have root run: bpfman policy allow 1000 attach --hooks=xdp:eth0");
}

#[test]
fn one_line_restores_what_v0_6_0_does() {
    let all = policy("[access]\nsocket_group = \"all\"\n");
    let theirs = AccessObject::Owned { thing: OwnedObject::Program(ProgramId(7)), owner: &Owner::Root };
    let allowed = all.decide(&user(1000), AccessVerb::Load, &[theirs]).unwrap();
    assert_eq!((allowed.by, allowed.owner), (By::SocketGroup, Owner::User(1000)));
    assert!(all.decide(&user(1000), AccessVerb::Administer, &[]).is_err());
    let closed = policy("[access]\nsocket_group = \"nothing\"\n");
    assert!(closed.decide(&user(1000), AccessVerb::Read, &[]).is_err());
}

#[test]
fn places_that_are_no_interfaces_are_targets_and_in_namespaces() {
    let team = policy(
        "[[grants]]\nname = \"team\"\nusers = [1000]\nallow = [\"attach\"]\nnetns = [\"/run/netns/team-*\"]\n\
         targets = [\"cgroup:/team.slice/*\", \"netns:/run/netns/*\", \"netfilter:*\", \"kprobe:tcp_*\"]\n",
    );
    let target = |kind, name| AccessObject::Target { kind, name };
    let blue = Some(std::path::Path::new("/run/netns/team-blue"));
    let red = Some(std::path::Path::new("/run/netns/red"));
    let at = |netns| AccessObject::Netns { netns, in_callers_netns: false };
    let [some, more, all] = ["tcp_v?_*", "t*", "*"].map(|names| Glob::parse(names).unwrap());
    let kernel = |names| AccessObject::Targets { kind: "kprobe", names };
    for (objects, key) in [
        (vec![target("cgroup", "/team.slice/web")], None),
        (vec![target("cgroup", "/team.slice/../x")], Some("targets")),
        (vec![target("cgroup", "/")], Some("targets")),
        (vec![target("netns", "/run/netns/team-blue"), at(blue)], None),
        (vec![target("netns", "/run/netns/red"), at(red)], Some("netns")),
        (vec![target("netfilter", "host"), at(None)], Some("netns")),
        (vec![target("netns", "host"), at(None)], Some("targets")),
        (vec![target("raw_tracepoint", "sched_switch")], Some("targets")),
        (vec![kernel(&some)], None),
        (vec![kernel(&more)], Some("targets")),
        (vec![kernel(&all)], Some("targets")),
    ] {
        let decided = team.decide(&user(1000), AccessVerb::Attach, &objects);
        match (decided, key) {
            (Ok(_), None) => {}
            (Err(denied), Some(key)) => {
                assert!(denied.to_string().contains(&format!("by its \"{key}\"")), "{denied}")
            }
            (decided, key) => panic!("{objects:?}: {decided:?}, not {key:?}"),
        }
    }
}

#[test]
fn a_grant_allows_what_it_covers_and_names_what_it_does_not() {
    let team = policy(TEAM);
    let ada = user(1000);
    let allowed = team.decide(&ada, AccessVerb::Attach, &[xdp("eth0"), AccessObject::Priority(100)]).unwrap();
    assert_eq!(allowed.by, By::Grant("network-team".to_owned()));
    assert_eq!(allowed.owner, Owner::Grant("network-team".to_owned()));
    let ingress = |direction| at(HookKind::Tc(direction), "lo", None, false);
    assert!(team.decide(&ada, AccessVerb::Attach, &[ingress(Direction::Ingress)]).is_ok());
    let before = OrderIntent { before: vec!["wall".parse().unwrap()], ..OrderIntent::default() };
    let after = OrderIntent { after: vec!["wall".parse().unwrap()], ..OrderIntent::default() };
    let role = OrderIntent { role: Some("firewall".parse().unwrap()), ..OrderIntent::default() };
    assert!(team.decide(&ada, AccessVerb::Attach, &[AccessObject::Order(&after)]).is_ok());
    for (verb, object, key) in [
        (AccessVerb::Attach, xdp("lo"), "hooks"),
        (AccessVerb::Attach, ingress(Direction::Egress), "hooks"),
        (AccessVerb::Attach, AccessObject::Priority(99), "priorities"),
        (AccessVerb::Attach, AccessObject::Order(&before), "priorities"),
        (AccessVerb::Attach, AccessObject::Order(&role), "priorities"),
        (AccessVerb::Attach, AccessObject::Position, "priorities"),
        (AccessVerb::Attach, AccessObject::AnyHook, "hooks"),
        (AccessVerb::Load, AccessObject::Type(ProgramType::Kprobe), "types"),
        (AccessVerb::Load, image("registry.example.com/other/x:1"), "images"),
        (AccessVerb::Attach, AccessObject::Target { kind: "uprobe", name: "/bin/sh" }, "targets"),
        (
            AccessVerb::Replace,
            AccessObject::Owned { thing: OwnedObject::Program(ProgramId(7)), owner: &Owner::Root },
            "over",
        ),
        (
            AccessVerb::Load,
            AccessObject::Application(&OwningApplication::parse(None, "x").unwrap()),
            "applications",
        ),
    ] {
        let denied = team.decide(&ada, verb, &[xdp("eth0"), object]).unwrap_err().to_string();
        assert!(denied.contains("grant \"network-team\" does not cover"), "{denied}");
        assert!(denied.contains(&format!("by its \"{key}\"")), "{denied}");
    }
    let denied = team.decide(&ada, AccessVerb::Settings, &[]).unwrap_err().to_string();
    assert!(denied.contains("grant \"network-team\" does not allow \"settings\""), "{denied}");
}

#[test]
fn own_means_same_owner_and_agents_own_their_applications() {
    let own = Owner::Grant("network-team".to_owned());
    let theirs = Owner::Application(OwningApplication::parse(Some("shop"), "a").unwrap());
    let owned = |owner| [AccessObject::Owned { thing: OwnedObject::Link(LinkId(3)), owner }];
    let team = policy(TEAM);
    assert!(team.decide(&user(1000), AccessVerb::Attach, &owned(&own)).is_ok());
    assert!(team.decide(&user(1000), AccessVerb::Attach, &owned(&theirs)).is_err());
    let agent = policy(
        "[[grants]]\nname = \"agent\"\nusers = [4711]\nallow = [\"all\"]\napplications = [\"shop/*\"]\n",
    );
    assert!(agent.decide(&user(4711), AccessVerb::Attach, &owned(&theirs)).is_ok());
    assert!(agent.decide(&user(4711), AccessVerb::Attach, &owned(&own)).is_err());
    let Owner::Application(name) = &theirs else { unreachable!() };
    let loads = agent.decide(&user(4711), AccessVerb::Load, &[AccessObject::Application(name)]).unwrap();
    assert_eq!(loads.owner, theirs);
}

#[test]
fn right_over_all_owners_is_root_s_or_written() {
    let settings =
        |policy: &AccessPolicy, uid, hook| policy.is_over_all(&user(uid), AccessVerb::Settings, &xdp(hook));
    let grant = |more: &str| {
        policy(&format!(
            "[[grants]]\nname = \"x\"\nusers = [1000]\nallow = [\"settings\"]\nhooks = [\"xdp:eth0\"]\n{more}"
        ))
    };
    let (own, all) = (grant(""), grant("over = \"all\"\n"));
    assert!(!settings(&own, 1000, "eth0"), "over its own alone");
    assert!(settings(&all, 1000, "eth0"));
    assert!(!settings(&all, 1000, "eth1"), "another hook");
    assert!(!settings(&all, 1001, "eth0"), "another user");
    assert!(!all.is_over_all(&user(1000), AccessVerb::Replace, &xdp("eth0")), "another verb");
    assert!(settings(&AccessPolicy::default(), 0, "eth0"), "root");
}

#[test]
fn interfaces_that_match_are_covered_or_not() {
    let team = policy(TEAM);
    let all_of = |pattern: &str| {
        let interfaces = InterfaceMatch::parse([pattern], [], [], []).unwrap();
        let hooks = AccessObject::Hooks { kind: HookKind::Xdp, interfaces: &interfaces };
        team.decide(&user(1000), AccessVerb::Attach, &[hooks]).is_ok()
    };
    assert!(all_of("eth*") && all_of("eth1?") && all_of("eth0") && !all_of("*") && !all_of("e*"));
    let interfaces = InterfaceMatch::parse([], [], [7], []).unwrap();
    let by_number = AccessObject::Hooks { kind: HookKind::Xdp, interfaces: &interfaces };
    assert!(team.decide(&user(1000), AccessVerb::Attach, &[by_number]).is_err());
}

#[test]
fn ones_own_network_namespace_is_the_one_that_is_known_to_be() {
    let own = policy("[[grants]]\nname = \"x\"\nusers = [1]\nallow = [\"all\"]\nnetns = [\"own\"]\n");
    let files =
        policy("[[grants]]\nname = \"x\"\nusers = [1]\nallow = [\"all\"]\nnetns = [\"/run/netns/a-*\"]\n");
    let hook = |path, is_callers| at(HookKind::Xdp, "eth0", path, is_callers);
    let may = |policy: &AccessPolicy, hook| policy.decide(&user(1), AccessVerb::Attach, &[hook]).is_ok();
    assert!(may(&own, hook(None, true)) && !may(&own, hook(None, false)));
    assert!(may(&files, hook(Some("/run/netns/a-1"), false)) && !may(&files, hook(None, true)));
    assert!(!may(&files, hook(Some("/run/netns/b"), true)));
    assert!(
        !may(&files, hook(Some("/run/netns/a-1/../../../proc/1/ns/net"), true)),
        "a way out of the folder"
    );
}

proptest! {
    #[test]
    fn no_call_passes_without_a_grant_that_covers_it(
        uid in 1_u32..4, verb in 0..AccessVerb::GRANTABLE.len(), interface in "[ab][01]", priority in 0..20_i32,
        granted_to in proptest::collection::vec(1_u32..4, 1..3),
        allow in proptest::collection::btree_set(0..AccessVerb::GRANTABLE.len(), 1..4),
        hooks in proptest::collection::vec("[ab][01*]", 0..3), range in (0..10_i32, 10..20_i32),
    ) {
        let words = |list: Vec<String>| list.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "[[grants]]\nname = \"x\"\nusers = {granted_to:?}\nallow = [{}]\nhooks = [{}]\npriorities = \"{}-{}\"\n",
            words(allow.iter().map(|at| AccessVerb::GRANTABLE[*at].name().to_owned()).collect()),
            words(hooks.iter().map(|name| format!("xdp:{name}")).collect()), range.0, range.1,
        );
        let verb = AccessVerb::GRANTABLE[verb];
        let decided = policy(&text).decide(&user(uid), verb, &[xdp(&interface), AccessObject::Priority(priority)]);
        let covered = granted_to.contains(&uid)
            && allow.iter().any(|at| AccessVerb::GRANTABLE[*at] == verb)
            && hooks.iter().any(|name| Glob::parse(name).unwrap().matches(&interface))
            && (range.0..=range.1).contains(&priority);
        prop_assert_eq!(decided.is_ok(), covered || verb == AccessVerb::Read, "{}", text);
    }
}

#[test]
fn only_the_grant_that_allows_a_call_speaks_for_all() {
    let policy = policy(
        "[[grants]]\nname = \"all\"\nusers = [1000]\nallow = [\"load\"]\napplications = [\"*\"]\n\
         [[grants]]\nname = \"own\"\nusers = [1000]\nallow = [\"attach\"]\n",
    );
    let speaks = |verb| policy.decide(&user(1000), verb, &[]).unwrap().speaks_for_all;
    assert!(speaks(AccessVerb::Load));
    assert!(!speaks(AccessVerb::Attach));
    assert!(!policy.decide(&user(0), AccessVerb::Load, &[]).unwrap().speaks_for_all, "root needs no grant");
}

#[test]
fn agent_whose_pod_is_unknown_is_refused_with_the_cause() {
    let callers = GrantCallers { users: [60_750].into(), beside_daemon: true, ..GrantCallers::default() };
    let verbs = [AccessVerb::Load].into();
    let grant = Grant { name: "node-agent".to_owned(), callers, verbs, ..Grant::default() };
    let policy = AccessPolicy { grants: vec![grant], ..AccessPolicy::default() };
    let decide = |pod_relation| {
        policy.decide(&Peer { uid: 60_750, pod_relation, ..Peer::default() }, AccessVerb::Load, &[])
    };
    assert!(decide(PodRelation::SameNamespace).is_ok());
    let obstacle = PodObstacle::OwnPod;
    let denied = decide(PodRelation::Unknown(obstacle.clone())).unwrap_err();
    assert!(
        denied.message.contains("grant \"node-agent\"") && denied.message.contains(&obstacle.to_string())
    );
    assert_eq!(denied.hint, Hint::from(obstacle.advice()));
    // Another user is not advised about the agent's pod.
    let other = Peer { uid: 4711, pod_relation: PodRelation::Unknown(obstacle), ..Peer::default() };
    let denied = policy.decide(&other, AccessVerb::Load, &[]).unwrap_err();
    assert!(matches!(denied.hint, Hint::AllowCall(_)), "{denied:?}");
}
