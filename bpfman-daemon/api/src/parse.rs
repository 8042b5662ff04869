//! Conversion from the wire to core types; errors name the invalid value.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bpfman_model::{
    BadCpuAction, BadCpuShare, BytecodeSource, CpuLimit, Credentials, HookKind, Interface, LoadRequest,
    LoadValues, Owner, ProgramId, ProgramRequest, ProgramType, PullPolicy, Selector,
};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::{ACTUAL_TYPE_PREFIX, MAP_EXPORTS_KEY, MapExports, attach_point, type_of_number, v1};
use tonic::Status;

use crate::status::{bad_point, invalid};

pub fn load(request: v1::LoadRequest, caller_uid: u32, verifier_log: bool) -> Result<LoadRequest, Status> {
    let source = source(request.bytecode, "load")?;
    let mut programs = request.info.into_iter().map(program).collect::<Result<Vec<_>, _>>()?;
    let mut metadata = sorted(request.metadata);
    take_actual_types(&mut programs, &mut metadata)?;
    check_map_exports(&metadata)?;
    Ok(LoadRequest {
        metadata,
        global_data: sorted(request.global_data),
        // Old clients send 0 for none; no program has that id.
        map_owner: request.map_owner_id.filter(|id| *id != 0).map(ProgramId),
        verifier_log,
        caller_uid,
        owner: Owner::of_user(caller_uid),
        ..LoadRequest::new(source, programs)
    })
}

pub fn values(values: Option<wire::LoadValues>) -> LoadValues {
    let values = values.unwrap_or_default();
    LoadValues {
        globals: sorted(values.globals),
        by_type_only: values.by_type_only,
        map_sizes: values.map_sizes.into_iter().collect(),
    }
}

pub fn cpu_limit(share: &str, over: &str) -> Result<Option<CpuLimit>, Status> {
    match (share, over) {
        ("", "") => Ok(None),
        ("", _) => Err(invalid("over_cpu sets what follows over cpu_limit, which is not there")),
        (share, over) => {
            let share = share.parse().map_err(|error: BadCpuShare| invalid(error.to_string()))?;
            let action = (!over.is_empty()).then(|| over.parse()).transpose();
            let action = action.map_err(|error: BadCpuAction| invalid(error.to_string()))?;
            Ok(Some(CpuLimit { share, action: action.unwrap_or_default() }))
        }
    }
}

/// Refuses map exports that could not be parsed later, when a pod requests a map.
fn check_map_exports(metadata: &BTreeMap<String, String>) -> Result<(), Status> {
    let Some(text) = metadata.get(MAP_EXPORTS_KEY) else { return Ok(()) };
    let wrong = |error| invalid(format!("metadata {MAP_EXPORTS_KEY}: {error}"));
    text.parse::<MapExports>().map(drop).map_err(wrong)
}

/// Parses a bytecode location; `what` names its purpose in errors.
pub fn source(bytecode: Option<v1::BytecodeLocation>, what: &str) -> Result<BytecodeSource, Status> {
    use v1::bytecode_location::Location;
    let bytecode = bytecode.ok_or_else(|| invalid(format!("the {what} names no bytecode")))?;
    match bytecode.location {
        Some(Location::File(path)) if path.is_empty() => Err(invalid("the bytecode's file has no name")),
        Some(Location::File(path)) => Ok(BytecodeSource::File(PathBuf::from(path))),
        Some(Location::Image(image)) => image_source(image),
        None => Err(invalid("the bytecode has neither a file nor an image")),
    }
}

fn program(info: v1::LoadInfo) -> Result<ProgramRequest, Status> {
    use v1::prog_specific_info::Info;
    let declared = type_of_number(info.program_type).ok_or_else(|| {
        invalid(format!("program \"{}\" has the unknown type number {}", info.name, info.program_type))
    })?;
    let target = info.info.and_then(|specific| specific.info).map(|specific| match specific {
        Info::FentryLoadInfo(load) => load.fn_name,
        Info::FexitLoadInfo(load) => load.fn_name,
        Info::LsmLoadInfo(load) => load.hook_name,
    });
    Ok(ProgramRequest { name: info.name, program_type: declared, target })
}

/// Moves exact types from a load's metadata to its programs: `bpfman.v1` has no numbers for return probes.
fn take_actual_types(
    programs: &mut [ProgramRequest],
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), Status> {
    let is_type = |key: &String| key.starts_with(ACTUAL_TYPE_PREFIX);
    let pairs: Vec<_> = metadata.iter().filter(|(key, _)| is_type(key)).collect();
    for (key, value) in pairs {
        let name = key.trim_start_matches(ACTUAL_TYPE_PREFIX);
        let program = programs.iter_mut().find(|program| program.name == name).ok_or_else(|| {
            invalid(format!(
                "metadata {key}={value} is for a program \"{name}\", which the load does not name"
            ))
        })?;
        let exact: ProgramType =
            value.parse().map_err(|error| invalid(format!("metadata {key}={value}: {error}")))?;
        let declared = program.program_type;
        if exact.declared() != declared {
            return Err(invalid(format!(
                "metadata {key}={value} contradicts the load, which declares \"{name}\" as {declared}"
            )));
        }
        program.program_type = exact;
    }
    metadata.retain(|key, _| !is_type(key));
    Ok(())
}

