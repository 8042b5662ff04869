//! Details of one program, chain or map: current rates, and the daemon's description.

use bpfman_model::{Hint, MapId};

use crate::figures::{ChainRates, FigureRates, MapMemory, ProgramRates};
use crate::show::amounts::{UNKNOWN, percent, rate, size, time};
use crate::show::screen::cell;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetailSubject {
    /// Program: rates, source, history.
    Program(u32),
    /// Chain: rates and history.
    Chain(String),
    /// Map: memory and users.
    Map(u32),
}

/// Daemon's description of a subject.
#[derive(Clone, Debug)]
pub struct LoadedDetails {
    pub subject: DetailSubject,
    pub lines: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct OpenDetails {
    pub(super) subject: DetailSubject,
    /// None until the daemon has answered.
    pub(super) loaded: Option<Vec<String>>,
    pub(super) scrolled: usize,
}

impl OpenDetails {
    pub(super) const fn new(subject: DetailSubject) -> Self {
        Self { subject, loaded: None, scrolled: 0 }
    }

    pub(super) fn lines(&self, rates: &FigureRates) -> Vec<String> {
        let mut lines = match &self.subject {
            DetailSubject::Program(id) => {
                rates.programs.iter().find(|program| program.program_id == *id).map(of_program)
            }
            DetailSubject::Chain(hook) => rates.chains.iter().find(|chain| chain.hook == *hook).map(of_chain),
            DetailSubject::Map(id) => {
                rates.maps.iter().find(|map| map.map_id == *id).map(|map| of_map(map, rates))
            }
        }
        .unwrap_or_else(|| vec!["It is gone.".to_owned()]);
        match (&self.loaded, &self.subject) {
            (Some(loaded), _) => lines.extend(loaded.iter().cloned()),
            (None, DetailSubject::Map(_)) => {}
            (None, _) => lines.extend([String::new(), "asking the daemon…".to_owned()]),
        }
        lines.iter().map(|line| cell(line)).collect()
    }
}

fn known(value: Option<f64>, text: fn(f64) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

fn of_program(program: &ProgramRates) -> Vec<String> {
    let mut lines = vec![
        format!("Program {} {} ({})", program.program_id, program.name, program.program_type),
        String::new(),
        format!(
            "CPU {} %   runs/s {}   per run {}   missed/s {}",
            known(program.cpu_percent, percent),
            known(program.runs_per_second, rate),
            known(program.nanoseconds_per_run, time),
            known(program.missed_per_second, rate)
        ),
        format!(
            "memory {}   machine code {}   verified instructions {}",
            size(program.memory_bytes),
            size(program.jited_bytes.into()),
            program.verified_instructions
        ),
    ];
    if program.is_partly_timed {
        lines.push(
            "a part of its time is not known: it is in a chain whose timing is off (bpfman chain timing HOOK on)"
                .to_owned(),
        );
    }
    lines.extend(program.places.iter().map(|place| format!("at {place}")));
    lines
}

fn of_chain(chain: &ChainRates) -> Vec<String> {
    let switch = |on: bool| if on { "on" } else { "off" };
    let mut lines = vec![
        format!("Chain {} ({}, {})", chain.hook, chain.mode, chain.strategy),
        String::new(),
        format!(
            "CPU {} %   packets/s {}   per packet {}   counters {}   timing {}",
            known(chain.cpu_percent, percent),
            known(chain.packets_per_second, rate),
            known(chain.nanoseconds_per_packet, time),
            switch(chain.counters),
            switch(chain.timing)
        ),
    ];
    lines.extend(chain.members.iter().map(|member| {
        format!(
            "{} (program {}, link {}) of {}: {}/s, {}",
            member.program_name,
            member.program_id,
            member.link_id,
            member.owner,
            known(member.packets_per_second, rate),
            known(member.nanoseconds_per_run, time)
        )
    }));
    lines
}

fn of_map(map: &MapMemory, rates: &FigureRates) -> Vec<String> {
    let mut lines = vec![
        format!("Map {} {} ({})", map.map_id, map.name, map.map_type),
        String::new(),
        format!("memory {}   most entries {}", size(map.memory_bytes), map.max_entries),
        format!("owners {}", map.owners.join(", ")),
    ];
    for id in &map.programs {
        let name =
            rates.programs.iter().find(|program| program.program_id == *id).map_or("", |one| &one.name);
        lines.push(format!("used by program {id} {name}"));
    }
    lines.push(String::new());
    lines.push(Hint::DumpMap(MapId(map.map_id)).to_string());
    lines
}
