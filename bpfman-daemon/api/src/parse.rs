//! Conversion from the wire to core types; errors name the invalid value.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::{ACTUAL_TYPE_PREFIX, MAP_EXPORTS_KEY, MapExports, v1};
use bpfmand_core::{
    AttachPoint, BadCpuAction, BadCpuShare, BytecodeSource, CpuLimit, Credentials, Direction, Interface,
    LoadLimits, LoadRequest, LoadValues, Owner, ProceedOn, ProcessScope, ProgramId, ProgramRequest,
    ProgramType, PullPolicy, Selector, VerdictFamily,
};
use tonic::Status;

use crate::status::{invalid, unsupported};

pub fn load(request: v1::LoadRequest, caller_uid: u32, verifier_log: bool) -> Result<LoadRequest, Status> {
    let source = source(request.bytecode, "load")?;
    let mut programs = request.info.into_iter().map(program).collect::<Result<Vec<_>, _>>()?;
    let mut metadata = sorted(request.metadata);
    take_actual_types(&mut programs, &mut metadata)?;
    check_map_exports(&metadata)?;
    Ok(LoadRequest {
        source,
        programs,
        metadata,
        global_data: sorted(request.global_data),
        values: LoadValues::default(),
        // Old clients send 0 for none; no program has that id.
        map_owner: request.map_owner_id.filter(|id| *id != 0).map(ProgramId),
        verifier_log,
        caller_uid,
        owner: Owner::of_user(caller_uid),
        limits: LoadLimits::default(),
        cpu: None,
        measured: false,
        ttl: None,
        lease: None,
        tenant: None,
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
        ("", _) => Err(invalid("over_cpu says what follows over cpu_limit, which is not there")),
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
    let declared = declared_type(info.program_type).ok_or_else(|| {
        invalid(format!("program \"{}\" has the unknown type number {}", info.name, info.program_type))
    })?;
    let target = info.info.and_then(|specific| specific.info).map(|specific| match specific {
        Info::FentryLoadInfo(load) => load.fn_name,
        Info::FexitLoadInfo(load) => load.fn_name,
        Info::LsmLoadInfo(load) => load.hook_name,
    });
    Ok(ProgramRequest { name: info.name, program_type: declared, target })
}

fn declared_type(number: i32) -> Option<ProgramType> {
    let published = || v1::BpfmanProgramType::try_from(number).ok().map(program_type);
    // The other numbers have the names of the types, in upper case.
    let others = || wire::ProgramTypeNumber::try_from(number).ok()?.as_str_name().to_lowercase().parse().ok();
    published().or_else(others)
}

fn program_type(declared: v1::BpfmanProgramType) -> ProgramType {
    use v1::BpfmanProgramType as Wire;
    match declared {
        Wire::Xdp => ProgramType::Xdp,
        Wire::Tc => ProgramType::Tc,
        Wire::Tracepoint => ProgramType::Tracepoint,
        Wire::Kprobe => ProgramType::Kprobe,
        Wire::Uprobe => ProgramType::Uprobe,
        Wire::Fentry => ProgramType::Fentry,
        Wire::Fexit => ProgramType::Fexit,
        Wire::Tcx => ProgramType::Tcx,
        Wire::Lsm => ProgramType::Lsm,
    }
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
    let pull_policy = match image.image_pull_policy {
        0 => PullPolicy::Always,
        1 => PullPolicy::IfNotPresent,
        2 => PullPolicy::Never,
        other => {
            return Err(invalid(format!(
                "pull policy {other} does not exist: 0 is Always, 1 IfNotPresent, 2 Never"
            )));
        }
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let credentials = match (given(image.username), given(image.password)) {
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        _ => None,
    };
    Ok(BytecodeSource::Image { url: image.url, pull_policy, credentials })
}

pub fn attach(info: Option<v1::AttachInfo>) -> Result<(AttachPoint, BTreeMap<String, String>), Status> {
    attach_point(info, interface)
}

/// Parses an attach point for all matching interfaces, and its metadata: it may lack an interface.
pub fn attach_to_matching(
    info: Option<v1::AttachInfo>,
) -> Result<(AttachPoint, BTreeMap<String, String>), Status> {
    attach_point(info, |name, netns| match name {
        "" => Ok(Interface { name: String::new(), netns: file(netns) }),
        name => interface(name, netns),
    })
}

fn attach_point(
    info: Option<v1::AttachInfo>,
    interface: impl Fn(&str, Option<String>) -> Result<Interface, Status>,
) -> Result<(AttachPoint, BTreeMap<String, String>), Status> {
    use v1::attach_info::Info;
    let info = info
        .and_then(|attach| attach.info)
        .ok_or_else(|| invalid("the attach names no attach point that this daemon knows"))?;
    Ok(match info {
        Info::XdpAttachInfo(xdp) => (
            AttachPoint::Xdp {
                interface: interface(&xdp.iface, xdp.netns)?,
                priority: xdp.priority,
                proceed_on: proceed_on(VerdictFamily::Xdp, &xdp.proceed_on)?,
            },
            sorted(xdp.metadata),
        ),
        Info::TcAttachInfo(tc) => (
            AttachPoint::Tc {
                interface: interface(&tc.iface, tc.netns)?,
                direction: direction(&tc.direction)?,
                priority: tc.priority,
                proceed_on: proceed_on(VerdictFamily::Tc, &tc.proceed_on)?,
            },
            sorted(tc.metadata),
        ),
        Info::TcxAttachInfo(tcx) => (
            AttachPoint::Tcx {
                interface: interface(&tcx.iface, tcx.netns)?,
                direction: direction(&tcx.direction)?,
                priority: tcx.priority,
            },
            sorted(tcx.metadata),
        ),
        Info::TracepointAttachInfo(point) => {
            let (category, name) = tracepoint(&point.tracepoint)?;
            (AttachPoint::Tracepoint { category, name }, sorted(point.metadata))
        }
        Info::KprobeAttachInfo(probe) => {
            if probe.container_pid.is_some() {
                return Err(unsupported(
                    "a kernel probe fires for the whole machine: it cannot be limited to a container",
                ));
            }
            if probe.fn_name.is_empty() {
                return Err(invalid("the kernel probe names no function"));
            }
            (AttachPoint::Kprobe { function: probe.fn_name, offset: probe.offset }, sorted(probe.metadata))
        }
        Info::UprobeAttachInfo(probe) => {
            if probe.target.is_empty() {
                return Err(invalid("the user-space probe names no target"));
            }
            (
                AttachPoint::Uprobe {
                    target: probe.target,
                    // Some clients send an empty name for none.
                    function: probe.fn_name.filter(|name| !name.is_empty()),
                    offset: probe.offset,
                    scope: ProcessScope {
                        pid: process(probe.pid)?,
                        container_pid: process(probe.container_pid)?,
                    },
                },
                sorted(probe.metadata),
            )
        }
        Info::FentryAttachInfo(fentry) => (AttachPoint::Fentry, sorted(fentry.metadata)),
        Info::FexitAttachInfo(fexit) => (AttachPoint::Fexit, sorted(fexit.metadata)),
        Info::LsmAttachInfo(lsm) => (AttachPoint::Lsm, sorted(lsm.metadata)),
    })
}

pub fn interface(name: &str, netns: Option<String>) -> Result<Interface, Status> {
    Interface::parse(name, file(netns)).map_err(|error| invalid(error.to_string()))
}

fn file(netns: Option<String>) -> Option<PathBuf> {
    netns.filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn direction(text: &str) -> Result<Direction, Status> {
    text.parse().map_err(|error: bpfmand_core::UnknownDirection| invalid(error.to_string()))
}

fn proceed_on(family: VerdictFamily, codes: &[i32]) -> Result<ProceedOn, Status> {
    ProceedOn::from_codes(family, codes).map_err(|error| invalid(error.to_string()))
}

fn tracepoint(text: &str) -> Result<(String, String), Status> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [category, name]
            if !category.is_empty()
                && !name.is_empty()
                && !category.starts_with('.')
                && !name.starts_with('.') =>
        {
            Ok((category.to_owned(), name.to_owned()))
        }
        _ => Err(invalid(format!("trace point \"{text}\" is not of the form category/name"))),
    }
}

pub fn process(pid: Option<i32>) -> Result<Option<u32>, Status> {
    pid.map(|pid| {
        u32::try_from(pid)
            .ok()
            .filter(|pid| *pid > 0)
            .ok_or_else(|| invalid(format!("process id {pid} is not positive")))
    })
    .transpose()
}

pub fn hook(
    hook: Option<bpfman_proto::ext::v1::Hook>,
) -> Result<(Interface, bpfmand_core::HookKind), Status> {
    use bpfmand_core::HookKind;
    let hook = hook.ok_or_else(|| invalid("the request names no hook"))?;
    let kind = match hook.kind.as_str() {
        "xdp" => HookKind::Xdp,
        "tc" => HookKind::Tc(direction(&hook.direction)?),
        "tcx" => HookKind::Tcx(direction(&hook.direction)?),
        other => return Err(invalid(format!("hook kind \"{other}\" is none of xdp, tc, tcx"))),
    };
    Ok((interface(&hook.iface, Some(hook.netns))?, kind))
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
    name.parse().map(Some).map_err(|error: bpfmand_core::UnknownProgramType| invalid(error.to_string()))
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
            (0..9).chain(1001..1100).filter_map(declared_type).collect();
        let declared = ProgramType::ALL.into_iter().map(ProgramType::declared).collect();
        assert_eq!(numbered, declared);
        for other in [-1, 9, 1000, wire::ProgramTypeNumber::Unspecified.into()] {
            assert_eq!(declared_type(other).filter(|_| other != 0), None, "{other}");
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
        let status = attach(xdp("")).unwrap_err();
        assert!(status.message().contains("is empty"), "{}", status.message());
        assert!(attach(xdp("eth0")).is_ok() && attach_to_matching(xdp("")).is_ok());
        assert!(attach_to_matching(xdp("a:b")).is_err());
        let of_hook = wire::Hook { kind: "xdp".to_owned(), ..Default::default() };
        assert!(hook(Some(of_hook)).is_err());
    }
}
