//! Traces: packets run through the programs of a hook, one by one and as the chain, without being sent.
//!
//! The members, each as the program that was loaded for it alone, determine the expected verdict: each runs on the
//! packet as the one before left it, until a verdict is outside a member's set. Then the chain runs, and the results
//! are compared.

mod changes;
mod sends;

use std::path::Path;

use bpfman_model::{HookKey, HookKind, Interface, LinkId, NetnsId, ProceedOn, RankOrder};
use bpfmand_kernel::{Kernel, KernelError, TestContext, TestRun, TestRunResult};
use bpfmand_splice::{ProceedMask, SpliceHook, calls_clone_redirect};

use crate::engine::locks::Subject;
use crate::state::records::Entry;
use crate::trace::changes::changes;
use crate::{Engine, EngineError};

/// An Ethernet header: the kernel runs programs on nothing shorter.
const MIN_PACKET: usize = 14;

const MAX_PACKETS: usize = 8192;

const XDP_DROP: i32 = 1;
/// Note on a verdict that the chain turns into a drop.
const HELD_BACK: &str =
    "dropped by the chain: the machine's programs of tc and tcx would not see what it sends";

/// A packet to be traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePacket {
    /// Bytes of the packet, beginning with its Ethernet header.
    pub data: Vec<u8>,
    /// Mark of the packet, for tc and tcx.
    pub mark: u32,
}

/// Limits of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceLimits<'a> {
    /// Members for which the caller's access was checked, in any order; `None`: all.
    pub members: Option<&'a [LinkId]>,
    /// True to refuse programs that may send packets while they run.
    pub sends_nothing: bool,
}

/// Result of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// Link of the member.
    pub link: LinkId,
    /// Name of the function.
    pub name: String,
    /// Returned verdict.
    pub verdict: i32,
    /// True if the next member ran.
    pub proceeded: bool,
    /// Packet after the member, without metadata, if the member changed it.
    pub packet: Option<Vec<u8>>,
    /// Changes of the packet, in text for users.
    pub changes: Vec<String>,
    /// Time of its run.
    pub nanoseconds: u32,
}

/// Result of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketTrace {
    /// Members that it reached.
    pub steps: Vec<TraceStep>,
    /// Verdict of the chain.
    pub verdict: i32,
    /// True if the members one by one and the chain gave the same verdict and left the same packet.
    pub agrees: bool,
}

/// Result of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainTrace {
    /// Result of each packet, in order.
    pub packets: Vec<PacketTrace>,
    /// True if the hook runs a chain, with which the members were compared.
    pub has_chain: bool,
    /// True if the kernel could set the interface for test runs, and keep metadata and marks.
    pub told_where: bool,
}

struct Member<H> {
    link: LinkId,
    name: String,
    proceed_on: Option<ProceedOn>,
    shadow: bool,
    /// True for a tenant's at egress, which accepts nothing.
    can_only_drop: bool,
    /// Verdicts that the chain turns into a drop, since they would send the packet past the machine's programs.
    held_back: ProceedMask,
    handle: H,
}

#[derive(Clone, Copy, Debug)]
struct RunPlace<'a> {
    home: NetnsId,
    netns: Option<&'a Path>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PacketInFlight {
    bytes: Vec<u8>,
    context: TestContext,
}

impl PacketInFlight {
    fn metadata(&self) -> usize {
        match self.context {
            TestContext::Xdp { metadata, .. } => (metadata as usize).min(self.bytes.len()),
            _ => 0,
        }
    }

    fn packet(&self) -> &[u8] {
        &self.bytes[self.metadata()..]
    }
}

