//! Conversion of the engine's answers about chains to the wire.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bpfman_model::{LinkId, VerdictFamily};
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{
    ChainDetails, ChainMember, ChainTrace, ChainVerification, HookEntryDetails, HookSummary, HookSwitches,
    MapFate, MapOutcome, MatchingDetails, PacketTrace, ReplaceOutcome, SegmentRecord, Standing, TraceStep,
    VerifiedPart,
};

use crate::ext_show::{self, standing, xdp};
use crate::hook_entries;

pub struct HookView {
    pub chain: Option<ChainDetails>,
    pub entries: Vec<HookEntryDetails>,
}

pub fn look(look: HookView, hook: Option<wire::Hook>) -> wire::ShowChainResponse {
    let mut shown = look.chain.map(|view| chain(view, hook)).unwrap_or_default();
    shown.entries = look.entries.into_iter().map(hook_entries::entry).collect();
    shown
}

fn chain(view: ChainDetails, hook: Option<wire::Hook>) -> wire::ShowChainResponse {
    wire::ShowChainResponse {
        chain: Some(ext_show::chain(&view, hook)),
        members: view.members.into_iter().map(member).collect(),
        segments: view.segments.iter().map(segment).collect(),
        counters: view.switches.counters,
        held: view.switches.held_by.is_some(),
        held_by: view.switches.held_by.unwrap_or_default(),
        held_seconds_left: view.switches.held_for.map(|left| left.as_secs()),
        as_subprograms: view.switches.as_subprograms,
        keep_attached: view.switches.keep_attached,
        timing: view.switches.timing,
        all_proceeded: view.all_proceeded,
        failed: view.failed,
        fallbacks: view.fallbacks,
        optimisation: view.optimisation.name().to_owned(),
        optimisation_limit: view.switches.optimisation.name().to_owned(),
        folded_instructions: view.savings.folded,
        shared_header_tests: view.savings.shared,
        ..Default::default()
    }
}

fn member(view: ChainMember) -> wire::MemberView {
    let counters = view.counters;
    wire::MemberView {
        way: view.way.name().to_owned(),
        way_reason: view.way_reason,
        order_reason: view.reason,
        role: view.link.order.role.as_ref().map(ToString::to_string).unwrap_or_default(),
        segment: view.segment,
        image_digest: view.program.source.image_digest().unwrap_or_default().to_owned(),
        runs: counters.as_ref().map(|counted| counted.runs),
        ended: counters.as_ref().map(|counted| by_verdict(&counted.ended)).unwrap_or_default(),
        shadow: view.link.sharing.shadow,
        shadowed: counters.as_ref().map(|counted| by_verdict(&counted.shadowed)).unwrap_or_default(),
        runs_per_second: 0.0,
        nanoseconds_per_run: view.time.and_then(|time| time.nanoseconds_per_run()),
    }
}

