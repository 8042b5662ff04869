//! Alternative names of interfaces (`ip link property add … altname`).

use bpfman_model::HookKind;

use crate::bench::{Ask as _, Bench, Testable};
use crate::interfaces::{ask, attached_to, chosen};
use crate::on_both_kernels;
use bpfmand_engine::Standing;

const LONG: &str = "uplink-to-the-switch-of-the-second-rack";

fn waiting_links_come_back_by_an_alternative_name<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let netns = &bench.netns;
    let [alpha, tango] = engine.loads(&bench.request("programs", &["alpha", "tango"]))[..] else { panic!() };
    bench.kernel.add_interface(netns, "first");
    bench.kernel.add_other_name(netns, "first", LONG);
    let named = |mut point: bpfman_model::AttachPoint| {
        *point.interface_mut().unwrap() = bench.interface(LONG);
        point
    };
    let links = [
        engine.attached(alpha, named(bench.xdp(1))),
        engine.attached(tango, named(bench.tc(bpfman_model::Direction::Ingress, 1))),
    ];
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert!(report.is_empty(), "it keeps the name that was asked for: {report:?}");
    bench.kernel.remove_interface(netns, "first");
    engine.follow_interfaces(Some(netns)).unwrap();
    let standing = |link| engine.describe_link(link).unwrap().standing;
    assert_eq!(links.map(standing), [Standing::Waiting, Standing::Waiting]);
    bench.kernel.add_interface(netns, "second");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(links.map(standing), [Standing::Waiting, Standing::Waiting]);
    bench.kernel.add_other_name(netns, "second", LONG);
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(links.map(standing), [Standing::Running, Standing::Running]);
    let key = |name| bench.kernel.find_hook(&bench.interface(name), HookKind::Xdp).unwrap();
    assert_eq!(engine.describe_link(links[0]).unwrap().record.hook, Some(key("second")));
    assert_eq!(key(LONG), key("second"));
    assert!(engine.follow_interfaces(Some(netns)).unwrap().is_empty());
    drop(engine);
    let engine = bench.engine();
    assert!(links.iter().all(|link| engine.describe_link(*link).unwrap().standing.is_running()));
    links.iter().for_each(|link| engine.detach(*link).unwrap());
}

fn patterns_match_any_name<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let netns = &bench.netns;
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    ask(&engine, alpha, bench.xdp(1), chosen(bench, &["uplink-*"], &["spare"])).unwrap();
    bench.kernel.add_interface(netns, "first");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), [""; 0]);
    bench.kernel.add_other_name(netns, "first", LONG);
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), ["first"]);
    bench.kernel.add_other_name(netns, "first", "spare");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), [""; 0], "an exception counts for each name");
}

on_both_kernels!(waiting_links_come_back_by_an_alternative_name, patterns_match_any_name);
