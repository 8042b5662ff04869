//! Conversion of the engine's answers to `bpfman.v1`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bpfman_model::ProgramFacts;
use bpfman_proto::v1;
use bpfmand_engine::{ManagedProgram, ProgramDetails, SourceRecord};

pub fn program_info(managed: &ManagedProgram, fs: &Path) -> v1::ProgramInfo {
    let record = &managed.record;
    v1::ProgramInfo {
        name: record.name.clone(),
        bytecode: Some(v1::BytecodeLocation { location: Some(location(&record.source)) }),
        links: managed.links.iter().map(|link| link.0).collect(),
        global_data: record.global_data.clone().into_iter().collect(),
        map_owner_id: record.map_owner.map(|owner| owner.0),
        map_pin_path: fs.join(record.maps_folder()).display().to_string(),
        map_used_by: managed.map_used_by.iter().map(ToString::to_string).collect(),
        metadata: pairs(&record.metadata),
    }
}

fn location(source: &SourceRecord) -> v1::bytecode_location::Location {
    use v1::bytecode_location::Location;
    match source {
        SourceRecord::File { path } => Location::File(path.clone()),
        // The published messages have only files and images. No path looks like this text.
        SourceRecord::Adopted { link, .. } => Location::File(format!("adopted link {link}")),
        SourceRecord::Image { url, pull_policy, .. } => Location::Image(v1::BytecodeImage {
            url: url.clone(),
            image_pull_policy: pull_policy.number(),
            // Empty: credentials are never stored.
            username: Some(String::new()),
            password: Some(String::new()),
        }),
    }
}

/// Returns the kernel's facts, for `bpfman.v1`. A program that the kernel lost keeps only its id, type and name.
pub fn kernel_info(program: &ProgramDetails) -> v1::KernelProgramInfo {
    let Some(facts) = &program.facts else {
        return v1::KernelProgramInfo {
            id: program.id.0,
            program_type: program
                .managed
                .as_ref()
                .map_or(0, |managed| managed.record.program_type.kernel_type()),
            name: program.managed.as_ref().map(|managed| managed.record.name.clone()).unwrap_or_default(),
            ..Default::default()
        };
    };
    facts_info(facts)
}

fn facts_info(facts: &ProgramFacts) -> v1::KernelProgramInfo {
    v1::KernelProgramInfo {
        id: facts.id.0,
        name: facts.name.clone(),
        program_type: facts.kernel_type,
        loaded_at: loaded_at(facts),
        tag: facts.tag_text(),
        gpl_compatible: facts.gpl_compatible,
        map_ids: facts.map_ids.iter().map(|id| id.0).collect(),
        btf_id: facts.btf_id.map_or(0, |id| id.0),
        bytes_xlated: facts.bytes_xlated,
        jited: facts.bytes_jited > 0,
        bytes_jited: facts.bytes_jited,
        bytes_memlock: facts.bytes_memlock,
        verified_insns: facts.verified_insns,
    }
}

/// Returns the load time, to the nearest second: the kernel counts from boot, and readings differ by its precision.
pub fn loaded_at(facts: &ProgramFacts) -> String {
    let since = facts.loaded_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let rounded = Duration::from_secs((since + Duration::from_millis(500)).as_secs());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + rounded).to_string()
}

pub fn pairs(map: &BTreeMap<String, String>) -> std::collections::HashMap<String, String> {
    map.clone().into_iter().collect()
}
