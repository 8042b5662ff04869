//! Rows of `bpfman drops`. Their JSON and YAML are a stable interface (`docs/top.md`).

use std::collections::{HashMap, HashSet};

use bpfman_model::verdicts::is_drop;
use serde::Serialize;

use super::rule_commands::rule_command;
use crate::figures::{ChainRates, FigureRates, MemberRates, ProgramRates};

#[derive(Clone, Debug, Serialize)]
pub struct Drops {
    /// Time between the readings, in seconds.
    pub seconds: f64,
    /// Verdicts that dropped packets, the highest rate first.
    pub programs: Vec<CountedDrop>,
    /// Programs that may drop packets, but have no counts.
    pub uncounted: Vec<UncountedProgram>,
    /// The kernel's own drop reasons, the highest rate first; null if they are not counted.
    pub kernel: Option<Vec<KernelDrop>>,
    /// Reasons why something is not counted.
    pub notes: Vec<String>,
}

/// Verdict of a member that drops packets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CountedDrop {
    /// Hook, by its name in commands.
    pub hook: String,
    /// Function name; null for packets that a tail call lost.
    pub program_name: Option<String>,
    pub program_id: Option<u32>,
    pub link_id: Option<u32>,
    /// `drop`, `aborted`, `shot`, `other`, or `failed` for packets that a tail call lost.
    pub verdict: String,
    pub packets_per_second: f64,
    /// Packets since the member was attached, or since the boot; null for those that a tail call lost.
    pub packets: Option<u64>,
    pub owner: Option<String>,
    pub application: Option<String>,
    /// Command that shows the rules of the program.
    pub rules: Option<String>,
}

/// Program that may drop packets without a count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UncountedProgram {
    pub program_id: u32,
    pub program_name: String,
    /// Exact type; the kernel's type for third-party programs.
    #[serde(rename = "type")]
    pub program_type: String,
    /// Attach point; null if it is not known.
    pub place: Option<String>,
    /// True if the daemon loaded it.
    pub managed: bool,
    /// Owner; null for third-party programs.
    pub owner: Option<String>,
    /// Reason why its drops are not counted.
    pub why: String,
    /// Kernel reasons whose counts include its drops, among others.
    pub kernel_reasons: &'static [&'static str],
}

/// Packets that the kernel dropped for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelDrop {
    /// Name of the reason, without `SKB_DROP_REASON_`.
    pub reason: String,
    pub packets_per_second: f64,
}

const NO_VERDICTS: &str = "the kernel counts no verdicts of single programs";

/// Returns the reasons under which the kernel counts drops of programs of this type; `None` if the type drops nothing.
fn kernel_reasons(program_type: &str) -> Option<&'static [&'static str]> {
    Some(match program_type {
        // Only generic mode reports these reasons to the kernel: drivers have their own counters.
        "xdp" => &["XDP"],
        "tc" | "tcx" | "sched_cls" | "sched_act" => &["TC_INGRESS", "TC_EGRESS"],
        "cgroup_skb" => &["BPF_CGROUP_EGRESS", "SOCKET_FILTER"],
        "socket_filter" => &["SOCKET_FILTER"],
        "netfilter" => &["NETFILTER_DROP"],
        "netkit" | "lwt_in" | "lwt_out" | "lwt_xmit" | "lwt_seg6local" | "lwt_seg6_local" | "sk_skb" => &[],
        _ => return None,
    })
}

