//! Schedulers (sched_ext), which are struct_ops programs.

use std::path::Path;

use bpfman_model::AttachPoint;
use bpfmand_engine::Engine;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench};

const FOLDER: &str = "/sys/kernel/sched_ext";

fn told(file: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(file)).unwrap_or_default().trim().to_owned()
}

fn ready(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>) -> u64 {
    let maps = bench.kernel.program(engine.ids()[0]).unwrap().unwrap().map_ids;
    let is_bss = |map: &&bpfman_model::MapId| {
        bench.kernel.map(**map).unwrap().is_some_and(|facts| facts.name.ends_with(".bss"))
    };
    let map = bench.kernel.open_map(*maps.iter().find(is_bss).unwrap()).unwrap();
    let entries = bench.kernel.map_entries(&map, 1).unwrap();
    u64::from_ne_bytes(entries[0].value[..8].try_into().unwrap())
}

#[test]
fn linux_a_scheduler_schedules_while_it_is_attached() {
    if !Path::new(FOLDER).exists() {
        println!("skipped: this kernel was built without sched_ext (CONFIG_SCHED_CLASS_EXT, Linux 6.12)");
        return;
    }
    let bench = crate::linux::bench("scheduler");
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("scheduler", &["enqueue", "begin"]));
    assert_eq!(told("state"), "disabled");
    let link = engine.attached(programs[0], AttachPoint::StructOps { map: "plain".to_owned() });
    assert_eq!(told("state"), "enabled");
    // The name is followed by a version and the architecture.
    assert!(told("root/ops").starts_with("bpfman_plain"), "{}", told("root/ops"));
    let before = ready(&bench, &engine);
    assert!(std::process::Command::new("true").status().unwrap().success());
    assert!(ready(&bench, &engine) > before, "no task is seen");
    drop(engine);
    let engine = bench.engine();
    assert_eq!(told("state"), "enabled", "no daemon needed");
    assert!(engine.describe_link(link).unwrap().standing.is_running());
    engine.detach(link).unwrap();
    assert_eq!(told("state"), "disabled");
}
