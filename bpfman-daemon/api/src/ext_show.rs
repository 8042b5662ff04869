//! Conversion of the engine's answers to `bpfman.ext.v1`.

use std::path::Path;

use bpfman_model::uapi::prog_type;
use bpfman_model::{AttachPoint, CpuAction};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{APPLICATION_KEY, APPLICATION_KEY_NEWER, WirePoint};
use bpfmand_engine::{
    ChainDetails, ChainMember, LinkDetails, ManagedProgram, MapDetails, ProgramDetails, SourceRecord,
    Standing, XdpPlacement,
};

use crate::show;

/// Converts a program. `owner` is for a program that the daemon does not manage.
pub fn program(
    program: &ProgramDetails,
    (maps, links): (Vec<MapDetails>, Vec<LinkDetails>),
    owner: String,
    fs: &Path,
) -> ext::Program {
    let facts = program.facts.as_ref();
    let mut shown = ext::Program {
        kernel_info: Some(show::kernel_info(program)),
        program_type: facts.map_or_else(String::new, |facts| kernel_type_name(facts.kernel_type)),
        created_by_uid: facts.map_or(0, |facts| facts.created_by_uid),
        owner,
        maps: maps.into_iter().map(|details| map(details, fs)).collect(),
        links: links.into_iter().map(|details| link(details, fs)).collect(),
        ..Default::default()
    };
    if let Some(managed) = &program.managed {
        let record = &managed.record;
        shown.info = Some(show::program_info(managed, fs));
        shown.program_type = record.program_type.name().to_owned();
        shown.license = record.license.clone();
        shown.uid = record.uid.0;
        shown.pin_path = fs.join(record.pin()).display().to_string();
        shown.loaded_by_uid = Some(record.caller_uid);
        shown.owner = record.owner().to_string();
        shown.bytecode_sha256 = record.bytecode_sha256().to_owned();
        shown.state = state(managed);
        let cpu = record.budget.cpu;
        shown.cpu_limit = cpu.map(|cpu| cpu.share.to_string()).unwrap_or_default();
        shown.over_cpu = cpu.map(|cpu| cpu.action.name().to_owned()).unwrap_or_default();
        shown.cpu_excess = managed.excess.as_ref().map(ToString::to_string).unwrap_or_default();
        shown.cpu_done =
            managed.excess.as_ref().map(|excess| excess.done.name().to_owned()).unwrap_or_default();
        shown.ttl_left = managed.left.map(|left| left.as_secs());
        shown.standing = standing(&managed.standing).into();
        shown.warnings = record.warnings.clone();
        shown.global_texts = record.global_texts.clone().into_iter().collect();
        shown.attach_target = record.target.clone().unwrap_or_default();
        if let SourceRecord::Image { digest, verified_by, .. } = &record.source {
            shown.image_digest = digest.clone();
            shown.verified_by = verified_by.clone();
        }
    }
    shown
}

fn state(program: &ManagedProgram) -> String {
    let standing = program.standing.to_string();
    match &program.excess {
        Some(excess) if program.standing.is_running() => match excess.done {
            CpuAction::Warn => format!("{standing}; over its CPU limit: {excess}"),
            CpuAction::Detach => format!("detached: {excess}"),
            CpuAction::Previous => format!("{standing}; this version came back for the next one: {excess}"),
        },
        _ => standing,
    }
}

pub fn map(details: MapDetails, fs: &Path) -> ext::Map {
    ext::Map {
        id: details.facts.id.0,
        name: details.name,
        map_type: details.facts.map_type,
        key_size: details.facts.key_size,
        value_size: details.facts.value_size,
        max_entries: details.facts.max_entries,
        bytes_memlock: details.facts.bytes_memlock,
        pin_path: details.pin.map_or_else(String::new, |pin| fs.join(pin).display().to_string()),
        used_by: details.used_by.iter().map(|id| id.0).collect(),
    }
}

