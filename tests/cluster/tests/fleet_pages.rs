//! Pages of the console with 5,000 nodes in a real browser, from the controller's memory as an API server fills it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bpfman_application::scope::Scope;
use bpfman_console::{ConsoleAnswer, ConsoleRefusal, ConsoleRequest, ConsoleSource, LocalConsole, serve};
use bpfman_operator::controller::console::{ExplainedNode, FleetFacts, FleetPermissions};
use bpfman_operator::controller::memory::Memory;
use bpfman_tests::accessibility::Axe;
use bpfman_tests::browser::{Browser, key};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const NODES: usize = 5_000;
const KERNELS: [&str; 4] = ["5.14.0-427.el9", "6.1.0-44-amd64", "6.8.0-31-generic", "6.12.9-talos"];

/// `filter` runs on all nodes and fails on one kernel, `gate` is in a rollout, `trace` is for one kernel.
fn fleet() -> Memory {
    let mut memory = Memory::default();
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let summary = json!({ "wanted": NODES, "updated": 4800, "healthy": 3750, "failed": 1250, "ready": "3750/5000", "causes": [
        { "reason": "kernel-refused", "kernel": KERNELS[0], "nodes": 1250, "example": "node-0000", "message": "unknown func bpf_loop#181" },
    ] });
    let rollout = json!({
        "phase": "Soaking", "targetRevision": "gate-7c9", "stableRevision": "gate-5b1", "wave": 2, "waves": 4,
        "message": "2,500 nodes are healthy; they have to stay so for 600 s", "since": "2026-01-31T12:00:00Z",
    });
    let condition = |kind: &str, message: &str| {
        json!([{ "type": kind, "status": "True", "reason": kind, "message": message,
        "lastTransitionTime": "2026-01-31T12:00:00Z" }])
    };
    let gates = json!({ "maxNanosecondsPerRun": 200, "verdicts": [{ "verdict": "drop", "maxPercent": 5 }] });
    let applications = [
        (
            "filter",
            json!({ "nodeSelector": {} }),
            json!({ "conditions": condition("Error", "1,250 of 5,000 nodes failed"), "summary": summary }),
        ),
        (
            "gate",
            json!({ "nodeSelector": {}, "rollout": { "waves": [50, 2500], "gates": gates } }),
            json!({ "conditions": condition("Pending", "wave 2 of 4"), "rollout": rollout }),
        ),
        (
            "trace",
            json!({ "nodeSelector": { "matchLabels": { "kernel": "1" } } }),
            json!({ "conditions": condition("Success", "1,250 nodes") }),
        ),
    ];
    memory.application(Scope::Cluster, Event::Init);
    for (name, spec, status) in applications {
        let metadata = json!({ "name": name, "uid": name, "generation": 1, "resourceVersion": "1" });
        memory.application(
            Scope::Cluster,
            Event::InitApply(read(json!({ "metadata": metadata, "spec": spec, "status": status }))),
        );
    }
    memory.application(Scope::Cluster, Event::InitDone);
    memory.application(Scope::Namespaced, Event::Init);
    memory.application(Scope::Namespaced, Event::InitDone);
    memory.node(Event::Init);
    for number in 0..NODES {
        let kernel = number % KERNELS.len();
        let status = json!({ "nodeInfo": { "kernelVersion": KERNELS[kernel], "bootID": "b" }, "conditions": [{ "type": "Ready", "status": "True" }] });
        let metadata =
            json!({ "name": format!("node-{number:04}"), "labels": { "kernel": kernel.to_string() } });
        memory.node(Event::InitApply(
            serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap(),
        ));
    }
    memory.node(Event::InitDone);
    memory.agent(Event::Init);
    memory.agent(Event::InitDone);
    memory.answer(Scope::Cluster, Event::Init);
    for number in 0..NODES {
        let kernel = number % KERNELS.len();
        for name in ["filter", "gate", "trace"] {
            if name == "trace" && kernel != 1 || name == "filter" && number % 97 == 0 {
                continue;
            }
            memory.answer(
                Scope::Cluster,
                Event::InitApply(serde_json::from_value(state(name, number, kernel)).unwrap()),
            );
        }
    }
    memory.answer(Scope::Cluster, Event::InitDone);
    memory.answer(Scope::Namespaced, Event::Init);
    memory.answer(Scope::Namespaced, Event::InitDone);
    memory
}

