//! Links: one as a block, several as a table.

use bpfman_model::ProgramType;
use serde::Serialize;

use super::CommandOutput;
use super::block::Block;
use super::json::LinkJson;
use super::screen::Screen;
use super::standing::StandingWord;
use super::table::TextTable;
use super::xdp_mode::with_xdp_mode;
use crate::kernel_type;

#[derive(Serialize)]
pub struct LinkList {
    /// Links, in the daemon's order.
    pub links: Vec<LinkJson>,
}

impl CommandOutput for LinkJson {
    fn table(&self, screen: Screen) -> String {
        block(self, screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.link_id.to_string()]
    }
}

impl CommandOutput for LinkList {
    fn table(&self, screen: Screen) -> String {
        let mut columns = vec!["Program ID", "Link ID", "Application", "Type", "Function Name", "Attachment"];
        // Columns after those of v0.6.0, only if they have a value.
        let (has_netns, has_state) =
            (self.links.iter().any(|link| netns(link).is_some()), self.links.iter().any(is_not_running));
        let has_mode = self.links.iter().any(is_not_native);
        let has_others = self.links.iter().any(is_of_others);
        columns.extend(has_others.then_some("Kernel Link ID"));
        columns.extend(has_others.then_some("Owner"));
        columns.extend(has_mode.then_some("XDP Mode"));
        columns.extend(has_netns.then_some("Network Namespace"));
        columns.extend(has_state.then_some("State"));
        let mut table = TextTable::new(&columns);
        for link in &self.links {
            let mut row = vec![
                link.program_id.to_string(),
                if is_of_others(link) { String::new() } else { link.link_id.to_string() },
                link.application.clone().unwrap_or_default(),
                kernel_type::table_name(&link.program_type).to_owned(),
                link.program_name.clone(),
                link.attachment.clone(),
            ];
            row.extend(has_others.then(|| link.kernel_link_id.map(|id| id.to_string()).unwrap_or_default()));
            row.extend(has_others.then(|| link.owner.clone().unwrap_or_default()));
            row.extend(has_mode.then(|| link.xdp_mode.clone().unwrap_or_default()));
            row.extend(has_netns.then(|| netns(link).unwrap_or_default().to_owned()));
            row.extend(has_state.then(|| link.standing.map(StandingWord::shown).unwrap_or_default()));
            table.row(row);
        }
        let mut text = table.render(screen);
        text.push('\n');
        text
    }

    fn ids(&self) -> Vec<String> {
        let own = self.links.iter().filter(|link| !is_of_others(link));
        own.map(|link| link.link_id.to_string()).collect()
    }
}

const fn is_of_others(link: &LinkJson) -> bool {
    link.link_id == 0
}

fn netns(link: &LinkJson) -> Option<&str> {
    link.attach.netns.as_deref().filter(|path| !path.is_empty())
}

fn is_not_native(link: &LinkJson) -> bool {
    link.xdp_mode.as_ref().is_some_and(|mode| mode != "native")
}

fn is_not_running(link: &LinkJson) -> bool {
    StandingWord::differs(link.standing)
}

