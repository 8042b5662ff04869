//! `bpfman chain trace`.

use std::time::Duration;

use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::chain::{Packets, Trace};
use crate::capture;
use crate::capture::Packet;
use crate::error::CliError;
use crate::show;
use crate::show::traced::{PacketJson, Traced};

/// Minimum packet length, in bytes: without an Ethernet header, the kernel refuses to run a packet.
const MIN_PACKET: usize = 14;

/// Maximum size of one request's packets, in bytes: requests and answers are limited.
const BATCH: usize = 96 << 10;

struct Given {
    source: String,
    packet: Packet,
}

pub async fn run(global: &Global, command: Trace) -> Result<(), CliError> {
    let hook = command.at.hook;
    let given = gather(&command.packets)?;
    let mut client = connect(global).await?;
    let mut traced = Traced { hook: hook.to_string(), packets: Vec::new(), note: String::new() };
    let mut out = Vec::new();
    for batch in batches(&given) {
        let packet = |given: &Given| ext::TracePacket { data: given.packet.data.clone(), mark: command.mark };
        let request = ext::TraceChainRequest {
            hook: Some(ext::Hook::from(&hook)),
            packets: batch.iter().map(packet).collect(),
            for_real: command.for_real,
        };
        let answer = client.chains.trace_chain(request).await?.into_inner();
        if answer.traces.len() != batch.len() {
            return Err(CliError::Incomplete { call: "TraceChain", part: "traces of some packets" });
        }
        for (given, trace) in batch.iter().zip(&answer.traces) {
            let number = traced.packets.len() + 1;
            let length = given.packet.data.len();
            traced.packets.push(PacketJson::new(number, given.source.clone(), length, trace));
            out.extend(proceeds(trace).then(|| left(given, trace)));
        }
        traced.note = answer.note;
    }
    if let Some(path) = &command.out {
        capture::write(path, &out)?;
    }
    show::answer(global, &traced)?;
    let differing = traced.packets.iter().filter(|packet| !packet.agrees).count();
    if differing == 0 {
        return Ok(());
    }
    Err(CliError::Differs {
        what: format!(
            "for {differing} of {} packets the chain and its programs one by one differ",
            traced.packets.len()
        ),
        hint: Hint::Lines(vec![
            Hint::VerifyChain { hook: hook.to_string() },
            "programs that count, sample or read the time may differ from run to run".into(),
        ]),
    })
}

fn gather(packets: &Packets) -> Result<Vec<Given>, CliError> {
    let mut all = Vec::new();
    for bytes in &packets.packet {
        all.push(Given {
            source: "--packet".to_owned(),
            packet: Packet { time: Duration::ZERO, data: bytes.0.clone() },
        });
    }
    for path in &packets.pcap {
        let source = path.display().to_string();
        all.extend(capture::read(path)?.into_iter().map(|packet| Given { source: source.clone(), packet }));
    }
    if all.is_empty() {
        return Err(invalid("the captures hold no packets".to_owned()));
    }
    for (index, given) in all.iter().enumerate() {
        let length = given.packet.data.len();
        if !(MIN_PACKET..=BATCH).contains(&length) {
            return Err(invalid(format!(
                "packet {} ({}) has {length} bytes; the kernel runs programs on packets of {MIN_PACKET} and more, and \
                 this command takes up to {BATCH}",
                index + 1,
                given.source
            )));
        }
    }
    Ok(all)
}

fn invalid(what: String) -> CliError {
    CliError::Invalid { what, hint: None }
}

fn batches(all: &[Given]) -> Vec<&[Given]> {
    let (mut batches, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (index, given) in all.iter().enumerate() {
        // Allow for the wire's small overhead per packet.
        let size = given.packet.data.len() + 16;
        if index > begin && bytes + size > BATCH {
            batches.push(&all[begin..index]);
            (begin, bytes) = (index, 0);
        }
        bytes += size;
    }
    batches.push(&all[begin..]);
    batches
}

fn proceeds(trace: &ext::PacketTrace) -> bool {
    !matches!(trace.verdict.as_str(), "aborted" | "drop" | "shot" | "stolen" | "queued" | "trap")
}

fn left(given: &Given, trace: &ext::PacketTrace) -> Packet {
    let changed = trace.steps.iter().rev().find_map(|step| step.data.clone());
    Packet { data: changed.unwrap_or_else(|| given.packet.data.clone()), time: given.packet.time }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(length: usize) -> Given {
        Given {
            source: "--packet".into(),
            packet: Packet { time: Duration::from_secs(5), data: vec![0; length] },
        }
    }

    #[test]
    fn packets_travel_in_groups_that_fit() {
        let all: Vec<Given> = [60, BATCH - 40, 60, 60].map(given).into();
        let sizes: Vec<usize> = batches(&all).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [1, 1, 2]);
        assert_eq!(batches(&all[..1]).len(), 1);
    }

    #[test]
    fn next_hook_gets_packet_of_last_change() {
        let step = |data: Option<Vec<u8>>| ext::TraceStep { data, ..Default::default() };
        let mut trace = ext::PacketTrace { verdict: "pass".into(), ..Default::default() };
        assert_eq!(left(&given(2), &trace), Packet { time: Duration::from_secs(5), data: vec![0, 0] });
        trace.steps = vec![step(None), step(Some(vec![1])), step(Some(vec![2, 3])), step(None)];
        assert_eq!(left(&given(2), &trace).data, [2, 3]);
        assert!(proceeds(&trace));
        trace.verdict = "shot".into();
        assert!(!proceeds(&trace));
    }

    #[test]
    fn short_and_missing_packets_are_refused() {
        use crate::args::value::PacketBytes;
        let packets = |lengths: &[usize]| Packets {
            packet: lengths.iter().map(|length| PacketBytes(vec![0; *length])).collect(),
            pcap: Vec::new(),
        };
        let message = |lengths: &[usize]| gather(&packets(lengths)).err().unwrap().to_string();
        assert!(message(&[14, 13]).starts_with("packet 2 (--packet) has 13 bytes"));
        assert!(message(&[BATCH + 1]).starts_with("packet 1"));
        assert_eq!(message(&[]), "the captures hold no packets");
        assert_eq!(gather(&packets(&[14])).unwrap().len(), 1);
    }
}
