//! Drawing of a chain: the hook's program, then everything that a packet meets, from top to bottom.

use bpfman_model::Optimisation;

use super::block::Block;
use super::chain::{ChainJson, EntryJson, MemberJson};
use super::chain_pieces::{cut, draw_member, rate, stranger, with_reason};
use super::screen::Screen;
use super::xdp_mode::with_xdp_mode;

/// Returns the block and the drawing.
#[must_use]
pub fn draw(chain: &ChainJson, screen: Screen) -> String {
    format!("{}{}\n", block(chain, screen), packet_path(chain))
}

fn block(chain: &ChainJson, screen: Screen) -> String {
    let mut block = Block::new("Chain");
    block.line("Hook", &chain.hook).line("Strategy", with_reason(&chain.strategy, &chain.reason));
    if chain.strategy != "none" {
        block
            .line("Mode", with_xdp_mode(&chain.mode, chain.xdp_mode.as_deref(), chain.xdp_refusal.as_deref()))
            .optional("Program ID", chain.program_id)
            .optional("Program Name", chain.program_name.as_ref())
            .optional("Tag", chain.program_tag.as_ref())
            .optional("Kernel Link ID", chain.kernel_link_id);
    }
    block
        .line("Verified Instruction Count", chain.verified_instructions)
        .line("Counters", if chain.counters { "on" } else { "off" });
    let mut held = chain.held_by.as_ref().map_or_else(|| "frozen".to_owned(), |by| format!("frozen by {by}"));
    if let Some(left) = chain.held_seconds_left {
        held += &format!(" for another {left} s");
    }
    let switches = [
        (chain.timing, "timing"),
        (chain.held, &*held),
        (chain.as_subprograms, "subprograms"),
        (chain.keep_attached, "kept when empty"),
    ];
    let on: Vec<&str> = switches.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !on.is_empty() {
        block.line("Switches", on.join(", "));
    }
    if let Some(text) = optimisation(chain) {
        block.line("Optimisation", text);
    }
    if chain.packets_per_second > 0.0 {
        block.line("Packets", rate(chain.packets_per_second));
    }
    if chain.fallbacks > 0 {
        block.line("Fallbacks", format!("{} (the verifier refused the first strategy)", chain.fallbacks));
    }
    block.render(screen)
}

/// Describes the optimisation. `None` if there is none and the limit is the default.
fn optimisation(chain: &ChainJson) -> Option<String> {
    let level = chain.optimisation.as_deref()?;
    let limit = chain.optimisation_limit.as_deref().filter(|limit| *limit != Optimisation::default().name());
    if level == Optimisation::None.name() && limit.is_none() {
        return None;
    }
    let counted = [
        (chain.folded_instructions, "instructions are decided by read-only data"),
        (chain.shared_header_tests, "tests of headers are taken from a program before"),
    ];
    let mut parts: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, text)| format!("{count} {text}"))
        .collect();
    if let Some(limit) = limit.filter(|limit| *limit != level) {
        parts.push(format!("up to {limit} is allowed"));
    }
    Some(with_reason(level, &parts.join("; ")))
}

fn packet_path(chain: &ChainJson) -> String {
    let mut text = String::from(" packets\n   |\n");
    let ours = chain.entries.iter().position(|entry| is_the_chain(chain, entry));
    if ours.is_none() && chain.strategy != "kernel" {
        members(&mut text, chain);
    }
    for (index, entry) in chain.entries.iter().enumerate() {
        if Some(index) == ours {
            members(&mut text, chain);
        } else if let Some(member) = member_of(chain, entry) {
            draw_member(&mut text, chain, member);
        } else {
            stranger(&mut text, entry);
        }
    }
    // Also show recorded links that the kernel does not list, so that the difference is visible.
    if chain.strategy == "kernel" {
        let shown = |member: &&MemberJson| {
            chain
                .entries
                .iter()
                .all(|entry| member_of(chain, entry).is_none_or(|m| m.link_id != member.link_id))
        };
        chain.members.iter().filter(shown).for_each(|member| draw_member(&mut text, chain, member));
    }
    text.push_str("   v\n");
    if chain.counters {
        text.push_str(&format!(" every program proceeded: {} packets\n", chain.all_proceeded));
        if chain.failed > 0 {
            text.push_str(&format!(" lost by a tail call: {} packets\n", chain.failed));
        }
    }
    text
}

fn is_the_chain(chain: &ChainJson, entry: &EntryJson) -> bool {
    entry.ours && chain.program_id.is_some() && entry.program_id == chain.program_id
}

/// Returns the member that an entry shows, if each member has an entry of its own, as with tcx links.
fn member_of<'a>(chain: &'a ChainJson, entry: &EntryJson) -> Option<&'a MemberJson> {
    let is_own = entry.ours && chain.strategy == "kernel";
    chain.members.iter().find(|member| is_own && entry.program_id == Some(member.program_id))
}

