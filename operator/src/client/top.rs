use std::collections::BTreeMap;

use serde::Serialize;

use super::arguments::{FleetView, TopOptions};
use super::connect::ClientSession;
use super::error::ClientError;
use super::node_figures::{FiguresOfNode, UnansweredNode, figures_of_nodes, unanswered_lines};
use super::output::write;
use super::table::table;
use super::{Shown, ShownEnd};

#[derive(Debug, Default, Serialize)]
struct FleetTop {
    applications: Vec<FleetRow>,
    programs: Vec<FleetRow>,
    nodes: Vec<FleetNode>,
    unanswered: Vec<UnansweredNode>,
}

#[derive(Debug, Default, Serialize)]
struct FleetRow {
    application: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    program: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    program_type: String,
    nodes: usize,
    programs: usize,
    cpu_percent: Option<f64>,
    most_on: String,
    memory_bytes: u64,
    #[serde(skip)]
    most: f64,
}

#[derive(Debug, Serialize)]
struct FleetNode {
    node: String,
    cpu_percent: Option<f64>,
    programs: usize,
    memory_bytes: u64,
}

pub async fn top(session: &ClientSession, options: &TopOptions) -> Result<Shown, ClientError> {
    let answers = figures_of_nodes(session, options.operator_namespace.as_deref()).await?;
    let mut fleet = sum(&answers);
    let well = fleet.unanswered.is_empty();
    if options.limit > 0 {
        fleet.applications.truncate(options.limit);
        fleet.programs.truncate(options.limit);
        fleet.nodes.truncate(options.limit);
    }
    let text = write(options.output, &fleet, |fleet| people(fleet, options.view))?;
    Ok(Shown { text: text.into(), end: ShownEnd::of(well) })
}

fn sum(answers: &[FiguresOfNode]) -> FleetTop {
    let mut fleet = FleetTop::default();
    let mut applications: BTreeMap<&str, FleetRow> = BTreeMap::new();
    let mut programs: BTreeMap<(&str, &str, &str), FleetRow> = BTreeMap::new();
    for (node, answer) in answers {
        let figures = match answer {
            Ok(figures) => figures,
            Err(why) => {
                fleet.unanswered.push(UnansweredNode { node: node.clone(), why: why.clone() });
                continue;
            }
        };
        let memory_bytes = figures.programs.iter().map(|program| program.memory_bytes).sum();
        let (cpu_percent, number) = (figures.cpu_percent, figures.programs.len());
        fleet.nodes.push(FleetNode { node: node.clone(), cpu_percent, programs: number, memory_bytes });
        let mut here: BTreeMap<&str, NodeSum> = BTreeMap::new();
        let mut here_by_program: BTreeMap<(&str, &str, &str), NodeSum> = BTreeMap::new();
        for program in &figures.programs {
            let key = (program.application.as_str(), program.name.as_str(), program.program_type.as_str());
            for sum in [here.entry(key.0).or_default(), here_by_program.entry(key).or_default()] {
                sum.programs += 1;
                sum.memory_bytes += program.memory_bytes;
                sum.cpu_percent = added(sum.cpu_percent, program.cpu_percent);
            }
        }
        for (application, sum) in here {
            let row = applications.entry(application).or_default();
            application.clone_into(&mut row.application);
            row.add(node, &sum);
        }
        for (key, sum) in here_by_program {
            let row = programs.entry(key).or_default();
            key.0.clone_into(&mut row.application);
            key.1.clone_into(&mut row.program);
            key.2.clone_into(&mut row.program_type);
            row.add(node, &sum);
        }
    }
    let cpu = |percent: Option<f64>| percent.unwrap_or(-1.0);
    fleet.applications = applications.into_values().collect();
    fleet.programs = programs.into_values().collect();
    fleet.applications.sort_by(|a, b| cpu(b.cpu_percent).total_cmp(&cpu(a.cpu_percent)));
    fleet.programs.sort_by(|a, b| cpu(b.cpu_percent).total_cmp(&cpu(a.cpu_percent)));
    fleet.nodes.sort_by(|a, b| cpu(b.cpu_percent).total_cmp(&cpu(a.cpu_percent)));
    fleet
}

#[derive(Default)]
struct NodeSum {
    programs: usize,
    memory_bytes: u64,
    cpu_percent: Option<f64>,
}

impl FleetRow {
    fn add(&mut self, node: &str, sum: &NodeSum) {
        self.nodes += 1;
        self.programs += sum.programs;
        self.memory_bytes += sum.memory_bytes;
        self.cpu_percent = added(self.cpu_percent, sum.cpu_percent);
        let here = sum.cpu_percent.unwrap_or(0.0);
        if self.most_on.is_empty() || here > self.most {
            self.most = here;
            node.clone_into(&mut self.most_on);
        }
    }
}

fn added(all: Option<f64>, one: Option<f64>) -> Option<f64> {
    match (all, one) {
        (Some(all), Some(one)) => Some(all + one),
        (all, one) => all.or(one),
    }
}

