#![allow(clippy::unwrap_used, reason = "tests")]

use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::program::ClusterProgramState;
use bpfman_apply::desired::{AttachmentKey, ProgramOwner};
use bpfman_apply::facts::Facts;
use bpfman_apply::plan::desired;
use bpfman_apply::report::{LinkOutcome, LinkReport, ProgramReport};
use serde_json::{Value, json};

use super::program::program;

const EVERY_TYPE: &str = include_str!("../../../application/tests/points.yaml");

fn spec() -> ApplicationSpec {
    let manifest: Value = serde_norway::from_str(EVERY_TYPE).unwrap();
    ApplicationSpec::read(None, manifest["spec"].clone()).unwrap()
}

fn reports(spec: &ApplicationSpec) -> Vec<ProgramReport> {
    let load = desired(&ProgramOwner::default(), spec, &Facts::default()).load.unwrap();
    let attached = |(key, wanted): (&AttachmentKey, _)| LinkReport {
        key: key.clone(),
        wanted: Some(wanted),
        kept: false,
        uuid: format!("uuid of {}", key.0),
        id: Some(7),
        status: LinkOutcome::Attached,
    };
    let of = |program: &bpfman_apply::desired::Program| ProgramReport {
        name: program.name.clone(),
        program_type: program.program_type,
        id: Some(42),
        links: program.links.iter().map(|(key, wanted)| attached((key, wanted.clone()))).collect(),
        ..ProgramReport::default()
    };
    load.programs.iter().map(of).collect()
}

fn shown(
    spec: &ApplicationSpec,
    report: &ProgramReport,
    before: Option<&ClusterProgramState>,
) -> ClusterProgramState {
    let told = spec.programs.iter().find(|program| program.name == report.name);
    program(report, told, before).unwrap()
}

#[test]
fn every_type_has_its_block_with_the_places_of_the_spec() {
    let spec = spec();
    let common = ["shouldAttach", "uuid", "linkId", "linkStatus"];
    for (report, wanted) in reports(&spec).iter().zip(&spec.programs) {
        let state = serde_json::to_value(shown(&spec, report, None)).unwrap();
        let wanted = serde_json::to_value(wanted).unwrap();
        assert_eq!(
            (&state["name"], &state["type"], state.get("target")),
            (&wanted["name"], &wanted["type"], wanted.get("target"))
        );
        let block = wanted.as_object().unwrap().iter().find(|(_, value)| value.is_object());
        let blocks: Vec<&String> = state
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| value.is_object())
            .map(|(name, _)| name)
            .collect();
        let Some((block, wanted)) = block else {
            assert!(blocks.is_empty(), "{state}");
            continue;
        };
        assert_eq!(blocks, [block]);
        let links = |value: &Value| value.get("links").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut places: Vec<String> = links(&state[block])
            .into_iter()
            .map(|mut link| {
                assert_eq!((&link["linkId"], &link["linkStatus"]), (&json!(7), &json!("Attached")), "{link}");
                common.iter().for_each(|field| drop(link.as_object_mut().unwrap().remove(*field)));
                link.to_string()
            })
            .collect();
        // There are no pods for pod selectors, and `mode` is not part of an attach point.
        let here =
            |link: &Value| ["networkNamespaces", "containers"].iter().all(|field| link.get(field).is_none());
        let mut asked: Vec<String> = links(wanted)
            .into_iter()
            .filter(here)
            .map(|mut link| {
                link.as_object_mut().unwrap().remove("mode");
                link.to_string()
            })
            .collect();
        places.sort();
        asked.sort();
        assert_eq!(places, asked, "{block}");
        // The API server validates states with the same schema that is parsed here.
        let again: ClusterProgramState = serde_json::from_value(state.clone()).unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), state);
    }
}

#[test]
fn unwanted_point_is_shown_as_before() {
    let spec = spec();
    for report in reports(&spec).into_iter().filter(|report| !report.links.is_empty()) {
        let before = shown(&spec, &report, None);
        let mut left = report.clone();
        for link in &mut left.links {
            link.wanted = None;
            link.status = LinkOutcome::DetachFailed(Default::default());
        }
        let now = serde_json::to_value(shown(&spec, &left, Some(&before))).unwrap();
        let mut wanted = serde_json::to_value(&before).unwrap();
        wanted["programLinkStatus"] = json!("Error");
        for block in wanted.as_object_mut().unwrap().values_mut().filter(|value| value.is_object()) {
            for link in block["links"].as_array_mut().unwrap() {
                link["shouldAttach"] = json!(false);
                link["linkStatus"] = json!("DetachError");
            }
        }
        assert_eq!(now, wanted);
    }
}
