//! Conversions of attach points to `bpfman.ext.v1` and back.

use bpfman_model::AttachPoint;
use bpfman_proto::attach_point::{BadPoint, either};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::{WirePoint, v1};
use wire::point::At;

fn read(at: At) -> Result<AttachPoint, BadPoint> {
    let metadata = [("owner".to_owned(), "acme".to_owned())].into_iter().collect();
    let (point, pairs) = either(None, Some(wire::Point { at: Some(at), metadata }))?;
    assert_eq!(pairs["owner"], "acme");
    Ok(point)
}

fn kprobes(functions: &[&str]) -> At {
    let functions = functions.iter().map(|name| (*name).to_owned()).collect();
    At::KprobeMulti(wire::KprobeMultiPoint { functions })
}

fn perf_event(event: &str, frequency: Option<u64>, period: Option<u64>) -> At {
    At::PerfEvent(wire::PerfEventPoint { event: event.to_owned(), frequency, period, ..Default::default() })
}

fn netfilter(family: &str, hook: &str, priority: i32, defragment: bool) -> At {
    let (family, hook) = (family.to_owned(), hook.to_owned());
    At::Netfilter(wire::NetfilterPoint { netns: String::new(), family, hook, priority, defragment })
}

#[test]
fn points_come_back_as_they_were_sent() {
    let points = [
        At::LoadedFor("tp_btf".to_owned()),
        At::LoadedFor("fmod_ret".to_owned()),
        At::LoadedFor("iter".to_owned()),
        At::LoadedFor("freplace".to_owned()),
        At::RawTracepoint("sched_switch".to_owned()),
        At::Cgroup("/system.slice/web.service".to_owned()),
        At::Netns(String::new()),
        At::Netns("/run/netns/blue".to_owned()),
        netfilter("ipv6", "postrouting", -150, true),
        kprobes(&["tcp_v4_connect", "udp_*"]),
        At::UprobeMulti(wire::UprobeMultiPoint {
            target: "libc".to_owned(),
            functions: vec!["malloc".to_owned(), "free".to_owned()],
            pid: Some(7),
            container_pid: None,
        }),
        At::Sockmap("connections".to_owned()),
        At::StructOps("steady".to_owned()),
        At::Ksyscall("openat".to_owned()),
        At::Netkit(wire::NetkitPoint { interface: "nk0".to_owned(), netns: "/run/netns/b".to_owned() }),
        At::Usdt(wire::UsdtPoint {
            target: "libc".to_owned(),
            provider: "libc".to_owned(),
            name: "setjmp".to_owned(),
            pid: Some(7),
            container_pid: None,
        }),
        perf_event("cpu-clock", Some(99), None),
        At::PerfEvent(wire::PerfEventPoint {
            event: "cycles".to_owned(),
            period: Some(1_000_000),
            cpu: Some(0),
            pid: Some(7),
            ..Default::default()
        }),
    ];
    for at in points {
        let point = read(at.clone()).unwrap();
        assert_eq!(WirePoint::from(&point).as_more(), Some(&at));
    }
}

#[test]
fn invalid_point_is_refused_with_reason() {
    for (at, says) in [
        (At::LoadedFor("fentry".to_owned()), "\"fentry\" is none of tp_btf, fmod_ret, iter, freplace"),
        (At::RawTracepoint("sched/sched_switch".to_owned()), "without a category"),
        (At::RawTracepoint(String::new()), "is no raw trace point"),
        (At::Cgroup("web".to_owned()), "it is not absolute"),
        (At::Cgroup("/a/../b".to_owned()), "it leads through"),
        (kprobes(&[]), "names no functions"),
        (kprobes(&["a"; 1001]), "names 1001 functions"),
        (kprobes(&["a*"; 101]), "names 101 patterns"),
        (kprobes(&["a:b"]), "\"a:b\" is neither a function"),
        (At::UprobeMulti(wire::UprobeMultiPoint::default()), "names no functions"),
        (At::Sockmap(String::new()), "names no sockmap"),
        (At::Usdt(wire::UsdtPoint::default()), "no target, no provider"),
        (At::Netkit(wire::NetkitPoint::default()), "names no netkit device"),
        (At::Ksyscall(String::new()), "names no system call"),
        (At::StructOps(String::new()), "names no struct_ops map"),
        (perf_event("clock", Some(99), None), "\"clock\" is none of cpu-clock, task-clock"),
        (perf_event("cpu-clock", None, None), "either a frequency or a period"),
        (perf_event("cpu-clock", Some(1), Some(1)), "either a frequency or a period"),
        (perf_event("cpu-clock", Some(0), None), "frequency is at least 1"),
        (perf_event("cpu-clock", None, Some(u64::MAX)), "period is at most"),
        (netfilter("inet", "input", 0, false), "none of ipv4, ipv6"),
        (netfilter("ipv4", "ingress", 0, false), "none of prerouting"),
        (netfilter("ipv4", "input", i32::MIN, false), "is the kernel's own"),
        (netfilter("ipv4", "input", -400, true), "before fragments are put together"),
    ] {
        let status = read(at).unwrap_err();
        assert!(status.to_string().contains(says), "{status}");
    }
    let both = either(Some(v1::AttachInfo::default()), Some(wire::Point::default())).unwrap_err();
    assert!(both.to_string().contains("two attach points"));
    assert!(either(None, Some(wire::Point::default())).is_err() && either(None, None).is_err());
}
