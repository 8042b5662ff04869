//! Nodes and pods that an application selects.

use std::collections::BTreeMap;

use bpfman_application::labels::{self, SelectorError};
use bpfman_application::packets;
use bpfman_application::pods::PodSelector;
use bpfman_application::spec::ApplicationSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Result<bool, SelectorError> {
    labels::matches(selector, |key| labels.get(key).map(String::as_str))
}

#[must_use]
pub fn pods(spec: &ApplicationSpec) -> Vec<PodSelector<'_>> {
    let probes = spec.programs.iter().flat_map(|program| program.uprobe.iter().chain(&program.uretprobe));
    let containers = probes.flat_map(|block| &block.links).filter_map(|link| link.containers.as_ref());
    let links = packets::links(spec).into_iter().filter_map(|link| link.pods);
    let points = spec.programs.iter().flat_map(|program| program.points.pods());
    links.chain(containers.map(Into::into)).chain(points).collect()
}

/// Returns whether an application attaches to interfaces that it does not name, which must be discovered.
#[must_use]
pub fn needs_interfaces(spec: &ApplicationSpec) -> bool {
    packets::links(spec).iter().any(|link| link.interfaces.interfaces.is_none())
}

/// Returns whether an application attaches to network interfaces.
#[must_use]
pub fn uses_interfaces(spec: &ApplicationSpec) -> bool {
    spec.programs.iter().any(|program| program.xdp.is_some() || program.tc.is_some() || program.tcx.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

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
        let spec = ApplicationSpec::read(
            None,
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
        let selectors = pods(&spec);
        for app in ["xdp", "tc", "tcx", "uprobe", "uretprobe"] {
            let meant = |selector: &PodSelector<'_>| selector.matches("any", &labels(&[("app", app)]));
            assert_eq!(selectors.iter().filter(|selector| meant(selector)).count(), 1, "{app}");
        }
        assert_eq!(selectors.len(), 5);
        assert!(uses_interfaces(&spec));
    }

    #[test]
    fn a_namespaced_application_means_pods_of_its_namespace() {
        let spec = ApplicationSpec::read(
            Some("shop"),
            json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [
                { "name": "pro", "type": "UProbe", "uprobe": { "links": [
                    { "target": "libc", "containers": { "pods": {} } }] } }
            ] }),
        )
        .unwrap();
        let selectors = pods(&spec);
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
