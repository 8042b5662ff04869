//! Traces: packets run through the programs of a hook, one by one and as the chain, without being sent.
//!
//! First, the separately loaded programs of the members run one by one. Each receives the packet as the previous one
//! left it, until a verdict is outside the member's proceed-on set: this is the expected verdict. Then the chain runs
//! on the original packet, and the results are compared.

mod changes;
mod outcome;
mod packet;
mod sends;

use std::path::Path;

use bpfman_model::{HookKey, HookKind, Interface, LinkId, NetnsId, ProceedOn, RankOrder};
use bpfmand_kernel::{Kernel, KernelError, TestRun, TestRunResult};
use bpfmand_splice::{ProceedMask, SpliceHook, calls_clone_redirect};

use crate::engine::locks::Subject;
use crate::state::records::Entry;
use crate::trace::packet::{PacketInFlight, TestRunContext, differences, long_enough};
use crate::{Engine, EngineError};

pub use crate::trace::outcome::{ChainTrace, PacketTrace, TraceLimits, TracePacket, TraceStep};

/// Size of an Ethernet header: the kernel runs programs only on packets of at least this size.
const MIN_PACKET: usize = 14;

const MAX_PACKETS: usize = 8192;

const XDP_DROP: i32 = 1;
/// Note on a verdict that the chain turns into a drop.
const HELD_BACK: &str =
    "dropped by the chain: the machine's programs of tc and tcx would not see what it sends";

struct Member<H> {
    link: LinkId,
    name: String,
    proceed_on: Option<ProceedOn>,
    shadow: bool,
    /// True for a tenant's member at egress, which can accept nothing.
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

    /// Runs the first member, and drops contexts that the kernel rejects: a rejected run has not begun.
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

    /// Returns contexts, most complete first: kernels may accept none for XDP, interfaces may have no usable queue.
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

#[cfg(test)]
mod tests {
    use super::*;

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
