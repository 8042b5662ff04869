//! Rates from two readings of the daemon's statistics.

mod last_readings;
mod of_chains;
mod of_owners;
mod of_programs;
mod rows;

use bpfman_proto::ext::v1 as ext;

pub use self::last_readings::LastReadings;
pub use self::rows::{
    ChainRates, FigureRates, MapMemory, MemberRates, OwnerRates, ProgramRates, VerdictRate,
};
use crate::show::json::filled;

/// Returns the rates between two readings of one stream. A new program or member counts from zero.
#[must_use]
pub fn rates(then: &ext::Figures, now: &ext::Figures) -> FigureRates {
    let seconds = Window { seconds: now.at_ns.saturating_sub(then.at_ns) as f64 / 1e9 };
    let timed = then.runs_timed && now.runs_timed;
    let chains = of_chains::chains(then, now, seconds, timed);
    let mut programs = of_programs::programs(then, now, seconds, timed);
    let maps = now.maps.iter().map(map).collect::<Vec<_>>();
    let owners = of_owners::owners(&programs, &maps);
    let cpu_percent = timed.then(|| seconds.percent(of_programs::all_nanoseconds(then, now)));
    programs.sort_by(|a, b| b.cpu_order().total_cmp(&a.cpu_order()).then(a.program_id.cmp(&b.program_id)));
    FigureRates {
        seconds: seconds.seconds,
        runs_timed: timed,
        note: None,
        cpu_percent,
        programs,
        chains,
        maps,
        owners,
    }
}

#[derive(Clone, Copy)]
struct Window {
    seconds: f64,
}

impl Window {
    fn rate(self, then: u64, now: u64) -> f64 {
        if self.seconds > 0.0 { now.saturating_sub(then) as f64 / self.seconds } else { 0.0 }
    }

    fn percent(self, nanoseconds: u64) -> f64 {
        self.rate(0, nanoseconds) / 1e7
    }
}