impl Drops {
    /// Returns the rows of a reading. `refusal` returns why a chain is not counted; `places` has the attach
    /// points of third-party programs.
    pub fn of_reading<'r>(
        rates: &FigureRates,
        refusal: impl Fn(&str) -> Option<&'r str>,
        places: &HashMap<u32, String>,
        kernel: Option<Vec<KernelDrop>>,
    ) -> Self {
        let programs: HashMap<u32, &ProgramRates> =
            rates.programs.iter().map(|program| (program.program_id, program)).collect();
        let application = |member: &MemberRates| programs.get(&member.program_id)?.application.clone();
        let mut counted: Vec<CountedDrop> = Vec::new();
        let mut uncounted = Vec::new();
        for chain in &rates.chains {
            let members = chain.members.iter().filter(|member| !member.shadow);
            if chain.counters {
                counted.extend(members.flat_map(|member| drops_of(chain, member, application(member))));
                counted.extend(lost(chain));
                continue;
            }
            let why = refusal(&chain.hook).unwrap_or("its chain does not count verdicts yet");
            uncounted.extend(members.map(|member| uncounted_member(chain, member, why)));
        }
        counted.sort_by(|a, b| {
            let by_total = || b.packets.cmp(&a.packets).then_with(|| a.hook.cmp(&b.hook));
            b.packets_per_second.total_cmp(&a.packets_per_second).then_with(by_total)
        });
        let hooks: HashSet<&str> = rates.chains.iter().map(|chain| chain.hook.as_str()).collect();
        for program in &rates.programs {
            let Some(reasons) = kernel_reasons(&program.program_type) else { continue };
            let own = program.places.iter().filter(|place| !hooks.contains(place.as_str())).cloned();
            let places: Vec<Option<String>> = match program.managed {
                true => own.map(Some).collect(),
                false => vec![places.get(&program.program_id).cloned()],
            };
            uncounted.extend(places.into_iter().map(|place| UncountedProgram {
                program_id: program.program_id,
                program_name: program.name.clone(),
                program_type: program.program_type.clone(),
                place,
                managed: program.managed,
                owner: program.owner.clone(),
                why: NO_VERDICTS.to_owned(),
                kernel_reasons: reasons,
            }));
        }
        let notes = rates.note.iter().cloned().collect();
        Self { seconds: rates.seconds, programs: counted, uncounted, kernel, notes }
    }
}

fn drops_of<'c>(
    chain: &'c ChainRates,
    member: &'c MemberRates,
    application: Option<String>,
) -> impl Iterator<Item = CountedDrop> + 'c {
    let rules = rule_command(&member.program_name, member.program_id, application.as_deref());
    member.ended.iter().filter(move |ended| is_drop(&chain.hook, &ended.verdict)).map(move |ended| {
        CountedDrop {
            hook: chain.hook.clone(),
            program_name: Some(member.program_name.clone()),
            program_id: Some(member.program_id),
            link_id: Some(member.link_id),
            verdict: ended.verdict.clone(),
            packets_per_second: ended.per_second,
            packets: Some(ended.packets),
            owner: Some(member.owner.clone()),
            application: application.clone(),
            rules: Some(rules.clone()),
        }
    })
}

/// Returns the packets that a failed tail call between parts of the chain lost.
fn lost(chain: &ChainRates) -> Option<CountedDrop> {
    let packets_per_second = chain.failed_per_second.filter(|rate| *rate > 0.0)?;
    Some(CountedDrop {
        hook: chain.hook.clone(),
        program_name: None,
        program_id: None,
        link_id: None,
        verdict: "failed".to_owned(),
        packets_per_second,
        packets: None,
        owner: None,
        application: None,
        rules: None,
    })
}

