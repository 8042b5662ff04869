//! Traces of packets through the programs of a hook.

use bpfman_model::hexadecimal;
use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct Traced {
    pub hook: String,
    /// Packets, in the order of the command line.
    pub packets: Vec<PacketJson>,
    pub note: String,
}

json_shape! {
    pub struct PacketJson(number: usize, source: String, length: usize, trace: &ext::PacketTrace) {
        /// Number of the packet, from 1.
        number: usize = number,
        /// Source of the packet: `--packet`, or the file.
        source: String = source,
        /// Length of the packet, in bytes.
        length: usize = length,
        /// Verdict of the whole chain.
        verdict: String = trace.verdict.clone(),
        /// True if the programs, run one by one, have the same verdict.
        agrees: bool = trace.agrees,
        steps: Vec<StepJson> = trace.steps.iter().map(StepJson::new).collect(),
    }
}

json_shape! {
    /// Run of one program.
    pub struct StepJson(step: &ext::TraceStep) {
        link_id: u32 = step.link_id,
        program_name: String = step.program_name.clone(),
        verdict: String = step.verdict.clone(),
        /// True if the next program ran.
        proceeded: bool = step.proceeded,
        /// Changes of the packet, as text.
        changes: Vec<String> = step.changes.clone(),
        /// Packet after the program in hexadecimal digits, if changed.
        data: Option<String> = step.data.as_deref().map(hexadecimal),
        nanoseconds: u32 = step.nanoseconds,
    }
}

impl CommandOutput for Traced {
    fn table(&self, _: Screen) -> String {
        let mut text = String::new();
        for packet in &self.packets {
            text.push_str(&format!(
                " packet {} ({} bytes, {})\n",
                packet.number, packet.length, packet.source
            ));
            for (place, step) in packet.steps.iter().enumerate() {
                let end = if step.proceeded { "proceeds" } else { "ends here" };
                text.push_str(&format!(
                    "   {place} {}   {}, {end}   link {}, {} ns\n",
                    step.program_name, step.verdict, step.link_id, step.nanoseconds
                ));
                for change in &step.changes {
                    text.push_str(&format!("       {change}\n"));
                }
            }
            let agreement = if packet.agrees {
                "the chain and its programs one by one agree"
            } else {
                "THE CHAIN AND ITS PROGRAMS ONE BY ONE DIFFER"
            };
            text.push_str(&format!("   = {}   {agreement}\n\n", packet.verdict));
        }
        if !self.note.is_empty() {
            text.push_str(&format!(" note: {}\n\n", self.note));
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.packets.iter().map(|packet| packet.verdict.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_and_change_has_its_line() {
        let step = |name: &str, verdict: &str, proceeded, changes: &[&str]| ext::TraceStep {
            link_id: 90,
            program_name: name.into(),
            verdict: verdict.into(),
            proceeded,
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
            data: (!changes.is_empty()).then(|| vec![0, 255]),
            nanoseconds: 12,
        };
        let trace = ext::PacketTrace {
            steps: vec![
                step("nat", "pass", true, &["bytes 14-17: 0a000001 -> 0a000002"]),
                step("wall", "drop", false, &[]),
            ],
            verdict: "drop".into(),
            agrees: true,
        };
        let differing = ext::PacketTrace { verdict: "pass".into(), ..Default::default() };
        let traced = Traced {
            hook: "xdp:eth0".into(),
            packets: vec![
                PacketJson::new(1, "--packet".into(), 60, &trace),
                PacketJson::new(2, "a.pcap".into(), 61, &differing),
            ],
            note: "no redirect was done".into(),
        };
        assert_eq!(
            traced.table(Screen::PLAIN),
            " packet 1 (60 bytes, --packet)
   0 nat   pass, proceeds   link 90, 12 ns
       bytes 14-17: 0a000001 -> 0a000002
   1 wall   drop, ends here   link 90, 12 ns
   = drop   the chain and its programs one by one agree

 packet 2 (61 bytes, a.pcap)
   = pass   THE CHAIN AND ITS PROGRAMS ONE BY ONE DIFFER

 note: no redirect was done

"
        );
        assert_eq!(traced.ids(), ["drop", "pass"]);
        let json = serde_json::to_value(&traced).unwrap();
        assert_eq!(json["packets"][0]["steps"][0]["data"], "00ff");
        assert!(json["packets"][0]["steps"][1]["data"].is_null());
    }
}