pub fn link(details: LinkDetails, fs: &Path) -> ext::Link {
    let attachment = attachment(&details);
    let application = [APPLICATION_KEY, APPLICATION_KEY_NEWER]
        .iter()
        .find_map(|key| details.program.metadata.get(*key))
        .cloned()
        .unwrap_or_default();
    let (link, program) = (&details.record, &details.program);
    let (attach_info, point) =
        WirePoint::of_record(&link.point, details.position, &link.metadata).into_fields();
    ext::Link {
        id: link.id.0,
        program_id: program.id.0,
        program_name: program.name.clone(),
        program_type: program.program_type.name().to_owned(),
        attachment,
        attach_info,
        point,
        metadata: show::pairs(&link.metadata),
        position: details.position,
        kernel_link_id: details.kernel_link.map(|id| id.0),
        running_program_id: details.running.map(|id| id.0),
        pin_path: details.pin.map_or_else(String::new, |pin| fs.join(pin).display().to_string()),
        state: details.standing.to_string(),
        standing: standing(&details.standing).into(),
        hook: details.hook.unwrap_or_default(),
        application,
        role: link.order.role.as_ref().map_or_else(String::new, ToString::to_string),
        before: link.order.before.iter().map(ToString::to_string).collect(),
        after: link.order.after.iter().map(ToString::to_string).collect(),
        attach_target: program.target.clone().unwrap_or_default(),
        owner: link.owner(program).to_string(),
        ttl_left: details.left.map(|left| left.as_secs()),
        shadow: link.sharing.shadow,
        xdp: details.xdp.map(xdp),
        warnings: details.warnings,
    }
}

pub fn xdp(placement: XdpPlacement) -> ext::XdpPlacement {
    ext::XdpPlacement { mode: placement.mode.to_string(), refusal: placement.refusal.unwrap_or_default() }
}

pub const fn standing(standing: &Standing) -> ext::Standing {
    match standing {
        Standing::Running => ext::Standing::Running,
        Standing::Waiting
        | Standing::ModuleGone { .. }
        | Standing::NotLoaded { .. }
        | Standing::Withheld { .. }
        | Standing::Unattached { .. } => ext::Standing::Waiting,
        Standing::Elsewhere | Standing::OtherPath { .. } | Standing::OldFile { .. } => {
            ext::Standing::Elsewhere
        }
        Standing::Unreachable => ext::Standing::Unreachable,
        Standing::Gone | Standing::Ended { .. } | Standing::PlaceGone { .. } => ext::Standing::Gone,
        Standing::Changing => ext::Standing::Changing,
        Standing::Unpinned => ext::Standing::Unpinned,
        Standing::Replaced { .. } => ext::Standing::Replaced,
        Standing::Torn { .. } => ext::Standing::Torn,
        Standing::Lost { .. } => ext::Standing::Lost,
    }
}

/// Returns the attachment as one line of text, as in the tables of v0.6.0.
fn attachment(details: &LinkDetails) -> String {
    let target = || details.program.target.clone().unwrap_or_default();
    match (&details.record.point, details.position) {
        (point, _) if point.is_of_load() => target(),
        (AttachPoint::Sockmap { map }, _) => match &details.program.target {
            Some(hook) => format!("{map} {hook}"),
            None => map.clone(),
        },
        (AttachPoint::Netkit { interface }, _) => match &details.program.target {
            Some(end) => format!("{} {end}", interface.name),
            None => interface.name.clone(),
        },
        (AttachPoint::Cgroup { path }, _) => match &details.program.target {
            Some(hook) => format!("{path} {hook}"),
            None => path.to_string(),
        },
        (point, Some(position)) => format!("{point} pos-{position}"),
        (point, None) => point.to_string(),
    }
}

pub fn chain(details: &ChainDetails, hook: Option<ext::Hook>) -> ext::GetChainResponse {
    let entry = details.entry.as_ref();
    ext::GetChainResponse {
        hook,
        strategy: details.strategy.to_owned(),
        reason: details.reason.clone(),
        program_id: entry.map(|facts| facts.id.0),
        program_name: entry.map_or_else(String::new, |facts| facts.name.clone()),
        program_tag: entry.map_or_else(String::new, bpfman_model::ProgramFacts::tag_text),
        kernel_link_id: details.kernel_link.map(|id| id.0),
        verified_insns: entry.map_or(0, |facts| facts.verified_insns),
        members: details
            .members
            .iter()
            .enumerate()
            .map(|(position, ChainMember { link, program, .. })| ext::ChainMember {
                link_id: link.id.0,
                program_id: program.id.0,
                program_name: program.name.clone(),
                position: position as u32,
                priority: link.point.priority().unwrap_or(0),
                proceed_on: link
                    .point
                    .proceed_on()
                    .map(|set| set.names().map(str::to_owned).collect())
                    .unwrap_or_default(),
            })
            .collect(),
        mode: details.mode.to_owned(),
        xdp: details.xdp.clone().map(xdp),
    }
}

pub fn kernel_type_name(number: u32) -> String {
    prog_type::published_name(number).map_or_else(|| format!("type {number}"), str::to_owned)
}
