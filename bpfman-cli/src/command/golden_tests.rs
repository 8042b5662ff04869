//! Comparison of names, numbers, wire bytes and output of all program types and attach points with a stored file.
//!
//! Run with `BPFMAN_GOLDEN=write` to rewrite the file after an intended change.

use std::fmt::Write as _;
use std::path::Path;

use bpfman_model::{HookName, ProgramType, WrittenPoint};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{WirePoint, v1};
use clap::Parser as _;
use prost::Message as _;

use crate::args::value::ProgramSpec;
use crate::args::{Cli, CliCommand};
use crate::command::run::point::on_the_wire as hook_on_the_wire;
use crate::command::wire_point::on_the_wire;
use crate::kernel_type::{self, TypeFilter};
use crate::show::json::{LinkJson, ProgramJson};
use crate::show::link::LinkList;
use crate::show::program::ProgramList;
use crate::show::screen::Screen;
use crate::show::{CommandOutput, form};

/// Attach points by the flags of `bpfman attach`, with a program type for the link.
const POINTS: [(&str, &str); 31] = [
    ("xdp", "xdp -i eth0 -p 35"),
    ("xdp", "xdp -i eth0 -p 35 --proceed-on drop,pass -n /run/netns/b"),
    ("tc", "tc -d ingress -i eth0 -p 1"),
    ("tc", "tc -d egress -i eth0 -p 1 --proceed-on unspec,ok"),
    ("tcx", "tcx -d ingress -i eth0 -p 1 -n /run/netns/b"),
    ("tracepoint", "tracepoint -t sched/sched_switch"),
    ("kretprobe", "kprobe -f vfs_read -o 16"),
    ("uprobe", "uprobe -t /bin/app -f main -o 8 -p 3 -c 4"),
    ("uretprobe", "uprobe -t libc -o 8"),
    ("fentry", "fentry"),
    ("fexit", "fexit"),
    ("lsm", "lsm"),
    ("raw_tracepoint", "raw-tracepoint -t sched_switch"),
    ("tp_btf", "tp-btf"),
    ("fmod_ret", "fmod-ret"),
    ("iter", "iter"),
    ("freplace", "freplace"),
    ("kprobe_session", "kprobe-multi -f tcp_*,udp_sendmsg"),
    ("uprobe_multi", "uprobe-multi -t libc -f malloc,free -p 7"),
    ("perf_event", "perf-event --event cpu-clock -f 99 -c 1 -p 7"),
    ("perf_event", "perf-event --event cycles --period 1000000"),
    ("sk_msg", "sockmap --map connections"),
    ("usdt", "usdt -t libc -n libc:setjmp -p 7"),
    ("netkit", "netkit -i nk0 -n /run/netns/b"),
    ("kretsyscall", "ksyscall -n openat"),
    ("struct_ops", "struct-ops --map steady"),
    ("cgroup_skb", "cgroup --path /web.slice"),
    ("sk_lookup", "netns"),
    ("flow_dissector", "netns -n /run/netns/b"),
    ("netfilter", "netfilter --family ipv6 --hook input --priority -100 --defragment -n /run/netns/b"),
    ("netfilter", "netfilter --family ipv4 --hook postrouting --priority 5"),
];

/// Hooks of `bpfman run`.
const HOOKS: [&str; 27] = [
    "xdp:eth0",
    "xdp:eth0@/run/netns/blue",
    "tc:eth0:ingress",
    "tcx:eth0:egress",
    "tracepoint:sched/sched_switch",
    "raw_tracepoint:sched_switch",
    "kprobe:vfs_unlink+0x4",
    "kretprobe:vfs_unlink",
    "uprobe:/usr/lib/libc.so.6:malloc",
    "uretprobe:libc:malloc",
    "kprobe_multi:tcp_*,udp_sendmsg",
    "uprobe_multi:libc:malloc,free",
    "fentry:vfs_read",
    "fexit",
    "fmod_ret",
    "lsm",
    "tp_btf",
    "iter",
    "freplace:17:limit",
    "cgroup:/web.slice",
    "netns",
    "netns:/run/netns/blue",
    "netfilter:ipv4:input:-100",
    "perf_event:cpu-clock:99",
    "sockmap:connections",
    "usdt:/opt/a:b/shop:shop:sold",
    "netkit:nk0",
];

