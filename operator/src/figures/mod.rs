//! Resource usage of a node's programs, served by its agent and summed up by `kubectl-bpfman`.

use std::collections::HashMap;

use bpfman_model::verdicts::is_drop;
use bpfman_proto::ext::v1 as ext;
use serde::{Deserialize, Serialize};

/// Path of the HTTP endpoint on the agent's probe port.
pub const FIGURES: &str = "/figures";

/// Usage on one node between two samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFigures {
    /// Time between the samples, in seconds.
    pub seconds: f64,
    /// True if the kernel measured run times. Without it, no program has a CPU time.
    pub runs_timed: bool,
    /// CPU time of all programs and chains together, in percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Programs that the daemon loaded.
    pub programs: Vec<NodeProgram>,
    /// Verdicts by which members of chains dropped packets.
    #[serde(default)]
    pub drops: Vec<NodeDrop>,
    /// Hooks with a chain that does not count verdicts.
    #[serde(default)]
    pub uncounted: Vec<String>,
}

/// Verdict of a member of a chain that drops packets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeDrop {
    /// Hook, by its name in commands.
    pub hook: String,
    pub program: String,
    /// Application in the program's metadata; empty if it belongs to none.
    pub application: String,
    /// `drop`, `aborted`, `shot` or `other`.
    pub verdict: String,
    pub packets_per_second: f64,
}

/// Usage of one program on a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeProgram {
    pub program_id: u32,
    pub name: String,
    #[serde(rename = "type")]
    pub program_type: String,
    pub owner: String,
    /// Application in the program's metadata; empty if it belongs to none.
    pub application: String,
    pub image_digest: String,
    /// CPU time in percent of one CPU; `None` if unknown, as in a chain of several programs without timing.
    pub cpu_percent: Option<f64>,
    /// Runs per second outside of chains.
    pub runs_per_second: f64,
    /// Kernel memory of the program, in bytes.
    pub memory_bytes: u64,
}

impl NodeFigures {
    /// Computes rates from two samples of one stream. A program that appeared in between starts from zero.
    #[must_use]
    pub fn between(then: &ext::Figures, now: &ext::Figures) -> Self {
        let seconds = now.at_ns.saturating_sub(then.at_ns) as f64 / 1e9;
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let runs_timed = then.runs_timed && now.runs_timed;
        let percent = |nanoseconds: u64| runs_timed.then(|| rate(nanoseconds) / 1e7);
        let before: HashMap<u32, &ext::ProgramFigures> =
            then.programs.iter().map(|program| (program.id, program)).collect();
        let none = ext::ProgramFigures::default();
        let program = |now: &ext::ProgramFigures| {
            let then = before.get(&now.id).copied().unwrap_or(&none);
            let taken = now.nanoseconds.saturating_sub(then.nanoseconds)
                + now.nanoseconds_in_chains.saturating_sub(then.nanoseconds_in_chains);
            NodeProgram {
                program_id: now.id,
                name: now.name.clone(),
                program_type: now.r#type.clone(),
                owner: now.owner.clone(),
                application: now.application.clone(),
                image_digest: now.image_digest.clone(),
                cpu_percent: percent(taken),
                runs_per_second: rate(now.runs.saturating_sub(then.runs)),
                memory_bytes: now.memory_bytes.into(),
            }
        };
        Self {
            seconds,
            runs_timed,
            cpu_percent: percent(all_nanoseconds(then, now)),
            programs: now.programs.iter().map(program).collect(),
            drops: drops(then, now, rate),
            uncounted: now
                .chains
                .iter()
                .filter(|chain| !chain.counters)
                .map(|chain| chain.hook.clone())
                .collect(),
        }
    }
}

