//! Facts about this machine that an application needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::desired::Desired;
use bpfman_apply::facts::{Facts, Netns, NodeInterface, PodContainer, PodFacts};
use bpfman_apply::failure::{CallRefusal, Unreachable};
use bpfman_apply::{ask, plan};
use bpfman_proto::ext::v1::{Container as Found, FindContainersRequest, FindContainersResponse};

use crate::agent::objects::machine::{KnownPod, PodKey};
use crate::agent::objects::selector;
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;
use bpfman_application::scope::ApplicationKey;

async fn gather(shared: &Shared, key: &ApplicationKey, spec: &ApplicationSpec) -> Result<Facts, Unreachable> {
    let (mut facts, pods) = known(shared, spec);
    let FoundContainers { found, ambiguous } = find(shared, &pods).await?;
    let arriving = shared.arriving.all();
    for ((namespace, name), pod) in pods {
        let netns = pod.containers.iter().find_map(|(_, id)| found.get(id)).map(|found| Netns {
            path: found.netns.clone(),
            identity: (found.netns_inode, found.netns_cookie),
        });
        // Prefer the namespace that the network plugin reported: a process in a container may change its own.
        let netns = arriving.get(&pod.uid).map(|pod| pod.netns.clone()).or(netns);
        // A pod without a running container stays in the list, so that its attachments do not count as unwanted.
        let unseen = pod.containers.iter().map(|(_, id)| id).filter(|id| !found.contains_key(*id));
        let doubtful =
            pod.containers.iter().filter_map(|(_, id)| Some((id.clone(), ambiguous.get(id)?.clone())));
        let containers = pod.containers.iter().filter_map(|(name, id)| {
            let pid = *found.get(id)?.pids.first()?;
            Some(PodContainer { name: name.clone(), id: id.clone(), pid })
        });
        facts.pods.push(PodFacts {
            namespace,
            name,
            uid: pod.uid.clone(),
            labels: pod.labels.clone(),
            host_network: pod.host_network,
            netns,
            idle: pod.containers.is_empty(),
            containers: containers.collect(),
            unseen: unseen.cloned().collect(),
            ambiguous: doubtful.collect(),
        });
    }
    if selector::uses_interfaces(spec) {
        let own = facts.pods.iter().filter(|pod| !pod.host_network);
        shared
            .memories
            .set_netns(key, own.filter_map(|pod| pod.netns.as_ref()).map(|netns| netns.path.clone()));
        look_into(shared, spec, &mut facts).await?;
    }
    Ok(facts)
}

/// Returns the desired state of an application on this machine.
pub async fn desired(
    shared: &Shared,
    state: &StateObject,
    spec: &ApplicationSpec,
) -> Result<Desired, Unreachable> {
    let facts = gather(shared, &state.application, spec).await?;
    Ok(plan::desired(&state.owner(), spec, &facts))
}

const MAX_NAMESPACES: usize = 500;

async fn look_into(shared: &Shared, spec: &ApplicationSpec, facts: &mut Facts) -> Result<(), Unreachable> {
    if !selector::needs_interfaces(spec) {
        return Ok(());
    }
    let mut paths = not_listed(facts);
    if paths.is_empty() && facts.interfaces.is_some() {
        return Ok(());
    }
    paths.truncate(MAX_NAMESPACES);
    shared.metrics.daemon_calls.add("Watch", 1);
    if let Some(found) = ask::interfaces(&shared.daemon, &paths).await? {
        add(facts, &paths, found);
    }
    Ok(())
}

/// Returns the namespaces with unknown interfaces: those without any, because each has at least `lo`.
fn not_listed(facts: &Facts) -> Vec<String> {
    let listed: BTreeSet<&String> =
        facts.interfaces.iter().flatten().filter_map(|interface| interface.netns.as_ref()).collect();
    let own = facts.pods.iter().filter(|pod| !pod.host_network).filter_map(|pod| pod.netns.as_ref());
    let paths: BTreeSet<&String> =
        own.map(|netns| &netns.path).filter(|path| !listed.contains(path)).collect();
    paths.into_iter().cloned().collect()
}

fn add(facts: &mut Facts, paths: &[String], found: Vec<NodeInterface>) {
    match &mut facts.interfaces {
        None => facts.interfaces = Some(found),
        Some(known) => {
            let asked = |one: &NodeInterface| one.netns.as_ref().is_some_and(|path| paths.contains(path));
            known.extend(found.into_iter().filter(asked));
        }
    }
}

