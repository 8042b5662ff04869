//! The list of programs: names, types, and the block that goes with each type.

use std::collections::BTreeSet;

use super::fields::Found;
use super::links;
use crate::application::MOST_PROGRAMS;
use crate::program::{ClusterProgram, ClusterProgramType, Program, ProgramType};
use crate::spec::Spec;

/// Every program.
pub fn check(found: &mut Found, spec: &Spec) {
    let (names, count): (Vec<&str>, usize) = match spec {
        Spec::Cluster(spec) => {
            (spec.programs.iter().map(|program| program.name.as_str()).collect(), spec.programs.len())
        }
        Spec::Namespaced(spec) => {
            (spec.programs.iter().map(|program| program.name.as_str()).collect(), spec.programs.len())
        }
    };
    if count == 0 {
        found.add("spec.programs", "it is empty: at least one program is needed");
    }
    if count > MOST_PROGRAMS {
        found.add(
            "spec.programs",
            format!("it has {count} entries: at most {MOST_PROGRAMS} are loaded at once; make several applications"),
        );
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, name) in names.into_iter().enumerate() {
        found.name(&format!("spec.programs[{at}].name"), name);
        if !seen.insert(name) {
            found.add(
                format!("spec.programs[{at}].name"),
                format!("\"{name}\" is there twice: each program is listed once"),
            );
        }
        match spec {
            Spec::Cluster(spec) => cluster(found, &format!("spec.programs[{at}]"), &spec.programs[at]),
            Spec::Namespaced(spec) => namespaced(found, &format!("spec.programs[{at}]"), &spec.programs[at]),
        }
    }
}

/// Name of a type in manifests, and of its block.
pub const fn cluster_type(kind: ClusterProgramType) -> (&'static str, &'static str) {
    match kind {
        ClusterProgramType::Xdp => ("XDP", "xdp"),
        ClusterProgramType::Tc => ("TC", "tc"),
        ClusterProgramType::Tcx => ("TCX", "tcx"),
        ClusterProgramType::FEntry => ("FEntry", "fentry"),
        ClusterProgramType::FExit => ("FExit", "fexit"),
        ClusterProgramType::KProbe => ("KProbe", "kprobe"),
        ClusterProgramType::KRetProbe => ("KRetProbe", "kretprobe"),
        ClusterProgramType::UProbe => ("UProbe", "uprobe"),
        ClusterProgramType::URetProbe => ("URetProbe", "uretprobe"),
        ClusterProgramType::TracePoint => ("TracePoint", "tracepoint"),
    }
}

/// The same for namespaced applications.
pub const fn namespaced_type(kind: ProgramType) -> (&'static str, &'static str) {
    match kind {
        ProgramType::Xdp => ("XDP", "xdp"),
        ProgramType::Tc => ("TC", "tc"),
        ProgramType::Tcx => ("TCX", "tcx"),
        ProgramType::UProbe => ("UProbe", "uprobe"),
        ProgramType::URetProbe => ("URetProbe", "uretprobe"),
    }
}

fn blocks(found: &mut Found, path: &str, (kind, own): (&str, &str), given: &[(&str, bool)]) {
    for (block, given) in given {
        match (*given, *block == own) {
            (false, true) => {
                found.add(
                    format!("{path}.{block}"),
                    format!("it is missing: type {kind} needs the block {block}"),
                );
            }
            (true, false) => found.add(
                format!("{path}.{block}"),
                format!("it does not belong to type {kind}: only the block {own} is allowed"),
            ),
            _ => {}
        }
    }
}

fn cluster(found: &mut Found, path: &str, program: &ClusterProgram) {
    let given = [
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
    blocks(found, path, cluster_type(program.program_type), &given);
    links::cluster_packets(found, path, program);
    links::probes(found, path, program);
}

fn namespaced(found: &mut Found, path: &str, program: &Program) {
    let given = [
        ("xdp", program.xdp.is_some()),
        ("tc", program.tc.is_some()),
        ("tcx", program.tcx.is_some()),
        ("uprobe", program.uprobe.is_some()),
        ("uretprobe", program.uretprobe.is_some()),
    ];
    blocks(found, path, namespaced_type(program.program_type), &given);
    links::namespaced(found, path, program);
}
