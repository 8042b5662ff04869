use bpfman_application::place::OnUnavailable;
use bpfman_application::points::kernel::PerfEventLink;
use bpfman_application::points::network::NamespaceChoice;
use bpfman_application::points::{PointBlocks, links};
use bpfman_model::{ProgramType, hexadecimal};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{WirePoint, v1};
use sha2::{Digest as _, Sha256};

use crate::desired::WantedLink;
use crate::facts::{PodContainer, PodFacts};
use crate::interfaces::{Point, namespace_points};
use crate::program_plan::ProgramPlan;

/// Maximum length of the functions' names in a key, in bytes: the key is metadata of the link.
const MAX_NAMES: usize = 256;

type Selected<'a> = Option<Vec<(&'a PodFacts, &'a PodContainer)>>;

impl ProgramPlan<'_> {
    pub(crate) fn points(&mut self, kind: ProgramType, blocks: &PointBlocks) {
        self.kernel(kind, blocks);
        self.networks(blocks);
        self.binaries(blocks);
    }

    /// Adds attachments to the node's kernel, which belong to no pod.
    fn kernel(&mut self, kind: ProgramType, blocks: &PointBlocks) {
        if blocks.loaded_for.as_ref().is_some_and(|block| !block.links.is_empty()) {
            let point = match kind {
                ProgramType::Lsm => WirePoint::from(Info::LsmAttachInfo(v1::LsmAttachInfo::default())),
                _ => WirePoint::from(At::LoadedFor(kind.name().to_owned())),
            };
            // A program is loaded for one target, so a constant identifies its link.
            self.links.add("what it was loaded for", link(point, None));
        }
        for (_, wanted) in links(blocks.raw_tracepoint.as_ref()) {
            self.more(&wanted.name, At::RawTracepoint(wanted.name.clone()));
        }
        for (_, wanted) in links(blocks.cgroup.as_ref()) {
            let path = &wanted.point.path;
            let order = wanted.order.clone();
            let point = WirePoint::from(At::Cgroup(path.clone()));
            self.links.add(cgroup(path), WantedLink { order, ..link(point, None) });
        }
        for (_, wanted) in links(blocks.kprobe_multi.as_ref()) {
            let functions = wanted.functions.clone();
            self.more(&names(&functions), At::KprobeMulti(ext::KprobeMultiPoint { functions }));
        }
        for (_, wanted) in links(blocks.perf_event.as_ref()) {
            self.more(&perf_event_key(wanted), At::PerfEvent(perf_event(wanted)));
        }
        for (_, wanted) in links(blocks.sockmap.as_ref()) {
            self.more(&wanted.map, At::Sockmap(wanted.map.clone()));
        }
        for (_, wanted) in links(blocks.struct_ops.as_ref()) {
            self.more(&wanted.map, At::StructOps(wanted.map.clone()));
        }
        for (_, wanted) in links(blocks.ksyscall.as_ref()) {
            self.more(&wanted.name, At::Ksyscall(wanted.name.clone()));
        }
    }

    fn networks(&mut self, blocks: &PointBlocks) {
        for (at, choice) in links(blocks.netns.as_ref()) {
            for place in self.places(("netns", at), choice, "netns") {
                self.in_network(place, At::Netns);
            }
        }
        for (at, wanted) in links(blocks.netfilter.as_ref()) {
            let point = &wanted.point;
            let what = format!("{} {} {}", point.family.name(), point.hook.name(), point.priority);
            for place in self.places(("netfilter", at), &wanted.namespace, &what) {
                self.in_network(place, |netns| {
                    At::Netfilter(ext::NetfilterPoint {
                        netns,
                        family: point.family.name().to_owned(),
                        hook: point.hook.name().to_owned(),
                        priority: point.priority,
                        defragment: point.defragment,
                    })
                });
            }
        }
        for (at, wanted) in links(blocks.netkit.as_ref()) {
            let interface = &wanted.point.interface;
            for place in self.places(("netkit", at), &wanted.namespace, interface) {
                self.in_network(place, |netns| {
                    At::Netkit(ext::NetkitPoint { interface: interface.clone(), netns })
                });
            }
        }
    }

    fn places(&mut self, field: (&str, usize), choice: &NamespaceChoice, what: &str) -> Vec<Point> {
        if let Some(path) = &choice.netns_path {
            let place = Point::of_node(what, Some(one_spelling(path)));
            return vec![Point { netns: Some(path.clone()), ..place }];
        }
        let namespaces = self.namespaces(field, choice.pods().as_ref(), false);
        namespace_points(what, &namespaces, &mut self.doubts)
    }

    fn in_network(&mut self, place: Point, at: impl FnOnce(String) -> At) {
        let point = WirePoint::from(at(place.netns.unwrap_or_default()));
        self.links.add(&place.identity, link(point, place.pod));
    }

    fn binaries(&mut self, blocks: &PointBlocks) {
        for (at, wanted) in links(blocks.uprobe_multi.as_ref()) {
            let point = &wanted.point;
            let what = format!("{}:{}", point.target, names(&point.functions));
            let containers = self.containers("uprobeMulti", at, wanted.containers.as_ref());
            self.in_containers(&what, point.pid, containers, |container_pid| {
                At::UprobeMulti(ext::UprobeMultiPoint {
                    target: point.target.clone(),
                    functions: point.functions.clone(),
                    pid: point.pid,
                    container_pid,
                })
            });
        }
        for (at, wanted) in links(blocks.usdt.as_ref()) {
            let point = &wanted.point;
            let what = format!("{}:{}:{}", point.target, point.provider, point.name);
            let containers = self.containers("usdt", at, wanted.containers.as_ref());
            self.in_containers(&what, point.pid, containers, |container_pid| {
                At::Usdt(ext::UsdtPoint {
                    target: point.target.clone(),
                    provider: point.provider.clone(),
                    name: point.name.clone(),
                    pid: point.pid,
                    container_pid,
                })
            });
        }
    }

    fn in_containers(
        &mut self,
        what: &str,
        pid: Option<i32>,
        containers: Selected<'_>,
        at: impl Fn(Option<i32>) -> At,
    ) {
        let mut what = what.to_owned();
        if let Some(pid) = pid {
            what.push_str(&format!(" pid {pid}"));
        }
        let Some(containers) = containers else { return self.more(&what, at(None)) };
        for (pod, container) in containers {
            // A restarted container has another id, as it has another process.
            let identity = format!("{what} in {}", container.id);
            self.links.add(&identity, link(WirePoint::from(at(Some(container.pid))), Some(pod.uid.clone())));
        }
    }

    fn more(&mut self, identity: &str, at: At) {
        self.links.add(identity, link(WirePoint::from(at), None));
    }
}

