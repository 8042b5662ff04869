use bpfman_application::application::{ApplicationStatus, BpfApplication, ClusterBpfApplication};
use bpfman_application::rollout::Rollout;
use bpfman_application::state::application::{BpfApplicationState, ClusterBpfApplicationState, NodeState};
use bpfman_application::state::{NODE_LABEL, OWNED_BY_LABEL};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{ListParams, Patch};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::ClientSession;
use super::error::ClientError;
use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;

#[derive(Clone, Debug)]
pub struct FoundApplications {
    pub scope: Scope,
    pub meta: ObjectMeta,
    pub selector: LabelSelector,
    pub rollout: Option<Rollout>,
    pub status: ApplicationStatus,
    pub spec: Value,
}

#[derive(Clone, Debug)]
pub struct ShownState {
    pub scope: Scope,
    pub meta: ObjectMeta,
    pub status: Option<NodeState>,
    pub programs: Vec<(String, Option<u32>)>,
}

impl FoundApplications {
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    pub fn full_name(&self) -> String {
        match &self.meta.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name()),
            None => self.name().to_owned(),
        }
    }

    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: "bpfman.io/v1alpha1".to_owned(),
            kind: self.scope.application_kind().to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            ..OwnerReference::default()
        }
    }
}

impl ShownState {
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    pub fn node(&self) -> &str {
        let label = self.meta.labels.as_ref().and_then(|labels| labels.get(NODE_LABEL));
        self.status
            .as_ref()
            .map(|status| status.node.as_str())
            .filter(|node| !node.is_empty())
            .or(label.map(String::as_str))
            .unwrap_or_default()
    }

    pub fn is_of(&self, application: &FoundApplications) -> bool {
        let owners = self.meta.owner_references.as_deref().unwrap_or_default();
        owners.iter().any(|owner| owner.uid == application.uid())
    }

    pub fn condition(&self) -> &str {
        let first = self.status.as_ref().and_then(|status| status.conditions.first());
        first.map_or("Pending", |condition| condition.type_.as_str())
    }
}

/// Lists in pages, so that no response is too large for the server.
pub async fn list<K>(api: Api<K>, params: ListParams, kind: &str) -> Result<Vec<K>, ClientError>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    let mut params = params.limit(500);
    loop {
        let page = api
            .list(&params)
            .await
            .map_err(|error| ClientError::of(error, &format!("list {kind} objects"), kind))?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

async fn all_of<K>(api: Option<Api<K>>, params: ListParams, kind: &str) -> Result<Vec<K>, ClientError>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api {
        Some(api) => list(api, params, kind).await,
        None => Ok(Vec::new()),
    }
}

impl ClientSession {
    pub fn namespaced<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    pub async fn applications(&self, namespace: Option<&str>) -> Result<Vec<FoundApplications>, ClientError> {
        let mut all = self.applications_of(Scope::Cluster, None).await?;
        all.extend(self.applications_of(Scope::Namespaced, namespace).await?);
        Ok(all)
    }

    pub async fn applications_of(
        &self,
        scope: Scope,
        namespace: Option<&str>,
    ) -> Result<Vec<FoundApplications>, ClientError> {
        let mut all = Vec::new();
        macro_rules! add {
            ($scope:expr, $api:expr) => {
                for one in list($api, ListParams::default(), $scope.application_kind()).await? {
                    all.push(FoundApplications {
                        scope: $scope,
                        selector: one.spec.common.node_selector.clone(),
                        rollout: one.spec.common.rollout.clone(),
                        spec: serde_json::to_value(&one.spec).unwrap_or_default(),
                        meta: one.metadata,
                        status: one.status.unwrap_or_default(),
                    });
                }
            };
        }
        match scope {
            Scope::Cluster => add!(Scope::Cluster, Api::<ClusterBpfApplication>::all(self.client.clone())),
            Scope::Namespaced => add!(Scope::Namespaced, self.namespaced::<BpfApplication>(namespace)),
        }
        Ok(all)
    }

