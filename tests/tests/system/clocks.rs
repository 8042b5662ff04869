//! Clock changes: a machine without a battery-backed clock starts in 1970, is corrected, and jumps ahead by decades.

use bpfman_tests::faketime::Clock;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, Network, compile};

use crate::images::publish;

fn loaded_at(daemon: &Daemon, id: u64) -> String {
    let shown = daemon.bpfman(&format!("get program {id} -o json")).json();
    shown["kernel"]["loaded_at"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
}

#[test]
fn changed_clock_affects_displayed_times_and_no_actions() {
    let test = "changed_clock_affects_displayed_times_and_no_actions";
    let Some(clock) = Clock::wrong_by("-20400d", test) else { return };
    let policy = "mode = \"off\"\n".to_owned();
    let daemon =
        Daemon::start_with(&Launch { environment: clock.environment(), policy, ..Launch::default() });
    let (registry, network) = (Registry::start(), Network::new());
    let far = network.far.path().display().to_string();
    let load = |words: &str| {
        let loaded = daemon.bpfman(&format!("load {words} --programs xdp:xdp_member -o json")).json();
        loaded["programs"][0]["program_id"].as_u64().unwrap()
    };
    let year = |id: u64| loaded_at(&daemon, id)[..4].parse::<u32>().unwrap();
    let attach = |id: u64, priority: u32| {
        daemon.bpfman(&format!("attach {id} xdp -i {INTERFACE} -p {priority} -n {far}")).success();
    };

    let first = load(&format!("file -p {}", compile::object("chain").display()));
    assert!(year(first) < 1980, "{}", loaded_at(&daemon, first));
    attach(first, 10);
    clock.put("+0");
    assert!(year(first) >= 2026, "{}", loaded_at(&daemon, first));
    let images = [registry.image("team/used:1"), registry.image("team/spare:1")];
    images.iter().for_each(|image| publish(&daemon, image, "chain"));
    let used = load(&format!("image -i {}", images[0]));
    daemon.bpfman(&format!("image pull -i {}", images[1])).success();

    clock.put("+30000d");
    assert!(year(used) > 2100, "{}", loaded_at(&daemon, used));
    attach(used, 20);
    daemon.bpfman("image prune --unused-for 30d").success();
    let cached = || daemon.bpfman("image list -o json").json().as_array().unwrap().len();
    assert_eq!(cached(), 2, "{}", daemon.log());
    let link = daemon.bpfman("list links -o json").json()["links"][0]["link_id"].clone();
    daemon.bpfman(&format!("update link {link} --priority 30")).success();

    clock.put("-20400d");
    daemon.bpfman("image prune --unused-for 30d").success();
    assert_eq!(cached(), 2, "{}", daemon.log());
    for id in [first, used] {
        daemon.bpfman(&format!("unload {id}")).success();
    }
    assert_eq!(daemon.bpfman("list programs -o json").json()["programs"], serde_json::json!([]));
}
