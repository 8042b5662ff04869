//! Columns of programs, maps and owners: their cells, and the order of rows.

use std::cmp::Ordering;

use crate::figures::{MapMemory, OwnerRates, ProgramRates};
use crate::show::amounts::{UNKNOWN, percent, rate, size, time};

pub(super) struct TopColumn<R> {
    pub(super) title: &'static str,
    pub(super) width: u16,
    pub(super) is_number: bool,
    pub(super) from: u16,
    pub(super) cell: fn(&R) -> String,
    pub(super) order: fn(&R, &R) -> Ordering,
}

const fn text<R>(
    title: &'static str,
    width: u16,
    from: u16,
    cell: fn(&R) -> String,
    order: fn(&R, &R) -> Ordering,
) -> TopColumn<R> {
    TopColumn { title, width, is_number: false, from, cell, order }
}

const fn number<R>(
    title: &'static str,
    width: u16,
    from: u16,
    cell: fn(&R) -> String,
    order: fn(&R, &R) -> Ordering,
) -> TopColumn<R> {
    TopColumn { title, width, is_number: true, from, cell, order }
}

/// Compares values; unknown ones are the smallest.
fn by(a: Option<f64>, b: Option<f64>) -> Ordering {
    a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0))
}

pub(super) fn known(value: Option<f64>, text: fn(f64) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

/// Formats a CPU time; a plus at the end means that a part is missing.
fn cpu(value: Option<f64>, is_partly_timed: bool) -> String {
    match value {
        Some(value) if is_partly_timed => format!("{}+", percent(value)),
        value => known(value, percent),
    }
}

/// Owner of programs that the daemon did not load.
const OTHERS: &str = "(others)";

fn owner(program: &ProgramRates) -> String {
    program.owner.clone().unwrap_or_else(|| OTHERS.to_owned())
}

pub(super) static PROGRAMS: [TopColumn<ProgramRates>; 9] = [
    number("ID", 6, 0, |p| p.program_id.to_string(), |a, b| a.program_id.cmp(&b.program_id)),
    text("NAME", 0, 0, |p| p.name.clone(), |a, b| a.name.cmp(&b.name)),
    text("TYPE", 10, 70, |p| p.program_type.clone(), |a, b| a.program_type.cmp(&b.program_type)),
    text("OWNER", 12, 78, owner, |a, b| a.owner.cmp(&b.owner)),
    number(
        "CPU %",
        7,
        0,
        |p| cpu(p.cpu_percent, p.is_partly_timed),
        |a, b| a.cpu_order().total_cmp(&b.cpu_order()),
    ),
    number(
        "RUNS/S",
        7,
        40,
        |p| known(p.runs_per_second, rate),
        |a, b| by(a.runs_per_second, b.runs_per_second),
    ),
    number(
        "PER RUN",
        8,
        50,
        |p| known(p.nanoseconds_per_run, time),
        |a, b| by(a.nanoseconds_per_run, b.nanoseconds_per_run),
    ),
    number("MEMORY", 7, 60, |p| size(p.memory_bytes), |a, b| a.memory_bytes.cmp(&b.memory_bytes)),
    text("ATTACHED", 0, 100, |p| p.places.join(", "), |a, b| a.places.cmp(&b.places)),
];

pub(super) static MAPS: [TopColumn<MapMemory>; 7] = [
    number("ID", 6, 0, |m| m.map_id.to_string(), |a, b| a.map_id.cmp(&b.map_id)),
    text("NAME", 0, 0, |m| m.name.clone(), |a, b| a.name.cmp(&b.name)),
    text("TYPE", 16, 60, |m| m.map_type.clone(), |a, b| a.map_type.cmp(&b.map_type)),
    number("MEMORY", 7, 0, |m| size(m.memory_bytes), |a, b| a.memory_bytes.cmp(&b.memory_bytes)),
    number("MOST ENTRIES", 12, 50, |m| m.max_entries.to_string(), |a, b| a.max_entries.cmp(&b.max_entries)),
    number(
        "PROGRAMS",
        8,
        70,
        |m| m.programs.len().to_string(),
        |a, b| a.programs.len().cmp(&b.programs.len()),
    ),
    text("OWNERS", 16, 78, |m| m.owners.join(", "), |a, b| a.owners.cmp(&b.owners)),
];

pub(super) static OWNERS: [TopColumn<OwnerRates>; 6] = [
    text(
        "OWNER",
        0,
        0,
        |o| if o.owner.is_empty() { OTHERS.to_owned() } else { o.owner.clone() },
        |a, b| a.owner.cmp(&b.owner),
    ),
    number("CPU %", 7, 0, |o| cpu(o.cpu_percent, o.is_partly_timed), |a, b| by(a.cpu_percent, b.cpu_percent)),
    number(
        "RUNS/S",
        7,
        50,
        |o| known(o.runs_per_second, rate),
        |a, b| by(a.runs_per_second, b.runs_per_second),
    ),
    number("MEMORY", 7, 40, |o| size(o.memory_bytes), |a, b| a.memory_bytes.cmp(&b.memory_bytes)),
    number("PROGRAMS", 8, 60, |o| o.programs.to_string(), |a, b| a.programs.cmp(&b.programs)),
    number("MAPS", 6, 70, |o| o.maps.to_string(), |a, b| a.maps.cmp(&b.maps)),
];
