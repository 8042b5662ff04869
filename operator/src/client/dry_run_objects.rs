use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bpfman_application::config::{CONFIG_NAME, Config};
use bpfman_application::orders::PREFLIGHT;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::Api;
use serde_json::{Value, json};

use super::applications::{FoundApplications, ShownState};
use super::connect::ClientSession;
use super::error::ClientError;
use super::leftovers;
use crate::rollout::revision;
use bpfman_runtime::manager::Manager;

const OPERATOR: &str = "bpfman";

pub struct DryRunSession<'a> {
    session: &'a ClientSession,
    operator: String,
    number: String,
    revisions: Vec<(String, String)>,
    asked: Vec<ShownState>,
}

impl<'a> DryRunSession<'a> {
    pub async fn new(session: &'a ClientSession, operator: Option<&str>) -> Self {
        let operator = operator_namespace(session, operator).await;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The name is unique, since an agent answers each name only once.
        let number = format!("{:x}{:04x}", since.as_secs(), std::process::id() & 0xffff);
        Self { session, operator, number, revisions: Vec::new(), asked: Vec::new() }
    }

    pub fn number(&self) -> &str {
        &self.number
    }

    pub async fn revision(&mut self, application: &FoundApplications) -> Result<String, ClientError> {
        let namespace = application.meta.namespace.clone().unwrap_or_else(|| self.operator.clone());
        let api: Api<ControllerRevision> = Api::namespaced(self.session.client.clone(), &namespace);
        let full_name = application.full_name();
        let refused = |error| {
            ClientError::of(
                error,
                &format!("make a revision of {full_name} in {namespace}"),
                "ControllerRevision",
            )
        };
        let name = format!("{}-rehearsal-{}", revision::shortened(application.name()), self.number);
        let data = today(&api, application).await.map_err(refused)?;
        let mut object = revision::object(&name, &namespace, &application.owner(), data, 0);
        let labels = object.metadata.labels.get_or_insert_default();
        labels.insert(revision::REHEARSAL.to_owned(), self.number.clone());
        self.revisions.push((namespace.clone(), name.clone()));
        let made = api.create(&Manager::Client.post(), &object).await.map_err(refused)?;
        leftovers::sweep(&api, &made.metadata).await;
        Ok(name)
    }

    pub async fn ask(&mut self, state: &ShownState, revision: &str) -> Result<(), ClientError> {
        // Record it before the request, so that it is removed after an interruption in between.
        self.asked.push(state.clone());
        self.session.annotate_state(state, &order(Some(revision))).await.map_err(|error| {
            ClientError::of(error, &format!("write an order for node {}", state.node()), "state objects")
        })
    }

    pub async fn end(self) -> Vec<String> {
        let mut left = Vec::new();
        for state in &self.asked {
            match self.session.annotate_state(state, &order(None)).await {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => left.push(format!("{PREFLIGHT} of {}: {error}", state.name())),
            }
        }
        for (namespace, name) in &self.revisions {
            let api: Api<ControllerRevision> = Api::namespaced(self.session.client.clone(), namespace);
            if let Err(error) = leftovers::remove(&api, name).await {
                left.push(format!("ControllerRevision {namespace}/{name}: {error}"));
            }
        }
        left
    }
}

pub async fn operator_namespace(session: &ClientSession, said: Option<&str>) -> String {
    match said {
        Some(operator) => operator.to_owned(),
        None => configured(session).await.unwrap_or_else(|| OPERATOR.to_owned()),
    }
}

async fn today(api: &Api<ControllerRevision>, application: &FoundApplications) -> kube::Result<Value> {
    let spec = revision::data(&application.spec).unwrap_or_default();
    let rollout = application.status.rollout.as_ref().filter(|_| application.rollout.is_some());
    let Some(stable) = rollout.and_then(|rollout| rollout.stable_revision.as_deref()) else {
        return Ok(spec);
    };
    Ok(api.get_opt(stable).await?.and_then(|stable| stable.data).map_or(spec, |data| data.0))
}

fn order(revision: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { PREFLIGHT: revision } } })
}

async fn configured(session: &ClientSession) -> Option<String> {
    let config = Api::<Config>::all(session.client.clone()).get_opt(CONFIG_NAME).await.ok()??;
    config.spec.namespace
}

pub fn choose(mut states: Vec<ShownState>, every_node: bool) -> Vec<(ShownState, usize)> {
    states.sort_by(|one, other| one.node().cmp(other.node()));
    if every_node {
        return states.into_iter().map(|state| (state, 1)).collect();
    }
    let mut groups: BTreeMap<String, (ShownState, usize)> = BTreeMap::new();
    for state in states {
        let composition = state.status.as_ref().and_then(|status| status.details.composition.clone());
        groups
            .entry(composition.unwrap_or_default())
            .and_modify(|(_, nodes)| *nodes += 1)
            .or_insert((state, 1));
    }
    groups.into_values().collect()
}