/// Returns all details of a link in the format of v0.6.0. The lines depend on the program type.
fn block(link: &LinkJson, screen: Screen) -> String {
    let kind = kernel_type::table_name(&link.program_type);
    let attach = &link.attach;
    let mut block = Block::new("Bpfman State");
    block
        .line("BPF Function", &link.program_name)
        .line("Program Type", kind)
        .line("Program ID", link.program_id)
        .line("Link ID", link.link_id);
    let known = link.program_type.parse::<ProgramType>().ok();
    match known.and_then(ProgramType::point_kind).unwrap_or_default() {
        "xdp" | "tc" => {
            block.optional("Interface", attach.iface.as_ref());
            if kind != "xdp" {
                block.optional("Direction", attach.direction.as_ref());
            }
            block.optional("Priority", attach.priority).optional("Position", link.position);
            if kind != "tcx" {
                block.line("Proceed On", attach.proceed_on.join(", "));
            }
            if let Some(mode) = &link.xdp_mode {
                block.line("Mode", with_xdp_mode("xdp", Some(mode), link.xdp_refusal.as_deref()));
            }
            block.optional("Network Namespace", attach.netns.as_ref());
        }
        "kprobe" => {
            block
                .optional("Attach Function", attach.fn_name.as_ref())
                .optional("Offset", attach.offset)
                .optional("Container PID", attach.container_pid);
        }
        "uprobe" => {
            block
                .optional("Target", attach.target.as_ref())
                .optional("Attach Function", attach.fn_name.as_ref())
                .optional("Offset", attach.offset)
                .optional("PID", attach.pid)
                .optional("Container PID", attach.container_pid);
        }
        "cgroup" => {
            block.optional("Cgroup", attach.cgroup.as_ref());
            block.optional("Attach Hook", attach.fn_name.as_ref());
        }
        "netkit" => {
            block.optional("Interface", attach.iface.as_ref());
            block.optional("Attach Hook", attach.fn_name.as_ref());
            block.optional("Network Namespace", attach.netns.as_ref());
        }
        "usdt" => {
            block.optional("Target", attach.target.as_ref());
            block.optional("Probe", attach.fn_name.as_ref());
            block.optional("PID", attach.pid).optional("Container PID", attach.container_pid);
        }
        "ksyscall" => {
            block.optional("System Call", attach.fn_name.as_ref());
        }
        "kprobe_multi" | "uprobe_multi" => {
            block.optional("Target", attach.target.as_ref());
            block.lines("Attach Functions", attach.functions.iter().cloned());
            block.optional("PID", attach.pid).optional("Container PID", attach.container_pid);
        }
        "sockmap" | "struct_ops" => {
            block.optional("Map", attach.map.as_ref());
            block.optional("Attach Hook", attach.fn_name.as_ref());
        }
        "perf_event" => {
            if let Some(event) = &attach.perf_event {
                block.line("Event", &event.event);
                block.optional("Frequency", event.frequency.map(|frequency| format!("{frequency} Hz")));
                block.optional("Period", event.period).optional("CPU", event.cpu);
            }
            block.optional("PID", attach.pid);
        }
        "netns" => {
            block.line("Network Namespace", attach.netns.as_deref().unwrap_or("the daemon's own"));
        }
        "netfilter" => {
            if let Some(netfilter) = &attach.netfilter {
                block.line("Family", &netfilter.family).line("Hook", &netfilter.hook);
                block.optional("Priority", attach.priority).line("Defragment", netfilter.defragment);
            }
            block.line("Network Namespace", attach.netns.as_deref().unwrap_or("the daemon's own"));
        }
        "tracepoint" | "raw_tracepoint" => {
            block.optional("Tracepoint", attach.tracepoint.as_ref());
        }
        // fentry, fexit, lsm and others: their target was set at load.
        _ => {
            block.line("Attach Function", &link.attachment);
        }
    }
    if let Some(order) = &attach.order {
        block.optional("Role", order.role.as_ref());
        block.lines("Before", order.before.iter().cloned()).lines("After", order.after.iter().cloned());
    }
    block.lines("Metadata", link.metadata.iter().map(|(key, value)| format!("{key}={value}")));
    block.if_any("Shadow", link.shadow.then_some("its verdicts do not count"));
    block.if_any("Detached In", link.ttl_left.map(super::program::seconds));
    if StandingWord::differs(link.standing) {
        block.line("State", &link.state);
    }
    block.render(screen)
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1 as ext;
    use bpfman_proto::v1;
    use bpfman_proto::v1::attach_info::Info;

    use super::*;

    fn link(kind: &str, attachment: &str, info: Info) -> LinkJson {
        LinkJson::new(&ext::Link {
            id: 90,
            program_id: 7,
            program_name: "watch".into(),
            program_type: kind.into(),
            attachment: attachment.into(),
            metadata: [("owner".to_owned(), "acme".to_owned())].into(),
            attach_info: Some(v1::AttachInfo { info: Some(info) }),
            ..Default::default()
        })
    }

    fn shown(link: LinkJson) -> String {
        link.table(Screen::PLAIN)
    }

    #[test]
    fn mode_of_xdp_is_in_lists_only_where_it_is_not_native() {
        let of = |mode: &str, refusal: &str| {
            let xdp = ext::XdpPlacement { mode: mode.into(), refusal: refusal.into() };
            LinkJson::new(&ext::Link {
                id: 90,
                program_type: "xdp".into(),
                attach_info: Some(v1::AttachInfo { info: Some(Info::XdpAttachInfo(Default::default())) }),
                xdp: Some(xdp),
                ..Default::default()
            })
        };
        let (native, generic) = (of("native", ""), of("generic", "Operation not supported"));
        let text = shown(generic.clone());
        assert!(text.contains("xdp, generic (the driver refused it: Operation not supported)"), "{text}");
        let list = |links: Vec<LinkJson>| LinkList { links }.table(Screen::PLAIN);
        assert!(!list(vec![native.clone()]).contains("XDP Mode"));
        let table = list(vec![native, generic]);
        assert!(table.contains("XDP Mode") && table.contains("generic"), "{table}");
    }

    #[test]
    fn an_xdp_link() {
        let info = v1::XdpAttachInfo {
            iface: "eth0".into(),
            priority: 35,
            proceed_on: vec![1, 2],
            ..Default::default()
        };
        let mut record = link("xdp", "eth0 pos-1", Info::XdpAttachInfo(info));
        record.position = Some(1);
        assert_eq!(
            shown(record),
            " Bpfman State
 BPF Function:       watch
 Program Type:       xdp
 Program ID:         7
 Link ID:            90
 Interface:          eth0
 Priority:           35
 Position:           1
 Proceed On:         drop, pass
 Network Namespace:  None
 Metadata:           owner=acme

"
        );
    }

    #[test]
    fn tc_has_a_direction_and_tcx_no_verdicts() {
        let tc = v1::TcAttachInfo {
            iface: "eth0".into(),
            direction: "ingress".into(),
            netns: Some("/run/netns/b".into()),
            ..Default::default()
        };
        let text = shown(link("tc", "", Info::TcAttachInfo(tc)));
        assert!(
            text.contains(
                " Interface:          eth0\n Direction:          ingress\n Priority:           0\n"
            )
        );
        assert!(
            text.contains(
                " Proceed On:         pipe, dispatcher_return\n Network Namespace:  /run/netns/b\n"
            )
        );
        let tcx =
            v1::TcxAttachInfo { iface: "eth0".into(), direction: "egress".into(), ..Default::default() };
        let text = shown(link("tcx", "", Info::TcxAttachInfo(tcx)));
        assert!(text.contains("Direction:") && !text.contains("Proceed On"), "{text}");
    }

    #[test]
    fn return_probes_look_like_their_entry_probes() {
        let info = v1::KprobeAttachInfo { fn_name: "vfs_read".into(), offset: 16, ..Default::default() };
        let text = shown(link("kretprobe", "vfs_read", Info::KprobeAttachInfo(info)));
        assert!(text.contains(" Program Type:     kprobe\n"), "{text}");
        assert!(
            text.contains(" Attach Function:  vfs_read\n Offset:           16\n Container PID:    None\n"),
            "{text}"
        );
    }

    #[test]
    fn a_uprobe_without_a_function() {
        let info = v1::UprobeAttachInfo {
            target: "libc".into(),
            fn_name: Some(String::new()),
            pid: Some(4),
            ..Default::default()
        };
        let text = shown(link("uprobe", "libc", Info::UprobeAttachInfo(info)));
        assert!(
            text.contains(" Target:           libc\n Attach Function:  None\n Offset:           0\n PID:              4\n Container PID:    None\n"),
            "{text}"
        );
    }

    #[test]
    fn trace_points_and_types_bound_at_load() {
        let info = v1::TracepointAttachInfo { tracepoint: "sched/sched_switch".into(), ..Default::default() };
        let text = shown(link("tracepoint", "", Info::TracepointAttachInfo(info)));
        assert!(text.contains(" Tracepoint:    sched/sched_switch\n Metadata:      owner=acme\n"), "{text}");
        let text = shown(link("fexit", "vfs_read", Info::FexitAttachInfo(v1::FexitAttachInfo::default())));
        assert!(text.contains(" Attach Function:  vfs_read\n Metadata:         owner=acme\n"), "{text}");
    }

    #[test]
    fn many_links_are_a_table() {
        let mut first = link("xdp", "eth0 pos-0", Info::XdpAttachInfo(v1::XdpAttachInfo::default()));
        first.application = Some("shop".into());
        let second =
            link("uretprobe", "libc malloc", Info::UprobeAttachInfo(v1::UprobeAttachInfo::default()));
        assert_eq!(
            LinkList { links: vec![first, second] }.table(Screen::PLAIN),
            " Program ID  Link ID  Application  Type    Function Name  Attachment
 7           90       shop         xdp     watch          eth0 pos-0
 7           90                    uprobe  watch          libc malloc

"
        );
    }

    #[test]
    fn list_has_state_and_namespace_where_they_say_something() {
        let xdp = |netns: Option<&str>| {
            let info = v1::XdpAttachInfo { netns: netns.map(str::to_owned), ..Default::default() };
            link("xdp", "eth0 pos-0", Info::XdpAttachInfo(info))
        };
        let mut waits = xdp(None);
        waits.standing = Some(StandingWord(ext::Standing::Waiting));
        let mut runs = xdp(Some("/run/netns/blue"));
        runs.standing = Some(StandingWord(ext::Standing::Running));
        assert_eq!(
            LinkList { links: vec![waits, runs] }.table(Screen::PLAIN),
            " Program ID  Link ID  Application  Type  Function Name  Attachment  Network Namespace  State
 7           90                    xdp   watch          eth0 pos-0                     waiting
 7           90                    xdp   watch          eth0 pos-0  /run/netns/blue    ok

"
        );
    }

    #[test]
    fn json_names_what_a_program_was_loaded_for() {
        let record = LinkJson::new(&ext::Link {
            attach_target: "file_open".into(),
            attach_info: Some(v1::AttachInfo {
                info: Some(Info::LsmAttachInfo(v1::LsmAttachInfo::default())),
            }),
            ..Default::default()
        });
        assert_eq!(serde_json::to_value(&record).unwrap()["attach"]["fn_name"], "file_open");
    }

    #[test]
    fn json_keeps_the_exact_type() {
        let record =
            link("uretprobe", "libc malloc", Info::UprobeAttachInfo(v1::UprobeAttachInfo::default()));
        let value = serde_json::to_value(&record).unwrap();
        assert_eq!(value["type"], "uretprobe");
        assert_eq!(value["attach"]["offset"], 0);
        assert!(value["hook"].is_null() && value["attach"]["iface"].is_null());
    }
}
