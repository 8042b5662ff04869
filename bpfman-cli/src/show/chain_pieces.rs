//! Parts of a chain's drawing.

use super::chain::{ChainJson, EntryJson, MemberJson, SegmentJson};

pub fn cut(text: &mut String, segment: &SegmentJson) {
    let reason = segment.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    text.push_str(&format!("   = program {} goes on by a tail call{reason}\n   |\n", segment.program_id));
}

pub fn draw_member(text: &mut String, chain: &ChainJson, member: &MemberJson) {
    let mut about = vec![format!("link {}", member.link_id), format!("program {}", member.program_id)];
    about.extend(member.role.as_ref().map(|role| format!("role {role}")));
    about.extend(
        member.way.as_ref().map(|way| with_reason(way, member.way_reason.as_deref().unwrap_or_default())),
    );
    text.push_str(&format!("   +- {} {}   {}\n", member.position, member.program_name, about.join(", ")));
    let mut line = |name: &str, value: &str| text.push_str(&format!("   |    {name:<12}{value}\n"));
    let priority = format!("priority {}", member.priority);
    line("order", member.order_reason.as_ref().unwrap_or(&priority));
    if member.shadow {
        line("proceeds on", "anything: it is a shadow");
    } else if !member.proceed_on.is_empty() {
        line("proceeds on", &member.proceed_on.join(", "));
    }
    if let Some(digest) = &member.image_digest {
        line("image", digest);
    }
    if let Some(runs) = member.runs {
        let mut runs = runs.to_string();
        if member.runs_per_second > 0.0 {
            runs.push_str(&format!(", {}", rate(member.runs_per_second)));
        }
        line("runs", &runs);
    }
    if let Some(time) = member.nanoseconds_per_run {
        line("time", &format!("{time:.1} ns a run"));
    }
    if chain.counters {
        let ended: Vec<String> =
            member.ended.iter().map(|end| format!("{} {}", end.verdict, end.packets)).collect();
        let ended = ended.join(", ");
        line("ended here", if ended.is_empty() { "none" } else { &ended });
        let shadowed: Vec<String> =
            member.shadowed.iter().map(|count| format!("{} {}", count.verdict, count.packets)).collect();
        if !shadowed.is_empty() {
            line("as a shadow", &shadowed.join(", "));
        }
    }
    text.push_str("   |\n");
}

pub fn stranger(text: &mut String, entry: &EntryJson) {
    let name = entry.program_name.as_deref().unwrap_or("(no name)");
    let whose = if entry.ours { "ours" } else { "others" };
    let mut about = Vec::new();
    about.extend(entry.program_id.map(|id| format!("program {id}")));
    about.extend(entry.program_tag.as_ref().map(|tag| format!("tag {tag}")));
    about.push(entry.via.clone());
    about.extend(entry.detail.clone());
    about.extend(entry.kernel_link_id.map(|id| format!("kernel link {id}")));
    text.push_str(&format!("   +- {whose}: {name}   {}\n", about.join(", ")));
    if !entry.held_by.is_empty() {
        text.push_str(&format!("   |    {:<12}{}\n", "held by", entry.held_by.join(", ")));
    }
    text.push_str("   |\n");
}

pub fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what} ({reason})") }
}

pub fn rate(per_second: f64) -> String {
    format!("{per_second:.0}/s")
}
