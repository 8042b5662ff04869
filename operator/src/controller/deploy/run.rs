use std::collections::HashSet;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use bpfman_application::config::{CONFIG_NAME, Config, ConfigStatus};
use futures::stream::SelectAll;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use super::covers::covers;
use super::error::DeployError;
use super::found::{DeployedObjects, KINDS, ObjectKey, SELECTOR, index, key, resource};
use super::images::DeployImages;
use super::manifest::namespace;
use super::objects::objects;
use super::removal::{blocked, marked};
use super::{DaemonNodes, Deployed, default_config, status};
use crate::controller::write::leader::Leadership;
use bpfman_application::condition::Conditions;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::object;
use bpfman_runtime::queue::sleep_until;
use bpfman_runtime::reading::reading;
use bpfman_runtime::watch::{Waits, events};

const FINALIZER: &str = "bpfman.io/config-finalizer";

const SETTLE: Duration = Duration::from_millis(500);

const RETRY: Duration = Duration::from_secs(5);

#[expect(clippy::large_enum_variant, reason = "one at a time, and few of either")]
enum Seen {
    Config(Event<Config>),
    Object(usize, Event<DynamicObject>),
}

struct Deployer {
    client: Client,
    images: DeployImages,
    home: String,
    config: Option<Config>,
    listed: bool,
    make_default: bool,
    found: DeployedObjects,
    labelled: Option<(Option<String>, Option<i64>)>,
}

/// Reconciles forever. `deployed` receives the facts that other parts of the controller need.
pub async fn run(
    client: Client,
    images: DeployImages,
    home: String,
    mut leadership: Leadership,
    deployed: watch::Sender<Deployed>,
) {
    let mut events = watches(&client);
    let mut deployer = Deployer {
        client,
        images,
        home,
        config: None,
        listed: false,
        make_default: true,
        found: DeployedObjects::default(),
        labelled: None,
    };
    let mut due = Some(Instant::now());
    let mut led = false;
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                deployer.see(event);
                deployer.publish(&deployed);
                due.get_or_insert_with(|| Instant::now() + SETTLE);
            }
            () = leadership.changed() => {
                if !led && leadership.holds() {
                    due.get_or_insert_with(Instant::now);
                }
                led = leadership.holds();
            }
            () = sleep_until(due) => {
                due = None;
                if leadership.holds() && deployer.listed && deployer.found.complete() {
                    let (outcome, seen) = reading(&mut events, deployer.round()).await;
                    if !seen.is_empty() {
                        seen.into_iter().for_each(|event| deployer.see(event));
                        deployer.publish(&deployed);
                        due = Some(Instant::now() + SETTLE);
                    }
                    if let Err(error) = outcome {
                        warn!(%error, "the deployment is not as it should be; it is tried again");
                        due = Some(Instant::now() + RETRY);
                    }
                }
            }
        }
    }
}

/// Failures are dropped, because the watch is retried with a growing delay.
fn watched<K>(
    api: Api<K>,
    config: watcher::Config,
    seen: impl Fn(Event<K>) -> Seen + Send + 'static,
) -> stream::BoxStream<'static, Seen>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = events("deployed objects", api, config, Waits::CONTROLLER);
    events.filter_map(move |event| std::future::ready(event.ok().map(&seen))).boxed()
}

fn watches(client: &Client) -> SelectAll<stream::BoxStream<'static, Seen>> {
    let mut all = SelectAll::new();
    all.push(watched(Api::<Config>::all(client.clone()), watcher::Config::default(), Seen::Config));
    for (kind, gvk) in KINDS.into_iter().enumerate() {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(gvk));
        let ours = watcher::Config::default().labels(SELECTOR);
        all.push(watched(api, ours, move |event| Seen::Object(kind, event)));
    }
    all
}

impl Deployer {
    fn see(&mut self, event: Seen) {
        let is_ours = |config: &Config| config.metadata.name.as_deref() == Some(CONFIG_NAME);
        match event {
            Seen::Config(Event::Init) => self.listed = false,
            Seen::Config(Event::InitDone) => self.listed = true,
            Seen::Config(Event::Apply(config) | Event::InitApply(config)) if is_ours(&config) => {
                self.config = Some(config);
                self.make_default = false;
            }
            Seen::Config(Event::Delete(config)) if is_ours(&config) => self.config = None,
            Seen::Config(_) => {}
            Seen::Object(kind, event) => self.found.take(kind, event),
        }
    }

