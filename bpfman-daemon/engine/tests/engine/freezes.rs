//! Freezes and switches of hooks with several owners.

use std::time::Duration;

use bpfman_model::{AttachPoint, AttachRequest, HookKind, LinkId, MatchRequest, Owner, ProgramId, Reason};
use bpfmand_engine::{
    Engine, EngineError, FreezeExemption, HookChange, Measurement, SwitchCaller, SwitchRight,
};
use bpfmand_kernel::Kernel;

use crate::bench::{Ask as _, Bench, Testable};
use crate::interfaces::{attached_to, chosen};

const XDP: HookKind = HookKind::Xdp;
const USER: Owner = Owner::User(4711);

fn application(name: &str) -> Owner {
    format!("application:{name}").parse().unwrap()
}

fn request(program: ProgramId, point: AttachPoint, owner: Owner) -> AttachRequest {
    AttachRequest {
        ttl: None,
        program,
        point,
        order: Default::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner,
        group: None,
    }
}

fn attach_as<K: Kernel>(
    engine: &Engine<K>,
    program: ProgramId,
    point: AttachPoint,
    owner: Owner,
) -> Result<LinkId, EngineError> {
    engine.attach(&request(program, point, owner)).map(|link| link.record.id)
}

fn caller<'a>(owner: Owner, right: SwitchRight<'a>, releases: Option<Owner>) -> SwitchCaller<'a> {
    SwitchCaller { by: "user 4711", owner, right, releases }
}

fn freeze<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, owner: Owner) {
    let change = HookChange { held: Some(true), ..HookChange::default() };
    let caller = caller(owner, SwitchRight::All, None);
    assert!(engine.set_hook(&bench.left(), XDP, &change, &caller).unwrap());
}

fn freeze_gives_way_by_owner_of_changed_link<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    attach_as(&engine, alpha, bench.xdp(10), USER).unwrap();
    let owners = [
        (Owner::Root, true),
        (application("firewall"), true),
        (application("tenants/app"), false),
        (Owner::Grant("agent".to_owned()), false),
        (Owner::User(4712), false),
        (USER, false),
    ];
    let before: Vec<LinkId> = owners
        .iter()
        .map(|(owner, _)| attach_as(&engine, bravo, bench.xdp(20), owner.clone()).unwrap())
        .collect();
    freeze(bench, &engine, USER);
    // Only threads of root's calls and of the daemon itself have an exemption.
    for ((owner, passes), before) in owners.iter().zip(before) {
        let results =
            [attach_as(&engine, bravo, bench.xdp(30), owner.clone()).map(drop), engine.detach(before)];
        for result in results {
            match result {
                Ok(()) => assert!(passes, "{owner}"),
                Err(error) => {
                    assert_eq!((error.kind(), *passes), (Reason::Conflict, false), "{owner}: {error}");
                    assert!(error.to_string().contains("is released, for another 3"), "{error}");
                    assert!(error.hint().unwrap().to_string().contains("debug release xdp:left@"), "{error}");
                }
            }
        }
    }
    let of_user = engine.all_links().iter().find(|link| link.record.owner == Some(USER)).unwrap().record.id;
    FreezeExemption::NotRoots.during(|| engine.detach(of_user)).unwrap();
    let root = SwitchCaller::root("user 0");
    let change = |held| HookChange { held: Some(held), ..HookChange::default() };
    assert!(engine.set_hook(&bench.left(), XDP, &change(false), &root).unwrap());
    assert!(engine.set_hook(&bench.left(), XDP, &change(true), &root).unwrap());
    for owner in [Owner::Root, application("firewall")] {
        let refused = FreezeExemption::NotRoots
            .during(|| attach_as(&engine, bravo, bench.xdp(40), owner.clone()).unwrap_err());
        assert_eq!(refused.kind(), Reason::Conflict, "{owner}");
    }
}