impl<K: Kernel> Engine<K> {
    /// Runs packets through the programs of a hook, one by one and as the chain. No verdict takes effect, but programs
    /// change maps and send clones. The hook is locked meanwhile.
    pub fn trace_chain(
        &self,
        interface: &Interface,
        kind: HookKind,
        packets: &[TracePacket],
        limits: TraceLimits<'_>,
    ) -> Result<ChainTrace, EngineError> {
        check(packets)?;
        let key = self.hook_by_name(interface, kind)?;
        let _lock = self.lock(Subject::Hook(key));
        self.ensure_members(&key, limits.members)?;
        if limits.sends_nothing {
            self.ensure_sends_nothing(&key)?;
        }
        let hook = self.state().hooks.get(&key).cloned();
        let answers = match (kind, hook.as_ref().map(|hook| hook.entry)) {
            (HookKind::Xdp, _) => SpliceHook::Xdp,
            (_, Some(Entry::Filter { .. })) => SpliceHook::TcClsact,
            _ if hook.as_ref().is_some_and(|hook| hook.open) => SpliceHook::TcTcxOpen,
            _ => SpliceHook::TcTcx,
        };
        let members = self.members_of(&key, interface)?;
        let chain = hook.as_ref().map(|hook| self.loaded_program(hook.program)).transpose()?;
        let place = RunPlace { home: key.netns.into(), netns: interface.netns.as_deref() };
        let mut contexts = self.contexts(&key);
        let mut traces = Vec::with_capacity(packets.len());
        for (index, packet) in packets.iter().enumerate() {
            let told = |error| in_packet(error, index);
            let (begin, first) = self.first_run(&members, packet, &mut contexts, place).map_err(told)?;
            let (steps, verdict, left) =
                self.one_by_one(&members, answers, &begin, first, place).map_err(told)?;
            let (whole, agrees) = match &chain {
                Some(chain) => {
                    let (run, behind) = self.test(chain, &begin, place).map_err(told)?;
                    let whole = run.verdict.cast_signed();
                    (whole, whole == verdict && behind == left)
                }
                // The kernel goes from link to link itself: there is no other program to compare with.
                None => (verdict, true),
            };
            traces.push(PacketTrace { steps, verdict: whole, agrees });
        }
        let told_where = !matches!(contexts[..], [TestRunContext::Nothing]);
        Ok(ChainTrace { packets: traces, has_chain: chain.is_some(), told_where })
    }

    fn members_of(
        &self,
        key: &HookKey,
        interface: &Interface,
    ) -> Result<Vec<Member<K::Handle>>, EngineError> {
        let links = self.state().members(key);
        if links.is_empty() {
            return Err(EngineError::NoChain { hook: key.kind.at(interface) });
        }
        self.ensure_not_lost(links.iter().map(|link| &**link))?;
        links
            .iter()
            .map(|link| {
                let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
                let unsent = self.state().unsent(key, link, &program);
                if unsent.has_clones() && calls_clone_redirect(&self.member(&program)?.text.0) {
                    return Err(EngineError::Invalid(format!(
                        "\"{}\" at {} is not traced: the chain holds back the copies that it sends, and a run of it alone would \
                         send them",
                        program.name,
                        key.kind.at(interface)
                    )));
                }
                Ok(Member {
                    link: link.id,
                    name: program.name.clone(),
                    proceed_on: link.point.proceed_on(),
                    shadow: link.sharing.shadow,
                    can_only_drop: link.turn(&program) == RankOrder::TenantsFirst,
                    held_back: unsent.verdicts(),
                    handle: self.loaded_program(program.id)?,
                })
            })
            .collect()
    }

    /// Context that the kernel rejects is omitted from then on; the rejected run has not begun.
    fn first_run(
        &self,
        members: &[Member<K::Handle>],
        packet: &TracePacket,
        contexts: &mut Vec<TestRunContext>,
        place: RunPlace<'_>,
    ) -> Result<(PacketInFlight, Run), EngineError> {
        let first = members.first().ok_or(EngineError::EmptyChain)?;
        loop {
            let telling = contexts.first().copied().unwrap_or(TestRunContext::Nothing);
            let begin = PacketInFlight { bytes: packet.data.clone(), context: telling.context(packet.mark) };
            match self.test(&first.handle, &begin, place) {
                Ok(run) => return Ok((begin, run)),
                Err(_) if contexts.len() > 1 => drop(contexts.remove(0)),
                Err(error) => return Err(error),
            }
        }
    }

