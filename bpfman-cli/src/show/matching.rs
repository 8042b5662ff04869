//! Attachments by pattern, and their interfaces.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::block::Block;
use super::json::LinkJson;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct MatchingList {
    pub matches: Vec<MatchingJson>,
}

json_shape! {
    /// Attachment to all matching interfaces.
    pub struct MatchingJson(matching: &ext::Matching) {
        match_id: u32 = matching.id,
        program_id: u32 = matching.program_id,
        program_name: String = matching.program_name.clone(),
        /// Attach point in one line.
        attachment: String = matching.attachment.clone(),
        /// Names and globs of interfaces.
        iface_match: Vec<String> = selector(matching).names,
        iface_except: Vec<String> = selector(matching).except,
        iface_index: Vec<u32> = selector(matching).indexes,
        /// Network namespace files, or globs of them.
        netns_match: Vec<String> = selector(matching).netns,
        links: Vec<LinkJson> = matching.links.iter().map(LinkJson::new).collect(),
        /// Seconds until it is removed with its links; null if it stays.
        ttl_left: Option<u64> = matching.ttl_left,
        /// Matching interfaces without a link, with the reason.
        failures: Vec<String> = matching.failures.clone(),
    }
}

/// Returns the interface selector; all fields are empty if the daemon omits it.
fn selector(matching: &ext::Matching) -> ext::InterfaceMatch {
    matching.r#match.clone().unwrap_or_default()
}

impl MatchingJson {
    fn interfaces(&self) -> String {
        let mut text = self.iface_match.join(", ");
        for index in &self.iface_index {
            text.push_str(&format!("{}index {index}", if text.is_empty() { "" } else { ", " }));
        }
        if !self.iface_except.is_empty() {
            text.push_str(&format!(" except {}", self.iface_except.join(", ")));
        }
        if !self.netns_match.is_empty() {
            text.push_str(&format!(" in {}", self.netns_match.join(", ")));
        }
        text
    }
}

impl CommandOutput for MatchingJson {
    fn table(&self, screen: Screen) -> String {
        let matching = self;
        let mut block = Block::new("Bpfman State");
        block
            .line("BPF Function", &matching.program_name)
            .line("Program ID", matching.program_id)
            .line("Match ID", matching.match_id)
            .line("Attachment", &matching.attachment)
            .line("Interfaces", matching.interfaces())
            .lines("Links", matching.links.iter().map(|link| format!("{} {}", link.link_id, link.attachment)))
            .lines("Failures", matching.failures.iter().cloned());
        block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.match_id.to_string()]
    }
}

impl CommandOutput for MatchingList {
    fn table(&self, screen: Screen) -> String {
        let columns =
            ["Match ID", "Program ID", "Function Name", "Attachment", "Links", "Failures", "Interfaces"];
        let mut table = TextTable::new(&columns);
        for matching in &self.matches {
            table.row(vec![
                matching.match_id.to_string(),
                matching.program_id.to_string(),
                matching.program_name.clone(),
                matching.attachment.clone(),
                matching.links.len().to_string(),
                matching.failures.len().to_string(),
                matching.interfaces(),
            ]);
        }
        format!("{}\n", table.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.matches.iter().map(|matching| matching.match_id.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching() -> MatchingJson {
        MatchingJson::new(&ext::Matching {
            ttl_left: None,
            id: 4,
            program_id: 7,
            program_name: "wall".into(),
            attachment: "xdp, priority 50".into(),
            r#match: Some(ext::InterfaceMatch {
                names: vec!["veth*".into()],
                except: vec!["veth9".into()],
                indexes: vec![3],
                netns: vec!["/run/netns/*".into()],
            }),
            links: vec![ext::Link { id: 90, attachment: "veth0 pos-0".into(), ..Default::default() }],
            failures: vec!["veth1: held by program 12".into()],
        })
    }

    #[test]
    fn one_is_a_block_with_what_it_found_and_what_failed() {
        assert_eq!(
            matching().table(Screen::PLAIN),
            " Bpfman State
 BPF Function:  wall
 Program ID:    7
 Match ID:      4
 Attachment:    xdp, priority 50
 Interfaces:    veth*, index 3 except veth9 in /run/netns/*
 Links:         90 veth0 pos-0
 Failures:      veth1: held by program 12

"
        );
    }

    #[test]
    fn many_are_a_table() {
        let list = MatchingList { matches: vec![matching()] };
        let text = list.table(Screen::PLAIN);
        assert!(
            text.contains(" 4         7           wall           xdp, priority 50  1      1         veth*, "),
            "{text}"
        );
        assert_eq!(list.ids(), ["4"]);
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["matches"][0]["links"][0]["link_id"], 90);
    }
}
