//! From the engine's answers about chains to the wire.

use bpfman_proto::ext::v1 as wire;
use bpfmand_core::VerdictFamily;
use bpfmand_engine::{ChainDetails, ChainTrace, MapFate, PacketTrace, ReplaceOutcome, TraceStep};

use crate::ext_show;

/// A chain and what is known of its members.
pub fn chain(details: ChainDetails, hook: Option<wire::Hook>) -> wire::ShowChainResponse {
    let members = details
        .members
        .iter()
        .map(|member| wire::MemberView {
            order_reason: member.reason.clone(),
            role: member.role.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Default::default()
        })
        .collect();
    wire::ShowChainResponse { chain: Some(ext_show::chain(details, hook)), members, ..Default::default() }
}

/// What a replacement did.
pub fn replaced(outcome: ReplaceOutcome, program: wire::Program) -> wire::ReplaceProgramResponse {
    wire::ReplaceProgramResponse {
        program: Some(program),
        previous_program_id: outcome.previous.map(|id| id.0),
        maps: outcome
            .maps
            .into_iter()
            .map(|map| wire::MapOutcome {
                name: map.name,
                outcome: map.fate.name().to_owned(),
                entries: match map.fate {
                    MapFate::Copied(entries) => entries,
                    MapFate::Kept | MapFate::New => 0,
                },
            })
            .collect(),
        links_switched: outcome.links_switched as u32,
    }
}

/// What packets met.
pub fn trace(trace: ChainTrace, family: VerdictFamily) -> wire::TraceChainResponse {
    let step = |step: TraceStep| wire::TraceStep {
        link_id: step.link.0,
        program_name: step.name,
        verdict: verdict(family, step.verdict),
        proceeded: step.proceeded,
        data: step.packet,
        changes: step.changes,
        nanoseconds: step.nanoseconds,
    };
    let packet = |packet: PacketTrace| wire::PacketTrace {
        steps: packet.steps.into_iter().map(step).collect(),
        verdict: verdict(family, packet.verdict),
        agrees: packet.agrees,
    };
    wire::TraceChainResponse { traces: trace.packets.into_iter().map(packet).collect(), note: trace.note }
}

/// A verdict's name; one that the family does not have stays a number.
fn verdict(family: VerdictFamily, code: i32) -> String {
    family.name_of(code).map_or_else(|| code.to_string(), str::to_owned)
}
