//! Memory and times of the controller for a synthetic cluster, read like an API server's lists (`docs/scale.md`):
//! `cargo run --example controller_memory -- NODES APPLICATIONS`.

use std::fmt::Write;
use std::time::Instant;

use anyhow::Context;
use bpfman_application::scope::Scope;
use bpfman_operator::controller::decide::summarize::{ComparedRevision, Presence, summarize};
use bpfman_operator::controller::memory::Memory;
use bpfman_operator::controller::projection::ApplicationId;
use bpfman_operator::controller::projection::wire::{WireApplication, WireState};
use bpfman_runtime::wire::WireNode;
use kube::core::ObjectList;
use kube::runtime::watcher::Event;

const PAGE: usize = 500;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let nodes = arguments.next().transpose()?.unwrap_or(5_000);
    let applications = arguments.next().transpose()?.unwrap_or(10);
    let start = resident()?;
    let mut memory = Memory::default();

    memory.application(Scope::Cluster, Event::Init);
    for number in 0..applications {
        memory.application(Scope::Cluster, Event::InitApply(application(number)?));
    }
    memory.application(Scope::Cluster, Event::InitDone);
    memory.node(Event::Init);
    for number in 0..nodes {
        memory.node(Event::InitApply(node(number)?));
    }
    memory.node(Event::InitDone);
    println!("{nodes} nodes, {applications} applications: {} MiB", (resident()? - start) >> 20);

    let began = Instant::now();
    memory.answer(Scope::Cluster, Event::Init);
    let (mut page, mut bytes, mut objects) = (Vec::new(), 0, 0usize);
    for application in 0..applications {
        for node in 0..nodes {
            page.push(state(application, node, "Success")?);
            if page.len() == PAGE || (application + 1 == applications && node + 1 == nodes) {
                let text = format!(
                    r#"{{"apiVersion":"bpfman.io/v1alpha1","kind":"ClusterBpfApplicationStateList","metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
                    page.join(",")
                );
                bytes += text.len();
                objects += page.len();
                page.clear();
                let list: ObjectList<WireState> = serde_json::from_str(&text)?;
                for item in list.items {
                    memory.answer(Scope::Cluster, Event::InitApply(item));
                }
            }
        }
    }
    memory.answer(Scope::Cluster, Event::InitDone);
    let listing = began.elapsed();
    let (answers, _, texts) = memory.sizes();
    let used = resident()?;
    println!(
        "{answers} state objects of {} bytes as they are sent, {texts} different texts: {} MiB resident, {} bytes each, read in {listing:.1?}",
        bytes / objects.max(1),
        used >> 20,
        (used - start) / answers.max(1),
    );
    println!("peak: {} MiB", peak()? >> 20);

    memory.changed();
    let one: WireState = serde_json::from_str(&state(0, nodes / 2, "Pending")?)?;
    let began = Instant::now();
    memory.answer(Scope::Cluster, Event::Apply(one));
    println!(
        "one event: {:.1?}, {} application to look at",
        began.elapsed(),
        memory.changed().applications.len()
    );
    let view = memory.view(&ApplicationId("uid-0".into())).context("the application is there")?;
    let began = Instant::now();
    let sum = summarize(view, &ComparedRevision::Spec, Presence::Everywhere);
    println!(
        "one sum over {nodes} nodes: {:.1?}, {}: {}",
        began.elapsed(),
        sum.verdict.text(),
        sum.summary.ready
    );
    Ok(())
}

fn application(number: usize) -> anyhow::Result<WireApplication> {
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": { "name": format!("application-{number}"), "uid": format!("uid-{number}"), "generation": 1 },
        "spec": { "nodeSelector": { "matchLabels": { "kubernetes.io/os": "linux" } } }
    }))?)
}

fn node(number: usize) -> anyhow::Result<WireNode> {
    let mut labels = serde_json::Map::new();
    for label in 0..18 {
        labels.insert(format!("node.example.com/label-{label}"), format!("value-{}", number % 7).into());
    }
    labels.insert("kubernetes.io/os".into(), "linux".into());
    labels.insert("kubernetes.io/hostname".into(), name(number).into());
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": { "name": name(number), "labels": labels },
        "status": { "nodeInfo": { "kernelVersion": kernel(number), "bootID": boot(number) } }
    }))?)
}

fn name(number: usize) -> String {
    format!("ip-10-{}-{}.eu-central-1.compute.internal", number / 256, number % 256)
}

fn kernel(number: usize) -> String {
    format!("6.1.0-{}-amd64", 20 + number % 5)
}

fn boot(number: usize) -> String {
    format!("{number:08x}-1111-2222-3333-444444444444")
}

fn state(application: usize, number: usize, outcome: &str) -> anyhow::Result<String> {
    let (failed, node) = (number % 10 == 9, name(number));
    let outcome = if failed { "Error" } else { outcome };
    let mut programs = String::new();
    for program in 0..5 {
        let link = |link: usize| {
            format!(
                r#"{{"shouldAttach":true,"uuid":"00000000-0000-0000-0000-{number:012}","linkId":{link},"linkStatus":"Attached","interfaceName":"eth{link}","priority":50,"proceedOn":["Pass","DispatcherReturn"]}}"#
            )
        };
        write!(
            programs,
            r#"{}{{"name":"program_{program}","type":"XDP","programLinkStatus":"Success","programId":{number},"xdp":{{"links":[{},{}]}}}}"#,
            if program == 0 { "" } else { "," },
            link(0),
            link(1)
        )?;
    }
    let failure = match failed {
        true => format!(
            r#","failure":{{"reason":"kernel-refused","program":"program_0","message":"R1 invalid mem access 'scalar' at instruction {number} of program_0\nprocessed 1234 insns"}}"#
        ),
        false => String::new(),
    };
    Ok(format!(
        r#"{{"apiVersion":"bpfman.io/v1alpha1","kind":"ClusterBpfApplicationState","metadata":{{"name":"application-{application}-{number:08x}","uid":"00000000-1111-2222-3333-{number:012}","resourceVersion":"{number}","generation":1,"creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"bpfman.io/ownedByProgram":"application-{application}","kubernetes.io/hostname":"{node}"}},"finalizers":["bpfman.io.clbpfapplicationcontroller/finalizer"],"ownerReferences":[{{"apiVersion":"bpfman.io/v1alpha1","kind":"ClusterBpfApplication","name":"application-{application}","uid":"uid-{application}","controller":true}}],"managedFields":[{{"manager":"bpfman-agent","operation":"Update","apiVersion":"bpfman.io/v1alpha1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:finalizers":{{}},"f:labels":{{}}}},"f:status":{{"f:conditions":{{}},"f:programs":{{}},"f:node":{{}}}}}}}}]}},"status":{{"updateCount":3,"node":"{node}","appLoadStatus":"LoadSuccess","observedRevision":"1","kernel":"{}","bootId":"{}","digest":"sha256:{application:064x}","composition":"{:016x}"{failure},"conditions":[{{"type":"{outcome}","status":"True","reason":"{outcome}","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}}],"programs":[{programs}]}}}}"#,
        kernel(number),
        boot(number),
        number % 3,
    ))
}

fn resident() -> anyhow::Result<usize> {
    field("VmRSS:")
}

fn peak() -> anyhow::Result<usize> {
    field("VmHWM:")
}

fn field(name: &str) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the kernel tells memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}