fn people(fleet: &FleetTop, view: FleetView) -> String {
    let cpu =
        |percent: Option<f64>| percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2}"));
    let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let row = |row: &FleetRow| [cpu(row.cpu_percent), row.nodes.to_string(), row.programs.to_string()];
    let mut text = match view {
        FleetView::Applications => {
            let rows: Vec<_> = fleet
                .applications
                .iter()
                .map(|one| {
                    let [cpu, nodes, programs] = row(one);
                    let name = if one.application.is_empty() { "(none)" } else { &one.application };
                    [name.to_owned(), cpu, nodes, programs, mebibytes(one.memory_bytes), one.most_on.clone()]
                })
                .collect();
            table(["APPLICATION", "CPU %", "NODES", "PROGRAMS", "MIB", "MOST ON"], &rows)
        }
        FleetView::Programs => {
            let rows: Vec<_> = fleet
                .programs
                .iter()
                .map(|one| {
                    let [cpu, nodes, programs] = row(one);
                    let (name, kind) = (one.program.clone(), one.program_type.clone());
                    [name, kind, one.application.clone(), cpu, nodes, programs, one.most_on.clone()]
                })
                .collect();
            table(["PROGRAM", "TYPE", "APPLICATION", "CPU %", "NODES", "PROGRAMS", "MOST ON"], &rows)
        }
        FleetView::Nodes => {
            let rows: Vec<_> = fleet
                .nodes
                .iter()
                .map(|one| {
                    let memory = mebibytes(one.memory_bytes);
                    [one.node.clone(), cpu(one.cpu_percent), one.programs.to_string(), memory]
                })
                .collect();
            table(["NODE", "CPU %", "PROGRAMS", "MIB"], &rows)
        }
    };
    text.push_str(&unanswered_lines(&fleet.unanswered));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::{Arc, Mutex};

    use axum::http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::client::arguments::OutputFormat;
    use crate::figures::{FIGURES, NodeFigures, NodeProgram};

    fn server() -> (ClientSession, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let namespace = path.split('/').nth(4).unwrap_or_default();
            let meta = json!({ "name": "agent", "namespace": namespace });
            let pod = json!({ "metadata": meta, "spec": { "nodeName": "a", "containers": [] } });
            let (code, answer) = if path.ends_with("/pods") {
                (200_u16, json!({ "metadata": {}, "items": [pod] }))
            } else if path.ends_with(FIGURES) {
                (200, json!(NodeFigures::default()))
            } else {
                let words = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound",
                    "message": "there is none", "code": 404 });
                (404, words)
            };
            paths.lock().unwrap().push(path);
            let body = Body::from(answer.to_string().into_bytes());
            async move { Response::builder().status(code).body(body) }
        });
        let client = Client::new(service, "default");
        (ClientSession { client, namespace: "default".to_owned() }, asked)
    }

    #[tokio::test]
    async fn agents_are_pods_of_the_operators_namespace_and_no_others() {
        for (said, namespace) in [(Some("ebpf"), "ebpf"), (None, "bpfman")] {
            let (session, asked) = server();
            let options = TopOptions {
                view: FleetView::Nodes,
                limit: 0,
                operator_namespace: said.map(str::to_owned),
                output: OutputFormat::Json,
            };
            let shown = top(&session, &options).await.unwrap();
            assert_eq!(shown.end, ShownEnd::Well);
            let pods = format!("/api/v1/namespaces/{namespace}/pods");
            let asked: Vec<String> = asked.lock().unwrap().drain(..).collect();
            let asked: Vec<&String> = asked.iter().filter(|path| path.starts_with("/api/v1/")).collect();
            assert_eq!(asked, [&pods, &format!("{pods}/agent:8175/proxy/figures")]);
        }
    }

    fn program(application: &str, name: &str, cpu_percent: f64) -> NodeProgram {
        NodeProgram {
            name: name.to_owned(),
            program_type: "xdp".to_owned(),
            application: application.to_owned(),
            cpu_percent: Some(cpu_percent),
            memory_bytes: 1 << 20,
            ..NodeProgram::default()
        }
    }

    fn node(cpu_percent: f64, programs: Vec<NodeProgram>) -> Result<NodeFigures, String> {
        Ok(NodeFigures {
            seconds: 1.0,
            runs_timed: true,
            cpu_percent: Some(cpu_percent),
            programs,
            ..NodeFigures::default()
        })
    }

    #[test]
    fn sums_cover_all_nodes_largest_first_and_name_silent_ones() {
        let answers = [
            ("a".to_owned(), node(3.0, vec![program("shop", "filter", 2.0), program("", "own", 1.0)])),
            ("b".to_owned(), node(9.0, vec![program("shop", "filter", 3.0), program("shop", "count", 6.0)])),
            ("c".to_owned(), Err("no answer within 15 s".to_owned())),
        ];
        let fleet = sum(&answers);
        let nodes: Vec<_> = fleet.nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!(nodes, ["b", "a"]);
        let [shop, none] = &fleet.applications[..] else { panic!() };
        assert_eq!((shop.application.as_str(), shop.cpu_percent, shop.nodes), ("shop", Some(11.0), 2));
        assert_eq!((shop.programs, shop.most_on.as_str(), none.cpu_percent), (3, "b", Some(1.0)));
        let programs: Vec<_> = fleet.programs.iter().map(|one| (one.program.as_str(), one.nodes)).collect();
        assert_eq!(programs, [("count", 1), ("filter", 2), ("own", 1)]);
        assert_eq!(
            people(&fleet, FleetView::Applications),
            "APPLICATION  CPU %  NODES  PROGRAMS  MIB  MOST ON\n\
             shop         11.00  2      3         3.0  b\n\
             (none)       1.00   1      1         1.0  a\n\
             node c did not answer: no answer within 15 s\n"
        );
        assert!(people(&fleet, FleetView::Nodes).starts_with("NODE  CPU %  PROGRAMS  MIB\nb     9.00"));
    }
}
