use std::collections::BTreeSet;

use super::fields::SpecProblems;
use super::{links, points};
use crate::application::MAX_PROGRAMS;
use crate::points::MAX_TARGET;
use crate::program::ClusterProgram;
use crate::spec::ApplicationSpec;

pub fn check(found: &mut SpecProblems, spec: &ApplicationSpec) {
    let count = spec.programs.len();
    if count == 0 {
        found.add("spec.programs", "it is empty: at least one program is needed");
    }
    if count > MAX_PROGRAMS {
        found.add(
            "spec.programs",
            format!(
                "it has {count} entries: at most {MAX_PROGRAMS} are loaded at once; make several applications"
            ),
        );
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, program) in spec.programs.iter().enumerate() {
        let (path, name) = (format!("spec.programs[{at}]"), &program.name);
        found.name(&format!("{path}.name"), name);
        if !seen.insert(name) {
            found.add(
                format!("{path}.name"),
                format!("\"{name}\" is there twice: each program is listed once"),
            );
        }
        blocks(found, &path, program);
        links::packets(found, at, program);
        links::probes(found, &path, program, spec.namespace.is_some());
        points::check(found, &path, &program.points);
    }
}

fn blocks(found: &mut SpecProblems, path: &str, program: &ClusterProgram) {
    let (kind, own) =
        (program.program_type.manifest_name().unwrap_or_default(), program.program_type.block());
    let published = [
        ("xdp", program.xdp.is_some()),
        ("tc", program.tc.is_some()),
        ("tcx", program.tcx.is_some()),
        ("fentry", program.fentry.is_some()),
        ("fexit", program.fexit.is_some()),
        ("kprobe", program.kprobe.is_some()),
        ("kretprobe", program.kretprobe.is_some()),
        ("uprobe", program.uprobe.is_some()),
        ("uretprobe", program.uretprobe.is_some()),
        ("tracepoint", program.tracepoint.is_some()),
    ];
    for (block, given) in published.into_iter().chain(program.points.given()) {
        match (given, own == Some(block)) {
            (false, true) => {
                found.add(
                    format!("{path}.{block}"),
                    format!("it is missing: type {kind} needs the block {block}"),
                );
            }
            (true, false) => {
                let allowed = match own {
                    Some(own) => format!("only the block {own} is allowed"),
                    None => "it is loaded and attached nowhere, so no block is allowed".to_owned(),
                };
                found.add(format!("{path}.{block}"), format!("it does not belong to type {kind}: {allowed}"));
            }
            _ => {}
        }
    }
    let Some(target) = &program.target else { return };
    let (path, length) = (format!("{path}.target"), target.chars().count());
    if !program.program_type.takes_target() {
        found
            .add(path, format!("it does not belong to type {kind}, which takes no target when it is loaded"));
    } else if !(1..=MAX_TARGET).contains(&length) {
        found.add(path, format!("it has {length} characters: 1 to {MAX_TARGET} are allowed"));
    }
}