fn known(shared: &Shared, spec: &ApplicationSpec) -> (Facts, BTreeMap<PodKey, KnownPod>) {
    let known = shared.cache.known();
    let node = known.node.get(&()).cloned().unwrap_or_default();
    let selectors = selector::pods(spec);
    let meant =
        |key: &PodKey, pod: &KnownPod| selectors.iter().any(|selector| selector.matches(&key.0, &pod.labels));
    let mut pods: BTreeMap<_, _> = known
        .pods
        .iter()
        .filter(|(key, pod)| meant(key, pod))
        .map(|(key, pod)| (key.clone(), pod.clone()))
        .collect();
    let mut interfaces = known.interfaces.clone();
    for arriving in shared.arriving.all().into_values() {
        if !meant(&arriving.key, &arriving.pod) {
            continue;
        }
        // The daemon's stream delivers these interfaces a moment after the namespace was requested.
        let path = Some(&arriving.netns.path);
        if let Some(interfaces) = &mut interfaces
            && !interfaces.iter().any(|one| one.netns.as_ref() == path)
        {
            interfaces.extend(arriving.interfaces.iter().cloned());
        }
        // The watch may not have delivered this pod yet, or may still have an earlier pod of the same name.
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
        discovery_off: !shared.discovery,
        pods: Vec::new(),
    };
    (facts, pods)
}

const MAX_IDS: usize = 1000;

#[derive(Debug, Default)]
struct FoundContainers {
    found: HashMap<String, Found>,
    ambiguous: HashMap<String, String>,
}

impl FoundContainers {
    fn add(&mut self, answer: FindContainersResponse) {
        self.found.extend(answer.containers.into_iter().map(|found| (found.container_id.clone(), found)));
        self.ambiguous.extend(answer.ambiguous.into_iter().map(|one| (one.container_id, one.reason)));
    }
}

async fn find(shared: &Shared, pods: &BTreeMap<PodKey, KnownPod>) -> Result<FoundContainers, Unreachable> {
    let ids: BTreeSet<&String> = pods.values().flat_map(|pod| &pod.containers).map(|(_, id)| id).collect();
    let ids: Vec<&String> = ids.into_iter().collect();
    let mut found = FoundContainers::default();
    for some in ids.chunks(MAX_IDS) {
        if let Err(refusal) = find_some(shared, some, &mut found).await? {
            tracing::warn!(why = refusal.failure().message, "containers are asked for one by one");
            for one in some {
                if let Err(refusal) = find_some(shared, std::slice::from_ref(one), &mut found).await? {
                    found.ambiguous.insert((*one).clone(), refusal.failure().message);
                }
            }
        }
    }
    Ok(found)
}

async fn find_some(
    shared: &Shared,
    ids: &[&String],
    found: &mut FoundContainers,
) -> Result<Result<(), CallRefusal>, Unreachable> {
    let request = FindContainersRequest { container_ids: ids.iter().map(|id| (*id).clone()).collect() };
    let answer = shared.call("FindContainers", shared.daemon.node().find_containers(request)).await?;
    Ok(answer.map(|answer| found.add(answer)))
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1::AmbiguousContainer;

    use super::*;

    fn interface(name: &str, netns: Option<&str>) -> NodeInterface {
        NodeInterface { name: name.to_owned(), netns: netns.map(str::to_owned), ..NodeInterface::default() }
    }

    fn pod(path: &str) -> PodFacts {
        let netns = Netns { path: path.to_owned(), identity: (1, 2) };
        PodFacts { netns: Some(netns), ..PodFacts::default() }
    }

    #[test]
    fn one_ambiguous_container_hides_no_other() {
        let mut found = FoundContainers::default();
        found.add(FindContainersResponse {
            containers: vec![Found { container_id: "a".to_owned(), pids: vec![7], ..Found::default() }],
            ambiguous: vec![AmbiguousContainer {
                container_id: "b".to_owned(),
                reason: "two groups".to_owned(),
            }],
        });
        assert_eq!(found.found["a"].pids, [7]);
        assert_eq!(found.ambiguous["b"], "two groups");
    }

    #[test]
    fn namespaces_missing_from_the_stream_are_queried() {
        let mut facts =
            Facts { pods: vec![pod("/proc/1/ns/net"), pod("/proc/2/ns/net")], ..Facts::default() };
        assert_eq!(not_listed(&facts).len(), 2, "nothing was listed");
        facts.interfaces = Some(vec![interface("eth0", None), interface("lo", Some("/proc/1/ns/net"))]);
        let missing = not_listed(&facts);
        assert_eq!(missing, ["/proc/2/ns/net"]);
        facts.pods[1].host_network = true;
        assert!(not_listed(&facts).is_empty());
        let answer = || vec![interface("eth0", None), interface("lo", Some("/proc/2/ns/net"))];
        add(&mut facts, &missing, answer());
        assert_eq!(facts.interfaces.as_ref().map(Vec::len), Some(3));
        facts.interfaces = None;
        add(&mut facts, &[], answer());
        assert_eq!(facts.interfaces, Some(answer()));
    }
}
