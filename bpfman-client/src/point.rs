//! Attach points of programs.

use bpfman_model::{Direction, HookKind, Interface};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{WirePoint, v1};
use ext::point::At;
use v1::attach_info::Info;

/// Attach point of a program, for [`RemoteProgram::attach`](crate::RemoteProgram::attach). It has to fit the program's
/// type. Options without an argument here can be set through the messages of [`crate::wire::v1`].
///
/// ```
/// use bpfman_client::AttachAt;
///
/// let at = AttachAt::xdp("eth0").priority(200);
/// # drop(at);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "nothing is attached before RemoteProgram::attach"]
pub struct AttachAt {
    at: WirePoint,
}

/// Default priority: members without a priority run after those that have one.
const LAST: i32 = 1000;

impl AttachAt {
    /// Attaches to an interface, before the network stack (XDP), at priority 1000.
    pub fn xdp(interface: impl Into<String>) -> Self {
        Self::of_hook(HookKind::Xdp, interface.into())
    }

    /// Attaches to an interface through traffic control (TC), at priority 1000.
    pub fn tc(interface: impl Into<String>, direction: Direction) -> Self {
        Self::of_hook(HookKind::Tc(direction), interface.into())
    }

    /// Attaches to an interface through tcx (Linux 6.6), at priority 1000.
    pub fn tcx(interface: impl Into<String>, direction: Direction) -> Self {
        Self::of_hook(HookKind::Tcx(direction), interface.into())
    }

    fn of_hook(kind: HookKind, name: String) -> Self {
        Self { at: WirePoint::of_hook(kind, &Interface { name, netns: None }, LAST) }
    }

    /// Attaches to a trace point, as `category/name`.
    pub fn tracepoint(name: impl Into<String>) -> Self {
        let info = v1::TracepointAttachInfo { tracepoint: name.into(), ..Default::default() };
        Self { at: WirePoint::from(Info::TracepointAttachInfo(info)) }
    }

    /// Attaches to the beginning of a kernel function, or to its end for a program of type kretprobe.
    pub fn kprobe(function: impl Into<String>) -> Self {
        let info = v1::KprobeAttachInfo { fn_name: function.into(), ..Default::default() };
        Self { at: WirePoint::from(Info::KprobeAttachInfo(info)) }
    }

    /// Attaches to a function in a binary, by absolute path, or in a library, by name: its start, or end for `uretprobe`.
    pub fn uprobe(target: impl Into<String>, function: impl Into<String>) -> Self {
        let (target, fn_name) = (target.into(), Some(function.into()));
        Self {
            at: WirePoint::from(Info::UprobeAttachInfo(v1::UprobeAttachInfo {
                target,
                fn_name,
                ..Default::default()
            })),
        }
    }

    /// Attaches to the function that a program of type fentry was loaded for.
    pub fn fentry() -> Self {
        Self { at: WirePoint::from(Info::FentryAttachInfo(v1::FentryAttachInfo::default())) }
    }

    /// Attaches to the function that a program of type fexit was loaded for.
    pub fn fexit() -> Self {
        Self { at: WirePoint::from(Info::FexitAttachInfo(v1::FexitAttachInfo::default())) }
    }

    /// Attaches to the hook that a program of type LSM was loaded for.
    pub fn lsm() -> Self {
        Self { at: WirePoint::from(Info::LsmAttachInfo(v1::LsmAttachInfo::default())) }
    }

    /// Attaches a program of this type (`tp_btf`, `fmod_ret`, `iter`, `freplace`) to the target that it was loaded for.
    pub fn loaded_for(program_type: impl Into<String>) -> Self {
        At::LoadedFor(program_type.into()).into()
    }

    /// Attaches to a trace point by its name alone, for a program of type `raw_tracepoint`.
    pub fn raw_tracepoint(name: impl Into<String>) -> Self {
        At::RawTracepoint(name.into()).into()
    }

    /// Attaches to kernel functions through one link, by names and patterns such as `tcp_*`.
    pub fn kprobe_multi(functions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let functions = functions.into_iter().map(Into::into).collect();
        At::KprobeMulti(ext::KprobeMultiPoint { functions }).into()
    }

    /// Attaches to functions of a binary, by absolute path, or of a library, by name, through one link (Linux 6.6).
    pub fn uprobe_multi(
        target: impl Into<String>,
        functions: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let (target, functions) = (target.into(), functions.into_iter().map(Into::into).collect());
        At::UprobeMulti(ext::UprobeMultiPoint { target, functions, ..Default::default() }).into()
    }

