//! Computation of the desired state from a spec and the facts of a machine. Pure.

use std::collections::BTreeMap;

use bpfman_application::application::ApplicationCommon;
use bpfman_application::bytecode::ByteCode;
use bpfman_application::map_export::{ExportedAccess, ExportedMap};
use bpfman_application::program::ClusterProgram;
pub use bpfman_application::spec::ApplicationSpec;
use bpfman_application::{check, labels};
use bpfman_model::{ProgramType, PullPolicy};
use bpfman_proto::ext::v1::LoadValues;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::{
    ACTUAL_TYPE_PREFIX, APPLICATION_KEY_NEWER, MAP_EXPORTS_KEY, MapAccess, MapExport, MapExports,
    type_number, v1,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::content::{CONTENT_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, UUID_KEY, content};
use crate::desired::{Desired, Load, Program, ProgramOwner};
use crate::facts::Facts;
use crate::program_plan::program;

/// Returns the desired state of an application on this machine. An invalid spec is refused as a whole; invalid
/// patterns, unknown namespaces and the like only affect their program.
#[must_use]
pub fn desired(owner: &ProgramOwner, spec: &ApplicationSpec, facts: &Facts) -> Desired {
    let refused = check::structure(spec);
    if !refused.is_empty() {
        return Desired { refused, ..Desired::nothing(owner.clone()) };
    }
    if !selects(&spec.common.node_selector, &facts.labels) {
        return Desired::nothing(owner.clone());
    }
    let (info, programs): (Vec<_>, Vec<Program>) =
        spec.programs.iter().map(|one| (load_info(one), program(one, spec, facts))).unzip();
    let mut request = request(&spec.common, info);
    request.metadata.extend(programs.iter().filter_map(actual_type));
    // A cluster application gives its maps to pods of all namespaces.
    if let Some(namespace) = &spec.namespace {
        request.metadata.insert(PROGRAM_NAMESPACE_KEY.to_owned(), namespace.clone());
    }
    if let Some(exports) = &spec.common.map_exports {
        request.metadata.insert(MAP_EXPORTS_KEY.to_owned(), map_exports(exports).to_string());
    }
    let values = values(&spec.common);
    let content = content(&request, values.as_ref());
    let pairs = [
        (UUID_KEY, owner.uid.as_str()),
        (PROGRAM_NAME_KEY, owner.name.as_str()),
        (APPLICATION_KEY_NEWER, owner.name.as_str()),
        (CONTENT_KEY, content.as_str()),
    ];
    request.metadata.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let pull_policy = match request.bytecode.as_ref().and_then(|bytecode| bytecode.location.as_ref()) {
        Some(Location::Image(image)) => image.image_pull_policy,
        _ => 0,
    };
    let load = Load { request, values, content, pull_policy, programs, held: None, object_sha256: None };
    Desired { load: Some(load), ..Desired::nothing(owner.clone()) }
}

fn request(common: &ApplicationCommon, info: Vec<v1::LoadInfo>) -> v1::LoadRequest {
    let globals = common.global_data.iter().flatten();
    v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: location(&common.byte_code) }),
        global_data: globals.map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        info,
        ..Default::default()
    }
}

/// Returns values of global variables. In a manifest, eight digits are a number; in `bpfman load`, bytes.
fn values(common: &ApplicationCommon) -> Option<LoadValues> {
    let globals = common.globals.iter().flatten();
    let sizes = common.map_sizes.iter().flatten();
    let values = LoadValues {
        globals: globals.map(|(name, text)| (name.clone(), text.clone())).collect(),
        map_sizes: sizes.map(|(map, entries)| (map.clone(), *entries)).collect(),
        by_type_only: true,
    };
    (!values.globals.is_empty() || !values.map_sizes.is_empty()).then_some(values)
}

fn map_exports(exports: &[ExportedMap]) -> MapExports {
    let export = |export: &ExportedMap| MapExport {
        map: export.map.clone(),
        namespaces: export.namespaces.clone(),
        access: match export.access {
            ExportedAccess::ReadOnly => MapAccess::Read,
            ExportedAccess::ReadWrite => MapAccess::Write,
        },
    };
    MapExports(exports.iter().map(export).collect())
}

/// Returns metadata with the type of a return probe, for which the API has no number.
fn actual_type(program: &Program) -> Option<(String, String)> {
    let exact = program.program_type.to_ascii_lowercase();
    exact.ends_with("retprobe").then(|| (format!("{ACTUAL_TYPE_PREFIX}{}", program.name), exact))
}

fn location(code: &ByteCode) -> Option<Location> {
    if let Some(image) = &code.image {
        return Some(Location::Image(v1::BytecodeImage {
            url: image.url.clone(),
            image_pull_policy: PullPolicy::from(image.image_pull_policy).number(),
            ..Default::default()
        }));
    }
    code.path.clone().map(Location::File)
}

fn load_info(program: &ClusterProgram) -> v1::LoadInfo {
    use v1::prog_specific_info::Info as Specific;
    let fentry = program
        .fentry
        .as_ref()
        .map(|block| Specific::FentryLoadInfo(v1::FentryLoadInfo { fn_name: block.function.clone() }));
    let fexit = program
        .fexit
        .as_ref()
        .map(|block| Specific::FexitLoadInfo(v1::FexitLoadInfo { fn_name: block.function.clone() }));
    let target = program.target.clone().map(|target| match program.program_type {
        ProgramType::Lsm => Specific::LsmLoadInfo(v1::LsmLoadInfo { hook_name: target }),
        // The API carries the target of all other types in the field of fentry.
        _ => Specific::FentryLoadInfo(v1::FentryLoadInfo { fn_name: target }),
    });
    v1::LoadInfo {
        name: program.name.clone(),
        program_type: type_number(program.program_type),
        info: fentry.or(fexit).or(target).map(|info| v1::ProgSpecificInfo { info: Some(info) }),
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    labels::matches(selector, |key| labels.get(key).map(String::as_str)).unwrap_or(false)
}
