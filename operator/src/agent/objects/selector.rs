//! Which nodes and pods an application means.

use std::collections::BTreeMap;

use bpfman_application::labels::{self, SelectorError};
use bpfman_application::packets;
use bpfman_application::pods::PodSelector;
use bpfman_application::spec::Spec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether labels are selected.
///
/// # Errors
/// An expression of the selector means nothing.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Result<bool, SelectorError> {
    labels::matches(selector, |key| labels.get(key).map(String::as_str))
}

/// All selectors of pods in a spec. `own`: namespace of a namespaced application.
#[must_use]
pub fn pods<'a>(spec: &'a Spec, own: Option<&'a str>) -> Vec<PodSelector<'a>> {
    let mut found: Vec<_> = packets::links(spec, own).into_iter().filter_map(|link| link.pods).collect();
    match spec {
        Spec::Cluster(spec) => {
            let probes =
                spec.programs.iter().flat_map(|program| program.uprobe.iter().chain(&program.uretprobe));
            let containers =
                probes.flat_map(|block| &block.links).filter_map(|link| link.containers.as_ref());
            found.extend(containers.map(|containers| PodSelector {
                // Absent and empty both mean every namespace.
                namespace: containers.namespace.as_deref().filter(|namespace| !namespace.is_empty()),
                labels: &containers.pods,
            }));
        }
        Spec::Namespaced(spec) => {
            let probes =
                spec.programs.iter().flat_map(|program| program.uprobe.iter().chain(&program.uretprobe));
            let links = probes.flat_map(|block| &block.links);
            found.extend(links.map(|link| PodSelector { namespace: own, labels: &link.containers.pods }));
        }
    }
    found
}

/// Whether an application attaches to interfaces that it does not name: those are found in lists.
#[must_use]
pub fn asks_for_interfaces(spec: &Spec) -> bool {
    packets::links(spec, None).iter().any(|link| link.interfaces.interfaces.is_none())
}

/// Whether an application attaches to network interfaces.
#[must_use]
pub fn uses_interfaces(spec: &Spec) -> bool {
    match spec {
        Spec::Cluster(spec) => spec
            .programs
            .iter()
            .any(|program| program.xdp.is_some() || program.tc.is_some() || program.tcx.is_some()),
        Spec::Namespaced(spec) => spec
            .programs
            .iter()
            .any(|program| program.xdp.is_some() || program.tc.is_some() || program.tcx.is_some()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::agent::objects::application::parse;
    use bpfman_application::scope::Scope;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_block_that_names_pods_is_looked_into() {
        let pods_of = |name: &str| json!({ "namespace": "", "pods": { "matchLabels": { "app": name } } });
        let network = |name: &str| {
            json!({ "links": [{ "interfaceSelector": { "interfaces": ["eth0"] }, "direction": "Ingress",
                "networkNamespaces": pods_of(name) }] })
        };
        let probe = |name: &str| json!({ "links": [{ "target": "libc", "containers": pods_of(name) }] });
        let spec = parse(
            Scope::Cluster,
            json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [
                { "name": "pro", "type": "XDP", "xdp": network("xdp") },
                { "name": "pro", "type": "TC", "tc": network("tc") },
                { "name": "pro", "type": "TCX", "tcx": network("tcx") },
                { "name": "pro", "type": "UProbe", "uprobe": probe("uprobe") },
                { "name": "pro", "type": "URetProbe", "uretprobe": probe("uretprobe") },
                { "name": "pro", "type": "KProbe", "kprobe": { "links": [{ "function": "fun" }] } }
            ] }),
        )
        .unwrap();
        let selectors = pods(&spec, None);
        for app in ["xdp", "tc", "tcx", "uprobe", "uretprobe"] {
            let meant = |selector: &PodSelector<'_>| selector.matches("any", &labels(&[("app", app)]));
            assert_eq!(selectors.iter().filter(|selector| meant(selector)).count(), 1, "{app}");
        }
        assert_eq!(selectors.len(), 5);
        assert!(uses_interfaces(&spec));
    }

    #[test]
    fn a_namespaced_application_means_pods_of_its_namespace() {
        let spec = parse(
            Scope::Namespaced,
            json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [
                { "name": "pro", "type": "UProbe", "uprobe": { "links": [
                    { "target": "libc", "containers": { "pods": {} } }] } }
            ] }),
        )
        .unwrap();
        let selectors = pods(&spec, Some("shop"));
        assert!(selectors[0].matches("shop", &labels(&[])));
        assert!(!selectors[0].matches("other", &labels(&[])));
        assert!(!uses_interfaces(&spec));
    }

    #[test]
    fn expressions_count_and_an_unknown_operator_is_named() {
        let selector = |operator: &str| -> LabelSelector {
            serde_json::from_value(json!({ "matchExpressions": [
                { "key": "zone", "operator": operator, "values": ["a"] }] }))
            .unwrap()
        };
        assert_eq!(matches(&selector("In"), &labels(&[("zone", "a")])), Ok(true));
        assert_eq!(matches(&selector("NotIn"), &labels(&[("zone", "a")])), Ok(false));
        assert!(matches(&selector("Near"), &labels(&[])).unwrap_err().to_string().contains("Near"));
    }
}