fn drops(then: &ext::Figures, now: &ext::Figures, rate: impl Fn(u64) -> f64) -> Vec<NodeDrop> {
    let applications: HashMap<u32, &str> =
        now.programs.iter().map(|program| (program.id, program.application.as_str())).collect();
    let members = then.chains.iter().flat_map(|chain| &chain.members);
    let before: HashMap<u32, &ext::MemberFigures> = members.map(|member| (member.link_id, member)).collect();
    let mut drops = Vec::new();
    for chain in &now.chains {
        for member in chain.members.iter().filter(|member| !member.shadow) {
            let Some(before) = before.get(&member.link_id) else { continue };
            for ended in member.ended.iter().filter(|ended| is_drop(&chain.hook, &ended.verdict)) {
                let same = before.ended.iter().find(|before| before.verdict == ended.verdict);
                let came = ended.packets.saturating_sub(same.map_or(0, |same| same.packets));
                // If the chain did not count before, the difference includes counts from before that time.
                if came == 0 || before.runs.is_none() {
                    continue;
                }
                drops.push(NodeDrop {
                    hook: chain.hook.clone(),
                    program: member.program_name.clone(),
                    application: applications.get(&member.program_id).copied().unwrap_or_default().to_owned(),
                    verdict: ended.verdict.clone(),
                    packets_per_second: rate(came),
                });
            }
        }
    }
    drops
}

/// Returns the run time of all chains and programs between two samples. A chain of several hooks counts once.
fn all_nanoseconds(then: &ext::Figures, now: &ext::Figures) -> u64 {
    let counts = |figures: &ext::Figures| -> HashMap<u32, u64> {
        let chains = figures.chains.iter().map(|chain| (chain.entry_program_id, chain.nanoseconds));
        chains.chain(figures.programs.iter().map(|program| (program.id, program.nanoseconds))).collect()
    };
    let before = counts(then);
    let took = |(id, now): (u32, u64)| now.saturating_sub(before.get(&id).copied().unwrap_or(0));
    counts(now).into_iter().map(took).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_verdicts_that_dropped_packets() {
        let reading = |at: u64, packets: u64| ext::Figures {
            at_ns: at * 1_000_000_000,
            programs: vec![ext::ProgramFigures {
                id: 7,
                application: "shop".to_owned(),
                ..Default::default()
            }],
            chains: vec![
                ext::ChainFigures {
                    hook: "xdp:eth0".to_owned(),
                    counters: true,
                    members: vec![ext::MemberFigures {
                        link_id: 1,
                        program_id: 7,
                        program_name: "filter".to_owned(),
                        runs: Some(packets),
                        ended: ["drop", "pass"]
                            .map(|verdict| ext::VerdictCount { verdict: verdict.to_owned(), packets })
                            .into(),
                        ..Default::default()
                    }],
                    ..Default::default()
                },
                ext::ChainFigures { hook: "xdp:eth1".to_owned(), ..Default::default() },
            ],
            ..Default::default()
        };
        let figures = NodeFigures::between(&reading(1, 10), &reading(3, 30));
        let drop = NodeDrop {
            hook: "xdp:eth0".to_owned(),
            program: "filter".to_owned(),
            application: "shop".to_owned(),
            verdict: "drop".to_owned(),
            packets_per_second: 10.0,
        };
        assert_eq!((figures.drops, figures.uncounted), (vec![drop], vec!["xdp:eth1".to_owned()]));
        assert_eq!(NodeFigures::between(&reading(1, 10), &reading(3, 10)).drops, []);
    }

    #[test]
    fn a_node_has_its_programs_and_what_chains_take_besides() {
        let reading = |at: u64| ext::Figures {
            at_ns: at * 1_000_000_000,
            runs_timed: true,
            programs: vec![
                ext::ProgramFigures {
                    id: 7,
                    runs: at * 100,
                    nanoseconds: at * 10_000_000,
                    ..Default::default()
                },
                ext::ProgramFigures { id: 8, nanoseconds_in_chains: at * 20_000_000, ..Default::default() },
            ],
            chains: ["xdp:eth0", "xdp:eth1"]
                .map(|hook| ext::ChainFigures {
                    hook: hook.to_owned(),
                    entry_program_id: 90,
                    nanoseconds: at * 30_000_000,
                    ..Default::default()
                })
                .into(),
            ..Default::default()
        };
        let figures = NodeFigures::between(&reading(1), &reading(3));
        assert_eq!((figures.seconds, figures.cpu_percent), (2.0, Some(4.0)));
        let cpu: Vec<_> = figures.programs.iter().map(|program| program.cpu_percent).collect();
        assert_eq!((cpu, figures.programs[0].runs_per_second), (vec![Some(1.0), Some(2.0)], 100.0));
        let untimed = ext::Figures { runs_timed: false, ..reading(3) };
        assert_eq!(NodeFigures::between(&reading(1), &untimed).cpu_percent, None);
    }
}