fn uncounted_member(chain: &ChainRates, member: &MemberRates, why: &str) -> UncountedProgram {
    let (kind, _) = chain.hook.split_once(':').unwrap_or((&chain.hook, ""));
    UncountedProgram {
        program_id: member.program_id,
        program_name: member.program_name.clone(),
        program_type: kind.to_owned(),
        place: Some(chain.hook.clone()),
        managed: true,
        owner: Some(member.owner.clone()),
        why: why.to_owned(),
        kernel_reasons: kernel_reasons(kind).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::VerdictRate;

    fn member(program_id: u32, name: &str, ended: &[(&str, u64, f64)]) -> MemberRates {
        let ended = ended.iter().map(|(verdict, packets, per_second)| VerdictRate {
            verdict: (*verdict).to_owned(),
            packets: *packets,
            per_second: *per_second,
        });
        MemberRates {
            link_id: program_id + 100,
            program_id,
            program_name: name.to_owned(),
            owner: "root".to_owned(),
            image_digest: None,
            shadow: false,
            packets_per_second: Some(10.0),
            nanoseconds_per_run: None,
            ended: ended.collect(),
        }
    }

    fn chain(hook: &str, counters: bool, members: Vec<MemberRates>) -> ChainRates {
        ChainRates {
            hook: hook.to_owned(),
            mode: "xdp".to_owned(),
            strategy: "splice".to_owned(),
            cpu_percent: None,
            packets_per_second: None,
            nanoseconds_per_packet: None,
            counters,
            timing: false,
            all_proceeded_per_second: counters.then_some(0.0),
            failed_per_second: counters.then_some(0.0),
            members,
        }
    }

    fn program(program_id: u32, program_type: &str, managed: bool, places: &[&str]) -> ProgramRates {
        ProgramRates {
            program_id,
            name: format!("p{program_id}"),
            program_type: program_type.to_owned(),
            managed,
            owner: managed.then(|| "root".to_owned()),
            application: (program_id == 7).then(|| "wall".to_owned()),
            image: None,
            image_digest: None,
            cpu_percent: None,
            is_partly_timed: false,
            runs_per_second: None,
            nanoseconds_per_run: None,
            missed_per_second: None,
            memory_bytes: 0,
            jited_bytes: 0,
            verified_instructions: 0,
            loaded_at: String::new(),
            places: places.iter().map(|place| (*place).to_owned()).collect(),
        }
    }

    fn reading(chains: Vec<ChainRates>, programs: Vec<ProgramRates>) -> FigureRates {
        FigureRates {
            seconds: 1.0,
            runs_timed: false,
            note: None,
            cpu_percent: None,
            programs,
            chains,
            maps: Vec::new(),
            owners: Vec::new(),
        }
    }

    #[test]
    fn only_verdicts_that_drop_are_rows() {
        let mut shadow = member(9, "audit", &[("drop", 5, 5.0)]);
        shadow.shadow = true;
        let mut tc =
            chain("tc:eth0:ingress", true, vec![member(8, "gate", &[("shot", 1, 0.0), ("ok", 9, 9.0)])]);
        tc.failed_per_second = Some(2.0);
        let xdp = chain(
            "xdp:eth0",
            true,
            vec![
                shadow,
                member(7, "xdp_firewall", &[("drop", 90, 4.0), ("pass", 3, 3.0), ("aborted", 1, 1.0)]),
            ],
        );
        let rates = reading(vec![tc, xdp], vec![program(7, "xdp", true, &["xdp:eth0"])]);
        let drops = Drops::of_reading(&rates, |_| None, &HashMap::new(), None);
        let rows: Vec<_> = drops
            .programs
            .iter()
            .map(|row| {
                (row.program_name.as_deref(), row.verdict.as_str(), row.packets_per_second, row.packets)
            })
            .collect();
        assert_eq!(
            rows,
            [
                (Some("xdp_firewall"), "drop", 4.0, Some(90)),
                (None, "failed", 2.0, None),
                (Some("xdp_firewall"), "aborted", 1.0, Some(1)),
                (Some("gate"), "shot", 0.0, Some(1)),
            ]
        );
        assert_eq!(drops.programs[0].rules.as_deref(), Some("bpfman-xdp-firewall --app wall list"));
        assert_eq!(drops.programs[3].rules.as_deref(), Some("bpfman map list --program 8"));
        assert_eq!(drops.uncounted, [], "its hook's chain counts it");
    }

    #[test]
    fn programs_without_counts_say_why_and_where_the_kernel_counts() {
        let alone = chain("xdp:eth1", false, vec![member(5, "lone", &[])]);
        let programs = vec![
            program(5, "xdp", true, &["xdp:eth1"]),
            program(6, "netfilter", true, &["netfilter ipv4 local_in"]),
            program(40, "sched_cls", false, &[]),
            program(41, "kprobe", false, &[]),
            program(42, "cgroup_skb", true, &[]),
        ];
        let places = [(40, "eth0 ingress".to_owned())].into();
        let rates = reading(vec![alone], programs);
        let drops = Drops::of_reading(&rates, |hook| (hook == "xdp:eth1").then_some("frozen"), &places, None);
        let rows: Vec<_> = drops
            .uncounted
            .iter()
            .map(|row| (row.program_id, row.place.as_deref(), row.why.as_str(), row.kernel_reasons))
            .collect();
        assert_eq!(
            rows,
            [
                (5, Some("xdp:eth1"), "frozen", &["XDP"][..]),
                (6, Some("netfilter ipv4 local_in"), NO_VERDICTS, &["NETFILTER_DROP"]),
                (40, Some("eth0 ingress"), NO_VERDICTS, &["TC_INGRESS", "TC_EGRESS"]),
            ],
            "a kprobe drops nothing, and a program without a link neither"
        );
    }
}
