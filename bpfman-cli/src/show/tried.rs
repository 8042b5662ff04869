//! What a trial found: programs and chains that were loaded and discarded.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::record::filled;
use super::screen::Screen;
use super::table::Table;

/// The answer to `load --dry-run`.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Whether every program and chain was accepted.
    pub accepted: bool,
    /// What failed before any program was tried.
    pub failure: Option<String>,
    /// As `uname -r` prints it.
    pub kernel_release: String,
    /// Digest of the image.
    pub image_digest: Option<String>,
    /// Policy rule and signer that let the image in.
    pub verified_by: Option<String>,
    /// Hash over the programs that share the hooks.
    pub composition: Option<String>,
    /// The programs.
    pub tried_programs: Vec<TriedPart>,
    /// The chains.
    pub tried_chains: Vec<TriedPart>,
}

/// A program or chain that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct TriedPart {
    /// Function, or hook.
    pub name: String,
    /// Whether the kernel took it.
    pub accepted: bool,
    /// Why not.
    pub failure: Option<String>,
    /// The telling line of the verifier.
    pub verifier_line: Option<String>,
    /// Instructions that the verifier walked through.
    pub verified_instructions: u32,
    /// How long the kernel took.
    pub load_nanoseconds: u64,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Programs in the chain, these included.
    pub member_count: u32,
    /// How the chain would be built.
    pub strategy: Option<String>,
}

impl From<&ext::DryRunPart> for TriedPart {
    fn from(part: &ext::DryRunPart) -> Self {
        Self {
            name: part.name.clone(),
            accepted: part.failure.is_none(),
            failure: part.failure.as_ref().map(|failure| failure.message.clone()),
            verifier_line: filled(&part.verifier_line),
            verified_instructions: part.verified_insns,
            load_nanoseconds: part.load_nanoseconds,
            jited_bytes: part.jited_bytes,
            member_count: part.members,
            strategy: filled(&part.strategy),
        }
    }
}

impl From<&ext::DryRunResponse> for Tried {
    fn from(answer: &ext::DryRunResponse) -> Self {
        Self {
            accepted: answer.accepted,
            failure: answer.failure.as_ref().map(|failure| failure.message.clone()),
            kernel_release: answer.kernel_release.clone(),
            image_digest: filled(&answer.image_digest),
            verified_by: filled(&answer.verified_by),
            composition: filled(&answer.composition),
            tried_programs: answer.programs.iter().map(TriedPart::from).collect(),
            tried_chains: answer.chains.iter().map(TriedPart::from).collect(),
        }
    }
}

impl Answer for Tried {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let mut table =
            Table::new(&["Program", "Verdict", "Verified Insns", "Load Time", "Size", "Built As"]);
        for part in self.tried_programs.iter().chain(&self.tried_chains) {
            let told = |text: String| if part.accepted { text } else { String::new() };
            let built =
                part.strategy.as_ref().map(|strategy| format!("{strategy}, {} members", part.member_count));
            table.row(vec![
                part.name.clone(),
                if part.accepted { "accepted" } else { "REFUSED" }.to_owned(),
                told(part.verified_instructions.to_string()),
                told(format!("{:.1} ms", part.load_nanoseconds as f64 / 1e6)),
                told(format!("{} B", part.jited_bytes)),
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
    fn what_was_refused_stands_out_and_its_figures_are_left_out() {
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
        let tried = Tried::from(&answer);
        let text = tried.table(Screen::PLAIN);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["pass", "accepted", "12", "1.2", "ms", "96", "B"]);
        assert_eq!(lines[2], ["xdp:eth0", "REFUSED", "splice,", "3", "members"]);
        assert_eq!(tried.ids(), ["xdp:eth0"]);
    }
}