pub fn image_source(image: v1::BytecodeImage) -> Result<BytecodeSource, Status> {
    if image.url.is_empty() {
        return Err(invalid("the image has no reference"));
    }
    let number = image.image_pull_policy;
    let pull_policy = PullPolicy::of_number(number).ok_or_else(|| {
        invalid(format!("pull policy {number} does not exist: 0 is Always, 1 IfNotPresent, 2 Never"))
    })?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let credentials = match (given(image.username), given(image.password)) {
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        _ => None,
    };
    Ok(BytecodeSource::Image { url: image.url, pull_policy, credentials })
}

/// Parses a hook of `bpfman.ext.v1`.
pub fn hook(hook: Option<wire::Hook>) -> Result<(Interface, HookKind), Status> {
    attach_point::hook(hook).map_err(bad_point)
}

pub fn selector(request: v1::ListRequest, program_type: &str) -> Result<Selector, Status> {
    Ok(Selector {
        kernel_type: request.program_type,
        program_type: exact_type(program_type)?,
        managed_only: request.bpfman_programs_only.unwrap_or(false),
        metadata: sorted(request.match_metadata),
    })
}

pub fn exact_type(name: &str) -> Result<Option<ProgramType>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|error: bpfman_model::UnknownProgramType| invalid(error.to_string()))
}

pub fn sorted<V>(map: HashMap<String, V>) -> BTreeMap<String, V> {
    map.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(program_type: v1::BpfmanProgramType, pairs: &[(&str, &str)]) -> Result<LoadRequest, Status> {
        let file = v1::bytecode_location::Location::File("/x.o".to_owned());
        let info =
            v1::LoadInfo { name: "f".to_owned(), program_type: program_type.into(), ..Default::default() };
        let request = v1::LoadRequest {
            bytecode: Some(v1::BytecodeLocation { location: Some(file) }),
            metadata: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            info: vec![info],
            ..Default::default()
        };
        load(request, 0, false)
    }

    #[test]
    fn every_type_has_a_number() {
        let numbered: std::collections::BTreeSet<_> =
            (0..9).chain(1001..1100).filter_map(type_of_number).collect();
        let declared = ProgramType::ALL.into_iter().map(ProgramType::declared).collect();
        assert_eq!(numbered, declared);
        for other in [-1, 9, 1000, wire::ProgramTypeNumber::Unspecified.into()] {
            assert_eq!(type_of_number(other).filter(|_| other != 0), None, "{other}");
        }
    }

    #[test]
    fn metadata_says_which_probes_are_return_probes_and_is_not_kept() {
        use v1::BpfmanProgramType::{Kprobe, Uprobe};
        let request = typed(Uprobe, &[("bpfman.io/actual-type:f", "uretprobe"), ("owner", "acme")]).unwrap();
        assert_eq!(request.programs[0].program_type, ProgramType::Uretprobe);
        assert_eq!(
            request.metadata.into_iter().collect::<Vec<_>>(),
            [("owner".to_owned(), "acme".to_owned())]
        );
        assert_eq!(typed(Kprobe, &[]).unwrap().programs[0].program_type, ProgramType::Kprobe);
        for (pair, says) in [
            (("bpfman.io/actual-type:f", "uretprobe"), "declares \"f\" as kprobe"),
            (("bpfman.io/actual-type:f", "retprobe"), "unknown program type \"retprobe\""),
            (("bpfman.io/actual-type:g", "kretprobe"), "\"g\", which the load does not name"),
        ] {
            let status = typed(Kprobe, &[pair]).unwrap_err();
            assert!(status.message().contains(says), "{}", status.message());
        }
    }

    #[test]
    fn only_matches_need_no_interface() {
        let xdp = |iface: &str| {
            let info = v1::XdpAttachInfo { iface: iface.to_owned(), ..Default::default() };
            Some(v1::AttachInfo { info: Some(v1::attach_info::Info::XdpAttachInfo(info)) })
        };
        let error = attach_point::published(xdp("")).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
        assert!(attach_point::published(xdp("eth0")).is_ok() && attach_point::matching(xdp("")).is_ok());
        assert!(attach_point::matching(xdp("a:b")).is_err());
        let of_hook = wire::Hook { kind: "xdp".to_owned(), ..Default::default() };
        assert!(hook(Some(of_hook)).is_err());
    }
}
