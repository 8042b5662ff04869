//! The daemon is killed at every step of a load's replacement: one version runs, and the hook drops every packet.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::daemon::State;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, pairs, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile};

use crate::kill::with;

fn version(who: i32) -> v1::LoadRequest {
    let programs = [("xdp_member", Type::Xdp), ("xdp_another", Type::Xdp)];
    let mut request = load(&compile::object("chain"), &programs);
    request.global_data = [("who".to_owned(), number(who)), ("verdict".to_owned(), number(1))].into();
    request.metadata = pairs(&[("version", &who.to_string())]);
    request
}

fn replace(wire: &Wire, old: &[u32], who: i32) -> Result<ext::ReplaceLoadResponse, tonic::Status> {
    wire.replace_load(ext::ReplaceLoadRequest {
        program_ids: old.to_vec(),
        load: Some(version(who)),
        forget_old: true,
        ..Default::default()
    })
}

fn running(state: &State) -> (Vec<u32>, i32) {
    let id = |program: &serde_json::Value| u32::try_from(program["program_id"].as_u64().unwrap()).unwrap();
    let of = |program: &serde_json::Value| program["metadata"]["version"].as_str().unwrap().parse().unwrap();
    let versions: Vec<i32> = state.programs.iter().map(of).collect();
    assert!(versions.len() == 2 && versions[0] == versions[1], "neither old nor new: {:#?}", state.programs);
    (state.programs.iter().map(id).collect(), versions[0])
}

#[test]
fn load_replacement_killed_at_any_step_is_atomic_for_datagrams() {
    let launch = Launch::default();
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let far = network.far.path();
    let loaded = daemon.wire().load(version(0)).unwrap();
    for (program, priority) in loaded.programs.iter().zip([10, 20]) {
        let id = program.kernel_info.as_ref().unwrap().id;
        daemon.wire().attach(attach(id, xdp(&far, INTERFACE, priority, &[]))).unwrap();
    }
    let counts = |state: &State| (state.pins.len(), state.programs.len(), state.links.len());
    let whole = counts(&daemon.state());
    let list = daemon.path("steps");
    let stream = traffic.stream();
    let (mut step, mut steps) = (0, 0);
    let (mut kept, mut changed) = (0, 0);
    // In round 0, the daemon is not killed: the replacement completes, and its steps are counted.
    loop {
        let (ids, now) = running(&daemon.state());
        daemon.terminate();
        if step == 0 {
            daemon.again(&with(&launch, "BPFMAN_TEST_STEPS", &list.display().to_string()));
            replace(&daemon.wire(), &ids, now + 1).unwrap();
            steps = std::fs::read_to_string(&list).unwrap().lines().count();
        } else {
            daemon.again(&with(&launch, "BPFMAN_TEST_KILL_AT", &step.to_string()));
            replace(&daemon.wire(), &ids, now + 1).expect_err("it is killed");
            daemon.ended();
            daemon.again(&launch);
        }
        let found = daemon.state();
        let (programs, version) = running(&found);
        assert!(version == now || version == now + 1);
        assert_eq!(counts(&found), whole, "killed before step {step}");
        assert!(found.links.iter().all(|link| programs.iter().any(|id| link["program_id"] == *id)));
        assert_eq!(traffic.send(1), 0, "killed before step {step}");
        *(if version == now { &mut kept } else { &mut changed }) += 1;
        step += 1;
        if step > steps {
            break;
        }
    }
    assert!(steps > 1 && kept > 0 && changed > 1, "{steps} steps: {kept} kept, {changed} changed");
    assert!(stream.end() > 0);
    assert_eq!(traffic.received(), 0, "a datagram passed a hook that drops");
}