    pub async fn application(&self, named: &str) -> Result<FoundApplications, ClientError> {
        let (scope, name) = match named.split_once('/') {
            Some(("cluster", name)) => (Some(Scope::Cluster), name),
            Some(("namespaced", name)) => (Some(Scope::Namespaced), name),
            _ => (None, named),
        };
        let all = self.applications(Some(&self.namespace)).await?;
        let names: Vec<String> = all.iter().map(FoundApplications::full_name).collect();
        let mut found: Vec<FoundApplications> = all
            .into_iter()
            .filter(|one| one.name() == name && scope.is_none_or(|scope| scope == one.scope))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(_), false) => Err(ClientError::TwoApplications(name.to_owned(), self.namespace.clone())),
            (None, _) => Err(ClientError::NoApplication {
                name: name.to_owned(),
                namespace: self.namespace.clone(),
                others: some_of(&names),
            }),
        }
    }

    pub async fn again(&self, application: &FoundApplications) -> Result<FoundApplications, ClientError> {
        let scope = application.scope;
        let what = format!("read application {}", application.full_name());
        macro_rules! get {
            ($api:expr) => {{
                let got = $api.get_opt(application.name()).await;
                let got = got.map_err(|error| ClientError::of(error, &what, scope.application_kind()))?;
                got.map(|one| FoundApplications {
                    scope,
                    selector: one.spec.common.node_selector.clone(),
                    rollout: one.spec.common.rollout.clone(),
                    spec: serde_json::to_value(&one.spec).unwrap_or_default(),
                    meta: one.metadata,
                    status: one.status.unwrap_or_default(),
                })
            }};
        }
        let found = match scope {
            Scope::Cluster => get!(Api::<ClusterBpfApplication>::all(self.client.clone())),
            Scope::Namespaced => {
                get!(self.namespaced::<BpfApplication>(application.meta.namespace.as_deref()))
            }
        };
        found.ok_or_else(|| ClientError::NoApplication {
            name: application.name().to_owned(),
            namespace: self.namespace.clone(),
            others: " any more".to_owned(),
        })
    }

    async fn states(
        &self,
        scopes: &[Scope],
        params: ListParams,
        namespace: Option<&str>,
    ) -> Result<Vec<ShownState>, ClientError> {
        let mut all = Vec::new();
        macro_rules! add {
            ($scope:expr, $api:expr) => {
                let asked = if scopes.contains(&$scope) { Some($api) } else { None };
                for one in all_of(asked, params.clone(), $scope.state_kind()).await? {
                    let programs = one.status.iter().flat_map(|status| &status.programs);
                    let programs = programs.map(|one| (one.program.name.clone(), one.program.program_id));
                    all.push(ShownState {
                        scope: $scope,
                        programs: programs.collect(),
                        status: one.status.as_ref().map(|status| status.node.clone()),
                        meta: one.metadata,
                    });
                }
            };
        }
        add!(Scope::Cluster, Api::<ClusterBpfApplicationState>::all(self.client.clone()));
        add!(Scope::Namespaced, self.namespaced::<BpfApplicationState>(namespace));
        Ok(all)
    }

    pub async fn states_of(&self, application: &FoundApplications) -> Result<Vec<ShownState>, ClientError> {
        let params = ListParams::default().labels(&format!("{OWNED_BY_LABEL}={}", application.name()));
        let mut states =
            self.states(&[application.scope], params, application.meta.namespace.as_deref()).await?;
        states.retain(|state| state.is_of(application));
        states.sort_by(|one, other| one.node().cmp(other.node()));
        Ok(states)
    }

    pub async fn states_on(&self, node: &str) -> Result<Vec<ShownState>, ClientError> {
        self.states(
            &[Scope::Cluster, Scope::Namespaced],
            ListParams::default().labels(&format!("{NODE_LABEL}={node}")),
            None,
        )
        .await
    }

    pub async fn annotate_state(&self, state: &ShownState, patch: &Value) -> Result<(), kube::Error> {
        let (params, patch) = (Manager::Client.patch(), Patch::Merge(patch));
        match (state.scope, state.meta.namespace.as_deref()) {
            (Scope::Cluster, _) => {
                let api: Api<ClusterBpfApplicationState> = Api::all(self.client.clone());
                api.patch_metadata(state.name(), &params, &patch).await.map(|_| ())
            }
            (Scope::Namespaced, namespace) => {
                let api: Api<BpfApplicationState> = self.namespaced(namespace);
                api.patch_metadata(state.name(), &params, &patch).await.map(|_| ())
            }
        }
    }

    pub async fn annotate(&self, application: &FoundApplications, patch: &Value) -> Result<(), kube::Error> {
        let (params, patch) = (Manager::Client.patch(), Patch::Merge(patch));
        match application.scope {
            Scope::Cluster => {
                let api: Api<ClusterBpfApplication> = Api::all(self.client.clone());
                api.patch_metadata(application.name(), &params, &patch).await.map(|_| ())
            }
            Scope::Namespaced => {
                let api: Api<BpfApplication> = self.namespaced(application.meta.namespace.as_deref());
                api.patch_metadata(application.name(), &params, &patch).await.map(|_| ())
            }
        }
    }
}

fn some_of(names: &[String]) -> String {
    match names {
        [] => "; there is none at all".to_owned(),
        names => format!("; there are {}", names.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
    }
}