fn state(name: &str, number: usize, kernel: usize) -> Value {
    let fails = name == "filter" && kernel == 0;
    let condition = if fails { "Error" } else { "Success" };
    let revision = if name == "gate" { if number < 2_500 { "gate-7c9" } else { "gate-5b1" } } else { "1" };
    let mut annotations = json!({});
    let mut status = json!({
        "node": format!("node-{number:04}"), "appLoadStatus": if fails { "LoadError" } else { "LoadSuccess" },
        "observedRevision": revision, "kernel": KERNELS[kernel], "conditions": [{ "type": condition, "status": "True", "message": "" }],
    });
    if fails {
        status["failure"] = json!({ "reason": "kernel-refused", "program": "filter", "message": "unknown func bpf_loop#181" });
    }
    if name == "gate" && number < 2_500 {
        let within = number != 1234;
        let message = if within { "84 ns a run; drop 0.4 %" } else { "311 ns a run, at most 200" };
        annotations = json!({ "bpfman.io/revision": "gate-7c9", "bpfman.io/soak": "gate-7c9" });
        status["health"] = json!({ "revision": "gate-7c9", "within": within, "message": message });
    }
    json!({
        "metadata": {
            "name": format!("{name}-{number}"), "annotations": annotations,
            "ownerReferences": [{ "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": name, "uid": name }],
        },
        "status": status,
    })
}

struct Controller {
    memory: Mutex<Memory>,
    asked: Mutex<Vec<Value>>,
}

struct Served(Arc<Controller>);

impl ConsoleSource for Served {
    async fn answer(&self, request: ConsoleRequest) -> ConsoleAnswer {
        let may_change = [(None, "gate".to_owned())].into();
        let sight =
            FleetPermissions { nodes: true, cluster: true, may_change, ..FleetPermissions::default() };
        let memory = self.0.memory.lock().unwrap();
        match request.path.as_str() {
            "about" => ConsoleAnswer::json(&json!({ "kind": "fleet", "where": "fleet", "version": "" })),
            "fleet" => ConsoleAnswer::json(&FleetFacts::new(&memory, &sight)),
            "node" => match ExplainedNode::new(&memory, &sight, &request.asked("name").unwrap()) {
                Some(facts) => ConsoleAnswer::json(&facts),
                None => ConsoleRefusal::not_found("node").into(),
            },
            "rollout" => {
                self.0.asked.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
                ConsoleAnswer::json(&json!({ "message": "promote is requested of gate" }))
            }
            path => ConsoleRefusal::not_found(path).into(),
        }
    }
}

fn start() -> (String, Arc<Controller>) {
    let controller = Arc::new(Controller { memory: Mutex::new(fleet()), asked: Mutex::default() });
    let (told, url) = std::sync::mpsc::channel();
    let source = Served(Arc::clone(&controller));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            let console = LocalConsole::new(source, listener.local_addr().unwrap(), |_| ()).unwrap();
            told.send(console.url()).unwrap();
            serve(Arc::new(console), listener, std::future::pending()).await;
        });
    });
    (url.recv().unwrap(), controller)
}

fn go(browser: &Browser, view: &str) {
    browser.script(&format!("location.hash = {}", json!(format!("#/{view}"))));
    let name = view.split('/').next().unwrap();
    browser.until(view, &format!("return document.getElementById('view').dataset.view === {}", json!(name)));
}