    fn one_by_one(
        &self,
        members: &[Member<K::Handle>],
        answers: SpliceHook,
        begin: &PacketInFlight,
        first: Run,
        place: RunPlace<'_>,
    ) -> Result<(Vec<TraceStep>, i32, PacketInFlight), EngineError> {
        let mut now = begin.clone();
        let mut first = Some(first);
        let mut steps = Vec::with_capacity(members.len());
        for member in members {
            let (run, behind) = match first.take() {
                Some(run) => run,
                None => self.test(&member.handle, long_enough(&now, &member.name)?, place)?,
            };
            let verdict = run.verdict.cast_signed();
            let proceeded = match member.proceed_on {
                Some(_) if member.shadow => true,
                Some(_) if member.can_only_drop => ProceedMask::UNLESS_DROPPED.contains(answers, verdict),
                Some(set) => set.contains(verdict),
                // The tcx hook continues after NEXT, and after all verdicts that it does not know.
                None => !matches!(verdict, 0 | 2 | 7),
            };
            let is_held_back = !proceeded && member.held_back.codes(answers).any(|code| code == verdict);
            let mut changes = differences(&now, &behind);
            changes.extend(is_held_back.then(|| HELD_BACK.to_owned()));
            steps.push(TraceStep {
                link: member.link,
                name: member.name.clone(),
                verdict,
                proceeded,
                packet: (behind.packet() != now.packet()).then(|| behind.packet().to_vec()),
                changes,
                nanoseconds: run.nanoseconds,
            });
            now = behind;
            if !proceeded {
                let verdict = match is_held_back {
                    true => XDP_DROP,
                    false if member.can_only_drop => answers.fail_verdict(),
                    false => verdict,
                };
                let end = member.proceed_on.map_or(verdict, |_| answers.translate(verdict));
                return Ok((steps, end, now));
            }
        }
        Ok((steps, answers.end_verdict(), now))
    }

    fn test(
        &self,
        program: &K::Handle,
        packet: &PacketInFlight,
        place: RunPlace<'_>,
    ) -> Result<Run, EngineError> {
        let (home, netns) = (Some(place.home), place.netns);
        let run = TestRun { packet: &packet.bytes, context: packet.context, home, netns, repeat: 1 };
        let result = self.kernel.test_run(program, &run)?;
        let behind = PacketInFlight { bytes: result.packet.clone(), context: result.context };
        Ok((result, behind))
    }

    /// The most complete first. Some kernels accept none for XDP, and some interfaces have no queue that is accepted.
    fn contexts(&self, key: &HookKey) -> Vec<TestRunContext> {
        let ifindex = key.ifindex.0;
        match key.kind {
            HookKind::Xdp if !self.kernel.features().xdp_contexts => vec![TestRunContext::Nothing],
            HookKind::Xdp => vec![
                TestRunContext::Xdp { ifindex },
                TestRunContext::Xdp { ifindex: 0 },
                TestRunContext::Nothing,
            ],
            _ => vec![
                TestRunContext::Tc { ifindex },
                TestRunContext::Tc { ifindex: 0 },
                TestRunContext::Nothing,
            ],
        }
    }
}

type Run = (TestRunResult, PacketInFlight);

#[derive(Clone, Copy, Debug)]
enum TestRunContext {
    Xdp { ifindex: u32 },
    Tc { ifindex: u32 },
    Nothing,
}

impl TestRunContext {
    const fn context(self, mark: u32) -> TestContext {
        match self {
            Self::Xdp { ifindex } => TestContext::Xdp { metadata: 0, ingress_ifindex: ifindex, rx_queue: 0 },
            Self::Tc { ifindex } => TestContext::Tc { mark, priority: 0, cb: [0; 5], ifindex },
            Self::Nothing => TestContext::Plain,
        }
    }
}

fn check(packets: &[TracePacket]) -> Result<(), EngineError> {
    if packets.is_empty() {
        return Err(EngineError::Invalid("the trace has no packets".to_owned()));
    }
    if packets.len() > MAX_PACKETS {
        let count = packets.len();
        return Err(EngineError::Invalid(format!(
            "the trace has {count} packets; the most at once is {MAX_PACKETS}"
        )));
    }
    match packets.iter().position(|packet| packet.data.len() < MIN_PACKET) {
        None => Ok(()),
        Some(index) => Err(EngineError::Invalid(format!(
            "packet {} has {} bytes; the kernel runs programs on nothing shorter than an Ethernet header, \
             {MIN_PACKET} bytes",
            index + 1,
            packets[index].data.len()
        ))),
    }
}

