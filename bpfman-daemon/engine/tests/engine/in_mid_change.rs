//! Events in the middle of a change: third-party programs, two clients at once, and a disappearing interface.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bpfman_model::{AttachPoint, HookKey, HookKind, LinkId, MapId, Reason};
use bpfmand_engine::{Engine, StepObserver, UpdateLinkRequest};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{Kernel, ListAnchor};

use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};

use crate::among_others::{is_fine, key, names, open, runs, strange, stranger};

struct Meddler<F> {
    step: &'static str,
    times: AtomicUsize,
    deed: F,
}

impl<F: Fn(usize) + Send + Sync> StepObserver for Meddler<F> {
    fn before(&self, _: &'static str, step: &'static str) {
        let left = |left: usize| (step == self.step && left > 0).then(|| left - 1);
        if let Ok(left) = self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            (self.deed)(left);
        }
    }
}

fn meddled<K: Testable>(bench: &Bench<K>, times: usize) -> Engine<K> {
    let (kernel, netns, key) = (Arc::clone(&bench.kernel), bench.netns.clone(), key(bench));
    stranger(bench, "guard", 0, ListAnchor::Last);
    bench.watched(Arc::new(Meddler {
        step: "create link",
        times: AtomicUsize::new(times),
        deed: move |left| strange(&*kernel, &netns, &key, "guard", left as i32 + 1, ListAnchor::First),
    }))
}

fn third_party_change_during_an_operation_is_detected<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = meddled(bench, 3);
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    attach(&engine, xray, bench.tcx(5), intent("", &["foreign:guard"], &[])).unwrap();
    assert_eq!(runs(bench), ["xray", "guard", "guard", "guard", "guard"]);
}

fn strangers_that_never_rest_give_a_conflict<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = meddled(bench, 40);
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let error = attach(&engine, xray, bench.tcx(5), intent("", &["foreign:guard"], &[])).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert!(engine.all_links().is_empty());
    assert!(runs(bench).iter().all(|name| name == "guard"));
    assert!(bench.kernel.list_folder(Path::new("pending")).unwrap().is_empty());
}

fn check_that_pins_a_shared_map_first_fails_no_load<K: Testable>(bench: &Bench<K>) {
    let place = Path::new("shared/everyone");
    let (kernel, host) = (Arc::clone(&bench.kernel), Arc::new(Mutex::new(None)));
    let map = Arc::clone(&host);
    let deed = move |_| {
        if let Some(id) = *map.lock().unwrap() {
            kernel.pin(&kernel.open_map(MapId(id)).unwrap(), place).unwrap();
        }
    };
    let times = AtomicUsize::new(2);
    let engine = bench.watched(Arc::new(Meddler { step: "move into place", times, deed }));
    let load = |name| engine.map_pins(engine.loads(&bench.request("sharing", &[name]))[0])["everyone"];
    let first = load("host");
    bench.kernel.unpin(place).unwrap();
    *host.lock().unwrap() = Some(first);
    assert_eq!(load("guest"), first);
    assert_eq!(bench.kernel.map_of(&bench.kernel.open_pin(place).unwrap().unwrap()).unwrap().id.0, first);
    assert!(bench.kernel.list_folder(Path::new("pending")).unwrap().is_empty());
}

fn two_clients_that_change_one_hook_take_turns<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let links = [engine.attached(alpha, bench.xdp(1)), engine.attached(bravo, bench.xdp(2))];
    std::thread::scope(|scope| {
        for (link, base) in links.into_iter().zip([10, 11]) {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..8 {
                    let request =
                        UpdateLinkRequest { priority: Some(base + 2 * round), ..UpdateLinkRequest::of(link) };
                    engine.update_link(&request).unwrap();
                }
            });
        }
    });
    let priorities: Vec<_> =
        engine.all_links().iter().map(|link| link.record.point.priority().unwrap()).collect();
    assert_eq!(priorities, [24, 25]);
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha", "bravo"]);
    assert!(is_fine(&engine));
}

crate::on_both_kernels!(
    third_party_change_during_an_operation_is_detected,
    strangers_that_never_rest_give_a_conflict,
    check_that_pins_a_shared_map_first_fails_no_load,
    two_clients_that_change_one_hook_take_turns,
);

struct Witness<K: Kernel> {
    kernel: Arc<K>,
    place: (std::path::PathBuf, HookKey),
    seen: Mutex<Vec<Vec<String>>>,
    ran: Mutex<Vec<u32>>,
    counts: Mutex<Option<MapId>>,
    on: AtomicBool,
}

impl StepObserver for Witness<bpfmand_kernel::linux::LinuxKernel> {
    fn before(&self, _: &'static str, step: &'static str) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        let (netns, key) = &self.place;
        self.seen.lock().unwrap().push(names(&*self.kernel, netns, key));
        if step == "leave the bridge" {
            let contents = self.kernel.hook_contents(Some(netns), key).unwrap();
            let program = contents.entries[0].program.unwrap();
            self.kernel.verdict(program);
            let counts = self.kernel.open_map(self.counts.lock().unwrap().unwrap()).unwrap();
            let entries = self.kernel.map_entries(&counts, 16).unwrap();
            self.ran.lock().unwrap().extend(entries.iter().map(|entry| u32::from(entry.value[0])));
        }
    }
}