fn map(map: &ext::MapFigures) -> MapMemory {
    MapMemory {
        map_id: map.id,
        name: map.name.clone(),
        map_type: map.r#type.clone(),
        memory_bytes: map.memory_bytes,
        max_entries: map.max_entries,
        owners: map.owners.clone(),
        programs: map.program_ids.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn member(link: u32, program: u32, runs: u64) -> ext::MemberFigures {
        ext::MemberFigures {
            link_id: link,
            program_id: program,
            program_name: format!("program_{program}"),
            owner: "root".to_owned(),
            runs: Some(runs),
            ..Default::default()
        }
    }

    pub(crate) fn program(id: u32, runs: u64, nanoseconds: u64) -> ext::ProgramFigures {
        ext::ProgramFigures {
            id,
            name: format!("program_{id}"),
            r#type: "xdp".to_owned(),
            ours: true,
            owner: "root".to_owned(),
            runs,
            nanoseconds,
            memory_bytes: 4096,
            ..Default::default()
        }
    }

    pub(crate) fn reading(
        at_seconds: u64,
        programs: Vec<ext::ProgramFigures>,
        chains: Vec<ext::ChainFigures>,
    ) -> ext::Figures {
        ext::Figures {
            at_ns: at_seconds * 1_000_000_000,
            runs_timed: true,
            programs,
            chains,
            ..Default::default()
        }
    }

    #[test]
    fn a_program_that_runs_alone_has_the_kernels_counts() {
        let then = reading(1, vec![program(7, 1_000, 50_000)], Vec::new());
        let now = reading(3, vec![program(7, 3_000, 20_050_000)], Vec::new());
        let rates = rates(&then, &now);
        let [one] = &rates.programs[..] else { panic!("{rates:?}") };
        assert_eq!((one.runs_per_second, one.nanoseconds_per_run), (Some(1_000.0), Some(10_000.0)));
        assert_eq!((one.cpu_percent, rates.cpu_percent, one.is_partly_timed), (Some(1.0), Some(1.0), false));
    }

    #[test]
    fn a_member_runs_in_its_chain_and_takes_what_the_chain_says() {
        let chain = |runs, nanoseconds, timing| ext::ChainFigures {
            hook: "xdp:eth0".to_owned(),
            entry_program_id: 90,
            runs,
            nanoseconds,
            counters: true,
            timing,
            members: vec![member(1, 7, runs), member(2, 8, runs / 2)],
            ..Default::default()
        };
        let of = |in_chains| ext::ProgramFigures { nanoseconds_in_chains: in_chains, ..program(7, 0, 0) };
        let then = reading(0, vec![of(0), program(8, 0, 0)], vec![chain(0, 0, true)]);
        let now = reading(1, vec![of(100_000), program(8, 0, 0)], vec![chain(1_000, 300_000, true)]);
        let timed = rates(&then, &now);
        let seven = timed.programs.iter().find(|program| program.program_id == 7).unwrap();
        assert_eq!((seven.runs_per_second, seven.nanoseconds_per_run), (Some(1_000.0), Some(100.0)));
        assert_eq!(seven.cpu_percent, Some(0.01));
        assert_eq!(timed.cpu_percent, Some(0.03), "the whole chain is of us");
        let [chain_rates] = &timed.chains[..] else { panic!("{timed:?}") };
        assert_eq!(chain_rates.packets_per_second, Some(1_000.0));
        assert_eq!((chain_rates.nanoseconds_per_packet, chain_rates.cpu_percent), (Some(300.0), Some(0.03)));
        let then = reading(0, vec![of(0), program(8, 0, 0)], vec![chain(0, 0, false)]);
        let now = reading(1, vec![of(0), program(8, 0, 0)], vec![chain(1_000, 300_000, false)]);
        let untimed = rates(&then, &now);
        let seven = untimed.programs.iter().find(|program| program.program_id == 7).unwrap();
        assert!(seven.is_partly_timed && seven.cpu_percent.is_none() && seven.nanoseconds_per_run.is_none());
        assert_eq!(seven.runs_per_second, Some(1_000.0));
    }

    #[test]
    fn without_the_kernels_times_only_packets_are_told() {
        let chain = |runs| ext::ChainFigures {
            hook: "xdp:eth0".to_owned(),
            entry_program_id: 90,
            counters: true,
            members: vec![member(1, 7, runs)],
            ..Default::default()
        };
        let untimed = |at, runs| ext::Figures {
            runs_timed: false,
            ..reading(at, vec![program(7, 0, 0), program(9, 5, 5)], vec![chain(runs)])
        };
        let rates = rates(&untimed(0, 0), &untimed(1, 10));
        assert_eq!((rates.runs_timed, rates.cpu_percent), (false, None));
        let of = |id| rates.programs.iter().find(|program| program.program_id == id).unwrap();
        assert_eq!((of(7).runs_per_second, of(7).cpu_percent), (Some(10.0), None));
        assert_eq!((of(9).runs_per_second, of(9).cpu_percent), (None, None));
    }

    #[test]
    fn new_program_counts_from_zero_and_reset_has_no_rate() {
        let then = reading(0, vec![program(7, 1_000, 1_000)], Vec::new());
        let now = reading(1, vec![program(7, 10, 10), program(8, 5, 500)], Vec::new());
        let rates = rates(&then, &now);
        let of = |id| rates.programs.iter().find(|program| program.program_id == id).unwrap();
        assert_eq!((of(7).runs_per_second, of(8).runs_per_second), (Some(0.0), Some(5.0)));
    }

    #[test]
    fn owners_have_the_sums_of_what_is_theirs() {
        let mut now = reading(1, vec![program(7, 100, 10_000_000), program(8, 100, 20_000_000)], Vec::new());
        now.programs[1].owner = "user:7".to_owned();
        now.maps = vec![ext::MapFigures {
            id: 3,
            memory_bytes: 1_000,
            owners: vec!["root".to_owned(), "user:7".to_owned()],
            ..Default::default()
        }];
        let rates = rates(&reading(0, Vec::new(), Vec::new()), &now);
        let shown: Vec<_> = rates
            .owners
            .iter()
            .map(|owner| (owner.owner.as_str(), owner.programs, owner.cpu_percent, owner.memory_bytes))
            .collect();
        assert_eq!(shown, [("user:7", 1, Some(2.0), 5_096), ("root", 1, Some(1.0), 5_096)]);
    }
}