fn long_enough<'a>(packet: &'a PacketInFlight, member: &str) -> Result<&'a PacketInFlight, EngineError> {
    let length = packet.packet().len();
    if length >= MIN_PACKET {
        return Ok(packet);
    }
    Err(EngineError::Invalid(format!(
        "\"{member}\" cannot be traced: the packet that reaches it has {length} bytes, and the kernel runs programs on \
         nothing shorter than {MIN_PACKET}"
    )))
}

fn in_packet(error: EngineError, index: usize) -> EngineError {
    match error {
        EngineError::Invalid(what) => EngineError::Invalid(format!("packet {}: {what}", index + 1)),
        EngineError::Kernel(KernelError::Call { action, subject, source }) => {
            let subject = format!("{subject} (packet {})", index + 1);
            EngineError::Kernel(KernelError::Call { action, subject, source })
        }
        other => other,
    }
}

fn differences(before: &PacketInFlight, behind: &PacketInFlight) -> Vec<String> {
    let mut all = changes(before.packet(), behind.packet());
    let (old, new) = (&before.bytes[..before.metadata()], &behind.bytes[..behind.metadata()]);
    if old != new {
        all.push(format!("metadata of {} -> {} bytes", old.len(), new.len()));
    }
    if let (
        TestContext::Tc { mark: old_mark, priority: old_priority, cb: old_cb, .. },
        TestContext::Tc { mark, priority, cb, .. },
    ) = (before.context, behind.context)
    {
        let mut number = |name: &str, old: u32, new: u32| {
            if old != new {
                all.push(format!("{name} {old:#x} -> {new:#x}"));
            }
        };
        number("mark", old_mark, mark);
        number("priority", old_priority, priority);
        for (place, (old, new)) in old_cb.into_iter().zip(cb).enumerate() {
            number(&format!("cb[{place}]"), old, new);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tc(bytes: &[u8], mark: u32, first: u32) -> PacketInFlight {
        let context = TestContext::Tc { mark, priority: 0, cb: [first, 0, 0, 0, 0], ifindex: 1 };
        PacketInFlight { bytes: bytes.to_vec(), context }
    }

    fn xdp(bytes: &[u8], metadata: u32) -> PacketInFlight {
        let context = TestContext::Xdp { metadata, ingress_ifindex: 1, rx_queue: 0 };
        PacketInFlight { bytes: bytes.to_vec(), context }
    }

    #[test]
    fn what_goes_with_a_packet_is_compared_too() {
        assert_eq!(differences(&tc(&[1, 2], 0, 0), &tc(&[1, 2], 0, 0)), [""; 0]);
        let all = differences(&tc(&[1, 2], 0, 5), &tc(&[1, 3], 7, 6));
        assert_eq!(all, ["byte 1: 02 -> 03", "mark 0x0 -> 0x7", "cb[0] 0x5 -> 0x6"]);
    }

    #[test]
    fn metadata_is_no_part_of_the_packet() {
        let all = differences(&xdp(&[1, 2, 3], 0), &xdp(&[9, 9, 9, 9, 1, 2, 3], 4));
        assert_eq!(all, ["metadata of 0 -> 4 bytes"]);
        assert_eq!(xdp(&[1, 2], 8).packet(), [0_u8; 0], "what the kernel says is not trusted to fit");
    }

    #[test]
    fn packets_that_cannot_run_are_refused_before_any_runs() {
        let packet = |length| TracePacket { data: vec![0; length], mark: 0 };
        for (packets, says) in [
            (vec![], "no packets"),
            (vec![packet(14), packet(13)], "packet 2 has 13 bytes"),
            (vec![packet(14); MAX_PACKETS + 1], "8193 packets"),
        ] {
            let error = check(&packets).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(check(&[packet(14)]).is_ok());
    }
}
