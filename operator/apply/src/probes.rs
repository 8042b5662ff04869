use bpfman_application::place::OnUnavailable;
use bpfman_application::probe::UprobePoint;
use bpfman_application::tracing::Tracing;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{WirePoint, v1};

use crate::desired::WantedLink;
use crate::facts::{PodContainer, PodFacts};
use crate::key::WantedLinks;

fn link(info: Info, pod: Option<String>) -> WantedLink {
    WantedLink { point: WirePoint::from(info), order: None, on_unavailable: OnUnavailable::default(), pod }
}

pub fn kprobe(links: &mut WantedLinks, function: &str, offset: i64) {
    let offset = offset.unsigned_abs();
    let info = v1::KprobeAttachInfo { fn_name: function.to_owned(), offset, ..Default::default() };
    links.add(&format!("{function}+{offset}"), link(Info::KprobeAttachInfo(info), None));
}

pub fn tracepoint(links: &mut WantedLinks, name: &str) {
    let info = v1::TracepointAttachInfo { tracepoint: name.to_owned(), ..Default::default() };
    links.add(name, link(Info::TracepointAttachInfo(info), None));
}

pub fn fentry(links: &mut WantedLinks, block: &Tracing) {
    if !block.links.is_empty() {
        links.add(&block.function, link(Info::FentryAttachInfo(v1::FentryAttachInfo::default()), None));
    }
}

pub fn fexit(links: &mut WantedLinks, block: &Tracing) {
    if !block.links.is_empty() {
        links.add(&block.function, link(Info::FexitAttachInfo(v1::FexitAttachInfo::default()), None));
    }
}

pub fn uprobe(
    links: &mut WantedLinks,
    point: &UprobePoint,
    containers: Option<Vec<(&PodFacts, &PodContainer)>>,
) {
    let function = point.function.clone().filter(|function| !function.is_empty());
    let offset = point.offset.unsigned_abs();
    // Clients that cannot omit a number send 0 for "any process".
    let pid = point.pid.filter(|pid| *pid != 0);
    let of = |container_pid| {
        Info::UprobeAttachInfo(v1::UprobeAttachInfo {
            fn_name: function.clone(),
            offset,
            target: point.target.clone(),
            pid,
            container_pid,
            ..Default::default()
        })
    };
    let mut identity = format!("{}:{}+{offset}", point.target, function.as_deref().unwrap_or_default());
    if let Some(pid) = pid {
        identity.push_str(&format!(" pid {pid}"));
    }
    match containers {
        None => links.add(&identity, link(of(None), None)),
        Some(containers) => {
            for (pod, container) in containers {
                // A restarted container has another id, as it has another process.
                let identity = format!("{identity} in {}", container.id);
                links.add(&identity, link(of(Some(container.pid)), Some(pod.uid.clone())));
            }
        }
    }
}
