//! Objects written for libbpf without knowledge of this daemon.

use std::path::Path;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, tcx, tracepoint, xdp};
use bpfman_tests::skip::has_tcx;
use bpfman_tests::target::Target;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network, compile, kernel};
use tonic::Code;

use crate::equipment::{Program, assert_status, unload};

#[test]
fn objects_of_xdp_tools_load() {
    let folder = Path::new("/usr/lib").join(format!("{}-linux-gnu/bpf", std::env::consts::ARCH));
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let filters = ["alw", "dny"].into_iter().flat_map(|policy| {
        ["all", "eth", "ip", "tcp", "udp"].map(|what| {
            let name = format!("xdpfilt_{policy}_{what}");
            (format!("{name}.o"), name)
        })
    });
    let others = [
        ("xdp-dispatcher.o", "xdp_pass"),
        ("xdpdump_xdp.o", "xdpdump"),
        ("xsk_def_xdp_prog.o", "xsk_def_prog"),
        ("xsk_def_xdp_prog_5.3.o", "xsk_def_prog"),
    ];
    for (object, program) in filters.chain(others.map(|(object, name)| (object.to_owned(), name.to_owned())))
    {
        let path = folder.join(&object);
        assert!(path.exists(), "{} is of the package xdp-tools or libxdp", path.display());
        let loaded =
            wire.load(load(&path, &[(&program, Type::Xdp)])).unwrap_or_else(|e| panic!("{object}: {e}"));
        // Some objects share maps by a name that other objects use for maps of another shape.
        unload(&wire, Program::of(&loaded.programs[0]).id);
    }
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn programs_of_xdp_tools_run_in_a_chain_with_ours() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let folder = Path::new("/usr/lib").join(format!("{}-linux-gnu/bpf", std::env::consts::ARCH));
    let object = folder.join("xdpfilt_alw_all.o");
    let filter =
        Program::of(&wire.load(load(&object, &[("xdpfilt_alw_all", Type::Xdp)])).unwrap().programs[0]);
    let ours = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let far = network.far.path();
    wire.attach(attach(filter.id, xdp(&far, INTERFACE, 10, &[]))).unwrap();
    wire.attach(attach(ours.id, xdp(&far, INTERFACE, 20, &[]))).unwrap();
    assert_eq!(traffic.send(2), 2);
    assert_eq!(ours.hits(), 2);
}

#[test]
fn sections_data_and_functions_are_as_libbpf_takes_them() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let names = [
        ("named_section", Type::Xdp),
        ("takes_frags", Type::Xdp),
        ("plain_tc", Type::Tc),
        ("outward", Type::Tcx),
        ("of_old", Type::Tc),
        ("short_name", Type::Tracepoint),
    ];
    let mut request = load(&compile::object("libbpf"), &names);
    request.global_data.insert("chosen".to_owned(), number(3));
    request.global_data.insert("started".to_owned(), number(40));
    let programs: Vec<_> = wire.load(request).unwrap().programs.iter().map(Program::of).collect();
    wire.attach(attach(programs[0].id, xdp(&network.far.path(), INTERFACE, 10, &[]))).unwrap();
    if has_tcx() {
        wire.attach(attach(programs[3].id, tcx(&network.near.path(), INTERFACE, "egress", 10))).unwrap();
    } else {
        let plain = bpfman_tests::requests::tc(&network.near.path(), INTERFACE, "egress", 10, &[]);
        wire.attach(attach(programs[2].id, plain)).unwrap();
    }
    wire.attach(attach(programs[5].id, tracepoint("syscalls/sys_enter_getpriority"))).unwrap();
    assert_eq!(traffic.send(1), 1);
    Target::start().get_priority();
    // `total` is in .bss: every run adds 3 + 40.
    let bss =
        programs[0].maps.iter().find(|map| kernel::map(**map)["name"].as_str().unwrap().ends_with(".bss"));
    let total = kernel::array_bytes(*bss.unwrap(), 0);
    let numbers = total.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    assert!(numbers.into_iter().any(|number| number >= 43 * 3 && number % 43 == 0), "{total:?}");
    let pins = daemon.state().pins;
    assert!(pins.iter().any(|pin| pin.ends_with("/events")), "{pins:?}");
    assert!(!pins.iter().any(|pin| pin.contains("bss") || pin.contains("rodata")), "{pins:?}");
}

#[test]
fn type_that_contradicts_the_section_is_refused_early() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    for (object, name, kind) in [
        ("libbpf", "named_section", Type::Tc),
        ("libbpf", "plain_tc", Type::Xdp),
        ("libbpf", "short_name", Type::Kprobe),
        ("probes", "on_kprobe", Type::Uprobe),
        ("probes", "on_fentry", Type::Fexit),
        ("probes", "on_tracepoint", Type::Lsm),
    ] {
        let answer = wire.load(load(&compile::object(object), &[(name, kind)]));
        assert_status(answer, Code::InvalidArgument, "invalid", &[name]);
        assert_eq!(daemon.state(), before);
    }
}
