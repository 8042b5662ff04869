//! Programs that are attached by netlink, as `ip`, `tc` and xdp-loader do.

use bpfman_tests::network::INTERFACE;
use bpfman_tests::wait::until;
use bpfman_tests::{Network, Outcome, compile};

use super::{ADA, BOB, Sessions, sessions};

fn inside(network: &Network, daemon: &Sessions, user: u32, script: &str) -> Outcome {
    let mut command = daemon.session_command(user, &["sh", "-c", script]);
    network.near.inside(move || Outcome::of(&mut command))
}

fn look(network: &Network, words: &'static [&'static str]) -> String {
    network.near.inside(|| bpfman_tests::command::run(words))
}

#[test]
fn ip_and_tc_attach_until_the_command_ends() {
    let (daemon, network) = (sessions(), Network::new());
    let xdp = daemon.readable(&compile::object("drop")).display().to_string();
    let tc = daemon.readable(&compile::object("page_count")).display().to_string();
    let show = || {
        look(&network, &["ip", "link", "show", INTERFACE])
            + &look(&network, &["tc", "filter", "show", "dev", INTERFACE, "egress"])
    };
    let script = format!(
        "bpftool prog load {xdp} /sys/fs/bpf/x && ip link set {INTERFACE} xdpgeneric pinned /sys/fs/bpf/x && \
         bpftool prog load {tc} /sys/fs/bpf/t && tc qdisc add dev {INTERFACE} clsact && \
         tc filter add dev {INTERFACE} egress bpf da pinned /sys/fs/bpf/t && ip link show {INTERFACE} && \
         tc filter show dev {INTERFACE} egress && ip link set {INTERFACE} xdpgeneric off"
    );
    let seen = inside(&network, &daemon, ADA, &script);
    assert!(seen.stdout.contains("prog/xdp id") && seen.stdout.contains("direct-action"), "{seen:?}");
    assert_eq!(seen.code, 0, "{seen:?}");
    until("no filter is attached", || !show().contains("direct-action"));
    let kept = format!(
        "bpftool prog load {xdp} /sys/fs/bpf/x && ip link set {INTERFACE} xdpgeneric pinned /sys/fs/bpf/x"
    );
    inside(&network, &daemon, ADA, &kept).success();
    until("no XDP program is attached", || !show().contains("prog/xdp"));
}

#[test]
fn interfaces_are_otherwise_not_changed() {
    let (daemon, network) = (sessions(), Network::new());
    for change in [
        "ip link set NAME mtu 1300",
        "ip link set NAME down",
        "ip addr add 10.9.9.9/32 dev NAME",
        "tc qdisc add dev NAME root tbf rate 1mbit burst 1k latency 1ms",
    ] {
        let refused = inside(&network, &daemon, ADA, &change.replace("NAME", INTERFACE));
        assert!(
            refused.code != 0 && refused.stderr.contains("Operation not permitted"),
            "{change}: {refused:?}"
        );
    }
}

#[test]
fn interface_is_that_of_the_sockets_namespace() {
    let (daemon, network) = (sessions(), Network::new());
    let attack = daemon.readable(&compile::executable("raw_route")).display().to_string();
    let shown = look(&network, &["ip", "-o", "link", "show", INTERFACE]);
    let own = shown.split(':').next().unwrap().to_owned();
    // Bob may use lo, which is the only interface of a new namespace.
    let tried = inside(&network, &daemon, BOB, &format!("{attack} {own}; {attack} 1"));
    if tried.stderr.contains("unshare") {
        eprintln!("SKIPPED(user namespaces): {}", module_path!());
        return;
    }
    assert_eq!(tried.stdout, "1\n0\n", "{tried:?}");
    assert!(tried.stderr.contains(&format!("does not cover xdp:{INTERFACE}")), "{tried:?}");
    until("nothing is attached", || !look(&network, &["ip", "link"]).contains("prog/xdp"));
}
