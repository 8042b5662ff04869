//! Attach points as messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpfman_model::{AttachPoint, Interface, ProceedOn, SampleRate};

use crate::ext::v1 as wire;
use crate::v1;
use crate::wire_point::WirePoint;
use v1::attach_info::Info;
use wire::point::At;

impl WirePoint {
    /// Returns the attach point of a link, with its position in the chain and its metadata.
    #[must_use]
    pub fn of_record(
        point: &AttachPoint,
        position: Option<u32>,
        metadata: &BTreeMap<String, String>,
    ) -> Self {
        of_point(point, position.map_or(0, u32::cast_signed))
            .with_metadata(metadata.clone().into_iter().collect())
    }
}

/// Request for an attach point. The default proceed-on set is left to the daemon.
impl From<&AttachPoint> for WirePoint {
    fn from(point: &AttachPoint) -> Self {
        let mut message = of_point(point, 0);
        let is_default = point.proceed_on().is_some_and(|set| set == ProceedOn::default_for(set.family()));
        match &mut message {
            Self::Published(Info::XdpAttachInfo(info)) if is_default => info.proceed_on.clear(),
            Self::Published(Info::TcAttachInfo(info)) if is_default => info.proceed_on.clear(),
            _ => {}
        }
        message
    }
}

fn of_point(point: &AttachPoint, position: i32) -> WirePoint {
    let path = |netns: &Option<PathBuf>| netns.as_ref().map(|path| path.display().to_string());
    let netns = |interface: &Interface| path(&interface.netns);
    match point {
        AttachPoint::Xdp { interface, priority, proceed_on } => Info::XdpAttachInfo(v1::XdpAttachInfo {
            priority: *priority,
            iface: interface.name.clone(),
            position,
            proceed_on: proceed_on.codes().collect(),
            netns: netns(interface),
            ..Default::default()
        })
        .into(),
        AttachPoint::Tc { interface, direction, priority, proceed_on } => {
            Info::TcAttachInfo(v1::TcAttachInfo {
                priority: *priority,
                iface: interface.name.clone(),
                position,
                direction: direction.name().to_owned(),
                proceed_on: proceed_on.codes().collect(),
                netns: netns(interface),
                ..Default::default()
            })
            .into()
        }
        AttachPoint::Tcx { interface, direction, priority } => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority: *priority,
            iface: interface.name.clone(),
            position,
            direction: direction.name().to_owned(),
            netns: netns(interface),
            ..Default::default()
        })
        .into(),
        AttachPoint::Tracepoint { category, name } => Info::TracepointAttachInfo(v1::TracepointAttachInfo {
            tracepoint: format!("{category}/{name}"),
            ..Default::default()
        })
        .into(),
        AttachPoint::Kprobe { function, offset } => Info::KprobeAttachInfo(v1::KprobeAttachInfo {
            fn_name: function.clone(),
            offset: *offset,
            ..Default::default()
        })
        .into(),
        AttachPoint::Uprobe { target, function, offset, scope } => {
            Info::UprobeAttachInfo(v1::UprobeAttachInfo {
                fn_name: function.clone(),
                offset: *offset,
                target: target.clone(),
                pid: scope.pid.map(u32::cast_signed),
                container_pid: scope.container_pid.map(u32::cast_signed),
                ..Default::default()
            })
            .into()
        }
        AttachPoint::Fentry => Info::FentryAttachInfo(v1::FentryAttachInfo::default()).into(),
        AttachPoint::Fexit => Info::FexitAttachInfo(v1::FexitAttachInfo::default()).into(),
        AttachPoint::Lsm => Info::LsmAttachInfo(v1::LsmAttachInfo::default()).into(),
        AttachPoint::BtfTracepoint | AttachPoint::FmodRet | AttachPoint::Iter | AttachPoint::Freplace => {
            At::LoadedFor(point.type_name().to_owned()).into()
        }
        AttachPoint::RawTracepoint { name } => At::RawTracepoint(name.clone()).into(),
        AttachPoint::Cgroup { path } => At::Cgroup(path.to_string()).into(),
        AttachPoint::KprobeMulti { functions } => At::KprobeMulti(wire::KprobeMultiPoint {
            functions: functions.iter().map(ToString::to_string).collect(),
        })
        .into(),
        AttachPoint::UprobeMulti { target, functions, scope } => At::UprobeMulti(wire::UprobeMultiPoint {
            target: target.clone(),
            functions: functions.clone(),
            pid: scope.pid.map(u32::cast_signed),
            container_pid: scope.container_pid.map(u32::cast_signed),
        })
        .into(),
        AttachPoint::Netns { netns } => At::Netns(path(netns).unwrap_or_default()).into(),
        AttachPoint::Netfilter { netns, place } => At::Netfilter(wire::NetfilterPoint {
            netns: path(netns).unwrap_or_default(),
            family: place.family.name().to_owned(),
            hook: place.hook.name().to_owned(),
            priority: place.priority,
            defragment: place.defragment,
        })
        .into(),
        AttachPoint::Sockmap { map } => At::Sockmap(map.clone()).into(),
        AttachPoint::StructOps { map } => At::StructOps(map.clone()).into(),
        AttachPoint::Usdt { target, provider, name, scope } => At::Usdt(wire::UsdtPoint {
            target: target.clone(),
            provider: provider.clone(),
            name: name.clone(),
            pid: scope.pid.map(u32::cast_signed),
            container_pid: scope.container_pid.map(u32::cast_signed),
        })
        .into(),
        AttachPoint::Netkit { interface } => At::Netkit(wire::NetkitPoint {
            interface: interface.name.clone(),
            netns: path(&interface.netns).unwrap_or_default(),
        })
        .into(),
        AttachPoint::Ksyscall { name } => At::Ksyscall(name.clone()).into(),
        AttachPoint::PerfEvent { place } => {
            let (frequency, period) = match place.rate {
                SampleRate::Frequency(frequency) => (Some(frequency), None),
                SampleRate::Period(period) => (None, Some(period)),
            };
            At::PerfEvent(wire::PerfEventPoint {
                event: place.event.name().to_owned(),
                frequency,
                period,
                cpu: place.cpu,
                pid: place.pid.map(u32::cast_signed),
            })
            .into()
        }
    }
}
