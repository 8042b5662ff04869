//! Every program type at every edge: text, record, wire, manifest, grant, features, requirements, documentation.

use std::collections::BTreeMap;

use bpfman_application::program_type::ManifestType;
use bpfman_model::{AttachPoint, ProgramType, WrittenPoint};
use bpfman_proto::{WirePoint, attach_point, type_number, type_of_number};
use bpfmand_access::TARGETS;
use bpfmand_kernel::Probe;
use bpfmand_requirements::attached_since;

use crate::objects;

/// Returns an attach point in the form of the row.
fn example(form: &str) -> String {
    let form = form.split(" or ").next().unwrap();
    let (kind, rest) = form.split_once(':').unwrap_or((form, ""));
    let words = match kind {
        "tracepoint" => "sched/sched_switch",
        "netfilter" => "ipv4:input:5",
        "perf_event" => "cpu-clock:99",
        "usdt" => "libc:libc:setjmp",
        "uprobe" | "uprobe_multi" => "libc:malloc",
        "cgroup" => "/web.slice",
        "freplace" => "7:limit",
        "tc" => "eth0:ingress",
        _ => "eth0",
    };
    if rest.is_empty() { kind.to_owned() } else { format!("{kind}:{words}") }
}

/// Checks the attach point of a type: conversion to text and message and back, and target of grants.
fn check_point(known: ProgramType, form: &str) {
    let text = example(form);
    let written: WrittenPoint = text.parse().unwrap();
    assert_eq!(written.to_string(), text, "{known}");
    assert!(written.takes(known).is_some(), "{known}: {text}");
    let record: AttachPoint = serde_json::from_value(serde_json::to_value(&written.point).unwrap()).unwrap();
    let metadata = BTreeMap::new();
    let messages =
        [WirePoint::from(&written.point), WirePoint::of_record(&written.point, Some(0), &metadata)];
    for message in messages {
        let (attach, point) = message.into_fields();
        let (read, _) = attach_point::either(attach, point).unwrap();
        assert_eq!((&read, &record), (&written.point, &written.point), "{known}: {text}");
    }
    let at_interface = written.point.hook().is_some();
    let targets = objects::targets(&written.point);
    let mut kinds = targets.iter().map(objects::NamedTarget::kind);
    let granted = kinds.all(|kind| TARGETS.contains(&kind)) && (at_interface || !targets.is_empty());
    let of_load = written.point.is_of_load() && TARGETS.contains(&known.name());
    assert!(granted || of_load, "{known}: grants have no target for {text}");
}

fn check_manifest(known: ProgramType, definitions: &str) {
    let written = ManifestType::serialize(&known, serde_json::value::Serializer).ok();
    assert_eq!(written.as_ref().and_then(|name| name.as_str()), known.manifest_name(), "{known}");
    let Some(name) = written else { return };
    assert!(definitions.contains(&format!("- {}\n", name.as_str().unwrap())), "{known}: no definition");
    assert_eq!(ManifestType::deserialize(name).unwrap(), known);
}

#[test]
fn every_row_is_known_at_every_edge() {
    let definitions = include_str!("../../../packaging/kubernetes/base/crds.yaml");
    let page = include_str!("../../../docs/types.md");
    for known in ProgramType::ALL {
        assert_eq!(known.name().parse(), Ok(known));
        assert_eq!(
            serde_json::from_value::<ProgramType>(serde_json::to_value(known).unwrap()).unwrap(),
            known
        );
        assert_eq!(type_of_number(type_number(known)), Some(known.declared()), "{known}: no number");
        if let Some(form) = known.hook_form() {
            check_point(known, form);
        }
        check_manifest(known, definitions);
        for feature in known.needed_features() {
            assert!(Probe::named(feature).is_ok(), "{known} needs \"{feature}\", which no probe finds");
        }
        let since = attached_since(known).version;
        assert_eq!((since.0, since.1), known.attached_since());
        assert!(page.contains(&format!("`{known}`")), "{known}: docs/types.md has no row");
    }
}
