//! Requests as clients build them.

use std::collections::HashMap;
use std::path::Path;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;

#[must_use]
pub fn file(path: &Path) -> v1::BytecodeLocation {
    v1::BytecodeLocation { location: Some(v1::bytecode_location::Location::File(path.display().to_string())) }
}

/// Returns an image as the source of bytecode. The pull policy is 0 for Always, 1 for IfNotPresent, 2 for Never.
#[must_use]
pub fn image(url: &str, pull_policy: i32) -> v1::BytecodeImage {
    v1::BytecodeImage { url: url.to_owned(), image_pull_policy: pull_policy, ..Default::default() }
}

#[must_use]
pub fn load(path: &Path, programs: &[(&str, Type)]) -> v1::LoadRequest {
    v1::LoadRequest {
        bytecode: Some(file(path)),
        info: programs
            .iter()
            .map(|(name, kind)| v1::LoadInfo {
                name: (*name).to_owned(),
                program_type: (*kind).into(),
                info: None,
            })
            .collect(),
        ..Default::default()
    }
}

#[must_use]
pub fn number(value: i32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

#[must_use]
pub fn pairs(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[must_use]
pub fn attach(program: u32, info: Info) -> v1::AttachRequest {
    v1::AttachRequest { id: program, attach: Some(v1::AttachInfo { info: Some(info) }) }
}

#[must_use]
pub fn xdp(netns: &Path, iface: &str, priority: i32, proceed_on: &[i32]) -> Info {
    Info::XdpAttachInfo(v1::XdpAttachInfo {
        priority,
        iface: iface.to_owned(),
        proceed_on: proceed_on.to_vec(),
        netns: Some(netns.display().to_string()),
        ..Default::default()
    })
}

#[must_use]
pub fn tc(netns: &Path, iface: &str, direction: &str, priority: i32, proceed_on: &[i32]) -> Info {
    Info::TcAttachInfo(v1::TcAttachInfo {
        priority,
        iface: iface.to_owned(),
        direction: direction.to_owned(),
        proceed_on: proceed_on.to_vec(),
        netns: Some(netns.display().to_string()),
        ..Default::default()
    })
}

#[must_use]
pub fn tcx(netns: &Path, iface: &str, direction: &str, priority: i32) -> Info {
    Info::TcxAttachInfo(v1::TcxAttachInfo {
        priority,
        iface: iface.to_owned(),
        direction: direction.to_owned(),
        netns: Some(netns.display().to_string()),
        ..Default::default()
    })
}

#[must_use]
pub fn tracepoint(name: &str) -> Info {
    Info::TracepointAttachInfo(v1::TracepointAttachInfo { tracepoint: name.to_owned(), ..Default::default() })
}

#[must_use]
pub fn kprobe(function: &str) -> Info {
    Info::KprobeAttachInfo(v1::KprobeAttachInfo { fn_name: function.to_owned(), ..Default::default() })
}

#[must_use]
pub fn uprobe(target: &str, function: &str) -> v1::UprobeAttachInfo {
    v1::UprobeAttachInfo {
        fn_name: Some(function.to_owned()),
        target: target.to_owned(),
        ..Default::default()
    }
}
