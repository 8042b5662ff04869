//! Findings of `doctor`.

use bpfman_model::Hint;
use serde::Serialize;

use super::CommandOutput;
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::finding_class::FindingClass;

/// Version of the JSON form. It increases when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    pub checked: CheckedCounts,
    pub findings: Vec<Finding>,
    /// Notes that are no differences.
    pub notes: Vec<DoctorNote>,
}

#[derive(Serialize)]
struct DiagnosisJson<'d> {
    schema: u32,
    /// `ok`, or the class of the gravest finding.
    status: &'static str,
    exit_code: u8,
    checked: CheckedCounts,
    findings: &'d [Finding],
    notes: &'d [DoctorNote],
}

impl Serialize for Diagnosis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let gravest = self.gravest();
        let json = DiagnosisJson {
            schema: SCHEMA,
            status: gravest.map_or("ok", |found| found.class.name()),
            exit_code: gravest.map_or(0, |found| found.exit_code),
            checked: self.checked,
            findings: &self.findings,
            notes: &self.notes,
        };
        json.serialize(serializer)
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CheckedCounts {
    pub programs: usize,
    pub links: usize,
    /// Chains, each of which was rebuilt for comparison.
    pub chains: usize,
    pub matches: usize,
}

/// Difference from the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub class: FindingClass,
    /// Exit code of `doctor` for it.
    pub exit_code: u8,
    /// `program 7`, `link 90`, `xdp:eth0` or `match 4`.
    pub subject: String,
    pub finding: String,
    pub why: Option<String>,
    pub fix: Option<String>,
}

/// Note that is no difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorNote {
    pub subject: String,
    pub finding: String,
}

impl Diagnosis {
    /// Adds a finding, and a command that helps.
    pub fn found(
        &mut self,
        class: FindingClass,
        subject: impl Into<String>,
        finding: impl Into<String>,
        fix: &Hint,
    ) {
        self.because(class, subject, finding, "", fix.command());
    }

    /// Adds a finding with its consequence.
    pub fn because(
        &mut self,
        class: FindingClass,
        subject: impl Into<String>,
        finding: impl Into<String>,
        why: impl Into<String>,
        fix: Option<String>,
    ) {
        let (subject, finding) = (subject.into(), finding.into());
        let (why, fix) = (filled(&why.into()), fix.filter(|fix| !fix.is_empty()));
        self.findings.push(Finding { class, exit_code: class.exit().number(), subject, finding, why, fix });
    }

    /// Returns the finding that determines the exit code; none without findings.
    #[must_use]
    pub fn gravest(&self) -> Option<&Finding> {
        FindingClass::ALL.iter().find_map(|class| self.findings.iter().find(|found| found.class == *class))
    }

    pub fn note(&mut self, subject: impl Into<String>, note: impl Into<String>) {
        self.notes.push(DoctorNote { subject: subject.into(), finding: note.into() });
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
            return format!("{summary} no differences from the records\n\n");
        }
        let mut table = TextTable::new(&["Subject", "Finding"]);
        for finding in &self.findings {
            table.row(vec![finding.subject.clone(), finding.finding.clone()]);
        }
        let mut text = format!("{summary}\n{}\n", table.render(screen));
        for Finding { subject, why, fix, .. } in &self.findings {
            text.extend(why.as_ref().map(|why| format!(" why: {subject}: {why}\n")));
            text.extend(fix.as_ref().map(|fix| format!(" fix: {subject}: {fix}\n")));
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.findings.iter().map(|finding| finding.subject.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_a_table_and_empty_list_is_reported() {
        let mut diagnosis = Diagnosis {
            checked: CheckedCounts { programs: 2, links: 3, chains: 1, matches: 0 },
            ..Default::default()
        };
        let summary = " checked: 2 programs, 3 links, 1 chains, 0 patterns\n";
        assert_eq!(diagnosis.table(Screen::PLAIN), format!("{summary} no differences from the records\n\n"));
        let missing = "unpinned: the pin of its chain was removed";
        diagnosis.found(
            FindingClass::DRIFT,
            "xdp:eth0",
            missing,
            &Hint::ShowChain { hook: "xdp:eth0".to_owned() },
        );
        assert_eq!(
            diagnosis.table(Screen::PLAIN),
            format!(
                "{summary}\n Subject   Finding\n xdp:eth0  unpinned: the pin of its chain was removed\n\n fix: xdp:eth0: \
                 bpfman chain show xdp:eth0\n"
            )
        );
        assert_eq!(diagnosis.ids(), ["xdp:eth0"]);
        assert_eq!(diagnosis.gravest().map(|found| found.exit_code), Some(7));
        diagnosis.found(FindingClass::DISK, "/var", "full", &"".into());
        assert_eq!(diagnosis.gravest().map(|found| found.exit_code), Some(13));
        let json = serde_json::to_value(&diagnosis).unwrap();
        assert_eq!(
            (&json["schema"], &json["status"], &json["exit_code"]),
            (&1.into(), &"disk".into(), &13.into())
        );
        let json = serde_json::to_value(Diagnosis::default()).unwrap();
        assert_eq!((&json["status"], &json["exit_code"]), (&"ok".into(), &0.into()));
        diagnosis.findings.pop();
        diagnosis.note("cage: seccomp", "system calls are not filtered");
        let shown = diagnosis.table(Screen::PLAIN);
        assert!(shown.starts_with(&format!(
            "{summary} note: cage: seccomp: system calls are not filtered\n\n Subject"
        )));
    }
}
