//! Hooks of `bpfman attach PROGRAM_ID HOOK` as words of the form with flags, so that a hook takes the flags of its kind.

use std::path::Path;

use super::run_hook::{AnyHook, DEFAULT_PRIORITY, ProbedPlace};
use crate::hook::{HookName, HookPoint};

/// Returns the subcommand of a hook with its flags, unless the hook names a target that the program has from its load.
pub fn with_flags(hook: &AnyHook, has_priority: bool) -> Result<Vec<String>, String> {
    Ok(match hook {
        AnyHook::Interface(hook) => {
            let mut words = interface(hook);
            words.extend((!has_priority).then(|| format!("--priority={DEFAULT_PRIORITY}")));
            words
        }
        AnyHook::Tracepoint(name) => words("tracepoint", [format!("--tracepoint={name}")]),
        AnyHook::RawTracepoint(name) => words("raw-tracepoint", [format!("--tracepoint={name}")]),
        AnyHook::Kprobe(place) => words("kprobe", function(place)),
        AnyHook::Uprobe { target, place } => {
            words("uprobe", function(place).into_iter().chain([format!("--target={target}")]))
        }
        AnyHook::KprobeMulti(functions) => {
            words("kprobe-multi", [format!("--fn-name={}", functions.join(","))])
        }
        AnyHook::UprobeMulti { target, functions } => words(
            "uprobe-multi",
            [format!("--target={target}"), format!("--fn-name={}", functions.join(","))],
        ),
        AnyHook::LoadedFor { kind, target: None } => words(&kind.replace('_', "-"), []),
        AnyHook::LoadedFor { kind, target: Some(target) } => {
            return Err(format!("its program was loaded for its target: write {kind} without {target}"));
        }
        AnyHook::Cgroup(path) => words("cgroup", [format!("--path={path}")]),
        AnyHook::Netns(path) => words("netns", path.as_deref().map(netns)),
        AnyHook::Netfilter { family, hook, priority } => words(
            "netfilter",
            [format!("--family={family}"), format!("--hook={hook}"), format!("--priority={priority}")],
        ),
        AnyHook::PerfEvent { event, frequency } => {
            words("perf-event", [format!("--event={event}"), format!("--frequency={frequency}")])
        }
        AnyHook::Sockmap(map) => words("sockmap", [format!("--map={map}")]),
        AnyHook::StructOps(map) => words("struct-ops", [format!("--map={map}")]),
        AnyHook::Usdt { target, provider, name } => {
            words("usdt", [format!("--target={target}"), format!("--name={provider}:{name}")])
        }
        AnyHook::Ksyscall(name) => words("ksyscall", [format!("--name={name}")]),
        AnyHook::Netkit(interface) => words("netkit", [format!("--iface={interface}")]),
    })
}

fn words(kind: &str, flags: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(kind.to_owned()).chain(flags).collect()
}

fn interface(hook: &HookName) -> Vec<String> {
    let (kind, side) = match hook.point {
        HookPoint::Xdp => ("xdp", None),
        HookPoint::Tc(side) => ("tc", Some(side)),
        HookPoint::Tcx(side) => ("tcx", Some(side)),
    };
    let side = side.map(|side| format!("--direction={}", side.name()));
    let place = [format!("--iface={}", hook.iface)];
    words(kind, side.into_iter().chain(place).chain(hook.netns.as_deref().map(netns)))
}

fn function(place: &ProbedPlace) -> Vec<String> {
    let offset = (place.offset != 0).then(|| format!("--offset={}", place.offset));
    std::iter::once(format!("--fn-name={}", place.function)).chain(offset).collect()
}

fn netns(path: &Path) -> String {
    format!("--netns={}", path.display())
}
