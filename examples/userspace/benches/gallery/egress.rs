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

const SINK: &str = "192.0.2.7";
const PORT: u16 = 4242;
const PACKETS: u32 = 300_000;
const MANY: u32 = 1000;

fn sender(group: &Group, namespace: &Namespace) -> Ordered {
    let mut command = Command::new(compile::executable("group_sender"));
    command.arg(&group.folder).arg(namespace.path());
    Ordered::start(command)
}

struct Guard<'a> {
    gallery: &'a Gallery,
    programs: Vec<u64>,
    places: [String; 2],
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
        for (program, place) in self.programs.iter().zip(&self.places) {
            self.gallery.daemon.bpfman(&format!("attach {program} {place}")).success();
        }
    }

    fn detach(&self) {
        self.gallery.daemon.detach_all();
    }
}

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
    let of_group = Guard {
        gallery: &gallery,
        programs: gallery
            .load("egress-guard", "--programs cgroup_skb:egress_guard_out cgroup_skb:egress_guard_in"),
        places: [0; 2].map(|_| format!("cgroup --path {}", group.path)),
    };
    let netns = namespace.path().display().to_string();
    let of_interface = Guard {
        gallery: &gallery,
        programs: gallery.load("egress-guard", "--programs tcx:egress_guard_tc_out tcx:egress_guard_tc_in"),
        places: ["egress", "ingress"]
            .map(|direction| format!("tcx -d {direction} -i sink -n {netns} --priority 50")),
    };
    let sender = RefCell::new(sender(&group, &namespace));
    let many: String =
        (0..MANY).map(|number| format!("allow dst 10.{}.{}.0/24\n", number / 256, number % 256)).collect();
    let with_port = format!("{many}allow dst 192.0.2.0/24 proto udp dport {PORT}\n");
    let udp = format!("udp {SINK} {PORT} {PACKETS}");
    let tcp = format!("tcp {PACKETS}");
    let mut contenders = Vec::new();
    for (order, cases) in [
        (
            &udp,
            vec![
                ("a datagram, no guard", None),
                ("a datagram, a prefix", Some((&of_group, format!("allow dst {SINK}/32\n"), "enforce"))),
                ("a datagram, 1,001 prefixes and ports", Some((&of_group, with_port.clone(), "enforce"))),
                ("the same at its interface", Some((&of_interface, with_port, "enforce"))),
                ("a datagram, refused in shadow", Some((&of_group, "allow dst ::1\n".to_owned(), "shadow"))),
            ],
        ),
        (
            &tcp,
            vec![
                ("a TCP segment to itself, no guard", None),
                (
                    "a TCP segment to itself, 1,001 prefixes and ports",
                    Some((&of_group, format!("{many}allow dst 127.0.0.0/8 proto tcp\n"), "enforce")),
                ),
            ],
        ),
    ] {
        for (name, rules) in cases {
            let sender = &sender;
            let attached = rules.as_ref().map(|(guard, ..)| *guard);
            contenders.push(
                Contender::new(name, move || sender.borrow_mut().does::<1>(order)[0])
                    .set_up(move || {
                        if let Some((guard, rules, mode)) = &rules {
                            guard.attach(rules, mode);
                        }
                    })
                    .tear_down(move || {
                        if let Some(guard) = attached {
                            guard.detach();
                        }
                    }),
            );
        }
    }
    report.measure("packets", "A packet that leaves a cgroup or an interface", "CPU ns", contenders);
}