fn follower_attaches_roots_program_to_frozen_hook<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo, charlie] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie"]))[..]
    else {
        panic!()
    };
    let netns = bench.netns.as_path();
    for (program, owner) in [(bravo, Owner::Root), (charlie, Owner::User(4712))] {
        let attach = request(program, bench.xdp(20), owner);
        let interfaces = chosen(bench, &["pod*"], &[]);
        engine.attach_matching(&MatchRequest { attach, interfaces }).unwrap();
    }
    bench.kernel.add_interface(netns, "new");
    let AttachPoint::Xdp { priority, proceed_on, .. } = bench.xdp(10) else { panic!() };
    let interface = bench.interface("new");
    let at_new = AttachPoint::Xdp { interface: interface.clone(), priority, proceed_on };
    attach_as(&engine, alpha, at_new, USER).unwrap();
    let change = HookChange { held: Some(true), ..HookChange::default() };
    engine.set_hook(&interface, XDP, &change, &caller(USER, SwitchRight::All, None)).unwrap();
    bench.kernel.rename_interface(netns, "new", "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), ["pod1", "pod1"]);
    assert_eq!(engine.names(&bench.interface("pod1"), XDP), ["alpha", "bravo"]);
}

fn release_ends_only_the_freeze_that_was_allowed<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    attach_as(&engine, alpha, bench.xdp(10), USER).unwrap();
    freeze(bench, &engine, USER);
    let release = HookChange { held: Some(false), ..HookChange::default() };
    for releases in [None, Some(Owner::User(4712)), Some(Owner::Root)] {
        let other = caller(Owner::User(4712), SwitchRight::All, releases);
        let refused = engine.set_hook(&bench.left(), XDP, &release, &other).unwrap_err();
        assert!(matches!(refused, EngineError::OtherFreeze { .. }), "{refused}");
    }
    assert_eq!(engine.owner_of_freeze(&bench.left(), XDP).unwrap(), Some(USER));
    let own = caller(Owner::User(4712), SwitchRight::All, Some(USER));
    assert!(engine.set_hook(&bench.left(), XDP, &release, &own).unwrap());
    assert_eq!(engine.owner_of_freeze(&bench.left(), XDP).unwrap(), None);
}

fn right_over_one_member_counts_and_times<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let own = attach_as(&engine, alpha, bench.xdp(10), USER).unwrap();
    attach_as(&engine, bravo, bench.xdp(20), Owner::Root).unwrap();
    let (links, none) = ([own], []);
    let of_one = caller(USER, SwitchRight::Some(&links), None);
    let of_none = caller(USER, SwitchRight::Some(&none), None);
    let set =
        |change: HookChange, caller: &SwitchCaller<'_>| engine.set_hook(&bench.left(), XDP, &change, caller);
    let denied = |change: HookChange, caller: &SwitchCaller<'_>| {
        let before = engine.show_chain(&bench.left(), XDP).unwrap().switches;
        let error = set(change, caller).unwrap_err();
        assert_eq!(error.kind(), Reason::Denied, "{change:?}: {error}");
        assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap().switches, before);
    };
    let timing = |on| HookChange { timing: Some(on), counters: Some(true), ..HookChange::default() };
    denied(timing(true), &of_none);
    for change in [
        HookChange { held: Some(true), ..HookChange::default() },
        HookChange { as_subprograms: Some(true), ..HookChange::default() },
        HookChange { keep_attached: Some(true), ..HookChange::default() },
        HookChange { counters: Some(false), ..HookChange::default() },
        HookChange { keep_attached: Some(true), ..timing(true) },
    ] {
        denied(change, &of_one);
    }
    // Callers may reset their own switch, even after their member has left.
    assert!(set(timing(true), &of_one).unwrap());
    assert!(engine.show_chain(&bench.left(), XDP).unwrap().switches.timing);
    let other = caller(Owner::User(4712), SwitchRight::Some(&links), None);
    denied(timing(false), &other);
    assert!(set(timing(false), &of_none).unwrap());
    let back = HookChange { counters: Some(false), ..HookChange::default() };
    assert!(set(back, &of_none).unwrap());
    let switches = engine.show_chain(&bench.left(), XDP).unwrap().switches;
    assert!(switches.counters && !switches.timing, "a joined chain counts by the configuration");
    let root = SwitchCaller::root("user 0");
    assert!(
        set(HookChange { counters: Some(false), timing: Some(true), ..HookChange::default() }, &root)
            .unwrap()
    );
    denied(HookChange { counters: Some(true), ..HookChange::default() }, &of_one);
    denied(HookChange { timing: Some(false), ..HookChange::default() }, &of_one);
}