    /// Publishes the facts for other parts. While the `Config` is being deleted, its taints are disabled.
    fn publish(&self, deployed: &watch::Sender<Deployed>) {
        if !self.listed {
            return;
        }
        deployed.send_if_modified(|deployed| {
            let asked = self.config.as_ref().filter(|config| config.metadata.deletion_timestamp.is_none());
            let taints = match (asked, &self.config) {
                (Some(config), _) => config.spec.node_taint,
                (None, Some(deleting)) => deleting.spec.node_taint.map(|_| false),
                (None, None) => deployed.taints.map(|_| false),
            };
            // The agents of a deleted `Config` run until it is gone, in the same namespace.
            let agents = asked.map(|config| namespace(&config.spec).to_owned()).or(deployed.agents.clone());
            // An invalid `Config` changes nothing.
            let sound = asked.filter(|config| config.spec.problems().is_empty());
            let reach = sound.map_or_else(|| deployed.reach.clone(), |config| DaemonNodes::of(&config.spec));
            let now = Deployed { taints, agents, reach };
            let changed = *deployed != now;
            *deployed = now;
            changed
        });
    }

    async fn round(&mut self) -> Result<(), DeployError> {
        let Some(config) = self.config.clone() else {
            return if self.make_default { self.make_default().await } else { Ok(()) };
        };
        let finalizers = config.metadata.finalizers.clone().unwrap_or_default();
        let has_finalizer = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        let deleting = config.metadata.deletion_timestamp.is_some();
        match (deleting, has_finalizer) {
            (true, false) => return Ok(()),
            (false, true) => return self.deploy(&config, None).await,
            _ => {}
        }
        if deleting {
            let reason = match blocked(&self.client).await? {
                // Wait until all taints are removed: the controller may be deleted with the Config.
                None if config.spec.node_taint.is_some() => marked(&self.client).await?,
                // Only agents unload programs: keep the agents until there is nothing to unload.
                reason => reason,
            };
            if reason.is_some() {
                return self.deploy(&config, reason).await;
            }
        }
        let finalizers: Vec<String> = match deleting {
            true => finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect(),
            false => finalizers.into_iter().chain([FINALIZER.to_owned()]).collect(),
        };
        let metadata =
            json!({ "finalizers": finalizers, "resourceVersion": config.metadata.resource_version });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match self.configs().patch(CONFIG_NAME, &Manager::Controller.patch(), &patch).await {
            Ok(config) if !deleting => {
                self.config = Some(config.clone());
                self.deploy(&config, None).await
            }
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(DeployError::about("finalizer of the Config")(error)),
        }
    }

