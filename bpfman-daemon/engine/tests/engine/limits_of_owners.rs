//! Limits per owner: memory of maps, and attachments by pattern.

use std::sync::{Arc, Mutex};

use bpfman_model::{
    AttachRequest, InterfaceMatch, LoadRequest, MapId, MatchRequest, Owner, OwningApplication, ProgramId,
    Reason,
};
use bpfmand_engine::{
    Engine, EngineError, EngineOptions, OwnedCounts, RecordedCounts, ReservedObjects, StepObserver,
};
use bpfmand_kernel::KernelObjects as _;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::simulated::bench;

fn of(owner: &str, load: LoadRequest) -> LoadRequest {
    LoadRequest { owner: owner.parse().unwrap(), ..load }
}

fn engine(bench: &Bench<SimKernel>, each: u64, all: Option<u64>) -> Engine<SimKernel> {
    let options =
        EngineOptions { map_bytes_of_owner: Some(each), map_bytes_of_owners: all, ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    engine.recover().unwrap();
    engine
}

fn bytes_of_a_load(bench: &Bench<SimKernel>) -> u64 {
    let engine = engine(bench, u64::MAX, None);
    let program = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let record = engine.describe_program(program).unwrap().managed.unwrap().record;
    engine.unload(program).unwrap();
    record.maps.iter().map(|map| map.bytes).sum()
}

#[test]
fn maps_of_one_owner_have_so_much_memory_together() {
    let bench = bench();
    let one = bytes_of_a_load(&bench);
    assert!(one > 0);
    let engine = engine(&bench, 2 * one, None);
    let load = |owner: &str| engine.load(&of(owner, bench.request("programs", &["alpha"])));
    let first = load("application:evil/one").unwrap().programs[0].id;
    load("application:evil/two").unwrap();
    let before = bench.kernel.snapshot();
    let refused = load("application:evil/three").unwrap_err();
    assert_eq!(refused.kind(), Reason::TooLarge);
    for part in ["namespace \"evil\" take ", "the limit is ", "(maps.mib_per_owner)"] {
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    assert_eq!(bench.kernel.snapshot(), before, "nothing is made");
    for owner in ["application:good/one", "grant:team", "user:4711"] {
        load(owner).unwrap();
    }
    for _ in 0..4 {
        load("root").unwrap();
        load("application:cluster").unwrap();
    }
    engine.unload(first).unwrap();
    load("application:evil/three").unwrap();
}

#[test]
fn maps_of_all_owners_leave_memory_to_the_machine() {
    let bench = bench();
    let one = bytes_of_a_load(&bench);
    let engine = engine(&bench, u64::MAX, Some(3 * one));
    let load = |owner: &str| engine.load(&of(owner, bench.request("programs", &["alpha"])));
    for owner in ["application:a/x", "grant:team", "user:4711"] {
        load(owner).unwrap();
    }
    let refused = load("application:b/x").unwrap_err();
    assert!(refused.to_string().contains("(maps.mib_of_owners)"), "{refused}");
    load("root").unwrap();
    load("application:cluster").unwrap();
}

#[test]
fn memory_is_counted_over_a_restart_and_a_reboot() {
    let bench = bench();
    let one = bytes_of_a_load(&bench);
    let load =
        |engine: &Engine<SimKernel>| engine.load(&of("grant:team", bench.request("programs", &["alpha"])));
    let first = engine(&bench, one, None);
    load(&first).unwrap();
    drop(first);
    let second = engine(&bench, one, None);
    load(&second).unwrap_err();
    drop(second);
    bench.kernel.reboot();
    let third = engine(&bench, one, None);
    load(&third).unwrap_err();
}

fn bytes_of_map(engine: &Engine<SimKernel>, program: ProgramId, name: &str) -> u64 {
    let record = engine.describe_program(program).unwrap().managed.unwrap().record;
    record.maps.iter().find(|map| map.name == name).unwrap().bytes
}

#[test]
fn a_map_declared_without_a_size_counts_as_it_is() {
    let bench = bench();
    let first = engine(&bench, u64::MAX, None);
    let load = |engine: &Engine<SimKernel>, object, program| {
        engine.load(&of("grant:team", bench.request(object, &[program]))).map(|done| done.programs[0].id)
    };
    let host = load(&first, "sharing", "host").unwrap();
    let visitor = load(&first, "visitor", "visits").unwrap();
    let everyone = bytes_of_map(&first, host, "everyone");
    assert!(everyone > 0);
    assert_eq!(bytes_of_map(&first, visitor, "everyone"), everyone);
    drop(first);
    // The shared map still counts when the program that declares its size has gone.
    let one = bytes_of_a_load(&bench);
    let second = engine(&bench, everyone + one - 1, None);
    second.unload(host).unwrap();
    load(&second, "programs", "alpha").unwrap_err();
    second.unload(visitor).unwrap();
    load(&second, "programs", "alpha").unwrap();
}

#[test]
fn a_walk_of_a_map_declared_without_a_size_is_refused() {
    let bench = bench();
    let engine = bench.engine();
    let load = |owner: &str, object, program| engine.load(&of(owner, bench.request(object, &[program])));
    load("application:shop/one", "sharing", "host").unwrap();
    let before = bench.kernel.snapshot();
    let refused = load("application:shop/one", "visitor", "walks").unwrap_err();
    assert_eq!(refused.kind(), Reason::Denied);
    for part in ["bpf_for_each_map_elem with a number of rounds that is no constant", "function walks"] {
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    assert_eq!(bench.kernel.snapshot(), before);
    load("application:shop/one", "visitor", "visits").unwrap();
    load("root", "sharing", "host").unwrap();
    load("root", "visitor", "walks").unwrap();
}

#[test]
fn map_held_by_a_process_counts_after_its_program() {
    let bench = bench();
    let one = bytes_of_a_load(&bench);
    let engine = engine(&bench, one, Some(2 * one));
    let load = |owner: &str| engine.load(&of(owner, bench.request("programs", &["alpha"])));
    let first = load("grant:team").unwrap().programs[0].id;
    let held: Vec<_> =
        engine.map_pins(first).values().map(|id| bench.kernel.open_map(MapId(*id)).unwrap()).collect();
    assert!(!held.is_empty());
    engine.unload(first).unwrap();
    let before = bench.kernel.snapshot();
    let refused = load("grant:team").unwrap_err();
    assert_eq!(refused.kind(), Reason::TooLarge, "{refused}");
    assert_eq!(bench.kernel.snapshot(), before);
    let other = load("user:4711").unwrap().programs[0].id;
    assert!(load("user:4712").unwrap_err().to_string().contains("(maps.mib_of_owners)"));
    engine.unload(other).unwrap();
    load("user:4712").unwrap();
    drop(held);
    load("grant:team").unwrap();
}

fn request(bench: &Bench<SimKernel>, program: ProgramId, owner: Owner) -> AttachRequest {
    AttachRequest {
        program,
        point: bench.xdp(10),
        order: Default::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        ttl: None,
        owner,
        group: None,
    }
}

#[test]
fn attachments_of_owners_leave_room_for_the_machine() {
    let bench = bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let attach = |owner: &Owner| {
        let attach = request(&bench, program, owner.clone());
        let interfaces = InterfaceMatch::parse(["none*"], [], [], [bench.netns.as_path()]).unwrap();
        engine.attach_matching(&MatchRequest { attach, interfaces })
    };
    let until_refused = |owner: &Owner| {
        let refused = (0..2000).find_map(|made| attach(owner).err().map(|error| (made, error)));
        refused.unwrap()
    };
    let tenant = Owner::Application(OwningApplication::parse(Some("evil"), "one").unwrap());
    let (made, refused) = until_refused(&tenant);
    assert_eq!(made, 256);
    assert!(
        matches!(&refused, EngineError::MaxMatchings { of, count: 256, limit: 256 } if of.contains("evil"))
    );
    assert_eq!(refused.kind(), Reason::Conflict);
    let other = Owner::Application(OwningApplication::parse(Some("evil"), "two").unwrap());
    assert!(attach(&other).is_err(), "the namespace has them");
    assert_eq!(until_refused(&Owner::Grant("team".to_owned())).0, 256);
    assert_eq!(until_refused(&Owner::User(4712)).0, 0, "half is left for the machine");
    attach(&Owner::Application(OwningApplication::parse(None, "wall").unwrap())).unwrap();
    assert_eq!(until_refused(&Owner::Root).0, 511);
}

#[test]
fn kept_share_changes_what_owners_may_have() {
    let bench = bench();
    for (share, places, selectors) in [("90%", 3, 102), ("0%", 32, 256)] {
        let options = EngineOptions { kept: share.parse().unwrap(), ..bench.options() };
        let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
        engine.recover().unwrap();
        let program = engine.loads(&bench.request("programs", &["alpha"]))[0];
        let attach = |names: Option<&str>| {
            let attach = request(&bench, program, Owner::User(4712));
            let Some(names) = names else { return engine.attach(&attach).map(drop) };
            let interfaces = InterfaceMatch::parse([names], [], [], [bench.netns.as_path()]).unwrap();
            engine.attach_matching(&MatchRequest { attach, interfaces }).map(drop)
        };
        let made = |names| (0..2000).take_while(|_| attach(names).is_ok()).count();
        assert_eq!((made(None), made(Some("none*"))), (places, selectors), "{share}");
        engine.unload(program).unwrap();
    }
}

#[derive(Default)]
struct Reserved(Mutex<OwnedCounts>);

impl ReservedObjects for Reserved {
    fn owners(&self) -> Vec<Owner> {
        vec![Owner::Grant("team".to_owned())]
    }

    fn recorded(&self, _: &Owner, more: OwnedCounts) {
        let mut all = self.0.lock().unwrap();
        all.programs += more.programs;
        all.links += more.links;
    }
}

struct AtRecord(Arc<Reserved>, Mutex<Vec<(&'static str, OwnedCounts)>>);

impl StepObserver for AtRecord {
    fn before(&self, operation: &'static str, step: &'static str) {
        if step == "move into place" {
            self.1.lock().unwrap().push((operation, *self.0.0.lock().unwrap()));
        }
    }
}

#[test]
fn reserved_objects_are_given_back_as_they_are_recorded() {
    let bench = bench();
    let reserved = Arc::new(Reserved::default());
    let seen = Arc::new(AtRecord(Arc::clone(&reserved), Mutex::default()));
    let engine = bench.watched(Arc::clone(&seen) as Arc<dyn StepObserver>);
    let others = engine.load(&of("grant:other", bench.request("programs", &["alpha"]))).unwrap();
    RecordedCounts::during(Arc::clone(&reserved) as Arc<dyn ReservedObjects>, || {
        engine.load(&of("grant:other", bench.request("programs", &["alpha"]))).unwrap();
        let two = engine.load(&of("grant:team", bench.request("programs", &["alpha", "bravo"]))).unwrap();
        engine.attached(two.programs[0].id, bench.xdp(10));
        engine.unload(others.programs[0].id).unwrap();
    });
    engine.load(&of("grant:team", bench.request("programs", &["alpha"]))).unwrap();
    let count = |programs, links| OwnedCounts { programs, links };
    let of_loads = [count(0, 0), count(0, 0), count(2, 0), count(2, 0)];
    let seen = seen.1.lock().unwrap();
    let loads: Vec<_> = seen.iter().filter(|(of, _)| *of == "load").map(|(_, count)| *count).collect();
    assert_eq!(loads, of_loads, "{seen:?}");
    assert_eq!(*reserved.0.lock().unwrap(), count(2, 0), "the link is root's");
    let owned = engine.with_owned_counts(&Owner::Grant("team".to_owned()), |owned| owned);
    assert_eq!(owned, count(3, 0));
}
