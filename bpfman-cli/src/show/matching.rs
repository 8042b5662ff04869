//! Attachments by pattern, and the interfaces they found.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::block::Block;
use super::record::LinkRecord;
use super::screen::Screen;
use super::table::Table;

/// The answer to `attach … --iface-match`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct OneMatching(pub MatchingRecord);

/// The answer to `list matches`.
#[derive(Clone, Debug, Serialize)]
pub struct MatchingList {
    /// By id.
    pub matches: Vec<MatchingRecord>,
}

/// An attachment to all interfaces that match.
#[derive(Clone, Debug, Serialize)]
pub struct MatchingRecord {
    /// The daemon's own id.
    pub match_id: u32,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Its function.
    pub program_name: String,
    /// The attach point in one line.
    pub attachment: String,
    /// Names and globs.
    pub iface_match: Vec<String>,
    /// But none of these.
    pub iface_except: Vec<String>,
    /// Interfaces by index.
    pub iface_index: Vec<u32>,
    /// Namespace files, or globs of them.
    pub netns_match: Vec<String>,
    /// One for each interface that was found.
    pub links: Vec<LinkRecord>,
    /// Interfaces that match and have no link, and why.
    pub failures: Vec<String>,
}

impl From<&ext::Matching> for MatchingRecord {
    fn from(matching: &ext::Matching) -> Self {
        let which = matching.r#match.clone().unwrap_or_default();
        Self {
            match_id: matching.id,
            program_id: matching.program_id,
            program_name: matching.program_name.clone(),
            attachment: matching.attachment.clone(),
            iface_match: which.names,
            iface_except: which.except,
            iface_index: which.indexes,
            netns_match: which.netns,
            links: matching.links.iter().map(LinkRecord::from).collect(),
            failures: matching.failures.clone(),
        }
    }
}

impl MatchingRecord {
    /// Which interfaces, in one cell.
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

impl Answer for OneMatching {
    type Record = MatchingRecord;

    fn record(&self) -> MatchingRecord {
        self.0.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let matching = &self.0;
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
        vec![self.0.match_id.to_string()]
    }
}

impl Answer for MatchingList {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let columns =
            ["Match ID", "Program ID", "Function Name", "Attachment", "Links", "Failures", "Interfaces"];
        let mut table = Table::new(&columns);
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

    fn matching() -> MatchingRecord {
        MatchingRecord::from(&ext::Matching {
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
            OneMatching(matching()).table(Screen::PLAIN),
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
