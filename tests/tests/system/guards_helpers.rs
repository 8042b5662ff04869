//! Functions that programs of tenants may call.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, pairs, tc};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network, compile, kernel};
use tonic::Code;

use crate::equipment::{Program, assert_status};
use crate::grants::daemon;

fn tenants(name: &str) -> v1::LoadRequest {
    of_type(name, Type::Uprobe)
}

fn of_type(name: &str, program_type: Type) -> v1::LoadRequest {
    let metadata = pairs(&[("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "probe")]);
    v1::LoadRequest { metadata, ..load(&compile::object("tenants"), &[(name, program_type)]) }
}

#[test]
fn loops_of_tenants_are_bounded_together() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    for (program, names) in [
        ("loops_in_loops", ["bpf_loop for 101000 rounds", "(function loops_in_loops, instruction "]),
        (
            "loops_of_any_count",
            ["number of rounds that is no constant", "(function loops_of_any_count, instruction "],
        ),
        ("loops_too_long", ["its loops make up to 50000 rounds", "the verifier walked through"]),
        // Its loops make 9,000,000 rounds, while the verifier walks through 27,000 instructions.
        ("loops_of_global", ["may run for ", "through global functions once each"]),
        ("copies_in_a_loop", ["may run for ", "its loops make up to 1000 rounds"]),
    ] {
        assert_status(wire.load(tenants(program)), Code::PermissionDenied, "denied", &names);
        assert_eq!(daemon.state(), before, "{program}");
    }
    for program in ["loops_enough", "loops_in_a_part", "copies_some"] {
        wire.load(tenants(program)).unwrap();
    }
    wire.load(v1::LoadRequest { metadata: Default::default(), ..tenants("loops_in_loops") }).unwrap();
}

#[test]
fn tail_calls_of_tenants_are_not_repeated() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    let answer = wire.load(of_type("tail_calls_in_a_function", Type::Xdp));
    let names = ["a tail call but in the program's entry function", "(function leaves, instruction "];
    assert_status(answer, Code::PermissionDenied, "denied", &names);
    assert_eq!(daemon.state(), before);
    wire.load(of_type("tail_calls", Type::Xdp)).unwrap();
    wire.load(v1::LoadRequest {
        metadata: Default::default(),
        ..of_type("tail_calls_in_a_function", Type::Xdp)
    })
    .unwrap();
}

#[test]
fn tenant_program_that_reads_kernel_or_writes_others_is_refused() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    for (program, function, helper) in [
        ("reads_kernel", "reads_kernel", "bpf_probe_read_kernel"),
        ("writes_user", "writes_user", "bpf_probe_write_user"),
        ("signals", "signals", "bpf_send_signal"),
        ("prints_in_a_function", "prints", "bpf_trace_printk"),
        ("signals_in_a_callback", "on_entry", "bpf_send_signal"),
    ] {
        let (names_helper, names_function) =
            (format!("may not use helper {helper}"), format!("(function {function}, instruction "));
        let names = [&format!("program \"{program}\""), names_helper.as_str(), &names_function];
        let answer = wire.load(tenants(program));
        assert_status(answer, Code::PermissionDenied, "denied", &names);
        assert_eq!(daemon.state(), before, "{program}");
    }
    wire.load(tenants("reads_user")).unwrap();
    // Root's programs may call them, if the kernel permits it.
    wire.load(v1::LoadRequest { metadata: Default::default(), ..tenants("reads_kernel") }).unwrap();
}

/// The kernel makes an entry of such a map for each socket, which no limit of the owner counts.
#[test]
fn maps_of_tenants_that_grow_with_sockets_are_refused() {
    const USER: u32 = 64_222;
    let grant = |name: &str, more: &str| {
        format!(
            "[[grants]]\nname = \"{name}\"\nusers = [{USER}]\nallow = [\"load\"]\nscope = \"cgroup\"\n\
             types = [\"tc\"]\n{more}"
        )
    };
    let files = format!("[files]\nusers = [0, {USER}]\n");
    let daemon = daemon(format!("{files}{}", grant("plain", "")));
    let wire = daemon.wire();
    let object = daemon.path("storage.o");
    fs::copy(compile::object("storage"), &object).unwrap();
    chown(&object, Some(USER), Some(USER)).unwrap();
    let metadata = pairs(&[("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "probe")]);
    let before = daemon.state();
    for program in ["keeps_of_sockets", "keeps_nothing"] {
        let tenants = v1::LoadRequest { metadata: metadata.clone(), ..load(&object, &[(program, Type::Tc)]) };
        assert_status(wire.load(tenants), Code::PermissionDenied, "denied", &["is a tenant's", "sk_storage"]);
        let line = format!("load file -p {} --programs tc:{program}", object.display());
        daemon.bpfman_as(USER, &line).fails(4, &["is a tenant's", "helpers = [\"bpf_sk_storage_get\"]"]);
        assert_eq!(daemon.state(), before, "{program}");
    }
    let granted = grant("granted", "helpers = [\"bpf_sk_storage_get\"]\n");
    fs::write(daemon.path("policy.toml"), format!("{files}{granted}")).unwrap();
    let line = format!("load file -p {} --programs tc:keeps_of_sockets", object.display());
    daemon.bpfman_as(USER, &line).success();
    wire.load(load(&object, &[("keeps_of_sockets", Type::Tc)])).unwrap();
}

#[test]
fn tenants_find_no_socket_of_another_network_namespace() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let (near, far) = (&network.near, &network.far);
    let bind = || {
        bpfman_tests::command::run(&["ip", "link", "set", "lo", "up"]);
        TcpListener::bind(("127.0.0.1", 0)).unwrap()
    };
    let elsewhere = near.inside(bind);
    let port = elsewhere.local_addr().unwrap().port();
    let of = |name: &str| {
        let mut request = of_type(name, Type::Tc);
        request.global_data.insert("port".to_owned(), port.to_le_bytes().to_vec());
        request
    };
    let before = daemon.state();
    let refused = wire.load(of("finds_elsewhere"));
    assert_status(refused, Code::PermissionDenied, "denied", &["bpf_sk_lookup_tcp", "BPF_F_CURRENT_NETNS"]);
    assert_eq!(daemon.state(), before);
    let found = |request: v1::LoadRequest| {
        let program = Program::of(&wire.load(request).unwrap().programs[0]);
        wire.attach(attach(program.id, tc(&far.path(), INTERFACE, "ingress", 50, &[]))).unwrap();
        assert_eq!(traffic.send(1), 1);
        kernel::array_value(kernel::map_named(&program.maps, "seen"), 0)
    };
    assert_eq!(found(of("finds_here")), 0, "no socket of its own namespace has the port");
    assert_eq!(
        found(v1::LoadRequest { metadata: Default::default(), ..of("finds_elsewhere") }),
        1,
        "root's finds it"
    );
}
