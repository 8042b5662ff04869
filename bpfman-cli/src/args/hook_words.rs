//! Translates `bpfman attach PROGRAM_ID HOOK` into the subcommand of the hook's type, with the flags for the hook.

use std::path::Path;

use bpfman_model::{AttachPoint, Interface, SampleRate, WrittenPoint};

/// Returns the subcommand of a hook with its flags.
///
/// # Errors
/// Fails if the hook names a target: the program got its target when it was loaded.
pub fn with_flags(hook: &WrittenPoint, has_priority: bool) -> Result<Vec<String>, String> {
    let kind = hook.point.type_name();
    if let Some(target) = &hook.target {
        return Err(format!("its program was loaded for its target: write {kind} without {target}"));
    }
    let mut words = vec![kind.replace('_', "-")];
    words.extend(flags(&hook.point));
    words
        .extend(hook.point.priority().filter(|_| !has_priority).map(|number| format!("--priority={number}")));
    Ok(words)
}

fn flags(point: &AttachPoint) -> Vec<String> {
    match point {
        AttachPoint::Xdp { interface, .. } | AttachPoint::Netkit { interface } => at(interface),
        AttachPoint::Tc { interface, direction, .. } | AttachPoint::Tcx { interface, direction, .. } => {
            [vec![format!("--direction={direction}")], at(interface)].concat()
        }
        AttachPoint::Tracepoint { .. } | AttachPoint::RawTracepoint { .. } => {
            vec![format!("--tracepoint={point}")]
        }
        AttachPoint::Kprobe { function, offset } => probe(Some(function), *offset),
        AttachPoint::Uprobe { target, function, offset, .. } => {
            [probe(function.as_ref(), *offset), vec![format!("--target={target}")]].concat()
        }
        AttachPoint::KprobeMulti { functions } => {
            let names: Vec<_> = functions.iter().map(ToString::to_string).collect();
            vec![format!("--fn-name={}", names.join(","))]
        }
        AttachPoint::UprobeMulti { target, functions, .. } => {
            vec![format!("--target={target}"), format!("--fn-name={}", functions.join(","))]
        }
        AttachPoint::Cgroup { path } => vec![format!("--path={path}")],
        AttachPoint::Netns { netns: path } => path.as_deref().map(netns).into_iter().collect(),
        AttachPoint::Netfilter { place, .. } => vec![
            format!("--family={}", place.family.name()),
            format!("--hook={}", place.hook.name()),
            format!("--priority={}", place.priority),
        ],
        AttachPoint::PerfEvent { place } => {
            let (SampleRate::Frequency(rate) | SampleRate::Period(rate)) = place.rate;
            vec![format!("--event={}", place.event.name()), format!("--frequency={rate}")]
        }
        AttachPoint::Sockmap { map } | AttachPoint::StructOps { map } => vec![format!("--map={map}")],
        AttachPoint::Usdt { target, provider, name, .. } => {
            vec![format!("--target={target}"), format!("--name={provider}:{name}")]
        }
        AttachPoint::Ksyscall { name } => vec![format!("--name={name}")],
        AttachPoint::Fentry
        | AttachPoint::Fexit
        | AttachPoint::Lsm
        | AttachPoint::BtfTracepoint
        | AttachPoint::FmodRet
        | AttachPoint::Iter
        | AttachPoint::Freplace => Vec::new(),
    }
}

fn at(interface: &Interface) -> Vec<String> {
    let name = format!("--iface={}", interface.name);
    std::iter::once(name).chain(interface.netns.as_deref().map(netns)).collect()
}

fn probe(function: Option<&String>, offset: u64) -> Vec<String> {
    let name = function.map(|function| format!("--fn-name={function}"));
    name.into_iter().chain((offset != 0).then(|| format!("--offset={offset}"))).collect()
}

fn netns(path: &Path) -> String {
    format!("--netns={}", path.display())
}