pub fn by_verdict(counts: &[(&'static str, u64)]) -> Vec<wire::VerdictCount> {
    let count = |(verdict, packets): &(&'static str, u64)| wire::VerdictCount {
        verdict: (*verdict).to_owned(),
        packets: *packets,
    };
    counts.iter().map(count).collect()
}

fn segment(segment: &SegmentRecord) -> wire::ChainSegment {
    wire::ChainSegment {
        program_id: segment.program.0,
        program_tag: bpfman_model::hexadecimal(&segment.tag),
        first_member: segment.first,
        members: segment.members,
        verified_insns: segment.verified_insns,
        reason: segment.reason.clone(),
    }
}

/// Sets rates per second, by the runs since an earlier observation, of members that were in both.
pub fn rates(shown: &mut wire::ShowChainResponse, earlier: &HookView, time: Duration) {
    let (Some(chain), Some(before)) = (&shown.chain, &earlier.chain) else { return };
    let before: BTreeMap<u32, u64> = before
        .members
        .iter()
        .filter_map(|member| Some((member.link.id.0, member.counters.as_ref()?.runs)))
        .collect();
    for (member, view) in chain.members.iter().zip(&mut shown.members) {
        if let (Some(now), Some(then)) = (view.runs, before.get(&member.link_id)) {
            view.runs_per_second = now.saturating_sub(*then) as f64 / time.as_secs_f64();
        }
    }
    shown.packets_per_second = shown.members.first().map_or(0.0, |first| first.runs_per_second);
}

pub fn hook(summary: HookSummary) -> wire::HookSummary {
    let text = |(link, standing): &(Option<LinkId>, Standing)| match link {
        Some(link) => format!("link {link}: {standing}"),
        None => standing.to_string(),
    };
    let troubles: Vec<String> = summary.troubles.iter().map(text).collect();
    let worst = summary.troubles.first().map_or(&Standing::Running, |(_, standing)| standing);
    wire::HookSummary {
        hook: summary.hook,
        strategy: summary.strategy.to_owned(),
        members: summary.members as u32,
        program_id: summary.program.map(|id| id.0),
        mode: summary.mode.to_owned(),
        state: if troubles.is_empty() { Standing::Running.to_string() } else { troubles.join("; ") },
        standing: standing(worst).into(),
        shared_with: summary.shared_with as u32,
        xdp: summary.xdp.map(xdp),
    }
}

pub fn verified(verified: ChainVerification) -> wire::VerifyChainResponse {
    let part = |part: VerifiedPart| wire::VerifiedPart {
        part: part.part,
        expected: part.expected,
        found: part.found,
        matches: part.matches,
        provenance: part.provenance,
    };
    wire::VerifyChainResponse {
        matches: verified.matches(),
        parts: verified.parts.into_iter().map(part).collect(),
    }
}

pub fn switches(changed: bool, switches: &HookSwitches) -> wire::SetHookResponse {
    wire::SetHookResponse {
        changed,
        counters: switches.counters,
        held: switches.held_by.is_some(),
        as_subprograms: switches.as_subprograms,
        keep_attached: switches.keep_attached,
        timing: switches.timing,
        optimisation: switches.optimisation.name().to_owned(),
        held_seconds_left: switches.held_for.map(|left| left.as_secs()),
    }
}

pub fn matching(matching: MatchingDetails, fs: &Path) -> wire::Matching {
    let which = &matching.record.interfaces;
    wire::Matching {
        id: matching.record.id.0,
        program_id: matching.program.id.0,
        program_name: matching.program.name.clone(),
        attachment: match (matching.record.point.hook(), matching.record.point.priority()) {
            (Some((_, kind)), Some(priority)) => {
                let direction = kind.direction().map(|side| format!(" {side}")).unwrap_or_default();
                format!("{}{direction}, priority {priority}", kind.name())
            }
            _ => matching.record.point.to_string(),
        },
        r#match: Some(wire::InterfaceMatch {
            names: which.names().map(str::to_owned).collect(),
            except: which.except().map(str::to_owned).collect(),
            indexes: which.indexes().iter().map(|index| index.0).collect(),
            netns: which.netns().iter().map(ToString::to_string).collect(),
        }),
        links: matching.links.into_iter().map(|link| ext_show::link(link, fs)).collect(),
        failures: matching.failures,
        ttl_left: matching.left.map(|left| left.as_secs()),
    }
}

pub fn replaced(outcome: ReplaceOutcome, program: Option<wire::Program>) -> wire::ReplaceProgramResponse {
    wire::ReplaceProgramResponse {
        program,
        previous_program_id: outcome.previous.map(|id| id.0),
        maps: outcome.maps.into_iter().map(map_outcome).collect(),
        links_switched: outcome.links_switched as u32,
        values_set: true,
    }
}

pub fn map_outcome(map: MapOutcome) -> wire::MapOutcome {
    wire::MapOutcome {
        name: map.name,
        outcome: map.fate.name().to_owned(),
        entries: match map.fate {
            MapFate::Copied(entries) => entries,
            MapFate::Kept | MapFate::New => 0,
        },
    }
}

pub fn trace(trace: ChainTrace, family: VerdictFamily, sends_nothing: bool) -> wire::TraceChainResponse {
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
    let note = note(family, (trace.has_chain, trace.told_where), sends_nothing);
    wire::TraceChainResponse { traces: trace.packets.into_iter().map(packet).collect(), note }
}

fn note(family: VerdictFamily, (has_chain, told_where): (bool, bool), sends_nothing: bool) -> String {
    let mut note = String::from(
        "test runs: programs worked on their own maps, once alone and once in the chain, so what they count, learn or \
         limit has moved, and what depends on that, on time or on chance may differ between the two. No verdict was \
         followed: redirects and AF_XDP sockets got nothing. VLAN tags are seen in the packet, not beside it.",
    );
    note.push_str(match sends_nothing {
        true => " No program here sends copies (bpf_clone_redirect).",
        false => " Copies that programs make (bpf_clone_redirect) were sent.",
    });
    if family != VerdictFamily::Xdp {
        note.push_str(" The packet had no socket, no conntrack entry and no other owner.");
    }
    if !has_chain {
        note.push_str(" The kernel itself goes from link to link here: there is no chain to compare with.");
    }
    if !told_where {
        note.push_str(
            " This kernel could not tell the programs the interface, nor hand metadata or marks on.",
        );
    }
    note
}

fn verdict(family: VerdictFamily, code: i32) -> String {
    family.name_of(code).map_or_else(|| code.to_string(), str::to_owned)
}