    /// Attaches to one of the program's own sockmaps, by its name in the object (Linux 6.10).
    pub fn sockmap(map: impl Into<String>) -> Self {
        At::Sockmap(map.into()).into()
    }

    /// Attaches to a netkit device of the daemon's own namespace (Linux 6.7), named by its primary end, at
    /// the end that the program was loaded for. Use [`ext::NetkitPoint`] for another namespace.
    pub fn netkit(interface: impl Into<String>) -> Self {
        At::Netkit(ext::NetkitPoint { interface: interface.into(), ..Default::default() }).into()
    }

    /// Attaches to a USDT probe of a program or library (Linux 6.6). Use [`ext::UsdtPoint`] for one process.
    pub fn usdt(target: impl Into<String>, provider: impl Into<String>, name: impl Into<String>) -> Self {
        let (target, provider, name) = (target.into(), provider.into(), name.into());
        At::Usdt(ext::UsdtPoint { target, provider, name, ..Default::default() }).into()
    }

    /// Attaches to a system call, by its name.
    pub fn ksyscall(name: impl Into<String>) -> Self {
        At::Ksyscall(name.into()).into()
    }

    /// Registers one of the program's own struct_ops maps, by its name in the object (Linux 6.4).
    pub fn struct_ops(map: impl Into<String>) -> Self {
        At::StructOps(map.into()).into()
    }

    /// Attaches to a perf event by perf's name (`cpu-clock`, `page-faults`, `cycles`), on each CPU, at about
    /// `frequency` samples a second. Use [`ext::PerfEventPoint`] for other rates, one CPU or one thread.
    pub fn perf_event(event: impl Into<String>, frequency: u64) -> Self {
        let (event, frequency) = (event.into(), Some(frequency));
        At::PerfEvent(ext::PerfEventPoint { event, frequency, ..Default::default() }).into()
    }

    /// Attaches to a cgroup v2 and its descendants, by its path from the root of the hierarchy.
    pub fn cgroup(path: impl Into<String>) -> Self {
        At::Cgroup(path.into()).into()
    }

    /// Attaches to the daemon's own network namespace, for programs of types `sk_lookup` and `flow_dissector`.
    pub fn own_netns() -> Self {
        At::Netns(String::new()).into()
    }

    /// Attaches to a netfilter hook (Linux 6.4), by nft's name, for packets of `ipv4` or `ipv6`, at priority 0.
    pub fn netfilter(family: impl Into<String>, hook: impl Into<String>) -> Self {
        let (family, hook) = (family.into(), hook.into());
        At::Netfilter(ext::NetfilterPoint { family, hook, ..ext::NetfilterPoint::default() }).into()
    }

    /// Sets the order among the programs of the hook, the lowest first; has no effect at hooks without an order.
    pub fn priority(self, priority: i32) -> Self {
        Self { at: self.at.with_priority(priority) }
    }

    /// Sets the network namespace of the interface, by the path of its file; has no effect without an interface.
    pub fn netns(self, path: impl Into<String>) -> Self {
        Self { at: self.at.with_netns(path.into()) }
    }

    pub(crate) fn into_wire(self) -> (Option<v1::AttachInfo>, Option<ext::Point>) {
        self.at.into_fields()
    }
}

impl From<Info> for AttachAt {
    fn from(info: Info) -> Self {
        Self { at: info.into() }
    }
}

impl From<At> for AttachAt {
    fn from(at: At) -> Self {
        Self { at: at.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_message_of_the_wire() {
        let at = AttachAt::tc("eth0", Direction::Egress).priority(7).netns("/run/netns/blue");
        let published = |at: AttachAt| at.into_wire().0.and_then(|attach| attach.info);
        let Some(Info::TcAttachInfo(info)) = published(at) else { panic!("a hook of TC") };
        assert_eq!((info.iface.as_str(), info.direction.as_str(), info.priority), ("eth0", "egress", 7));
        assert_eq!(info.netns.as_deref(), Some("/run/netns/blue"));
        let Some(Info::XdpAttachInfo(info)) = published(AttachAt::xdp("eth0")) else { panic!("XDP") };
        assert_eq!((info.priority, info.netns), (1000, None));
        let at = AttachAt::netfilter("ipv4", "input").priority(-5).netns("/run/netns/blue");
        let (None, Some(ext::Point { at: Some(At::Netfilter(point)), .. })) = at.into_wire() else {
            panic!("a hook of netfilter")
        };
        assert_eq!(
            (point.hook.as_str(), point.priority, point.netns.as_str()),
            ("input", -5, "/run/netns/blue")
        );
    }
}
