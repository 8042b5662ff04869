//! Unmodified clients of gRPC's C core: Python's `grpcio`, which derives `:authority` from a unix socket's path.

use std::path::Path;
use std::process::{Command, Output};

use bpfman_proto::v1;
use bpfman_tests::hex::hex;
use bpfman_tests::requests::load;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, compile};
use prost::Message as _;

const PYTHON: &str = "/usr/bin/python3";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/grpc_call.py");

fn lacks_grpcio(test: &str) -> bool {
    let there = Command::new(PYTHON).args(["-c", "import grpc"]).output();
    let lacks = !there.is_ok_and(|done| done.status.success());
    if lacks {
        println!("SKIPPED(the package python3-grpcio is not installed): {test}");
    }
    lacks
}

fn call(target: &str, folder: &Path, method: &str, request: &[u8], more: &[&str]) -> Output {
    let mut command = Command::new(PYTHON);
    command.current_dir(folder).args([CLIENT, target, method, &hex(request)]).args(more);
    command.output().unwrap()
}

fn answer<T: prost::Message + Default>(done: &Output) -> T {
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    T::decode(&done.stdout[..]).unwrap()
}

#[test]
fn c_core_clients_work_with_every_notation_of_the_socket() {
    if lacks_grpcio("c_core_clients_work_with_every_notation_of_the_socket") {
        return;
    }
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let (folder, name) = (socket.parent().unwrap(), socket.file_name().unwrap().to_str().unwrap());
    let targets = [
        format!("unix://{}", socket.display()),
        format!("unix:{}", socket.display()),
        format!("unix:{name}"),
    ];
    let list = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() }.encode_to_vec();
    for target in &targets {
        let call = |method: &str, request: &[u8], more: &[&str]| call(target, folder, method, request, more);
        let request = load(&compile::object("chain"), &[("xdp_member", v1::BpfmanProgramType::Xdp)]);
        let loaded: v1::LoadResponse = answer(&call("/bpfman.v1.Bpfman/Load", &request.encode_to_vec(), &[]));
        let id = loaded.programs[0].kernel_info.as_ref().unwrap().id;
        let listed: v1::ListResponse = answer(&call("/bpfman.v1.Bpfman/List", &list, &[]));
        assert_eq!(listed.results.len(), 1, "{target}");
        let many = call("/bpfman.v1.Bpfman/List", &list, &["--times", "200"]);
        let _last: v1::ListResponse = answer(&many);
        let options = ["--authority", "bpfman.example"];
        let _listed: v1::ListResponse = answer(&call("/bpfman.v1.Bpfman/List", &list, &options));
        let unload = v1::UnloadRequest { id }.encode_to_vec();
        let _unloaded: v1::UnloadResponse = answer(&call("/bpfman.v1.Bpfman/Unload", &unload, &[]));
        let refused = call("/bpfman.v1.Bpfman/Unload", &unload, &[]);
        let says = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{says}");
        assert!(says.contains("NOT_FOUND") && says.contains(&id.to_string()), "{says}");
        assert!(says.contains("not-found"), "{says}");
        let unknown = call("/bpfman.v1.Bpfman/Fly", &[], &[]);
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("UNIMPLEMENTED"));
        let long = v1::ListRequest {
            match_metadata: (0..2_000).map(|n| (format!("key-{n}"), "value".to_owned())).collect(),
            ..Default::default()
        };
        let none: v1::ListResponse = answer(&call("/bpfman.v1.Bpfman/List", &long.encode_to_vec(), &[]));
        assert_eq!(none.results.len(), 0);
    }
}

#[test]
fn a_stream_to_a_client_of_the_c_core_ends_when_the_client_goes() {
    if lacks_grpcio("a_stream_to_a_client_of_the_c_core_ends_when_the_client_goes") {
        return;
    }
    let daemon = Daemon::start();
    let target = format!("unix://{}", daemon.socket().display());
    let watch = bpfman_proto::ext::v1::WatchRequest::default().encode_to_vec();
    let folder = daemon.path("");
    // Each stream is left after its first message; the daemon, which allows 64 at a time, notices with a short delay.
    let many = ["--stream", "--times", "60"];
    for _ in 0..3 {
        until("60 streams are begun", || {
            call(&target, &folder, "/bpfman.ext.v1.BpfmanNode/Watch", &watch, &many).status.success()
        });
    }
    daemon.bpfman("list programs").success();
}
