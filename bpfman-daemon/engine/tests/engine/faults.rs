//! Each call to the kernel fails once, in every operation: after an error the state is as before.

use std::sync::Arc;

use bpfman_model::HookKind;
use bpfmand_engine::Engine;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::cases::{Case, cases};
use crate::places::places;
use crate::scenes::{Scene, Sim};
use crate::simulated::{bench, shape};

fn set_up(case: &Case) -> (Sim, Engine<SimKernel>, Scene) {
    let bench = Bench { tc_by_clsact: case.by_clsact, ..bench() };
    let engine = bench.engine();
    let scene = (case.before)(&bench, &engine);
    (bench, engine, scene)
}

fn records(bench: &Sim) -> Vec<String> {
    let folder = bench.folder.path().display().to_string();
    let text = |(key, value): (String, Vec<u8>)| {
        format!("{key} {}", String::from_utf8_lossy(&value).replace(&folder, ""))
    };
    bench.records().into_iter().map(text).collect()
}

/// Returns a record without the numbers that a second attempt changes.
fn anonymous(record: &str) -> String {
    let mut record = record.to_owned();
    for number in ["\"operation\":", "\"kernel_link\":{\"boot\":\"boot-0\",\"id\":"] {
        if let Some((before, after)) = record.split_once(number) {
            record = format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
    }
    record
}

fn fail_every_call(case: &Case) {
    let (bench, engine, scene) = set_up(case);
    bench.kernel.note_calls();
    (case.operation)(&bench, &engine, &scene).unwrap();
    let calls = bench.kernel.calls();
    let links_after = engine.all_links();
    let after = shape(&bench.kernel.snapshot());
    drop(engine);
    let records_after = records(&bench);
    let records_before = {
        let (bench, engine, _) = set_up(case);
        drop(engine);
        records(&bench)
    };
    let mut wrong = Vec::new();
    for at in places(&calls) {
        let call = calls[at - 1];
        let (bench, engine, scene) = set_up(case);
        let before = bench.kernel.snapshot();
        let links_before = engine.all_links();
        let kernel = Arc::clone(&bench.kernel);
        kernel.fail_call(at as u64);
        let result = (case.operation)(&bench, &engine, &scene);
        assert!(!kernel.failure_pending(), "{}: call {at} ({call}) did not come", case.name);
        let what = format!("{}, call {at} of {}, {call}, answered {result:?}", case.name, calls.len());
        let check = |when: &str, engine: &Engine<SimKernel>, wrong: &mut Vec<String>| {
            let now = kernel.snapshot();
            match &result {
                Err(_) => {
                    if shape(&now) != shape(&before) {
                        wrong.push(format!(
                            "{what}\n    {when}: the kernel is not as before:{}",
                            differences(&shape(&before), &shape(&now))
                        ));
                    }
                    if engine.all_links() != links_before && when != "restarted" {
                        wrong.push(format!("{what}\n    {when}: links are not as before"));
                    }
                }
                Ok(()) => {
                    if shape(&now) != after {
                        wrong.push(format!(
                            "{what}\n    {when}: the kernel is not as after:{}",
                            differences(&after, &shape(&now))
                        ));
                    }
                    if engine.all_links().len() != links_after.len() {
                        wrong.push(format!("{what}\n    {when}: links are not as after"));
                    }
                }
            }
        };
        check("at once", &engine, &mut wrong);
        drop(engine);
        let wanted = if result.is_ok() { &records_after } else { &records_before };
        let same = |found: &[String]| match case.name.starts_with("update") {
            true => found.iter().map(|r| anonymous(r)).eq(wanted.iter().map(|r| anonymous(r))),
            false => found == wanted,
        };
        if !same(&records(&bench)) {
            wrong.push(format!("{what}\n    records: {:#?}\n    instead of {wanted:#?}", records(&bench)));
        }
        let (engine, report) = bench.start();
        check("restarted", &engine, &mut wrong);
        drop(engine);
        if !same(&records(&bench)) {
            wrong.push(format!(
                "{what}\n    restarted: records: {:#?}\n    instead of {wanted:#?}",
                records(&bench)
            ));
        }
        if !report.problems.is_empty() {
            wrong.push(format!("{what}\n    recovery: {report:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub fn differences(
    wanted: &std::collections::BTreeMap<String, Vec<String>>,
    found: &std::collections::BTreeMap<String, Vec<String>>,
) -> String {
    let mut text = String::new();
    for (key, lines) in wanted {
        let others = &found[key];
        let minus =
            lines.iter().filter(|line| !others.contains(line)).map(|line| format!("\n      - {key}: {line}"));
        let plus =
            others.iter().filter(|line| !lines.contains(line)).map(|line| format!("\n      + {key}: {line}"));
        text.extend(minus.chain(plus));
        if lines.len() != others.len() {
            text.push_str(&format!("\n      {key}: {} instead of {}", others.len(), lines.len()));
        }
    }
    text
}

fn fail_every_call_of(operation: &str) {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.name.starts_with(operation)) {
        seen += 1;
        let result = std::panic::catch_unwind(|| fail_every_call(case));
        if let Err(panic) = result {
            wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| case.name.to_owned()));
        }
    }
    assert!(seen > 3, "{operation} has cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_load_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("load");
}

#[test]
fn an_attach_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("attach");
}

#[test]
fn an_adoption_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("adopt");
}

#[test]
fn a_detach_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("detach");
}

#[test]
fn an_unload_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("unload");
}

#[test]
fn an_update_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("update");
}

#[test]
fn a_switch_of_a_hook_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("set");
}

#[test]
fn a_replacement_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("replace");
}

#[test]
fn a_hook_of_someone_else_is_left_alone() {
    let bench = bench();
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    let (_stranger, before) = {
        use bpfmand_kernel::{LinkTarget, XdpMode};
        let program = bench.kernel.open_program(programs[0]).unwrap().unwrap();
        let key = bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap();
        let target = LinkTarget::Xdp {
            home: bench.home(),
            netns: Some(&bench.netns),
            ifindex: key.ifindex,
            mode: XdpMode::Native,
        };
        (bench.kernel.attach(&program, &target).unwrap(), bench.kernel.snapshot())
    };
    let error = engine.try_attach(programs[1], bench.xdp(0)).unwrap_err();
    assert_eq!(error.kind(), bpfman_model::Reason::Conflict);
    assert_eq!(shape(&bench.kernel.snapshot()), shape(&before));
}