fn members(text: &mut String, chain: &ChainJson) {
    for member in &chain.members {
        if let Some(segment) = chain.segments.get(member.segment as usize)
            && segment.first_member == member.position
            && member.position > 0
        {
            cut(text, segment);
        }
        draw_member(text, chain, member);
    }
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1 as ext;

    use super::*;

    fn member(position: u32, name: &str) -> ext::ChainMember {
        ext::ChainMember {
            link_id: 90 + position,
            program_id: 7 + position,
            program_name: name.into(),
            position,
            priority: 50,
            proceed_on: vec!["pass".into(), "dispatcher_return".into()],
        }
    }

    fn spliced() -> ext::ShowChainResponse {
        ext::ShowChainResponse {
            chain: Some(ext::GetChainResponse {
                strategy: "splice".into(),
                reason: "2 programs".into(),
                program_id: Some(12),
                program_name: "xdp_eth0".into(),
                program_tag: "d796b57bdaf88123".into(),
                kernel_link_id: Some(3),
                verified_insns: 40,
                members: vec![member(0, "firewall"), member(1, "count")],
                mode: "native".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn drawn(shown: &ext::ShowChainResponse) -> String {
        draw(&ChainJson::of_hook("xdp:eth0", shown), Screen::PLAIN)
    }

    #[test]
    fn a_chain_without_counters() {
        assert_eq!(
            drawn(&spliced()),
            " Chain
 Hook:                        xdp:eth0
 Strategy:                    splice (2 programs)
 Mode:                        native
 Program ID:                  12
 Program Name:                xdp_eth0
 Tag:                         d796b57bdaf88123
 Kernel Link ID:              3
 Verified Instruction Count:  40
 Counters:                    off

 packets
   |
   +- 0 firewall   link 90, program 7
   |    order       priority 50
   |    proceeds on pass, dispatcher_return
   |
   +- 1 count   link 91, program 8
   |    order       priority 50
   |    proceeds on pass, dispatcher_return
   |
   v

"
        );
    }

    #[test]
    fn a_chain_with_all_there_is_to_know() {
        let mut shown = spliced();
        (shown.counters, shown.held, shown.timing) = (true, true, true);
        (shown.held_by, shown.held_seconds_left) = ("user 0".into(), Some(600));
        (shown.all_proceeded, shown.failed, shown.packets_per_second) = (96, 1, 1000.4);
        shown.members = vec![
            ext::MemberView {
                way: "inline".into(),
                order_reason: "before link 91, as asked".into(),
                role: "firewall".into(),
                runs: Some(100),
                ended: vec![ext::VerdictCount { verdict: "drop".into(), packets: 3 }],
                runs_per_second: 1000.4,
                nanoseconds_per_run: Some(12.34),
                ..Default::default()
            },
            ext::MemberView {
                way: "own".into(),
                way_reason: "isolated, as asked".into(),
                segment: 1,
                runs: Some(96),
                image_digest: "sha256:ab".into(),
                ..Default::default()
            },
        ];
        let segment = |program_id, first_member, reason: &str| ext::ChainSegment {
            program_id,
            first_member,
            members: 1,
            reason: reason.into(),
            ..Default::default()
        };
        shown.segments = vec![segment(12, 0, ""), segment(13, 1, "isolated")];
        let text = drawn(&shown);
        assert!(text.contains(
            " Switches:                    timing, frozen by user 0 for another 600 s\n Packets:                     1000/s\n"
        ));
        assert!(
            text.ends_with(
                "
   +- 0 firewall   link 90, program 7, role firewall, inline
   |    order       before link 91, as asked
   |    proceeds on pass, dispatcher_return
   |    runs        100, 1000/s
   |    time        12.3 ns a run
   |    ended here  drop 3
   |
   = program 13 goes on by a tail call: isolated
   |
   +- 1 count   link 91, program 8, own (isolated, as asked)
   |    order       priority 50
   |    proceeds on pass, dispatcher_return
   |    image       sha256:ab
   |    runs        96
   |    ended here  none
   |
   v
 every program proceeded: 96 packets
 lost by a tail call: 1 packets

"
            ),
            "{text}"
        );
    }

    #[test]
    fn third_party_programs_are_drawn_in_packet_order() {
        let mut shown = spliced();
        let entry = |ours, id, via: &str| ext::HookEntry {
            ours,
            program_id: Some(id),
            program_name: "cil".into(),
            via: via.into(),
            ..Default::default()
        };
        shown.entries =
            vec![entry(false, 30, "tcx program"), entry(true, 12, "tcx link"), entry(false, 31, "filter")];
        shown.entries[2].held_by = vec!["cilium-agent (312, cilium.service)".into()];
        let text = drawn(&shown);
        let at = |piece: &str| text.find(piece).unwrap_or_else(|| panic!("{piece}: {text}"));
        assert!(at("+- others: cil   program 30, tcx program") < at("+- 0 firewall"));
        assert!(
            at("+- 1 count") < at("+- others: cil   program 31, filter\n   |    held by     cilium-agent")
        );
        assert_eq!(text.matches("+- 0 firewall").count(), 1);
    }

    #[test]
    fn links_ordered_by_the_kernel_and_lost_links_are_drawn_too() {
        let mut shown = spliced();
        let chain = shown.chain.as_mut().unwrap();
        (chain.strategy, chain.program_id) = ("kernel".into(), None);
        let entry = |ours, id| ext::HookEntry {
            ours,
            program_id: Some(id),
            via: "tcx link".into(),
            ..Default::default()
        };
        shown.entries = vec![entry(true, 8), entry(false, 30)];
        let text = drawn(&shown);
        let at = |piece: &str| text.find(piece).unwrap_or_else(|| panic!("{piece}: {text}"));
        assert!(at("+- 1 count") < at("+- others: (no name)   program 30"));
        assert!(at("+- others") < at("+- 0 firewall"), "the kernel does not list it");
    }

    #[test]
    fn a_hook_without_ours_shows_others() {
        let shown = ext::ShowChainResponse {
            entries: vec![ext::HookEntry { via: "xdp netlink".into(), ..Default::default() }],
            ..Default::default()
        };
        let text = drawn(&shown);
        assert!(
            text.contains(" none (no program of bpfman is attached)\n") && !text.contains("Mode:"),
            "{text}"
        );
        assert!(text.contains("+- others: (no name)   xdp netlink"), "{text}");
    }
}
