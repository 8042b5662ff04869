//! Conversion of the programs at a hook, of the daemon and of third parties.

use bpfman_model::{FilterFacts, HookAttachment, ProgramFacts};
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::HookEntryDetails;

pub fn entry(entry: HookEntryDetails) -> wire::HookEntry {
    let facts = entry.facts.as_ref();
    wire::HookEntry {
        ours: entry.ours,
        program_id: entry.program.map(|id| id.0),
        program_name: facts.map(|facts| facts.name.clone()).unwrap_or_default(),
        program_tag: facts.map(ProgramFacts::tag_text).unwrap_or_default(),
        via: via(&entry.via).to_owned(),
        detail: detail(&entry.via),
        kernel_link_id: entry.kernel_link.map(|id| id.0),
        held_by: entry.held_by,
    }
}

const fn via(via: &HookAttachment) -> &'static str {
    match via {
        HookAttachment::XdpLink { .. } => "xdp link",
        HookAttachment::XdpNetlink { .. } => "xdp netlink",
        HookAttachment::TcxLink { .. } => "tcx link",
        HookAttachment::TcxProgram => "tcx program",
        HookAttachment::Filter(_) => "filter",
    }
}

fn detail(via: &HookAttachment) -> String {
    match via {
        HookAttachment::XdpLink { mode, .. } | HookAttachment::XdpNetlink { mode } => mode.to_string(),
        HookAttachment::TcxLink { .. } | HookAttachment::TcxProgram => String::new(),
        HookAttachment::Filter(filter) => filter_detail(filter),
    }
}

fn filter_detail(filter: &FilterFacts) -> String {
    const ALL_PROTOCOLS: u16 = 3;
    let mut text = format!("priority {} handle {:#x}", filter.priority, filter.handle);
    if filter.kind != "bpf" {
        text.push_str(&format!(" {}", filter.kind));
    }
    if filter.direct_action {
        text.push_str(" direct-action");
    }
    if filter.protocol != ALL_PROTOCOLS {
        text.push_str(&format!(" protocol {:#06x}", filter.protocol));
    }
    if filter.chain != 0 {
        text.push_str(&format!(" chain {}", filter.chain));
    }
    text
}