#[test]
fn a_link_that_moves_runs_at_every_moment() {
    let bench = crate::linux::bench("witness");
    if !open(&bench) {
        return;
    }
    stranger(&bench, "guard", 1, ListAnchor::Last);
    let witness = Arc::new(Witness {
        kernel: Arc::clone(&bench.kernel),
        place: (bench.netns.clone(), key(&bench)),
        seen: Mutex::default(),
        ran: Mutex::default(),
        counts: Mutex::default(),
        on: AtomicBool::new(false),
    });
    let engine = bench.watched(Arc::clone(&witness) as Arc<dyn StepObserver>);
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let link = attach(&engine, xray, bench.tcx(5), intent("", &["foreign:guard"], &[])).unwrap().record.id;
    stranger(&bench, "guard", 2, ListAnchor::First);
    *witness.counts.lock().unwrap() = Some(MapId(engine.map_pins(xray)["counts"]));
    witness.on.store(true, Ordering::SeqCst);
    assert_eq!(engine.check_order(&key(&bench)).unwrap().moved, [link]);
    let seen = witness.seen.lock().unwrap();
    assert!(seen.len() > 4, "{seen:?}");
    for names in seen.iter() {
        assert!(names.iter().any(|name| name == "xray" || name == "bpfman_bridge"), "{seen:?}");
    }
    assert!(
        seen.contains(&["bpfman_bridge", "guard", "xray", "guard"].map(str::to_owned).to_vec()),
        "{seen:?}"
    );
    // The bridge called the program itself: xray counts in slot 6.
    assert_eq!(witness.ran.lock().unwrap()[6], 1);
}

fn interface_goes_before(step: &'static str, change: fn(&Bench<SimKernel>, &Engine<SimKernel>, [LinkId; 4])) {
    let bench = crate::simulated::bench();
    bench.kernel.make_folder(Path::new("strangers")).unwrap();
    let gone = Arc::new(AtomicUsize::new(0));
    let (kernel, netns, counter) = (Arc::clone(&bench.kernel), bench.netns.clone(), Arc::clone(&gone));
    let armed = Arc::new(AtomicBool::new(false));
    let on = Arc::clone(&armed);
    let engine = bench.watched(Arc::new(Meddler {
        step,
        times: AtomicUsize::new(usize::MAX),
        deed: move |_| {
            if on.swap(false, Ordering::SeqCst) {
                counter.fetch_add(1, Ordering::SeqCst);
                kernel.remove_interface(Some(&netns), "left");
            }
        },
    }));
    let names = ["alpha", "bravo", "xray", "yankee"];
    let programs = engine.loads(&bench.request("programs", &names));
    let points: [AttachPoint; 4] = [bench.xdp(1), bench.xdp(2), bench.tcx(1), bench.tcx(2)];
    let links: Vec<LinkId> =
        programs.iter().zip(points).map(|(program, point)| engine.attached(*program, point)).collect();
    armed.store(true, Ordering::SeqCst);
    change(&bench, &engine, links.clone().try_into().unwrap());
    assert_eq!(gone.load(Ordering::SeqCst), 1, "{step} came");
    for link in links {
        engine.detach(link).unwrap();
    }
    for program in engine.ids() {
        engine.unload(program).unwrap();
    }
    assert_eq!(crate::bench::pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

#[test]
fn an_interface_that_goes_in_mid_change_leaves_nothing_behind() {
    fn member(_: &Bench<SimKernel>, engine: &Engine<SimKernel>, links: [LinkId; 4]) {
        let request = UpdateLinkRequest { priority: Some(9), ..UpdateLinkRequest::of(links[0]) };
        let _ = engine.update_link(&request).map_err(|error| assert!(!error.to_string().is_empty()));
    }
    fn alone(_: &Bench<SimKernel>, engine: &Engine<SimKernel>, links: [LinkId; 4]) {
        let request = UpdateLinkRequest { priority: Some(9), ..UpdateLinkRequest::of(links[2]) };
        let _ = engine.update_link(&request).map_err(|error| assert!(!error.to_string().is_empty()));
    }
    fn program(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, _: [LinkId; 4]) {
        for program in engine.ids() {
            let name = engine.describe_program(program).unwrap().managed.unwrap().record.name.clone();
            if name == "alpha" || name == "xray" {
                let request = crate::replacements::replacement(bench, program, "second");
                let _ = engine.replace_program(&request).map_err(|e| assert!(!e.to_string().is_empty()));
            }
        }
    }
    for step in ["build chain", "swap", "record"] {
        interface_goes_before(step, member);
    }
    for step in
        ["make pending folder", "create link", "pin link", "record", "end old link", "leave the bridge"]
    {
        interface_goes_before(step, alone);
    }
    for step in ["build chain", "swap", "update link", "record", "move into place"] {
        interface_goes_before(step, program);
    }
}
