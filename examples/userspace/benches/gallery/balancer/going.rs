use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use bpfman_tests::{command, kernel};

use super::{Bench, Flow, backend};
use crate::contender::Contender;
use crate::live_frames::LiveFrames;
use crate::report::Report;

const GOING: [u32; 3] = [3, 10, 100];

pub fn measure(report: &mut Report, bench: &Bench<'_>, count: u32, frames: &RefCell<LiveFrames>) {
    // Some frames are lost: after two rounds, hardly any connection is missing.
    let send = || {
        for _ in 0..2 {
            let _took = frames.borrow_mut().sample(count);
        }
    };
    let send = &send;
    let mut contenders = Vec::new();
    for backends in GOING {
        contenders.push(
            Contender::new("connections that are known", move || {
                let id = bench.load();
                bench.apply(id, 1, backends);
                send();
                let before = placements(id);
                bench.apply(id, 2, backends);
                send();
                let after = placements(id);
                bench.unload(id);
                moved(&before, &after, count)
            })
            .at(backends),
        );
        contenders.push(
            Contender::new("by the table alone", move || {
                let [before, after] = [1, 2].map(|first| {
                    let id = bench.load();
                    bench.apply(id, first, backends);
                    send();
                    let placed = placements(id);
                    bench.unload(id);
                    placed
                });
                moved(&before, &after, count)
            })
            .at(backends),
        );
    }
    report.measure(
        "moved",
        "Others' connections that move when a backend goes, by backends",
        "%",
        contenders,
    );
}

fn moved(before: &HashMap<Flow, Ipv4Addr>, after: &HashMap<Flow, Ipv4Addr>, count: u32) -> f64 {
    let gone = backend(1);
    assert!(before.values().any(|place| *place == gone), "no connection had the backend that goes");
    assert!(after.values().all(|place| *place != gone), "a connection has a backend that is gone");
    let both: Vec<_> = before
        .iter()
        .filter(|(_, place)| **place != gone)
        .filter_map(|(flow, place)| Some((place, after.get(flow)?)))
        .collect();
    assert!(both.len() * 10 > count as usize * 6, "{} of {count} connections can be compared", both.len());
    both.iter().filter(|(old, new)| old != new).count() as f64 * 100.0 / both.len() as f64
}

fn placements(program: u32) -> HashMap<Flow, Ipv4Addr> {
    let shown = kernel::program(program);
    let maps: Vec<u32> =
        shown["map_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let (connections, backends) =
        (kernel::map_named(&maps, "connections"), kernel::map_named(&maps, "backends"));
    let text = command::run(&["bpftool", "-j", "map", "dump", "id", &connections.to_string()]);
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut addresses = HashMap::new();
    entries
        .iter()
        .map(|entry| {
            let [key, value] = ["key", "value"].map(|part| bytes(&entry[part]));
            let client = Ipv4Addr::new(key[0], key[1], key[2], key[3]);
            let number = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
            let address = addresses.entry(number).or_insert_with(|| {
                let place = kernel::array_bytes(backends, number);
                Ipv4Addr::new(place[0], place[1], place[2], place[3])
            });
            ((client, u16::from_be_bytes([key[20], key[21]])), *address)
        })
        .collect()
}

fn bytes(list: &serde_json::Value) -> Vec<u8> {
    let byte = |text: &serde_json::Value| {
        u8::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    list.as_array().unwrap().iter().map(byte).collect()
}