#[test]
fn five_thousand_nodes_are_drawn_and_all_views_work_by_keyboard() {
    let (url, controller) = start();
    let began = Instant::now();
    let facts = serde_json::to_vec(&FleetFacts::new(
        &controller.memory.lock().unwrap(),
        &FleetPermissions { nodes: true, cluster: true, ..FleetPermissions::default() },
    ));
    println!("{} bytes of facts, made in {:.1?}", facts.unwrap().len(), began.elapsed());
    let browser = Browser::start();
    browser.open(&url);
    browser.shows("5000 nodes, 4 kernels, 3 applications");
    browser.until("it is drawn", "return document.querySelector('.heat').dataset.drawnMs !== undefined");
    let drawn = browser.script("return document.querySelector('.heat').dataset.drawnMs");
    println!("15,000 squares drawn in {} ms", drawn.as_str().unwrap());
    // The colours of pixels show states: on the first kernel `filter` failed on every node that reported.
    let pixel = "const canvas = document.querySelectorAll('canvas')[0]; \
        const [r, g, b] = canvas.getContext('2d').getImageData(7 + 2, 16 + 2, 1, 1).data; return r > 120 && g < 90";
    assert_eq!(browser.script(pixel), true, "a failed node is red");
    let row = "return [...document.querySelectorAll('.band')[0].querySelectorAll('tbody tr')][0].innerText";
    let row = browser.script(row).as_str().unwrap().to_owned();
    assert!(row.contains(KERNELS[0]) && row.contains("1237"), "{row}");
    let bottom = "return Math.ceil(document.querySelector('.band').getBoundingClientRect().bottom)";
    browser.keep_picture("console-fleet", browser.script(bottom).as_u64().unwrap());
    for (number, (heading, says)) in [
        ("Fleet", "healthy"),
        ("Rollouts", "Soaking, wave 2 of 4"),
        ("Causes of failure", "unknown func bpf_loop#181"),
        ("Nodes", "node-0000"),
    ]
    .iter()
    .enumerate()
    {
        browser.press(&[&(number + 1).to_string()]);
        let there = format!("return document.querySelector('main h1').innerText === {}", json!(heading));
        browser.until(heading, &there);
        browser.shows(says);
    }
    // Keyboard navigation: from a group to its nodes, and to one of them.
    go(&browser, "fleet");
    browser.until("the tables are there", "return document.querySelector('.band tbody a') !== null");
    browser.script("document.querySelector('.band tbody a').focus()");
    browser.press(&[key::ENTER]);
    browser.shows("the first 500 are shown");
    browser.press(&["/"]);
    for letter in "0008".split("").filter(|letter| !letter.is_empty()) {
        browser.press(&[letter]);
    }
    browser.until("one is left", "return document.querySelectorAll('tbody tr').length === 1");
    browser.script("document.querySelector('tbody a').focus()");
    browser.press(&[key::ENTER]);
    browser.shows("unknown func bpf_loop#181");
    browser.shows("gate-7c9");
    assert_eq!(browser.errors(), [""; 0]);
}

#[test]
fn rollouts_show_gates_and_are_promoted_by_two_presses() {
    let (url, controller) = start();
    let browser = Browser::start();
    browser.open(&url);
    browser.until("it has begun", "return document.body.dataset.ready === 'yes'");
    go(&browser, "rollouts");
    for text in [
        "2: now",
        "at most 200 ns a run",
        "drop at most 5 %",
        "2499 nodes: 84 ns a run",
        "1 node, broken: 311 ns a run",
    ] {
        browser.shows(text);
    }
    browser.keep_picture("console-rollouts", 480);
    browser.script(
        "[...document.querySelectorAll('main button')].find((one) => one.textContent === 'Promote').focus()",
    );
    browser.press(&[key::ENTER]);
    browser.shows("Promote: press again");
    assert!(controller.asked.lock().unwrap().is_empty(), "one press does nothing");
    browser.press(&[key::ENTER]);
    browser.shows("promote is requested of gate");
    let asked = controller.asked.lock().unwrap().clone();
    assert_eq!(asked, [json!({ "namespace": null, "name": "gate", "word": "promote" })]);
    browser.prefer("dark");
    go(&browser, "fleet");
    browser.shows("5000 nodes");
    assert_eq!(browser.errors(), [""; 0]);
}

#[test]
fn views_of_a_fleet_are_accessible() {
    let Some(axe) = Axe::find("fleet_pages views_of_a_fleet_are_accessible") else { return };
    let (url, _controller) = start();
    let browser = Browser::start();
    browser.open(&url);
    browser.until("it has begun", "return document.body.dataset.ready === 'yes'");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for (view, shown) in [
            ("fleet", "5000 nodes"),
            ("rollouts", "2: now"),
            ("causes", "unknown func bpf_loop#181"),
            ("nodes", "node-0000"),
            ("nodes/node-0008", "unknown func bpf_loop#181"),
        ] {
            go(&browser, view);
            browser.shows(shown);
            axe.check(&browser, &format!("{view}, {scheme}"));
        }
    }
}
