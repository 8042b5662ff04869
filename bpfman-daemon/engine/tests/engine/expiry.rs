//! Deadlines of programs and links, on the simulated kernel with clocks that tests set.

use std::time::{Duration, SystemTime};

use bpfman_model::{Owner, Reason};
use bpfmand_engine::SwitchCaller;

use crate::bench::Ask as _;
use crate::budgets::links;
use crate::replacements::replacement;

#[test]
fn expired_program_ends_with_its_links() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let mut request = bench.request("programs", &["alpha"]);
    request.ttl = Some(3600);
    let mortal = engine.loads(&request)[0];
    let stays = engine.loads(&bench.request("programs", &["bravo"]))[0];
    engine.attached(mortal, bench.xdp(10));
    let attach = |ttl| bpfman_model::AttachRequest {
        program: stays,
        point: bench.xdp(20),
        order: Default::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        ttl,
        owner: Owner::Root,
        group: None,
    };
    for wrong in [0, u64::MAX] {
        let error = engine.attach(&attach(Some(wrong))).unwrap_err();
        assert_eq!(error.kind(), Reason::Invalid);
        assert!(error.to_string().contains("1 s to 10 years"), "{error}");
    }
    let link = engine.attach(&attach(Some(60))).unwrap();
    assert_eq!(link.left.unwrap().as_secs(), 61, "a fraction longer, not shorter");
    assert_eq!(engine.expire().unwrap().len(), 0);
    bench.kernel.pass_time(Duration::from_secs(62));
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert!(expired.failure.is_none() && expired.links == [link.record.id], "{expired:?}");
    assert_eq!(links(&engine, stays), []);
    // A new version does not extend the deadline.
    let mortal = engine.replace_program(&replacement(&bench, mortal, "second")).unwrap().programs[0].id;
    assert!(engine.describe_program(mortal).unwrap().managed.unwrap().left.unwrap().as_secs() < 3600);
    bench.kernel.pass_time(Duration::from_secs(3600));
    assert!(engine.next_deadline().unwrap().unwrap().is_zero());
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert_eq!(expired.programs, [mortal]);
    assert_eq!(engine.describe_program(mortal).unwrap_err().kind(), Reason::NotFound);
    assert!(!engine.has_deadlines());
}

#[test]
fn set_clocks_and_reboots_expire_nothing_early_or_never() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let mut request = bench.request("programs", &["alpha"]);
    request.ttl = Some(3600);
    engine.loads(&request);
    let day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + days * 86_400);
    for put in [day(10_000), SystemTime::UNIX_EPOCH, day(0)] {
        bench.kernel.put_clock(put);
        assert_eq!(engine.expire().unwrap().len(), 0);
    }
    bench.kernel.pass_time(Duration::from_secs(600));
    assert_eq!(engine.expire().unwrap().len(), 0);
    drop(engine);
    // Half an hour without power, then the clock is set again.
    bench.kernel.reboot();
    bench.kernel.put_clock(day(0) + Duration::from_secs(600 + 1800));
    let engine = bench.engine();
    assert_eq!(engine.expire().unwrap().len(), 0);
    bench.kernel.put_clock(day(10_000));
    let left = engine.next_deadline().unwrap().unwrap().as_secs();
    assert!((1195..=1205).contains(&left), "{left}");
    assert_eq!(engine.expire().unwrap().len(), 0);
    bench.kernel.pass_time(Duration::from_secs(1210));
    assert_eq!(engine.expire().unwrap().len(), 1);

    // Without a battery-backed clock, the time is never corrected.
    engine.loads(&request);
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.put_clock(SystemTime::UNIX_EPOCH);
    let engine = bench.engine();
    assert_eq!(engine.expire().unwrap().len(), 0);
    bench.kernel.pass_time(Duration::from_secs(3600));
    assert_eq!(engine.expire().unwrap().len(), 1);
}

#[test]
fn expiry_of_an_unloaded_program_spares_the_new_user_of_its_id() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let stays = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let mut request = bench.request("programs", &["bravo"]);
    request.ttl = Some(60);
    let mortal = engine.loads(&request)[0];
    engine.attached(stays, bench.xdp(1));
    drop(engine);
    bench.kernel.reboot();
    // A third-party program shifts the daemon's ids by one.
    let _other = crate::reboots::others_load_first(&bench, 1);
    bench.kernel.refuse("bravo");
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    let name = || engine.describe_program(mortal).unwrap().managed.unwrap().record.name.clone();
    assert_eq!(name(), "alpha", "one id, two records");
    bench.kernel.pass_time(Duration::from_secs(120));
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert!(expired.failure.is_none() && expired.what.contains("bravo"), "{expired:?}");
    assert_eq!((name(), links(&engine, mortal).len()), ("alpha".to_owned(), 1));
    assert!(!engine.has_deadlines());
}

#[test]
fn failed_expiry_is_reported_and_retried() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let mut request = bench.request("programs", &["alpha"]);
    request.ttl = Some(1);
    let program = engine.loads(&request)[0];
    engine.attached(program, bench.xdp(10));
    bench.kernel.pass_time(Duration::from_secs(3));
    bench.kernel.fail_from(2);
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert!(expired.failure.is_some());
    bench.kernel.fail_call(0);
    assert_eq!(links(&engine, program).len(), 1);
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert!(expired.failure.is_none());
    assert_eq!(engine.list_links(None, None, &Default::default()).unwrap().len(), 0);
}

#[test]
fn freeze_holds_off_no_expiry_and_no_budget() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let mut request = bench.request("programs", &["alpha"]);
    request.ttl = Some(1);
    let mortal = engine.loads(&request)[0];
    let other = engine.loads(&bench.request("second", &["bravo"]))[0];
    engine.attached(mortal, bench.xdp(10));
    engine.attached(other, bench.xdp(20));
    let frozen = bpfmand_engine::HookChange { held: Some(true), ..Default::default() };
    engine
        .set_hook(&bench.left(), bpfman_model::HookKind::Xdp, &frozen, &SwitchCaller::root("user 0"))
        .unwrap();
    let link = links(&engine, mortal)[0];
    assert_eq!(engine.detach(link).unwrap_err().kind(), Reason::Conflict);
    bench.kernel.pass_time(Duration::from_secs(3));
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert!(expired.failure.is_none(), "{expired:?}");
    assert_eq!(engine.list_links(None, None, &Default::default()).unwrap().len(), 1);
    let link = links(&engine, other)[0];
    assert_eq!(engine.detach(link).unwrap_err().kind(), Reason::Conflict);
    bench.kernel.pass_time(Duration::from_secs(bpfmand_engine::DEFAULT_FREEZE_SECONDS));
    engine.detach(link).unwrap();
}
