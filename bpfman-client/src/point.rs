//! Where to attach a program.

use bpfman_proto::v1;
use v1::attach_info::Info;

/// Where a program is attached, by [`RemoteProgram::attach`](crate::RemoteProgram::attach). It has to fit the program's
/// type. What these constructors have no argument for, the messages of [`crate::wire::v1`] have.
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
    info: Info,
}

/// Which packets a program of type TC or tcx gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Those that come in.
    Ingress,
    /// Those that go out.
    Egress,
}

/// Members of a chain that say nothing of their place run behind those that do.
const LAST: i32 = 1000;

impl AttachAt {
    /// An interface, before the network stack: XDP. Priority 1000.
    pub fn xdp(interface: impl Into<String>) -> Self {
        let info = v1::XdpAttachInfo { iface: interface.into(), priority: LAST, ..Default::default() };
        Self { info: Info::XdpAttachInfo(info) }
    }

    /// An interface, by traffic control. Priority 1000.
    pub fn tc(interface: impl Into<String>, way: Traffic) -> Self {
        let (iface, direction) = (interface.into(), way.name().to_owned());
        let info = v1::TcAttachInfo { iface, direction, priority: LAST, ..Default::default() };
        Self { info: Info::TcAttachInfo(info) }
    }

    /// An interface, by tcx (Linux 6.6). Priority 1000.
    pub fn tcx(interface: impl Into<String>, way: Traffic) -> Self {
        let (iface, direction) = (interface.into(), way.name().to_owned());
        let info = v1::TcxAttachInfo { iface, direction, priority: LAST, ..Default::default() };
        Self { info: Info::TcxAttachInfo(info) }
    }

    /// A trace point, as `category/name`.
    pub fn tracepoint(name: impl Into<String>) -> Self {
        let info = v1::TracepointAttachInfo { tracepoint: name.into(), ..Default::default() };
        Self { info: Info::TracepointAttachInfo(info) }
    }

    /// The beginning of a kernel function, or its end for a program of type kretprobe.
    pub fn kprobe(function: impl Into<String>) -> Self {
        let info = v1::KprobeAttachInfo { fn_name: function.into(), ..Default::default() };
        Self { info: Info::KprobeAttachInfo(info) }
    }

    /// The beginning of a function in a binary, by absolute path, or in a library, by name; its end for a program of type
    /// uretprobe.
    pub fn uprobe(target: impl Into<String>, function: impl Into<String>) -> Self {
        let (target, fn_name) = (target.into(), Some(function.into()));
        Self { info: Info::UprobeAttachInfo(v1::UprobeAttachInfo { target, fn_name, ..Default::default() }) }
    }

    /// The function that a program of type fentry was loaded for.
    pub fn fentry() -> Self {
        Self { info: Info::FentryAttachInfo(v1::FentryAttachInfo::default()) }
    }

    /// The function that a program of type fexit was loaded for.
    pub fn fexit() -> Self {
        Self { info: Info::FexitAttachInfo(v1::FexitAttachInfo::default()) }
    }

    /// The hook that a program of type LSM was loaded for.
    pub fn lsm() -> Self {
        Self { info: Info::LsmAttachInfo(v1::LsmAttachInfo::default()) }
    }

    /// Its place among the programs of the hook, the lowest first; without meaning where hooks have no order.
    pub fn priority(mut self, priority: i32) -> Self {
        match &mut self.info {
            Info::XdpAttachInfo(info) => info.priority = priority,
            Info::TcAttachInfo(info) => info.priority = priority,
            Info::TcxAttachInfo(info) => info.priority = priority,
            _ => {}
        }
        self
    }

    /// The network namespace that the interface is in, by the path of its file; without meaning where there is no interface.
    pub fn netns(mut self, path: impl Into<String>) -> Self {
        let path = Some(path.into());
        match &mut self.info {
            Info::XdpAttachInfo(info) => info.netns = path,
            Info::TcAttachInfo(info) => info.netns = path,
            Info::TcxAttachInfo(info) => info.netns = path,
            _ => {}
        }
        self
    }

    pub(crate) fn into_info(self) -> v1::AttachInfo {
        v1::AttachInfo { info: Some(self.info) }
    }
}

impl From<Info> for AttachAt {
    fn from(info: Info) -> Self {
        Self { info }
    }
}

impl Traffic {
    const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_message_of_the_wire() {
        let at = AttachAt::tc("eth0", Traffic::Egress).priority(7).netns("/run/netns/blue");
        let Some(Info::TcAttachInfo(info)) = at.into_info().info else { panic!("a hook of TC") };
        assert_eq!((info.iface.as_str(), info.direction.as_str(), info.priority), ("eth0", "egress", 7));
        assert_eq!(info.netns.as_deref(), Some("/run/netns/blue"));
        let Some(Info::XdpAttachInfo(info)) = AttachAt::xdp("eth0").into_info().info else { panic!("XDP") };
        assert_eq!((info.priority, info.netns), (1000, None));
    }
}
