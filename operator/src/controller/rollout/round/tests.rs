mod verdicts;

use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::controller::metrics::ControllerMetrics;
use crate::controller::write::leader::Leadership;
use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::note::EventWriter;

struct Server {
    application: Value,
    version: u64,
    ordered: Vec<String>,
    after_order: Box<dyn Fn(usize) + Send>,
}

impl Server {
    fn answer(&mut self, path: &str, patch: &Value) -> (u16, Value) {
        let conflict = json!({ "kind": "Status", "code": 409, "status": "Failure", "reason": "Conflict", "message": "it changed" });
        let based_on = patch["metadata"]["resourceVersion"].as_str();
        if let Some((_, name)) = path.split_once("/clusterbpfapplicationstates/") {
            if based_on != Some("1") {
                return (409, conflict);
            }
            self.ordered.push(name.to_owned());
            (self.after_order)(self.ordered.len());
            return (200, json!({ "metadata": { "name": name } }));
        }
        if based_on.is_some_and(|version| version != self.version.to_string()) {
            return (409, conflict);
        }
        for (key, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
            self.application["metadata"]["annotations"][key] = value.clone();
        }
        if let Some(status) = patch.get("status") {
            self.application["status"] = status.clone();
        }
        self.version += 1;
        self.application["metadata"]["resourceVersion"] = self.version.to_string().into();
        (200, self.application.clone())
    }
}

fn server(after_order: impl Fn(usize) + Send + 'static) -> (Arc<Mutex<Server>>, Client) {
    let server = Arc::new(Mutex::new(Server {
        application: json!({
            "apiVersion": "bpfman.io/v1alpha1",
            "kind": "ClusterBpfApplication",
            "metadata": { "name": "a", "uid": "u", "resourceVersion": "1", "annotations": {} },
            "spec": {}
        }),
        version: 1,
        ordered: Vec::new(),
        after_order: Box::new(after_order),
    }));
    let of_service = server.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = of_service.clone();
        async move {
            let path = request.uri().path().to_owned();
            let patch = request.into_body().collect_bytes().await.unwrap();
            let patch: Value = serde_json::from_slice(&patch).unwrap();
            let (code, answer) = server.lock().unwrap().answer(&path, &patch);
            let body = Body::from(answer.to_string().into_bytes());
            Ok::<_, std::io::Error>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (server, Client::new(service, "default"))
}

fn writer(client: Client, leadership: Leadership) -> ApiWriter {
    let metrics = Arc::new(ControllerMetrics::default());
    ApiWriter {
        events: EventWriter::new(client.clone(), Manager::Controller, "test".into()),
        client,
        metrics,
        leadership,
    }
}

fn application(server: &Mutex<Server>) -> TrackedApplication {
    let wire = serde_json::from_value(server.lock().unwrap().application.clone()).unwrap();
    TrackedApplication::new(Scope::Cluster, wire).unwrap()
}

fn orders(count: usize) -> Vec<NodeOrder> {
    let seen = |number: usize| NodeView {
        object: format!("a-{number}").into(),
        version: "1".into(),
        node: crate::rollout::RolloutNode::default(),
    };
    let told = NodeOrders { revision: Some("r2".into()), ..NodeOrders::default() };
    (0..count).map(|number| NodeOrder::new(&seen(number), told.clone())).collect()
}

async fn carry_out(
    work: Work,
    writer: &ApiWriter,
    mut application: TrackedApplication,
    status: Option<Value>,
) -> (TrackedApplication, RoundOutcome, WriteOutcome) {
    let mut outcome = RoundOutcome::default();
    let written = work.carry_out(writer, "bpfman", &mut application, None, status, &mut outcome).await;
    (application, outcome, written.into())
}

#[tokio::test]
async fn a_word_is_taken_over_in_a_round_that_writes_a_status_too() {
    let (server, client) = server(|_| {});
    let application = application(&server);
    let command_patch = json!({ "metadata": { "annotations": { "bpfman.io/rollout-command": "1 abort" } } });
    let work = Work { command_patch: Some(at_version(command_patch, &application)), ..Work::default() };
    let status = Some(json!({ "status": { "summary": { "ready": "7/9" } } }));
    let writer = writer(client, Leadership::alone());
    let (newest, outcome, written) = carry_out(work, &writer, application, status).await;
    assert_eq!(written, WriteOutcome::Done);
    assert!(outcome.is_decided());
    assert_eq!(newest.annotations["bpfman.io/rollout-command"], "1 abort");
    let server = server.lock().unwrap();
    assert_eq!(server.application["metadata"]["annotations"]["bpfman.io/rollout-command"], "1 abort");
    assert_eq!(server.application["status"]["summary"]["ready"], "7/9");
}

#[tokio::test]
async fn a_word_that_came_meanwhile_is_not_overwritten() {
    let (server, client) = server(|_| {});
    let application = application(&server);
    let command_patch = json!({ "metadata": { "annotations": { "bpfman.io/rollout": null } } });
    let work = Work {
        command_patch: Some(at_version(command_patch, &application)),
        orders: orders(1),
        ..Work::default()
    };
    server.lock().unwrap().version = 2;
    let writer = writer(client, Leadership::alone());
    let (_, outcome, written) = carry_out(work, &writer, application, None).await;
    assert_eq!(written, WriteOutcome::Outdated);
    assert!(!outcome.is_decided() && server.lock().unwrap().ordered.is_empty());
}

#[tokio::test]
async fn orders_are_sent_in_batches_with_checks_in_between() {
    let (server, client) = server(|_| {});
    let work = Work { orders: orders(BATCH + 1), ..Work::default() };
    let writer = writer(client, Leadership::alone());
    let application = application(&server);
    let (_, outcome, written) = carry_out(work, &writer, application.clone(), None).await;
    assert_eq!(written, WriteOutcome::Done);
    assert_eq!((outcome.orders.len(), outcome.has_news()), (BATCH, true));
    let last = Work { orders: orders(BATCH), ..Work::default() };
    let (_, outcome, _) = carry_out(last, &writer, application, None).await;
    assert!(!outcome.has_news());
}

#[tokio::test]
async fn controller_that_loses_the_lease_stops_its_orders() {
    let (lease, leadership) = Leadership::given();
    let (server, client) = server(move |count| {
        if count == 20 {
            lease.send_replace(None);
        }
    });
    let work = Work { orders: orders(200), ..Work::default() };
    let writer = writer(client, leadership);
    let (_, outcome, written) = carry_out(work, &writer, application(&server), None).await;
    assert_eq!(written, WriteOutcome::Failed);
    let arrived = server.lock().unwrap().ordered.len();
    assert!((20..20 + 16).contains(&arrived), "{arrived}");
    assert_eq!(outcome.orders.len(), arrived);
}

#[tokio::test]
async fn an_order_is_not_given_to_a_state_object_that_changed_since() {
    let (server, client) = server(|_| {});
    let mut changed = orders(2);
    changed[1].patch["metadata"]["resourceVersion"] = "0".into();
    let work = Work { orders: changed, ..Work::default() };
    let writer = writer(client, Leadership::alone());
    let (_, outcome, written) = carry_out(work, &writer, application(&server), None).await;
    assert_eq!(written, WriteOutcome::Outdated);
    assert_eq!(outcome.orders.len(), 1);
    assert_eq!(server.lock().unwrap().ordered, ["a-0"]);
}
