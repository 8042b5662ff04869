//! Chain that was rebuilt and compared with the kernel.

use bpfman_proto::ext::v1 as ext;

use super::CommandOutput;
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

json_shape! {
    pub struct VerifiedChain(hook: &str, answer: &ext::VerifyChainResponse) {
        hook: String = hook.to_owned(),
        /// True if all parts match.
        matches: bool = answer.matches,
        parts: Vec<PartJson> = answer.parts.iter().map(PartJson::new).collect(),
    }
}

json_shape! {
    /// Compared part.
    pub struct PartJson(part: &ext::VerifiedPart) {
        /// Name of the part, for example `program 2 of 3` or `member firewall`.
        part: String = part.part.clone(),
        expected: String = part.expected.clone(),
        found: String = part.found.clone(),
        /// True if both are equal.
        matches: bool = part.matches,
        /// Image digest, signer and rule.
        provenance: Option<String> = filled(&part.provenance),
    }
}

impl VerifiedChain {
    /// Returns the parts that differ, one line each.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let differing = self.parts.iter().filter(|part| !part.matches);
        differing
            .map(|part| format!("{}: expected {}, found {}", part.part, part.expected, part.found))
            .collect()
    }
}

impl CommandOutput for VerifiedChain {
    fn table(&self, screen: Screen) -> String {
        let mut table = TextTable::new(&["Part", "Same", "Expected", "Found", "Provenance"]);
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
    fn differing_part_is_marked() {
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
        let verified = VerifiedChain::new("xdp:eth0", &answer);
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
