//! Attachments of types that the published API does not have: one block in a status, named as in the spec.

use bpfman_application::points::cgroup::CgroupPoint;
use bpfman_application::points::kernel::{KprobeMultiLink, KsyscallLink, PerfEventLink, RawTracepointLink};
use bpfman_application::points::maps::{SockmapLink, StructOpsLink};
use bpfman_application::points::network::{NetfilterPoint, NetkitPoint};
use bpfman_application::points::user::{UprobeMultiPoint, UsdtPoint};
use bpfman_application::state::points::{InNamespace, InProcess, NamespaceState, PointState, PointStates};
use bpfman_apply::report::ProgramReport;
use bpfman_model::ProgramType;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;

use super::link::signed;
use super::program::links;

/// Returns the blocks of a program, at most one of which is set. `before` are the last written ones.
#[must_use]
pub fn points(kind: ProgramType, report: &ProgramReport, before: Option<&PointStates>) -> PointStates {
    let mut shown = PointStates::default();
    macro_rules! block {
        ($field:ident, $kind:ident, |$at:ident| $show:expr) => {{
            let before = before.and_then(|before| before.$field.as_ref());
            shown.$field = Some(links(report, before, |link, point| match point.as_more() {
                Some(At::$kind($at)) => Some(PointState { link, point: $show }),
                _ => None,
            }));
        }};
    }
    match kind.block().unwrap_or_default() {
        "loadedFor" => {
            let before = before.and_then(|before| before.loaded_for.as_ref());
            shown.loaded_for = Some(links(report, before, |link, _| Some(link)));
        }
        "rawTracepoint" => {
            block!(raw_tracepoint, RawTracepoint, |name| RawTracepointLink { name: name.clone() });
        }
        "cgroup" => block!(cgroup, Cgroup, |path| CgroupPoint { path: path.clone() }),
        "netns" => block!(netns, Netns, |path| namespace(path)),
        "netfilter" => {
            let before = before.and_then(|before| before.netfilter.as_ref());
            shown.netfilter = Some(links(report, before, |link, point| match point.as_more() {
                Some(At::Netfilter(at)) => Some(PointState { link, point: netfilter(at)? }),
                _ => None,
            }));
        }
        "kprobeMulti" => {
            block!(kprobe_multi, KprobeMulti, |at| KprobeMultiLink { functions: at.functions.clone() });
        }
        "uprobeMulti" => block!(uprobe_multi, UprobeMulti, |at| InProcess {
            point: UprobeMultiPoint {
                target: at.target.clone(),
                functions: at.functions.clone(),
                pid: at.pid,
            },
            container_pid: at.container_pid,
        }),
        "perfEvent" => block!(perf_event, PerfEvent, |at| PerfEventLink {
            event: at.event.clone(),
            frequency: at.frequency.map(signed),
            period: at.period.map(signed),
            cpu: at.cpu,
            pid: at.pid,
        }),
        "sockmap" => block!(sockmap, Sockmap, |map| SockmapLink { map: map.clone() }),
        "structOps" => block!(struct_ops, StructOps, |map| StructOpsLink { map: map.clone() }),
        "usdt" => block!(usdt, Usdt, |at| InProcess {
            point: UsdtPoint {
                target: at.target.clone(),
                provider: at.provider.clone(),
                name: at.name.clone(),
                pid: at.pid,
            },
            container_pid: at.container_pid,
        }),
        "ksyscall" => block!(ksyscall, Ksyscall, |name| KsyscallLink { name: name.clone() }),
        "netkit" => block!(netkit, Netkit, |at| InNamespace {
            point: NetkitPoint { interface: at.interface.clone() },
            namespace: namespace(&at.netns),
        }),
        _ => {}
    }
    shown
}

/// On the wire, the empty path is the node's own namespace.
fn namespace(path: &str) -> NamespaceState {
    NamespaceState { netns_path: Some(path.to_owned()).filter(|path| !path.is_empty()) }
}

fn netfilter(at: &ext::NetfilterPoint) -> Option<InNamespace<NetfilterPoint>> {
    Some(InNamespace {
        point: NetfilterPoint {
            family: at.family.parse().ok()?,
            hook: at.hook.parse().ok()?,
            priority: at.priority,
            defragment: at.defragment,
        },
        namespace: namespace(&at.netns),
    })
}
