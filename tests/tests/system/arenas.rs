//! Arenas in chains: a program can have only one arena.

use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::is_older_than;
use bpfman_tests::{Daemon, Network, compile};

const PACKET: &str =
    "0200000000020200000000010800450000220000000040110000000000000000000012341092000e000061626364656667";

#[test]
fn members_of_one_arena_share_a_program_and_a_second_one_cuts() {
    if is_older_than((6, 9), "arena", "members_of_one_arena_share_a_program_and_a_second_one_cuts") {
        return;
    }
    let (daemon, network) = (Daemon::start(), Network::new());
    let far = network.far.path().display().to_string();
    let object = compile::object("arena").display().to_string();
    let load = |programs: &str| {
        let loaded = daemon.bpfman(&format!("load file -p {object} --programs {programs} -o json")).json();
        let programs = loaded["programs"].as_array().unwrap().iter();
        programs.map(|program| program["program_id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let attach = |id: u64, priority: u32| {
        daemon.bpfman(&format!("attach {id} xdp -i {INTERFACE} -p {priority} -n {far}")).success();
    };
    let hook = format!("xdp:{INTERFACE}@{far}");
    let strategy = || daemon.bpfman(&format!("chain show {hook} -o json")).json()["strategy"].clone();
    // The command fails if the chain and its members disagree.
    let agrees = || daemon.bpfman(&format!("chain trace {hook} --packet {PACKET}")).success();

    let both = load("xdp:arena_one xdp:arena_two");
    attach(both[0], 10);
    attach(both[1], 30);
    assert_eq!(strategy(), "splice");
    agrees();
    let other = load("xdp:arena_one");
    attach(other[0], 20);
    assert_eq!(strategy(), "cut");
    agrees();

    // If an object gives no address, the kernel chooses one, as with libbpf.
    let nowhere = compile::object("arena_nowhere").display().to_string();
    let loaded = daemon.bpfman(&format!("load file -p {nowhere} --programs xdp:arena_one -o json")).json();
    let id = loaded["programs"][0]["program_id"].as_u64().unwrap();
    attach(id, 40);
    agrees();
}
