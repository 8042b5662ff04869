//! Pages that are executed, each on a new machine.

use bpfman_tests::page::CommandLine;

use crate::walk::Walk;

macro_rules! walks {
    ($($name:ident: $walk:expr,)*) => {
        const WALKS: &[Walk] = &[$($walk),*];
        $(#[test]
        fn $name() {
            let walk: Walk = $walk;
            walk.follow();
        })*
    };
}

pub fn runs(line: &CommandLine) -> bool {
    WALKS.iter().any(|walk| walk.runs(line))
}

const CAPTURE: &str = r"{
    printf '\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00'
    printf '\x00\x00\x00\x00\x00\x00\x00\x00\x3c\x00\x00\x00\x3c\x00\x00\x00'
    head -c 60 /dev/zero; } > captured.pcap";

const DRAFT: &str =
    r#"printf '[[grants]]\nname = "network-team"\nusers = ["adda"]\nallow = ["fly"]\n' > draft.toml"#;

const NOTHING: Walk = Walk {
    page: "",
    entry: "",
    objects: &[],
    given: &[],
    programs: &[],
    meant: &[],
    group: "",
    files: &[],
    endless: &[],
    parsed: &[],
    fails: &[],
};

walks! {
    first_steps: Walk {
        page: "README.md",
        meant: &[("/usr/lib/bpfman/gallery", "target/bpf"), ("--for 10s", "--for 1s")],
        ..NOTHING
    },
    exec_snoop: Walk {
        page: "examples/exec-snoop/README.md",
        entry: "exec-snoop",
        endless: &["exec-snoop --program"],
        ..NOTHING
    },
    xdp_counter: Walk { page: "examples/xdp-counter/README.md", entry: "xdp-counter", ..NOTHING },
    xdp_firewall: Walk {
        page: "examples/xdp-firewall/README.md",
        entry: "xdp-firewall",
        files: &[("rules.txt", "allow src")],
        ..NOTHING
    },
    xdp_balancer: Walk {
        page: "examples/xdp-balancer/README.md",
        entry: "xdp-balancer",
        files: &[("services.txt", "source ")],
        endless: &["watch"],
        ..NOTHING
    },
    profiler: Walk {
        page: "examples/profiler/README.md",
        entry: "profiler",
        meant: &[("--seconds 10", "--seconds 1")],
        ..NOTHING
    },
    pod_fastpath: Walk {
        page: "examples/pod-fastpath/README.md",
        entry: "pod-fastpath",
        programs: &["FROM_NETWORK", "FROM_POD"],
        ..NOTHING
    },
    sock_shortcut: Walk {
        page: "examples/sock-shortcut/README.md",
        entry: "sock-shortcut",
        programs: &["CARRY", "REMEMBER"],
        group: "/system.slice/envoy.service",
        ..NOTHING
    },
    flows: Walk { page: "examples/flows/README.md", entry: "flows", ..NOTHING },
    tls_trace: Walk {
        page: "examples/tls-trace/README.md",
        entry: "tls-trace",
        endless: &["follow"],
        parsed: &["bpfman attach ID uprobe", "bpfman-tls-trace --app tls-trace go"],
        ..NOTHING
    },
    ci_guard: Walk {
        page: "examples/ci-guard/README.md",
        entry: "ci-guard",
        files: &[("policy.yaml", "exec: ")],
        meant: &[("make test", "/bin/true")],
        ..NOTHING
    },
    watchdog: Walk {
        page: "examples/watchdog/README.md",
        entry: "watchdog",
        group: "/system.slice/web.service",
        files: &[("rules.yaml", "rules:")],
        endless: &["follow"],
        ..NOTHING
    },
    switch_port: Walk {
        page: "examples/switch-port/README.md",
        entry: "switch-port",
        programs: &["ID_OUT", "ID_IN"],
        given: &[
            ("", "ip link add web type veth peer name web-end && ip link add db type veth peer name db-end"),
            ("", "bpfman apply -f examples/switch-port/app.yaml"),
        ],
        files: &[("rules.txt", "port web")],
        ..NOTHING
    },
    egress_guard: Walk {
        page: "examples/egress-guard/README.md",
        entry: "egress-guard",
        given: &[("", "bpfman apply -f examples/egress-guard/app.yaml")],
        group: "/guarded.slice",
        files: &[("rules.txt", "resolver ")],
        endless: &["follow"],
        ..NOTHING
    },
    radar: Walk { page: "examples/radar/README.md", endless: &["--follow"], ..NOTHING },
    top: Walk {
        page: "docs/top.md",
        given: &[
            ("COUNTER", "bpfman load file --path target/bpf/xdp-counter.o --programs xdp:xdp_counter -q"),
            ("", "bpfman attach COUNTER xdp --iface eth0 --priority 50"),
        ],
        endless: &["chain watch xdp:eth0", "--watch"],
        ..NOTHING
    },
    kernels: Walk { page: "docs/kernels.md", ..NOTHING },
    history: Walk { page: "docs/history.md", endless: &["--follow"], meant: &[("--after 13", "--after 0")], ..NOTHING },
    images: Walk {
        page: "docs/images.md",
        objects: &[("filter.o", "page_filter")],
        meant: &[("registry.example.com", "localhost:5000")],
        ..NOTHING
    },
    maps: Walk {
        page: "docs/maps.md",
        objects: &[("filter.o", "page_filter")],
        given: &[
            ("42", "bpfman load file -p filter.o --programs xdp:filter -q"),
            ("", "bpfman map set 42:flows address=7,port=80 packets=5,bytes=700,name=web"),
        ],
        endless: &["map watch"],
        meant: &[("/sys/fs/bpf/", "$PWD/../run/fs/")],
        fails: &[("port=70000", 6)],
        ..NOTHING
    },
    trying: Walk {
        page: "docs/run.md",
        objects: &[("filter.o", "page_filter")],
        endless: &["run filter.o --attach xdp:eth0 "],
        parsed: &["bpfman run probes.o", "bpfman run quay.io", "bpfman run trace.o"],
        meant: &[("--for 10s", "--for 1s")],
        ..NOTHING
    },
    checking: Walk {
        page: "docs/check.md",
        objects: &[("guard.o", "page_filter")],
        parsed: &["sudo bpfman check guard.o --kernel 6.1"],
        given: &[
            ("", "cp /sys/kernel/btf/vmlinux 5.15.btf && cp 5.15.btf 6.1.btf"),
            ("", "bpfman image build -t quay.io/acme/guard:v1 -b guard.o"),
            ("", "bpfman image push quay.io/acme/guard:v1"),
            ("", "bpfman image sign quay.io/acme/guard:v1 --key team.key"),
        ],
        meant: &[("quay.io", "localhost:5000")],
        ..NOTHING
    },
    chains: Walk {
        page: "docs/chains.md",
        objects: &[("filter.o", "page_filter"), ("new.o", "page_filter")],
        given: &[
            ("FIRST", "bpfman load file -p filter.o --programs xdp:filter -q"),
            ("FIREWALL", "bpfman load file --path target/bpf/xdp-firewall.o --programs xdp:xdp_firewall -q"),
            ("90", "bpfman attach FIREWALL xdp --iface eth0 --priority 20 -q"),
            ("8", "bpfman load file --path target/bpf/xdp-counter.o --programs xdp:xdp_counter -q"),
            ("7", "bpfman load file -p filter.o --programs xdp:filter -q"),
            ("6", "bpfman load file -p filter.o --programs xdp:filter -q"),
            ("", CAPTURE),
        ],
        meant: &[("my_firewall", "filter"), ("my_program", "filter")],
        endless: &["--watch", "chain watch"],
        // Cilium's program does not exist here.
        parsed: &["bpfman attach 9 tcx", "bpfman replace 12"],
        ..NOTHING
    },
    commands: Walk {
        page: "docs/output.md",
        given: &[
            ("7", "bpfman load file --path target/bpf/xdp-counter.o --programs xdp:xdp_counter -q"),
            ("12", "bpfman attach 7 xdp --iface eth0 --priority 50 -q"),
        ],
        meant: &[("xdp_pass", "xdp_counter"), ("--for gone", "--timeout 1s --for gone")],
        fails: &[("--for gone", 20)],
        ..NOTHING
    },
    access: Walk {
        page: "docs/access.md",
        given: &[("", DRAFT)],
        parsed: &["bpfman attach 7 xdp"],
        fails: &[("policy check draft.toml", 6)],
        ..NOTHING
    },
    radar_of_a_machine: Walk {
        page: "docs/radar.md",
        given: &[
            ("", "bpfman image build -t registry.example.com/bpfman/radar:0.7 -b target/bpf/radar.o"),
            ("", "bpfman image push registry.example.com/bpfman/radar:0.7"),
            ("", "bpfman image sign registry.example.com/bpfman/radar:0.7 --key team.key"),
        ],
        meant: &[("registry.example.com", "localhost:5000")],
        endless: &["--follow"],
        ..NOTHING
    },
    budgets: Walk {
        page: "docs/budgets.md",
        objects: &[("filter.o", "page_filter"), ("probe.o", "page_count")],
        given: &[("7", "bpfman load file -p filter.o --programs xdp:filter -q")],
        ..NOTHING
    },
}
