//! Conversion of hooks to the wire.

use std::collections::HashMap;
use std::path::Path;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1;
use bpfman_proto::v1::attach_info::Info;

use crate::args::run_hook::AnyHook;
use crate::args::value::absolute;
use crate::command::wire_point::WirePoint;
use crate::hook::{HookName, HookPoint};

pub fn on_the_wire(hook: &AnyHook, priority: i32) -> WirePoint {
    let more = |at| WirePoint::More(ext::Point { at: Some(at), metadata: HashMap::new() });
    WirePoint::Published(match hook {
        AnyHook::Interface(hook) => interface(hook, priority),
        AnyHook::Tracepoint(name) => Info::TracepointAttachInfo(v1::TracepointAttachInfo {
            tracepoint: name.clone(),
            metadata: HashMap::new(),
        }),
        AnyHook::Kprobe(place) => Info::KprobeAttachInfo(v1::KprobeAttachInfo {
            fn_name: place.function.clone(),
            offset: place.offset,
            container_pid: None,
            metadata: HashMap::new(),
        }),
        AnyHook::Uprobe { target, place } => Info::UprobeAttachInfo(v1::UprobeAttachInfo {
            target: file(target),
            fn_name: Some(place.function.clone()),
            offset: place.offset,
            pid: None,
            container_pid: None,
            metadata: HashMap::new(),
        }),
        AnyHook::LoadedFor { kind, .. } => match *kind {
            "fentry" => Info::FentryAttachInfo(v1::FentryAttachInfo::default()),
            "fexit" => Info::FexitAttachInfo(v1::FexitAttachInfo::default()),
            "lsm" => Info::LsmAttachInfo(v1::LsmAttachInfo::default()),
            kind => return more(At::LoadedFor(kind.to_owned())),
        },
        AnyHook::RawTracepoint(name) => return more(At::RawTracepoint(name.clone())),
        AnyHook::KprobeMulti(functions) => {
            return more(At::KprobeMulti(ext::KprobeMultiPoint { functions: functions.clone() }));
        }
        AnyHook::UprobeMulti { target, functions } => {
            return more(At::UprobeMulti(ext::UprobeMultiPoint {
                target: file(target),
                functions: functions.clone(),
                ..Default::default()
            }));
        }
        AnyHook::Cgroup(path) => return more(At::Cgroup(path.clone())),
        AnyHook::Netns(path) => return more(At::Netns(path.as_deref().map(absolute).unwrap_or_default())),
        AnyHook::Netfilter { family, hook, priority } => {
            return more(At::Netfilter(ext::NetfilterPoint {
                netns: String::new(),
                family: family.clone(),
                hook: hook.clone(),
                priority: *priority,
                defragment: false,
            }));
        }
        AnyHook::PerfEvent { event, frequency } => {
            let (event, frequency) = (event.clone(), Some(*frequency));
            return more(At::PerfEvent(ext::PerfEventPoint { event, frequency, ..Default::default() }));
        }
        AnyHook::Sockmap(map) => return more(At::Sockmap(map.clone())),
        AnyHook::StructOps(map) => return more(At::StructOps(map.clone())),
        AnyHook::Usdt { target, provider, name } => {
            return more(At::Usdt(ext::UsdtPoint {
                target: file(target),
                provider: provider.clone(),
                name: name.clone(),
                ..Default::default()
            }));
        }
        AnyHook::Ksyscall(name) => return more(At::Ksyscall(name.clone())),
        AnyHook::Netkit(interface) => {
            let at = ext::NetkitPoint { interface: interface.clone(), netns: String::new() };
            return more(At::Netkit(at));
        }
    })
}

fn interface(hook: &HookName, priority: i32) -> Info {
    let (iface, netns) = (hook.iface.clone(), hook.netns.as_deref().map(absolute));
    match hook.point {
        HookPoint::Xdp => {
            Info::XdpAttachInfo(v1::XdpAttachInfo { priority, iface, netns, ..Default::default() })
        }
        HookPoint::Tc(side) => Info::TcAttachInfo(v1::TcAttachInfo {
            priority,
            iface,
            netns,
            direction: side.name().to_owned(),
            ..Default::default()
        }),
        HookPoint::Tcx(side) => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority,
            iface,
            netns,
            direction: side.name().to_owned(),
            ..Default::default()
        }),
    }
}

/// Makes a path absolute. A target without a slash is a library's name, which the daemon looks up.
fn file(target: &str) -> String {
    if target.contains('/') { absolute(Path::new(target)) } else { target.to_owned() }
}