fn link(point: WirePoint, pod: Option<String>) -> WantedLink {
    WantedLink { point, order: None, on_unavailable: OnUnavailable::default(), pod }
}

/// Returns one spelling of a path: /var/run is a link to /run.
fn one_spelling(netns: &str) -> &str {
    netns.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(netns)
}

/// Removes the mount point of the hierarchy and trailing slashes; to the daemon too, these spellings are equal.
fn cgroup(path: &str) -> &str {
    let below = |mount| path.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = below("/sys/fs/cgroup/unified").or_else(|| below("/sys/fs/cgroup")).unwrap_or(path);
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

fn names(names: &[String]) -> String {
    let all = names.join(",");
    if all.len() <= MAX_NAMES {
        return all;
    }
    let first: String = names.first().map(|name| name.chars().take(128).collect()).unwrap_or_default();
    let hash = hexadecimal(&Sha256::digest(&all)[..8]);
    format!("{first} and {} more ({hash})", names.len() - 1)
}

fn perf_event(wanted: &PerfEventLink) -> ext::PerfEventPoint {
    ext::PerfEventPoint {
        event: wanted.event.clone(),
        frequency: wanted.frequency.map(i64::unsigned_abs),
        period: wanted.period.map(i64::unsigned_abs),
        cpu: wanted.cpu,
        pid: wanted.pid,
    }
}

fn perf_event_key(wanted: &PerfEventLink) -> String {
    let mut key = wanted.event.clone();
    if let Some(frequency) = wanted.frequency {
        key.push_str(&format!(" {frequency} Hz"));
    }
    if let Some(period) = wanted.period {
        key.push_str(&format!(" every {period}"));
    }
    if let Some(cpu) = wanted.cpu {
        key.push_str(&format!(" on CPU {cpu}"));
    }
    if let Some(pid) = wanted.pid {
        key.push_str(&format!(" of {pid}"));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::{cgroup, one_spelling};

    #[test]
    fn a_namespaces_file_has_one_key() {
        assert_eq!(one_spelling("/var/run/netns/a"), one_spelling("/run/netns/a"));
        assert_eq!(one_spelling("/var/runs/a"), "/var/runs/a");
    }

    #[test]
    fn a_control_group_has_one_key() {
        for path in ["/a/b", "/a/b/", "/sys/fs/cgroup/a/b", "/sys/fs/cgroup/unified/a/b/"] {
            assert_eq!(cgroup(path), "/a/b");
        }
        for path in ["/", "/sys/fs/cgroup", "/sys/fs/cgroup/"] {
            assert_eq!(cgroup(path), "/");
        }
        assert_eq!(cgroup("/sys/fs/cgroups"), "/sys/fs/cgroups");
    }
}
