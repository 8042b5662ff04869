//! What an application has to know of this machine now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpfman_application::spec::Spec;
use bpfman_apply::facts::{Container, Facts, Netns, Pod};
use bpfman_apply::failure::{Refusal, Unreachable, refusal};
use bpfman_proto::ext::v1::{Container as Found, FindContainersRequest};

use super::Shared;
use super::key::ApplicationKey;
use super::machine::{Pod as KnownPod, PodKey};
use super::selector;

/// Gathers them. Of pods, only those that the application means are looked for.
///
/// # Errors
/// [`Unreachable`]: the daemon. One that cannot find containers gives none: their pods are then a problem that the
/// plan names.
pub async fn gather(shared: &Shared, key: &ApplicationKey, spec: &Spec) -> Result<Facts, Unreachable> {
    let (mut facts, pods) = known(shared, key, spec);
    let found = find(shared, &pods).await?;
    let arriving = shared.arriving.all();
    for ((namespace, name), pod) in pods {
        let netns = pod.containers.iter().find_map(|(_, id)| found.get(id)).map(|found| Netns {
            path: found.netns.clone(),
            identity: (found.netns_inode, found.netns_cookie),
        });
        // Before its first container runs, only the network plugin knows a pod's namespace. Its path for it outlives
        // containers, so it is kept to as long as it is the same namespace.
        let told = arriving.get(&pod.uid).map(|pod| pod.netns.clone());
        let netns = match (netns, told) {
            (Some(found), Some(told)) if found.identity == told.identity => Some(told),
            (found, told) => found.or(told),
        };
        if netns.is_none() && pod.containers.is_empty() {
            continue;
        }
        let containers = pod.containers.iter().filter_map(|(name, id)| {
            let pid = *found.get(id)?.pids.first()?;
            Some(Container { name: name.clone(), id: id.clone(), pid })
        });
        facts.pods.push(Pod {
            namespace,
            name,
            uid: pod.uid.clone(),
            labels: pod.labels.clone(),
            host_network: pod.host_network,
            netns,
            containers: containers.collect(),
        });
    }
    if selector::uses_interfaces(spec) {
        let own = facts.pods.iter().filter(|pod| !pod.host_network);
        shared.netns.set(key, own.filter_map(|pod| pod.netns.as_ref()).map(|netns| netns.path.clone()));
    }
    Ok(facts)
}

/// What is known without asking, and the pods that are meant.
fn known(shared: &Shared, key: &ApplicationKey, spec: &Spec) -> (Facts, BTreeMap<PodKey, KnownPod>) {
    let known = shared.world.known();
    let node = known.node.clone().unwrap_or_default();
    let selectors = selector::pods(spec, key.namespace.as_deref());
    let meant =
        |key: &PodKey, pod: &KnownPod| selectors.iter().any(|selector| selector.matches(&key.0, &pod.labels));
    let mut pods: BTreeMap<_, _> = known
        .pods
        .iter()
        .filter(|(key, pod)| meant(key, pod))
        .map(|(key, pod)| (key.clone(), pod.clone()))
        .collect();
    let mut interfaces = if shared.discovery { known.interfaces.clone() } else { Vec::new() };
    for arriving in shared.arriving.all().into_values() {
        if !meant(&arriving.key, &arriving.pod) {
            continue;
        }
        // The daemon's stream tells of them a moment after it was asked for the namespace.
        let path = Some(&arriving.netns.path);
        if shared.discovery && !interfaces.iter().any(|one| one.netns.as_ref() == path) {
            interfaces.extend(arriving.interfaces.iter().cloned());
        }
        // The watch may not have told of it yet, or of one before it that had its name.
        let later = pods.get(&arriving.key).is_none_or(|known| known.uid != arriving.pod.uid);
        if arriving.is_new() && later {
            pods.insert(arriving.key, arriving.pod);
        }
    }
    let facts = Facts {
        node: shared.node.clone(),
        labels: node.labels,
        addresses: node.addresses,
        interfaces,
        pods: Vec::new(),
    };
    (facts, pods)
}

/// The most ids that the daemon takes in one call.
const MOST_IDS: usize = 1000;

/// Asks the daemon for the processes of containers.
async fn find(
    shared: &Shared,
    pods: &BTreeMap<PodKey, KnownPod>,
) -> Result<HashMap<String, Found>, Unreachable> {
    let ids: BTreeSet<&String> = pods.values().flat_map(|pod| &pod.containers).map(|(_, id)| id).collect();
    let ids: Vec<&String> = ids.into_iter().collect();
    let mut found = HashMap::new();
    for some in ids.chunks(MOST_IDS) {
        if let Err(refusal) = find_some(shared, some, &mut found).await? {
            // One id that is none must not hide the others.
            tracing::warn!(why = refusal.failure().message, "containers are asked for one by one");
            for one in some {
                let _none = find_some(shared, std::slice::from_ref(one), &mut found).await?;
            }
        }
    }
    Ok(found)
}

async fn find_some(
    shared: &Shared,
    ids: &[&String],
    found: &mut HashMap<String, Found>,
) -> Result<Result<(), Refusal>, Unreachable> {
    let request = FindContainersRequest { container_ids: ids.iter().map(|id| (*id).clone()).collect() };
    shared.metrics.daemon_calls.add("FindContainers", 1);
    match shared.daemon.node().find_containers(request).await {
        Ok(answer) => {
            let containers = answer.into_inner().containers;
            found.extend(containers.into_iter().map(|found| (found.container_id.clone(), found)));
            Ok(Ok(()))
        }
        Err(status) => refusal(&shared.daemon, &status).map(Err),
    }
}
