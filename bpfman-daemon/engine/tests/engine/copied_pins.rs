//! The bpffs is unmounted while another mount namespace has a copy of it, at every step of every operation: what the
//! copy holds runs on without a pin, and the next start finds it by the ids in the records.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bpfmand_kernel::KernelObjects;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Bench, pins};
use crate::cases::{Case, cases};
use crate::crashes::{Ending, set_up};
use crate::places::places;
use crate::simulated::shape;

const LIBXDP: &str = "sys/fs/bpf/xdp";

/// Operations after which such a start cannot restore all links: those of several CPUs look alike, tcx refuses a moved
/// link its program while the old link runs it, and a link that is being adopted has no record.
const UNKNOWN: [&str; 5] = [
    "on all CPUs",
    "update an intent",
    "update a role",
    "update a priority at tcx",
    "adopt a program that needs a check",
];

/// Unmounts the bpffs; returns what the copy holds.
fn unmount(bench: &Bench<SimKernel>) -> Vec<<SimKernel as KernelObjects>::Handle> {
    let kernel = &bench.kernel;
    let own = pins(&**kernel, Path::new("")).into_iter().filter(|pin| !pin.starts_with(LIBXDP));
    let held = own.map(|pin| {
        let pin = Path::new(&pin);
        let object = kernel.open_pin(pin).unwrap().unwrap();
        kernel.unpin(pin).unwrap();
        object
    });
    let held = held.collect();
    let own = kernel
        .snapshot()
        .folders
        .into_iter()
        .filter(|folder| !folder.starts_with(LIBXDP) && !Path::new(LIBXDP).starts_with(folder));
    for folder in own.collect::<Vec<_>>().into_iter().rev() {
        kernel.remove_folder(&folder).unwrap();
    }
    held
}

/// Returns what runs, once for each link or filter.
fn attached(bench: &Bench<SimKernel>) -> Vec<String> {
    let mut shape = shape(&bench.kernel.snapshot());
    let all = ["links", "filters"].map(|kind| shape.remove(kind).unwrap());
    // Programs that are loaded again have other ids. A link that has ended stays as long as it has a holder, and a
    // replaced function runs only where its dispatcher does.
    let runs = |value: &String| !value.starts_with("nowhere") && !value.starts_with("function");
    let all = all.into_iter().flatten().filter(runs);
    all.map(|value| value.replace(|c: char| c.is_ascii_digit(), "")).collect()
}

/// Returns what `all` has more often than `others`.
fn beyond(all: &[String], others: &[String]) -> Vec<String> {
    let mut others = others.to_vec();
    let is_more = |value: &&String| match others.iter().position(|other| other == *value) {
        Some(at) => {
            others.swap_remove(at);
            false
        }
        None => true,
    };
    all.iter().filter(is_more).cloned().collect()
}

fn unmount_at_every_step(case: &Case) -> Vec<String> {
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(case, &ending);
    let before = attached(&bench);
    ending.arm(0);
    (case.operation)(&bench, &engine, &scene).unwrap();
    let steps = ending.steps();
    let after = attached(&bench);
    // A new link without a record, or one whose record is gone, is unknown without its pin.
    let is_unrecorded = |step: &&String| {
        [": create link", ": add filter", ": end link", ": end old link"]
            .iter()
            .any(|end| step.ends_with(end))
    };
    let unrecorded = steps.iter().filter(is_unrecorded).count();
    let mut wrong = Vec::new();
    for at in places(&steps) {
        let ending = Arc::new(Ending::default());
        let (bench, engine, scene) = set_up(case, &ending);
        ending.arm(at);
        let ended = catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene)));
        assert!(ended.is_err(), "{}: ended at step {at}", case.name);
        drop(engine);
        bench.kernel.fail_call(0);
        let _copy = unmount(&bench);
        let (_engine, report) = bench.start();
        let found = attached(&bench);
        let what = format!("{}, ended before step {at}, {}", case.name, steps[at - 1]);
        let recorded = steps[..at - 1].iter().any(|step| step.ends_with(": record"));
        let wanted = if recorded { &after } else { &before };
        let (missing, more) = (beyond(wanted, &found), beyond(&found, wanted));
        if !missing.is_empty() || more.len() > unrecorded {
            wrong.push(format!("{what}: missing {missing:#?}, more {more:#?}"));
        }
        if !report.problems.is_empty() {
            wrong.push(format!("{what}: {report:?}"));
        }
    }
    wrong
}

fn unmount_during(operations: &[&str]) {
    let is_meant = |case: &&Case| {
        operations.iter().any(|operation| case.name.starts_with(operation))
            && !UNKNOWN.iter().any(|part| case.name.contains(part))
    };
    let all = cases();
    let wrong: Vec<String> = all.iter().filter(is_meant).flat_map(unmount_at_every_step).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn start_finds_copied_pins_after_attach() {
    unmount_during(&["load", "attach", "adopt"]);
}

#[test]
fn start_finds_copied_pins_after_detach() {
    unmount_during(&["detach", "unload"]);
}

#[test]
fn start_finds_copied_pins_after_replacement() {
    unmount_during(&["replace"]);
}

#[test]
fn start_finds_copied_pins_after_update() {
    unmount_during(&["update", "set", "check"]);
}
