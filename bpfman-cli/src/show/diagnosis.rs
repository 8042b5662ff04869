//! What `doctor` found.

use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use super::table::TextTable;

/// The answer to `doctor`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diagnosis {
    /// How much was looked at.
    pub checked: CheckedCounts,
    /// What differs from what was asked for.
    pub findings: Vec<Finding>,
    /// What is as it was asked for, and to be known.
    pub notes: Vec<Finding>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CheckedCounts {
    /// Programs of ours.
    pub programs: usize,
    /// Links.
    pub links: usize,
    /// Chains, each built again.
    pub chains: usize,
    /// Attachments by pattern.
    pub matches: usize,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `program 7`, `link 90`, `xdp:eth0` or `match 4`.
    pub subject: String,
    /// What is wrong with it.
    pub finding: String,
}

impl Diagnosis {
    /// Adds a finding.
    pub fn found(&mut self, subject: impl Into<String>, finding: impl Into<String>) {
        self.findings.push(Finding { subject: subject.into(), finding: finding.into() });
    }

    /// Adds a note.
    pub fn note(&mut self, subject: impl Into<String>, note: impl Into<String>) {
        self.notes.push(Finding { subject: subject.into(), finding: note.into() });
    }
}

impl CommandOutput for Diagnosis {
    fn table(&self, screen: Screen) -> String {
        let CheckedCounts { programs, links, chains, matches } = self.checked;
        let summary =
            format!(" checked: {programs} programs, {links} links, {chains} chains, {matches} patterns\n");
        let notes: String =
            self.notes.iter().map(|note| format!(" note: {}: {}\n", note.subject, note.finding)).collect();
        let summary = summary + &notes;
        if self.findings.is_empty() {
            return format!("{summary} all is as it was asked for\n\n");
        }
        let mut table = TextTable::new(&["Subject", "Finding"]);
        for finding in &self.findings {
            table.row(vec![finding.subject.clone(), finding.finding.clone()]);
        }
        format!("{summary}\n{}\n", table.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.findings.iter().map(|finding| finding.subject.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_a_table_and_none_is_said_to_be_none() {
        let mut diagnosis = Diagnosis {
            checked: CheckedCounts { programs: 2, links: 3, chains: 1, matches: 0 },
            ..Default::default()
        };
        let summary = " checked: 2 programs, 3 links, 1 chains, 0 patterns\n";
        assert_eq!(diagnosis.table(Screen::PLAIN), format!("{summary} all is as it was asked for\n\n"));
        diagnosis.found("xdp:eth0", "missing: the pin of its chain was removed");
        assert_eq!(
            diagnosis.table(Screen::PLAIN),
            format!(
                "{summary}\n Subject   Finding\n xdp:eth0  missing: the pin of its chain was removed\n\n"
            )
        );
        assert_eq!(diagnosis.ids(), ["xdp:eth0"]);
        diagnosis.note("cage: seccomp", "system calls are not filtered");
        let shown = diagnosis.table(Screen::PLAIN);
        assert!(shown.starts_with(&format!(
            "{summary} note: cage: seccomp: system calls are not filtered\n\n Subject"
        )));
    }
}
