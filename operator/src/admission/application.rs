//! Validation of an application.

use bpfman_application::bytecode::ByteCodeImage;
use bpfman_application::spec::ApplicationSpec;
use bpfman_application::{check, packets};

use super::image::{self, Named};
use super::order::{self, ApplicationName, PacketSlot, against_ranks, slots, unknown_anchors};
use super::verdict::ReviewVerdict;
use super::{interfaces, rollout};

/// Validates an application without any request. `others` are the attachments of all other applications.
#[must_use]
pub fn review(name: &ApplicationName, spec: &ApplicationSpec, others: &[PacketSlot]) -> ReviewVerdict {
    let mut verdict = ReviewVerdict {
        problems: check::application(spec).iter().map(ToString::to_string).collect(),
        warnings: Vec::new(),
    };
    for link in packets::links(spec) {
        interfaces::check(&mut verdict, &link);
    }
    let common = &spec.common;
    if let Some(given) = &common.rollout {
        let programs: Vec<&str> = spec.programs.iter().map(|program| program.name.as_str()).collect();
        rollout::check(&mut verdict, given, &programs);
    }
    if let Some(given) = &common.byte_code.image {
        bytecode(&mut verdict, name, given, common.rollout.is_some());
    }
    let own = slots(name, spec);
    if let Some(cycle) = order::find(&own, others) {
        verdict
            .refuse("spec.programs", format!("orders contradict each other: {cycle}; take one of them back"));
    }
    for conflict in against_ranks(&own, others) {
        if conflict.refused {
            verdict.refuse(&conflict.path, format!("{conflict}; remove it"));
        } else {
            verdict.warn(&conflict.path, format!("{conflict}: this order is not applied"));
        }
    }
    for (path, anchor) in unknown_anchors(&own, others) {
        let what = match anchor.strip_prefix("role=") {
            Some(_) => "the order waits until there is one",
            None => "attaching fails on a node until there is one: a role (role=NAME) would be waited for",
        };
        verdict.warn(&path, format!("no application has \"{anchor}\" on this hook: {what}"));
    }
    verdict
}

fn bytecode(verdict: &mut ReviewVerdict, name: &ApplicationName, given: &ByteCodeImage, staged: bool) {
    let path = "spec.byteCode.image";
    match image::read(&given.url) {
        Err(error) => verdict.refuse(&format!("{path}.url"), error),
        Ok(Named::Tag) if staged => verdict.warn(
            &format!("{path}.url"),
            "a tag may name another image from one wave to the next: the rollout keeps to the digest that the first \
             node finds; write @sha256:DIGEST to say which one is meant",
        ),
        Ok(_) => {}
    }
    let secret = given.image_pull_secret.as_ref();
    if let Some((own, other)) = name.namespace.as_ref().zip(secret.map(|secret| &secret.namespace))
        && own != other
    {
        verdict.refuse(
            &format!("{path}.imagePullSecret.namespace"),
            format!("\"{other}\" is not the namespace of this BpfApplication: only secrets of \"{own}\" are allowed"),
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn reviewed(namespace: Option<&str>, change: impl FnOnce(&mut Value)) -> ReviewVerdict {
        let mut spec = json!({
            "nodeSelector": {},
            "byteCode": { "image": { "url": "quay.io/a/b:v1" } },
            "programs": [{ "name": "filter", "type": "XDP", "xdp": { "links": [{
                "interfaceSelector": { "interfaces": ["eth0"] }, "networkNamespaces": { "pods": {} },
            }] } }],
        });
        change(&mut spec);
        let name = ApplicationName { namespace: namespace.map(str::to_owned), name: "app".to_owned() };
        review(&name, &ApplicationSpec::read(namespace, spec).unwrap(), &[])
    }

    #[test]
    fn an_application_without_mistakes_is_taken_without_a_word() {
        assert_eq!(reviewed(None, |_| {}), ReviewVerdict::default());
        assert_eq!(reviewed(Some("shop"), |_| {}), ReviewVerdict::default());
    }

    #[test]
    fn secrets_of_other_namespaces_are_refused_to_namespaced_ones() {
        let elsewhere = |spec: &mut Value| {
            spec["byteCode"]["image"]["imagePullSecret"] = json!({ "name": "pull", "namespace": "bank" });
        };
        let message = reviewed(Some("shop"), elsewhere).message().unwrap();
        assert!(message.contains("only secrets of \"shop\" are allowed"), "{message}");
        assert_eq!(reviewed(None, elsewhere).message(), None);
    }

    #[test]
    fn a_tag_in_a_rollout_is_a_warning() {
        let verdict = reviewed(None, |spec| spec["rollout"] = json!({}));
        assert!(verdict.problems.is_empty() && verdict.warnings[0].contains("@sha256:"), "{verdict:?}");
    }

    #[test]
    fn an_interface_name_that_no_interface_can_have_is_refused() {
        let selector = |value: Value| {
            move |spec: &mut Value| {
                spec["programs"][0]["xdp"]["links"][0]["interfaceSelector"] = value;
            }
        };
        for (value, says) in [
            (json!({ "interfaces": ["a-name-of-16-byte"] }), "no name of an interface"),
            (json!({ "interfaces": ["eth0/1"] }), "no name of an interface"),
            (json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": ["/eth"] } }), "matches nothing"),
            (json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": ["/eth[/"] } }), "is no pattern"),
        ] {
            let message = reviewed(None, selector(value.clone())).message().unwrap_or_default();
            assert!(message.contains(says), "{value}: {message}");
        }
        let excluded =
            selector(json!({ "interfacesDiscoveryConfig": { "excludeInterfaces": ["/veth.*/"] } }));
        assert!(reviewed(None, excluded).warnings[0].contains("excludes nothing"));
    }

    #[test]
    fn block_of_another_type_is_refused_without_server_side_rules() {
        let message = reviewed(None, |spec| spec["programs"][0]["type"] = json!("TC")).message().unwrap();
        assert!(message.contains("type TC needs the block tc"), "{message}");
    }

    #[test]
    fn namespaced_probe_with_offset_or_process_is_refused() {
        for (field, value) in [("offset", json!(6)), ("pid", json!(7))] {
            let probe = |spec: &mut Value| {
                let mut link =
                    json!({ "function": "login", "target": "/bin/app", "containers": { "pods": {} } });
                link[field] = value.clone();
                spec["programs"][0] =
                    json!({ "name": "count", "type": "UProbe", "uprobe": { "links": [link] } });
            };
            let message = reviewed(Some("shop"), probe).message().unwrap();
            assert!(
                message.contains(field) && message.contains("not allowed in a BpfApplication"),
                "{message}"
            );
            assert_eq!(reviewed(None, probe).message(), None);
        }
    }
}