fn types_by_name() -> impl Iterator<Item = (&'static str, u32)> {
    let mut types = ProgramType::ALL.map(|known| (known.name(), known.kernel_type()));
    types.sort_unstable();
    types.into_iter()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn point_text(point: &WirePoint) -> String {
    match point {
        WirePoint::Published(info) => {
            format!("v1 {}", hex(&v1::AttachInfo { info: Some(info.clone()) }.encode_to_vec()))
        }
        WirePoint::More(point) => format!("ext {}", hex(&point.encode_to_vec())),
    }
}

fn attach(line: &str) -> WirePoint {
    let line = format!("bpfman attach 7 {line} -m owner=acme");
    match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        CliCommand::Attach(attach) => on_the_wire(attach.point).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn link(program_type: &str, point: WirePoint) -> ext::Link {
    let (attach_info, point) = point.into_fields();
    let positioned = attach_info.as_ref().is_some_and(|attach| {
        matches!(attach.info, Some(Info::XdpAttachInfo(_) | Info::TcAttachInfo(_) | Info::TcxAttachInfo(_)))
    });
    ext::Link {
        id: 90,
        program_id: 7,
        program_name: "watch".to_owned(),
        program_type: program_type.to_owned(),
        attachment: "somewhere".to_owned(),
        attach_target: "target".to_owned(),
        metadata: [("owner".to_owned(), "acme".to_owned())].into(),
        position: positioned.then_some(2),
        standing: ext::Standing::Waiting.into(),
        attach_info,
        point,
        ..Default::default()
    }
}

fn program(name: &str, kernel: u32) -> ext::Program {
    ext::Program {
        info: Some(v1::ProgramInfo { name: "watch".to_owned(), ..Default::default() }),
        kernel_info: Some(v1::KernelProgramInfo { id: 7, program_type: kernel, ..Default::default() }),
        program_type: name.to_owned(),
        ..Default::default()
    }
}

fn output(form_name: &str, answer: &impl CommandOutput) -> String {
    let global = Cli::try_parse_from(["bpfman", "-o", form_name, "list", "links"]).unwrap().global;
    form(&global, answer).unwrap()
}

fn section_target(program_type: &str) -> &'static str {
    match program_type {
        "tracepoint" => "sched/sched_switch",
        "usdt" => "libc:libc:setjmp",
        probe if probe.starts_with('u') => "libc:malloc",
        _ => "vfs_read",
    }
}

fn types(text: &mut String) {
    for (name, kernel) in types_by_name() {
        let spec: ProgramSpec =
            format!("{name}:watch:target").parse().or_else(|_| format!("{name}:watch").parse()).unwrap();
        let info = hex(&v1::LoadInfo::from(&spec).encode_to_vec());
        let actual = spec.actual_type.unwrap_or("-");
        let shown = ProgramJson::new(&program(name, kernel));
        let json = serde_json::to_value(&shown).unwrap();
        let program_type: ProgramType = name.parse().unwrap();
        let forms = program_type.hook_form().unwrap_or("-");
        let of_section =
            WrittenPoint::of_section(program_type, Some(section_target(name))).map(|hook| hook.to_string());
        writeln!(
            text,
            "type {name}: kernel {kernel} {}, in tables {}, load {info}, actual {actual}, forms {forms}, section {}",
            json["kernel"]["type"],
            kernel_type::table_name(name),
            of_section.as_deref().unwrap_or("-"),
        )
        .unwrap();
    }
    for number in 0..35 {
        writeln!(text, "kernel type {number}: {}", kernel_type::name(number)).unwrap();
    }
    let mut names = TypeFilter::names();
    names.sort_unstable();
    for name in names {
        let filter = match TypeFilter::parse(&name).unwrap() {
            TypeFilter::Kernel(number) => format!("kernel {number}"),
            TypeFilter::Exact(exact) => format!("exact {exact}"),
        };
        let selects = TypeFilter::parse(&name).unwrap();
        let selected: Vec<_> = types_by_name().map(|(of, _)| of).filter(|of| selects.selects(of)).collect();
        writeln!(text, "filter {name}: {filter} {}", selected.join(" ")).unwrap();
    }
    text.push_str(&"xpd:a".parse::<ProgramSpec>().unwrap_err().to_string());
    text.push('\n');
}

fn points(text: &mut String) {
    for (program_type, line) in POINTS {
        let point = attach(line);
        writeln!(text, "attach {line}: {}", point_text(&point)).unwrap();
        let shown = LinkJson::new(&link(program_type, point));
        writeln!(text, "{}", serde_json::to_string(&shown).unwrap()).unwrap();
        text.push_str(&shown.table(Screen::PLAIN));
    }
    let links = || POINTS.map(|(program_type, line)| LinkJson::new(&link(program_type, attach(line)))).into();
    text.push_str(&LinkList { links: links() }.table(Screen::PLAIN));
    let list = LinkList { links: vec![links().swap_remove(0), links().pop().unwrap()] };
    text.push_str(&output("yaml", &list));
    text.push_str(&output("json", &list));
    let list = ProgramList {
        programs: types_by_name().map(|(name, kernel)| ProgramJson::listed(&program(name, kernel))).collect(),
    };
    text.push_str(&list.table(Screen::PLAIN));
    let list = ProgramList { programs: list.programs.into_iter().take(1).collect() };
    text.push_str(&output("yaml", &list));
    text.push_str(&output("json", &list));
}

fn hooks(text: &mut String) {
    for hook in HOOKS {
        let parsed: WrittenPoint = hook.parse().unwrap();
        let taken: Vec<_> = types_by_name()
            .filter_map(|(name, _)| Some(format!("{name}>{}", parsed.takes(name.parse().unwrap())?)))
            .collect();
        let point = point_text(&hook_on_the_wire(&parsed, 50));
        writeln!(text, "run {hook} ({parsed}): {point}, takes {}", taken.join(" ")).unwrap();
    }
    for hook in ["xdp:eth0", "tc:eth0:egress", "tcx:eth0:ingress@/run/netns/b"] {
        let wire = ext::Hook::from(&hook.parse::<HookName>().unwrap());
        writeln!(text, "hook {hook}: {}", hex(&wire.encode_to_vec())).unwrap();
    }
}

#[test]
fn vocabulary_is_that_of_the_stored_file() {
    let mut text = String::new();
    types(&mut text);
    points(&mut text);
    hooks(&mut text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vocabulary.txt");
    if std::env::var_os("BPFMAN_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    for (line, (now, before)) in text.lines().zip(stored.lines()).enumerate() {
        assert_eq!(now, before, "line {} of {}", line + 1, path.display());
    }
    assert_eq!(text.lines().count(), stored.lines().count(), "{}", path.display());
}