fn new_member_is_switched_by_no_right_over_others<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let seen = [attach_as(&engine, alpha, bench.xdp(10), USER).unwrap()];
    attach_as(&engine, bravo, bench.xdp(20), Owner::Root).unwrap();
    let change = HookChange { keep_attached: Some(true), ..HookChange::default() };
    let refused = [
        engine
            .set_hook(&bench.left(), XDP, &change, &caller(USER, SwitchRight::Members(&seen), None))
            .map(drop),
        engine.verify_chain(&bench.left(), XDP, Some(&seen)).map(drop),
        engine.begin_client_measurement(Measurement::Times, &bench.left(), XDP, Some(&seen)).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, EngineError::NewMember { .. }), "{error}");
        assert!(error.hint().unwrap().to_string().contains("bpfman chain show xdp:left@"), "{error}");
    }
    let switches = engine.show_chain(&bench.left(), XDP).unwrap().switches;
    assert!(!switches.keep_attached && !switches.timing);
}

fn user_stops_no_budget_by_an_empty_hook<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut measured = bench.request("programs", &["alpha"]);
    measured.measured = true;
    let alpha = engine.loads(&measured)[0];
    let bravo = engine.loads(&bench.request("second", &["bravo"]))[0];
    let user = caller(USER, SwitchRight::All, None);
    let counters = |on| HookChange { counters: Some(on), ..HookChange::default() };
    let is_counted = || engine.show_chain(&bench.left(), XDP).unwrap().switches.counters;
    let first = attach_as(&engine, bravo, bench.xdp(10), USER).unwrap();
    let keep = HookChange { keep_attached: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.left(), XDP, &keep, &user).unwrap();
    engine.detach(first).unwrap();
    engine.set_hook(&bench.left(), XDP, &counters(false), &user).unwrap();
    attach_as(&engine, alpha, bench.xdp(20), USER).unwrap();
    attach_as(&engine, bravo, bench.xdp(10), USER).unwrap();
    assert!(is_counted());
    // Only root's switch disables the counters.
    let _unchanged = engine.set_hook(&bench.left(), XDP, &counters(false), &user).unwrap();
    assert!(is_counted());
    assert!(engine.set_hook(&bench.left(), XDP, &counters(false), &SwitchCaller::root("user 0")).unwrap());
    assert!(!is_counted());
}

crate::on_both_kernels!(
    freeze_gives_way_by_owner_of_changed_link,
    follower_attaches_roots_program_to_frozen_hook,
    release_ends_only_the_freeze_that_was_allowed,
    right_over_one_member_counts_and_times,
    new_member_is_switched_by_no_right_over_others,
    user_stops_no_budget_by_an_empty_hook,
);

#[test]
fn freeze_that_ended_keeps_no_timing_of_a_client() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(10));
    let _never_ended = engine.begin_client_measurement(Measurement::Times, &bench.left(), XDP, None).unwrap();
    let change = HookChange { held: Some(true), held_seconds: Some(1), ..HookChange::default() };
    engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap();
    drop(engine);
    let is_timed =
        |engine: &Engine<_>| engine.show_chain(&bench.left(), XDP).unwrap().members[0].time.is_some();
    let engine = bench.engine();
    assert!(is_timed(&engine), "the freeze keeps it");
    drop(engine);
    bench.kernel.pass_time(Duration::from_secs(3));
    let engine = bench.engine();
    assert!(!is_timed(&engine));
}
