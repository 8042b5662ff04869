//! Result of a dry run: programs and chains that were loaded and discarded.

use bpfman_proto::ext::v1 as ext;

use super::CommandOutput;
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

json_shape! {
    pub struct Tried(answer: &ext::DryRunResponse) {
        /// True if every program and chain was accepted.
        accepted: bool = answer.accepted,
        /// Failure before any program was tried.
        failure: Option<String> = message(answer.failure.as_ref()),
        /// Kernel release, as in `uname -r`.
        kernel_release: String = answer.kernel_release.clone(),
        image_digest: Option<String> = filled(&answer.image_digest),
        /// Policy rule and signer that verified the image.
        verified_by: Option<String> = filled(&answer.verified_by),
        /// Hash of the programs at the hooks.
        composition: Option<String> = filled(&answer.composition),
        tried_programs: Vec<TriedPart> = answer.programs.iter().map(TriedPart::new).collect(),
        tried_chains: Vec<TriedPart> = answer.chains.iter().map(TriedPart::new).collect(),
    }
}

json_shape! {
    /// Result of a program or chain.
    pub struct TriedPart(part: &ext::DryRunPart) {
        name: String = part.name.clone(),
        /// True if the kernel accepted it.
        accepted: bool = part.failure.is_none(),
        failure: Option<String> = message(part.failure.as_ref()),
        /// Decisive line of the verifier log.
        verifier_line: Option<String> = filled(&part.verifier_line),
        /// Number of instructions that the verifier processed.
        verified_instructions: u32 = part.verified_insns,
        load_nanoseconds: u64 = part.load_nanoseconds,
        /// Size of the machine code, in bytes.
        jited_bytes: u32 = part.jited_bytes,
        /// Number of programs in the chain, including the new ones.
        member_count: u32 = part.members,
        strategy: Option<String> = filled(&part.strategy),
    }
}

fn message(failure: Option<&ext::Failure>) -> Option<String> {
    failure.map(|failure| failure.message.clone())
}

impl CommandOutput for Tried {
    fn table(&self, screen: Screen) -> String {
        let mut table =
            TextTable::new(&["Program", "Verdict", "Verified Insns", "Load Time", "Size", "Built As"]);
        for part in self.tried_programs.iter().chain(&self.tried_chains) {
            let if_accepted = |text: String| if part.accepted { text } else { String::new() };
            let built =
                part.strategy.as_ref().map(|strategy| format!("{strategy}, {} members", part.member_count));
            table.row(vec![
                part.name.clone(),
                if part.accepted { "accepted" } else { "REFUSED" }.to_owned(),
                if_accepted(part.verified_instructions.to_string()),
                if_accepted(format!("{:.1} ms", part.load_nanoseconds as f64 / 1e6)),
                if_accepted(format!("{} B", part.jited_bytes)),
                built.unwrap_or_default(),
            ]);
        }
        format!("{}\n", table.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        let all = self.tried_programs.iter().chain(&self.tried_chains);
        all.filter(|part| !part.accepted).map(|part| part.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_part_is_marked_without_metrics() {
        let program = ext::DryRunPart {
            name: "pass".into(),
            verified_insns: 12,
            load_nanoseconds: 1_234_567,
            jited_bytes: 96,
            ..Default::default()
        };
        let chain = ext::DryRunPart {
            name: "xdp:eth0".into(),
            failure: Some(ext::Failure { message: "no".into(), ..Default::default() }),
            members: 3,
            strategy: "splice".into(),
            ..Default::default()
        };
        let answer =
            ext::DryRunResponse { programs: vec![program], chains: vec![chain], ..Default::default() };
        let tried = Tried::new(&answer);
        let text = tried.table(Screen::PLAIN);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["pass", "accepted", "12", "1.2", "ms", "96", "B"]);
        assert_eq!(lines[2], ["xdp:eth0", "REFUSED", "splice,", "3", "members"]);
        assert_eq!(tried.ids(), ["xdp:eth0"]);
    }
}