    async fn make_default(&mut self) -> Result<(), DeployError> {
        let config = default_config(&self.images, &self.home);
        match self.configs().create(&Manager::Controller.post(), &config).await {
            Ok(made) => {
                info!("made the default Config");
                self.give_away(&made).await;
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(DeployError::about("making the default Config")(error)),
        }
        self.make_default = false;
        Ok(())
    }

    /// Gives up the ownership of the default's fields: users can apply their own `Config` without conflicts.
    async fn give_away(&self, made: &Config) {
        let Some(patch) = unowned(made) else { return };
        if let Err(error) =
            self.configs().patch(CONFIG_NAME, &Manager::Controller.patch(), &Patch::Merge(patch)).await
        {
            warn!(%error, "a Config of your own is applied with --force-conflicts: the default stays the controller's");
        }
    }

    async fn deploy(&mut self, config: &Config, blocked: Option<String>) -> Result<(), DeployError> {
        let mut outcome = blocked.map_or(Ok(()), |reason| Err(DeployError::Held(reason)));
        let objects = objects(config, &self.images);
        match self.possible(config, &objects).await {
            Err(error) => outcome = outcome.and(Err(error)),
            Ok(()) => {
                outcome = outcome.and(self.label_namespace(config).await);
                for object in objects {
                    outcome = outcome.and(self.apply(&object).await);
                }
                outcome = outcome.and(self.remove_left_over(config).await);
            }
        }
        let error = outcome.as_ref().err().map(ToString::to_string);
        self.write_status(config, error.as_deref()).await?;
        outcome
    }

    /// Checks everything before the first update: a partial one would leave daemon and agent inconsistent.
    async fn possible(&self, config: &Config, objects: &[Value]) -> Result<(), DeployError> {
        let problems = config.spec.problems();
        if !problems.is_empty() {
            return Err(DeployError::Invalid(problems.join("; ")));
        }
        let differing: Vec<&Value> = objects.iter().filter(|object| !self.is_there(object)).collect();
        if differing.is_empty() {
            return Ok(());
        }
        if let Some(name) = &config.spec.priority_class_name {
            let classes: Api<PriorityClass> = Api::all(self.client.clone());
            let found = classes.get_opt(name).await;
            let found = found.map_err(DeployError::about(format!("PriorityClass {name}")))?;
            found.ok_or_else(|| DeployError::NoPriorityClass(name.clone()))?;
        }
        let parameters = PatchParams::apply(Manager::Controller.name()).force().dry_run();
        for object in differing {
            let key = key(object);
            match self.api(&key).patch(&key.2, &parameters, &Patch::Apply(object)).await {
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    let what = format!("{} {}", key.0, key.2);
                    return Err(DeployError::Refused(what, kube::Error::Api(status)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_there(&self, object: &Value) -> bool {
        self.found.get(&key(object)).is_some_and(|found| covers(found, object))
    }

    async fn apply(&mut self, object: &Value) -> Result<(), DeployError> {
        if self.is_there(object) {
            return Ok(());
        }
        let key = key(object);
        let kind = index(&key.0);
        let parameters = PatchParams::apply(Manager::Controller.name()).force();
        match self.api(&key).patch(&key.2, &parameters, &Patch::Apply(object)).await {
            Ok(written) => {
                info!(kind = key.0, name = key.2, "applied");
                self.found.written(kind, written);
                Ok(())
            }
            Err(error) => Err(DeployError::about(format!("{} {}", key.0, key.2))(error)),
        }
    }

    async fn remove_left_over(&mut self, config: &Config) -> Result<(), DeployError> {
        let mut managed = config.clone();
        managed.spec.overrides.clear();
        let wanted: HashSet<ObjectKey> = objects(&managed, &self.images).iter().map(key).collect();
        let uid = config.metadata.uid.as_deref().unwrap_or_default();
        let left: Vec<ObjectKey> =
            self.found.owned_by(uid).filter(|key| !wanted.contains(*key)).cloned().collect();
        for key in left {
            match self.api(&key).delete(&key.2, &DeleteParams::default()).await {
                Ok(_) => info!(kind = key.0, namespace = key.1, name = key.2, "deleted what is left over"),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    return Err(DeployError::about(format!("{} {}/{}", key.0, key.1, key.2))(error));
                }
            }
        }
        Ok(())
    }

    async fn label_namespace(&mut self, config: &Config) -> Result<(), DeployError> {
        let version = (config.metadata.uid.clone(), config.metadata.generation);
        if self.labelled.as_ref() == Some(&version) {
            return Ok(());
        }
        let name = namespace(&config.spec);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(name).await;
        let found = found.map_err(DeployError::about(format!("namespace {name}")))?;
        let found = found.ok_or_else(|| DeployError::NoNamespace(name.to_owned()))?;
        let labels = found.metadata.labels.unwrap_or_default();
        let wanted = ["enforce", "audit", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}"));
        if wanted.iter().any(|label| labels.get(label).map(String::as_str) != Some("privileged")) {
            let labels: serde_json::Map<String, Value> =
                wanted.into_iter().map(|label| (label, "privileged".into())).collect();
            let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
            let written = namespaces.patch(name, &Manager::Controller.patch(), &patch).await;
            written.map_err(DeployError::about(format!("labels of namespace {name}")))?;
        }
        self.labelled = Some(version);
        Ok(())
    }

    async fn write_status(&mut self, config: &Config, error: Option<&str>) -> Result<(), DeployError> {
        let sets: Vec<DaemonSet> = objects(config, &self.images)
            .iter()
            .filter(|object| object["kind"] == "DaemonSet")
            .filter_map(|object| serde_json::from_value(self.found.get(&key(object))?.clone()).ok())
            .collect();
        let old = config.status.clone().unwrap_or_default();
        let generation = config.metadata.generation.unwrap_or_default();
        let conditions = Conditions { old: &old.conditions, generation, now: Timestamp::now() };
        let new = ConfigStatus {
            observed_generation: Some(generation),
            conditions: status::conditions(conditions, &sets, error),
        };
        if new == old {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "status": new }));
        match self.configs().patch_status(CONFIG_NAME, &Manager::Controller.patch(), &patch).await {
            Ok(written) => self.config = Some(written),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(DeployError::about("status of the Config")(error)),
        }
        Ok(())
    }

    fn configs(&self) -> Api<Config> {
        Api::all(self.client.clone())
    }

    fn api(&self, (kind, namespace, _): &ObjectKey) -> Api<DynamicObject> {
        let resource = resource(KINDS[index(kind)]);
        object::api(&self.client, &resource, Some(namespace.as_str()).filter(|name| !name.is_empty()))
    }
}

/// Returns the patch. One manager has to remain: without any, the API server assigns an owner to each field.
fn unowned(made: &Config) -> Option<Value> {
    let mut managed = made.metadata.managed_fields.clone()?;
    for entry in &mut managed {
        let fields = entry.fields_v1.as_mut()?.0.as_object_mut()?;
        fields.remove("f:spec");
        fields.insert("f:metadata".to_owned(), json!({ "f:finalizers": {} }));
    }
    Some(
        json!({ "metadata": { "managedFields": managed, "resourceVersion": made.metadata.resource_version } }),
    )
}
