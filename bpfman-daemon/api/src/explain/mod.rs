//! Collects the facts about a hook that explain why a member is not reached.

mod findings;
mod groups;
mod times;

use std::collections::BTreeMap;

use bpfman_model::{CgroupPath, HookAttachment, HookKind, Interface, LinkId, ProceedOn, XdpRunsIn};
use bpfmand_engine::{
    ChainDetails, ChainMember, Engine, EngineError, HookEntryDetails, LinkDetails, SourceRecord, Standing,
    XdpPlacement,
};
use bpfmand_kernel::{Kernel, KernelError};

use crate::explain::findings::{MemberScene, Scene, findings};
use crate::explain::groups::explain_group;
use crate::explain::times::MemberTimes;

#[derive(Debug)]
pub enum PlaceToExplain {
    Hook(Interface, HookKind),
    Cgroup(CgroupPath),
}

/// Returns the reasons why a member of a hook is or is not reached, most relevant first; of a cgroup, the order of its
/// programs. `member`: a link id or function name; `None`: all.
pub fn explain<K: Kernel>(
    engine: &Engine<K>,
    place: &PlaceToExplain,
    member: Option<&str>,
) -> Result<Vec<String>, EngineError> {
    match place {
        PlaceToExplain::Hook(interface, kind) => explain_chain(engine, interface, *kind, member),
        PlaceToExplain::Cgroup(path) => explain_group(engine, path, member),
    }
}

fn explain_chain<K: Kernel>(
    engine: &Engine<K>,
    interface: &Interface,
    kind: HookKind,
    member: Option<&str>,
) -> Result<Vec<String>, EngineError> {
    let view = match engine.show_chain(interface, kind) {
        Err(error @ EngineError::Kernel(KernelError::NoInterface { .. })) => {
            let waiting = waiting(engine, interface, kind, member)?;
            return if waiting.is_empty() { Err(error) } else { Ok(waiting) };
        }
        shown => shown?,
    };
    let at = member.map(|wanted| place_of(&view, wanted)).transpose()?;
    let entries = engine.hook_entries(interface, kind)?;
    let ours = entries.iter().position(|entry| entry.ours);
    let mode = ours.and_then(|at| XdpPlacement::mode_of(&entries[at].via));
    let trouble = view.standing.iter().filter(|standing| !standing.is_running());
    let interfaces = engine.interfaces_beside(interface, kind)?;
    let scene = Scene {
        may_redirect_to_veth: mode == Some(XdpRunsIn::Native)
            && interfaces.iter().any(|facts| facts.kind.as_deref() == Some("veth")),
        hook: view.hook.clone(),
        trouble: trouble.map(ToString::to_string).collect(),
        is_down: interfaces.iter().any(|facts| facts.is_named(&interface.name) && !facts.up),
        before: entries[..ours.unwrap_or(entries.len())].iter().map(foreign_text).collect(),
        is_generic: mode == Some(XdpRunsIn::Generic),
        refusal: view.xdp.as_ref().and_then(|xdp| xdp.refusal.clone()),
        members: view.members.iter().map(member_scene).collect(),
        is_counted: view.switches.counters,
        failed: view.failed,
        held_by: view.switches.held_by.clone(),
    };
    Ok(findings(&scene, at))
}

/// Returns a finding for each link that is attached when the interface appears.
fn waiting<K: Kernel>(
    engine: &Engine<K>,
    interface: &Interface,
    kind: HookKind,
    member: Option<&str>,
) -> Result<Vec<String>, EngineError> {
    let hook = kind.at(interface);
    let links = engine.list_links(None, None, &BTreeMap::new())?;
    let mut waits: Vec<&LinkDetails> = links
        .iter()
        .filter(|link| {
            link.standing == Standing::Waiting
                && link.record.point.hook().is_some_and(|at| at == (interface, kind))
        })
        .collect();
    let there: Vec<String> =
        waits.iter().map(|link| member_text(&link.program.name, link.record.id)).collect();
    if let Some(wanted) = member.filter(|_| !waits.is_empty()) {
        let id = wanted.parse().ok();
        waits.retain(|link| id == Some(link.record.id.0) || link.program.name == wanted);
        if waits.is_empty() {
            return Err(EngineError::NoMember { member: wanted.to_owned(), hook, there: there.join(", ") });
        }
    }
    let finding = |link: &LinkDetails| {
        format!(
            "{} is not reached: the interface of {hook} does not exist; link {} waits for it, and is attached when it comes",
            link.program.name, link.record.id
        )
    };
    Ok(waits.into_iter().map(finding).collect())
}

fn member_text(program: &str, link: LinkId) -> String {
    format!("{program} (link {link})")
}

fn foreign_text(entry: &HookEntryDetails) -> String {
    let via = match &entry.via {
        HookAttachment::XdpLink { .. } => "xdp link".to_owned(),
        HookAttachment::XdpNetlink { mode } => format!("attached by netlink, {mode}"),
        HookAttachment::TcxLink { link } => format!("tcx link {link}"),
        HookAttachment::TcxProgram => "tcx program".to_owned(),
        HookAttachment::Filter(filter) => {
            format!("{} filter, priority {} handle {:#x}", filter.kind, filter.priority, filter.handle)
        }
    };
    match (entry.program, &entry.facts) {
        (Some(id), Some(facts)) => format!("program {id} ({}), {via},", facts.name),
        (Some(id), None) => format!("program {id}, {via},"),
        (None, _) => format!("a {via}"),
    }
}

fn member_scene(member: &ChainMember) -> MemberScene {
    let proceed_on = member.link.point.proceed_on();
    let counters = member.counters.as_ref();
    MemberScene {
        name: member.program.name.clone(),
        shadow: member.link.sharing.shadow,
        shadowed: counters.map(|counters| counters.shadowed.clone()).unwrap_or_default(),
        proceed_on: if member.link.sharing.shadow {
            "anything".to_owned()
        } else {
            // Without a proceed-on set, the kernel runs the links itself and continues after this verdict.
            proceed_on.map_or_else(|| "next".to_owned(), |set| set.to_string())
        },
        forgets_redirects: proceed_on.is_some_and(ProceedOn::has_redirect) && !member.link.sharing.shadow,
        runs: counters.map_or(0, |counters| counters.runs),
        ended: counters.map(|counters| counters.ended.clone()).unwrap_or_default(),
        times: member.time.map(|time| MemberTimes {
            samples: time.samples,
            nanoseconds_per_run: time.nanoseconds_per_run().unwrap_or(0.0),
            source: source(&member.program.source),
            owner: member.program.owner().to_string(),
        }),
    }
}

fn source(source: &SourceRecord) -> String {
    match source {
        SourceRecord::Image { url, digest, .. } if digest.is_empty() => url.clone(),
        SourceRecord::Image { url, digest, .. } => format!("{url} ({digest})"),
        SourceRecord::File { path } => path.clone(),
        SourceRecord::Adopted { .. } => "a tool that attached it before it was adopted".to_owned(),
    }
}

fn place_of(view: &ChainDetails, wanted: &str) -> Result<usize, EngineError> {
    let link = wanted.parse().ok();
    let is_it = |member: &ChainMember| link == Some(member.link.id.0) || member.program.name == wanted;
    view.members.iter().position(is_it).ok_or_else(|| {
        let there = view.members.iter().map(|member| member_text(&member.program.name, member.link.id));
        EngineError::NoMember {
            member: wanted.to_owned(),
            hook: view.hook.clone(),
            there: there.collect::<Vec<_>>().join(", "),
        }
    })
}
