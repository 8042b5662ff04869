use std::collections::BTreeMap;

use serde::Serialize;

use super::arguments::DropsOptions;
use super::connect::ClientSession;
use super::error::ClientError;
use super::node_figures::{FiguresOfNode, UnansweredNode, figures_of_nodes, unanswered_lines};
use super::output::write;
use super::table::table;
use super::{Shown, ShownEnd};

#[derive(Debug, Default, Serialize)]
struct FleetDrops {
    programs: Vec<FleetDrop>,
    /// Chains that do not count verdicts, by node.
    uncounted: BTreeMap<String, Vec<String>>,
    unanswered: Vec<UnansweredNode>,
}

#[derive(Debug, Default, Serialize)]
struct FleetDrop {
    application: String,
    program: String,
    verdict: String,
    packets_per_second: f64,
    nodes: usize,
    most_on: String,
    #[serde(skip)]
    most: f64,
}

pub async fn drops(session: &ClientSession, options: &DropsOptions) -> Result<Shown, ClientError> {
    let answers = figures_of_nodes(session, options.operator_namespace.as_deref()).await?;
    let mut fleet = sum(&answers);
    let well = fleet.unanswered.is_empty();
    if options.limit > 0 {
        fleet.programs.truncate(options.limit);
    }
    let text = write(options.output, &fleet, people)?;
    Ok(Shown { text: text.into(), end: ShownEnd::of(well) })
}

fn sum(answers: &[FiguresOfNode]) -> FleetDrops {
    let mut fleet = FleetDrops::default();
    let mut programs: BTreeMap<(&str, &str, &str), FleetDrop> = BTreeMap::new();
    for (node, answer) in answers {
        let figures = match answer {
            Ok(figures) => figures,
            Err(why) => {
                fleet.unanswered.push(UnansweredNode { node: node.clone(), why: why.clone() });
                continue;
            }
        };
        if !figures.uncounted.is_empty() {
            fleet.uncounted.insert(node.clone(), figures.uncounted.clone());
        }
        // A program may be at several hooks of a node.
        let mut here: BTreeMap<(&str, &str, &str), f64> = BTreeMap::new();
        for drop in &figures.drops {
            let key = (drop.application.as_str(), drop.program.as_str(), drop.verdict.as_str());
            *here.entry(key).or_default() += drop.packets_per_second;
        }
        for ((application, program, verdict), rate) in here {
            let row = programs.entry((application, program, verdict)).or_insert_with(|| FleetDrop {
                application: application.to_owned(),
                program: program.to_owned(),
                verdict: verdict.to_owned(),
                ..FleetDrop::default()
            });
            row.nodes += 1;
            row.packets_per_second += rate;
            if rate > row.most {
                row.most = rate;
                row.most_on.clone_from(node);
            }
        }
    }
    fleet.programs = programs.into_values().collect();
    fleet.programs.sort_by(|a, b| b.packets_per_second.total_cmp(&a.packets_per_second));
    fleet
}

fn people(fleet: &FleetDrops) -> String {
    let rows: Vec<_> = fleet
        .programs
        .iter()
        .map(|row| {
            let name = if row.application.is_empty() { "(none)" } else { &row.application };
            let rate = format!("{:.1}", row.packets_per_second);
            let (program, verdict) = (row.program.clone(), row.verdict.clone());
            [program, name.to_owned(), verdict, rate, row.nodes.to_string(), row.most_on.clone()]
        })
        .collect();
    let mut text = match &rows[..] {
        [] => "no counted program drops packets\n".to_owned(),
        rows => table(["PROGRAM", "APPLICATION", "VERDICT", "PACKETS/S", "NODES", "MOST ON"], rows),
    };
    let hooks: usize = fleet.uncounted.values().map(Vec::len).sum();
    if hooks > 0 {
        text.push_str(&format!(
            "{hooks} chains of {} nodes do not count verdicts: `bpfman drops` there counts them, and so does `bpfman \
             chain counters HOOK on`; -o json names them\n",
            fleet.uncounted.len()
        ));
    }
    text.push_str(&unanswered_lines(&fleet.unanswered));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::figures::{NodeDrop, NodeFigures};

    fn drop(program: &str, hook: &str, packets_per_second: f64) -> NodeDrop {
        NodeDrop {
            hook: hook.to_owned(),
            program: program.to_owned(),
            application: "shop".to_owned(),
            verdict: "drop".to_owned(),
            packets_per_second,
        }
    }

    #[test]
    fn drops_are_summed_over_nodes_and_silent_nodes_are_named() {
        let node = |drops, uncounted: &[&str]| {
            let uncounted = uncounted.iter().map(|hook| (*hook).to_owned()).collect();
            Ok(NodeFigures { drops, uncounted, ..NodeFigures::default() })
        };
        let answers = [
            (
                "a".to_owned(),
                node(vec![drop("filter", "xdp:eth0", 3.0), drop("filter", "xdp:eth1", 2.0)], &[]),
            ),
            (
                "b".to_owned(),
                node(vec![drop("filter", "xdp:eth0", 4.0), drop("gate", "xdp:eth0", 1.0)], &["xdp:lo"]),
            ),
            ("c".to_owned(), Err("no answer within 15 s".to_owned())),
        ];
        assert_eq!(
            people(&sum(&answers)),
            "PROGRAM  APPLICATION  VERDICT  PACKETS/S  NODES  MOST ON\n\
             filter   shop         drop     9.0        2      a\n\
             gate     shop         drop     1.0        1      b\n\
             1 chains of 1 nodes do not count verdicts: `bpfman drops` there counts them, and so does `bpfman chain \
             counters HOOK on`; -o json names them\n\
             node c did not answer: no answer within 15 s\n"
        );
        assert_eq!(people(&FleetDrops::default()), "no counted program drops packets\n");
    }
}
