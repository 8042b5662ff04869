//! Rules in definitions (`x-kubernetes-validations`), evaluated by a server.

use std::collections::BTreeMap;

use bpfman_application::crd;
use bpfman_cluster_tests::Cluster;
use bpfman_model::ProgramType;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::application::{everything, in_namespace, places, state};

struct Rule {
    types: Vec<String>,
    block: String,
    message: String,
}

/// Returns the rules about blocks of a kind's programs, and the number of all rules in the schema, one of which may
/// be about `target`.
fn rules(kind: &str, part: &str) -> (Vec<Rule>, usize) {
    let definitions = crd::all().into_iter().map(|crd| serde_json::to_value(crd).unwrap());
    let definition = definitions.into_iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let path = format!("/properties/{part}/properties/programs/items/x-kubernetes-validations");
    let rules = schema.pointer(&path).unwrap().as_array().unwrap();
    let read = |rule: &Value| {
        let text = rule["rule"].as_str().unwrap();
        if text.starts_with("!has(self.target) || ") {
            return None;
        }
        let (types, block) = match text.strip_prefix("(self.type in [") {
            Some(several) => several.split_once("]) == has(self.").unwrap(),
            None => text.strip_prefix("(self.type == ").unwrap().split_once(") == has(self.").unwrap(),
        };
        Some(Rule {
            types: types.split(", ").map(|one| one.trim_matches('\'').to_owned()).collect(),
            block: block.strip_suffix(')').unwrap().to_owned(),
            message: rule["message"].as_str().unwrap().to_owned(),
        })
    };
    (rules.iter().filter_map(read).collect(), schema.to_string().matches(r#""rule":"#).count())
}

/// Checks each rule. Rules of another form, or elsewhere in the schema, fail here until they have a test.
async fn each_rule_refuses(cluster: &Cluster, kind: &str, part: &str, good: &Value, programs: &[Value]) {
    let (rules, all) = rules(kind, part);
    let of_targets = usize::from(kind == "ClusterBpfApplication");
    assert_eq!(rules.len() + of_targets, all, "{kind} has rules that nothing here breaks");
    let by_type: BTreeMap<&str, &Value> =
        programs.iter().map(|program| (program["type"].as_str().unwrap(), program)).collect();
    let with_block = by_type.values().filter(|program| block_of(program).is_some()).count();
    let ruled = rules.iter().flat_map(|rule| &rule.types).count();
    assert_eq!(with_block, ruled, "{kind}: a program of each type");
    let api = cluster.api_of(good).await.unwrap();
    ask(&api, good, part, json!(programs)).await.unwrap();
    let mut wrong = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for kind_of_program in &rule.types {
            let of_type = by_type[&**kind_of_program];
            let mut without = of_type.clone();
            without.as_object_mut().unwrap().remove(&rule.block).unwrap();
            let mut second = by_type[&*rules[(index + 1) % rules.len()].types[0]].clone();
            second[&rule.block] = of_type[&rule.block].clone();
            for (case, program) in [("without", without), ("second", second)] {
                match ask(&api, good, part, json!([program])).await {
                    Err(kube::Error::Api(status))
                        if status.code == 422
                            && status.message.contains(&rule.message)
                            // No other rule is violated.
                            && status.message.matches("and is needed there").count() == 1 => {}
                    other => wrong.push(format!("{kind} {kind_of_program} {case}: {other:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn block_of(program: &Value) -> Option<(&String, &Value)> {
    program.as_object().unwrap().iter().find(|(_, value)| value.is_object())
}

async fn ask(api: &Api<DynamicObject>, object: &Value, part: &str, programs: Value) -> kube::Result<()> {
    let mut object = object.clone();
    object[part]["programs"] = programs;
    if part == "status" {
        let name = object["metadata"]["name"].as_str().unwrap();
        let merge = Patch::Merge(json!({ "status": object["status"] }));
        let params = PatchParams { dry_run: true, ..Default::default() };
        return api.patch_status(name, &params, &merge).await.map(drop);
    }
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams { dry_run: true, ..Default::default() }, &object).await.map(drop)
}

fn programs(object: &Value) -> Vec<Value> {
    object["spec"]["programs"].as_array().unwrap().clone()
}

fn answered(programs: &[Value]) -> Vec<Value> {
    let one = |program: &Value| {
        let mut answered =
            json!({ "name": program["name"], "type": program["type"], "programLinkStatus": "Success" });
        if let Some((block, wanted)) = block_of(program) {
            // The status contains of the requested block only the function.
            let function = &wanted["function"];
            answered[block] = if function.is_null() { json!({}) } else { json!({ "function": function }) };
        }
        answered
    };
    programs.iter().map(one).collect()
}

#[tokio::test]
async fn the_block_of_each_program_has_to_go_with_its_type() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("rules").await;
    let (whole, namespaced) = (everything("rules"), in_namespace("rules", "rules"));
    let every_type = [programs(&whole), programs(&places("rules"))].concat();
    each_rule_refuses(&cluster, "ClusterBpfApplication", "spec", &whole, &every_type).await;
    each_rule_refuses(&cluster, "BpfApplication", "spec", &namespaced, &programs(&namespaced)).await;
}

#[tokio::test]
async fn so_has_what_an_agent_answers() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("answers").await;
    let of_cluster = state("answers", "node");
    let mut of_namespace = state("answers", "node");
    of_namespace["kind"] = json!("BpfApplicationState");
    of_namespace["metadata"]["namespace"] = json!("answers");
    for (kind, good, wanted) in [
        (
            "ClusterBpfApplicationState",
            of_cluster,
            [programs(&everything("answers")), programs(&places("answers"))].concat(),
        ),
        ("BpfApplicationState", of_namespace, programs(&in_namespace("answers", "answers"))),
    ] {
        let mut bare = good.clone();
        bare.as_object_mut().unwrap().remove("status");
        cluster.apply_one(bare).await;
        each_rule_refuses(&cluster, kind, "status", &good, &answered(&wanted)).await;
    }
}

/// There are no transition rules: an edit is checked like a new object.
#[tokio::test]
async fn an_edit_that_breaks_a_rule_is_refused_and_changes_nothing() {
    let Some(cluster) = Cluster::shared().await else { return };
    assert!(!format!("{:?}", crd::all()).contains("oldSelf"), "a transition rule needs a test of its own");
    let good = everything("edited");
    let stored = cluster.apply_one(good.clone()).await;
    let mut bad = good.clone();
    bad["spec"]["programs"][1]["type"] = json!("TCX");
    let refusal = cluster.try_apply(bad).await.unwrap_err();
    let kube::Error::Api(status) = refusal else { panic!("{refusal}") };
    assert_eq!(status.code, 422);
    for message in [
        "spec.programs[1]: Invalid value",
        "the block tc belongs to type TC, and is needed there",
        "the block tcx belongs to type TCX, and is needed there",
    ] {
        assert!(status.message.contains(message), "{}", status.message);
    }
    let api = cluster.api_of(&good).await.unwrap();
    let now = api.get("edited").await.unwrap();
    assert_eq!(now.metadata.resource_version, stored.metadata.resource_version);
}

/// The stored definition has all rules: a server rejects a definition whose rules are too expensive.
#[tokio::test]
async fn the_server_has_the_rules_that_we_write() {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let Some(cluster) = Cluster::shared().await else { return };
    let served: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    for ours in crd::all() {
        let name = ours.metadata.name.as_deref().unwrap();
        let theirs = served.get(name).await.unwrap();
        let rules = |definition: &CustomResourceDefinition| {
            serde_json::to_string(&definition.spec.versions[0].schema)
                .unwrap()
                .matches("and is needed there")
                .count()
        };
        assert_eq!(rules(&theirs), rules(&ours), "{name}");
        let conditions = theirs.status.unwrap().conditions.unwrap();
        assert!(
            conditions.iter().all(|condition| condition.type_ != "NonStructuralSchema"),
            "{conditions:?}"
        );
    }
}

#[tokio::test]
async fn target_must_fit_the_program_type() {
    let Some(cluster) = Cluster::shared().await else { return };
    let good = places("targets");
    let api = cluster.api_of(&good).await.unwrap();
    for mut program in programs(&good) {
        let kind = program["type"].as_str().and_then(ProgramType::of_manifest);
        let takes = kind.unwrap().takes_target();
        program["target"] = json!("something");
        match ask(&api, &good, "spec", json!([program])).await {
            Ok(()) if takes => {}
            Err(kube::Error::Api(status))
                if !takes
                    && status.code == 422
                    && status.message.contains("target belongs to types TpBtf") => {}
            other => panic!("{program}: {other:?}"),
        }
    }
}
