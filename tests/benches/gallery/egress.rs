//! What the egress guard adds to a packet that leaves a control group: CPU time with and without, in turns.

use std::cell::RefCell;
use std::fs;
use std::process::Command;

use bpfman_tests::compile;
use bpfman_tests::control_group::Group;
use bpfman_tests::network::Namespace;

use crate::contender::Contender;
use crate::equipment::Gallery;
use crate::ordered::Ordered;
use crate::report::Report;

/// Where datagrams go: a program drops them at the other end of a veth.
const SINK: &str = "192.0.2.7";
const PORT: u16 = 4242;
const PACKETS: u32 = 300_000;
/// Prefixes beside the one that packets go to.
const MANY: u32 = 1000;

/// A process in the group. It answers with nanoseconds of CPU a packet.
fn sender(group: &Group, namespace: &Namespace) -> Ordered {
    let mut command = Command::new(compile::executable("group_sender"));
    command.arg(&group.folder).arg(namespace.path());
    Ordered::start(command)
}

/// The programs, and the group that they are attached to in turns.
struct Guard<'a> {
    gallery: &'a Gallery,
    group: &'a Group,
    programs: Vec<u64>,
}

impl Guard<'_> {
    fn attach(&self, rules: &str, mode: &str) {
        let file = self.gallery.daemon.path("rules.txt");
        fs::write(&file, rules).unwrap();
        let side = |line: &str| {
            let program = self.programs[0];
            self.gallery.side("egress-guard", &format!("--program {program} {line}")).success();
        };
        side(&format!("apply {}", file.display()));
        side(&format!("mode {mode}"));
        for program in &self.programs {
            let words = format!("attach {program} cgroup --path {}", self.group.path);
            self.gallery.daemon.bpfman(&words).success();
        }
    }

    fn detach(&self) {
        self.gallery.daemon.detach_all();
    }
}

/// Measures them all.
pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let (group, namespace) = (Group::new("bench-egress"), Namespace::new("egress"));
    namespace.ip(&["link", "add", "sink", "type", "veth", "peer", "name", "drain"]);
    namespace.ip(&["link", "set", "sink", "up"]);
    let drop_all = compile::object("drop").display().to_string();
    namespace.ip(&["link", "set", "drain", "up", "xdp", "obj", &drop_all, "sec", "xdp"]);
    namespace.ip(&["address", "add", "192.0.2.1/24", "dev", "sink"]);
    let neighbour = ["neighbour", "replace", SINK, "lladdr", "02:00:00:00:00:07", "dev", "sink"];
    namespace.ip(&[&neighbour[..], &["nud", "permanent"]].concat());
    let programs =
        gallery.load("egress-guard", "--programs cgroup_skb:egress_guard_out cgroup_skb:egress_guard_in");
    let guard = Guard { gallery: &gallery, group: &group, programs };
    let sender = RefCell::new(sender(&group, &namespace));
    let many: String =
        (0..MANY).map(|number| format!("allow dst 10.{}.{}.0/24\n", number / 256, number % 256)).collect();
    let udp = format!("udp {SINK} {PORT} {PACKETS}");
    let tcp = format!("tcp {PACKETS}");
    let mut contenders = Vec::new();
    for (order, cases) in [
        (
            &udp,
            vec![
                ("a datagram, no guard", None),
                ("a datagram, a prefix", Some((format!("allow dst {SINK}/32\n"), "enforce"))),
                (
                    "a datagram, 1,001 prefixes and ports",
                    Some((format!("{many}allow dst 192.0.2.0/24 proto udp dport {PORT}\n"), "enforce")),
                ),
                ("a datagram, refused in shadow", Some(("allow dst ::1\n".to_owned(), "shadow"))),
            ],
        ),
        (
            &tcp,
            vec![
                ("a TCP segment to itself, no guard", None),
                (
                    "a TCP segment to itself, 1,001 prefixes and ports",
                    Some((format!("{many}allow dst 127.0.0.0/8 proto tcp\n"), "enforce")),
                ),
            ],
        ),
    ] {
        for (name, rules) in cases {
            let (sender, guard) = (&sender, &guard);
            let guarded = rules.is_some();
            contenders.push(
                Contender::new(name, move || sender.borrow_mut().does::<1>(order)[0])
                    .set_up(move || {
                        if let Some((rules, mode)) = &rules {
                            guard.attach(rules, mode);
                        }
                    })
                    .tear_down(move || {
                        if guarded {
                            guard.detach();
                        }
                    }),
            );
        }
    }
    report.measure("packets", "A packet that leaves a control group", "CPU ns", contenders);
}
