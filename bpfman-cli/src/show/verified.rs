//! A chain that was built again and compared with what the kernel runs.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::record::filled;
use super::screen::Screen;
use super::table::Table;

/// The answer to `chain verify`.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The hook as it was asked for.
    pub hook: String,
    /// Whether all parts are as they should be.
    pub matches: bool,
    /// What was compared.
    pub parts: Vec<PartRecord>,
}

/// One thing that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct PartRecord {
    /// For example `program 2 of 3` or `member firewall`.
    pub part: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Whether these are the same.
    pub matches: bool,
    /// Image digest, signer and rule.
    pub provenance: Option<String>,
}

impl Verified {
    /// The daemon's answer for a hook.
    #[must_use]
    pub fn new(hook: String, answer: &ext::VerifyChainResponse) -> Self {
        let part = |part: &ext::VerifiedPart| PartRecord {
            part: part.part.clone(),
            expected: part.expected.clone(),
            found: part.found.clone(),
            matches: part.matches,
            provenance: filled(&part.provenance),
        };
        Self { hook, matches: answer.matches, parts: answer.parts.iter().map(part).collect() }
    }

    /// The parts that differ, one line each.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let differing = self.parts.iter().filter(|part| !part.matches);
        differing
            .map(|part| format!("{}: expected {}, found {}", part.part, part.expected, part.found))
            .collect()
    }
}

impl Answer for Verified {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let mut table = Table::new(&["Part", "Same", "Expected", "Found", "Provenance"]);
        for part in &self.parts {
            table.row(vec![
                part.part.clone(),
                if part.matches { "yes" } else { "NO" }.to_owned(),
                part.expected.clone(),
                part.found.clone(),
                part.provenance.clone().unwrap_or_default(),
            ]);
        }
        format!("{}\n", table.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.parts.iter().filter(|part| !part.matches).map(|part| part.part.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_stands_out() {
        let part = |part: &str, found: &str, matches| ext::VerifiedPart {
            part: part.into(),
            expected: "tag ab".into(),
            found: found.into(),
            matches,
            provenance: String::new(),
        };
        let answer = ext::VerifyChainResponse {
            matches: false,
            parts: vec![part("program 1 of 2", "tag ab", true), part("program 2 of 2", "tag cd", false)],
        };
        let verified = Verified::new("xdp:eth0".into(), &answer);
        assert_eq!(
            verified.table(Screen::PLAIN),
            " Part            Same  Expected  Found   Provenance
 program 1 of 2  yes   tag ab    tag ab
 program 2 of 2  NO    tag ab    tag cd

"
        );
        assert_eq!(verified.ids(), ["program 2 of 2"]);
        assert_eq!(verified.differences(), ["program 2 of 2: expected tag ab, found tag cd"]);
    }
}
