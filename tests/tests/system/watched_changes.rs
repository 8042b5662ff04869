//! Many readers while two clients change the same hooks: no reader sees a state that never existed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, tc, xdp};
use bpfman_tests::{Daemon, Network};

use crate::equipment::{Program, detach, unload};

const READERS: usize = 30;
const LOOKS: usize = 4;

fn hooks(network: &Network) -> [(&'static str, Type, Info, Info); 2] {
    let far = network.far.path();
    let tc = |priority| tc(&far, INTERFACE, "ingress", priority, &[]);
    let xdp = |priority| xdp(&far, INTERFACE, priority, &[]);
    [("xdp_member", Type::Xdp, xdp(10), xdp(20)), ("tc_member", Type::Tc, tc(10), tc(20))]
}

fn look(daemon: &Daemon, stay: &[u32]) -> Vec<String> {
    let mut wrong = Vec::new();
    let listed = daemon.bpfman("list links -o json").json();
    let links = listed["links"].as_array().unwrap();
    for link in links.iter().filter(|link| link["standing"] != "running") {
        wrong.push(format!("list: {link}"));
    }
    let chains = daemon.bpfman("chain list -o json").json();
    for hook in chains["hooks"].as_array().unwrap().iter().filter(|hook| hook["state"] != "ok") {
        wrong.push(format!("chain list: {hook}"));
    }
    for id in stay {
        if !links.iter().any(|link| link["link_id"] == *id) {
            wrong.push(format!("list: link {id} is missing in {listed}"));
        }
    }
    let outcome = daemon.bpfman("doctor -o json");
    if outcome.code != 0 {
        wrong.push(format!("doctor: {}", outcome.stdout));
    }
    wrong
}

#[test]
fn readers_beside_two_changing_clients_see_no_wrong_state() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (is_over, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let hooks = hooks(&network);
    let stay = hooks.each_ref().map(|(name, kind, first, _)| {
        let wire = daemon.wire();
        let program = Program::member(&wire, name, *kind, 1, pass_on(*kind));
        wire.attach(attach(program.id, first.clone())).unwrap().link_id
    });
    let wrong: Vec<String> = thread::scope(|scope| {
        for (name, kind, _, second) in &hooks {
            let (daemon, is_over, changes) = (&daemon, &is_over, &changes);
            scope.spawn(move || {
                let wire = daemon.wire();
                while !is_over.load(Ordering::Relaxed) {
                    let program = Program::member(&wire, name, *kind, 2, pass_on(*kind));
                    let link = wire.attach(attach(program.id, second.clone())).unwrap().link_id;
                    detach(&wire, link);
                    unload(&wire, program.id);
                    changes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| (0..LOOKS).flat_map(|_| look(&daemon, &stay)).collect::<Vec<_>>()))
            .collect();
        let wrong = readers.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>();
        is_over.store(true, Ordering::Relaxed);
        wrong.into_iter().flat_map(Result::unwrap).collect()
    });
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong.join("\n"));
    assert!(changes.into_inner() > 1, "something was changed meanwhile");
}

fn pass_on(kind: Type) -> i32 {
    if kind == Type::Xdp { 2 } else { -1 }
}
