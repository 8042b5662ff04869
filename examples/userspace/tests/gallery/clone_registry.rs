//! The registry that a clone starts for the manifests of the examples.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use bpfman_tests::{Daemon, Launch, Outcome, binaries};

#[test]
fn a_clone_has_a_registry_whose_images_load() {
    let daemon = Daemon::start_with(&Launch::default());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let make = |target: &str| {
        let mut command = Command::new("make");
        command.arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        command.args([target, "EXAMPLES=xdp-counter"]);
        command
            .env("REGISTRY", format!("localhost:{port}/examples"))
            .env("CARGO_TARGET_DIR", daemon.path("target"));
        command.env("BPFMAN", binaries::find("bpfman")).env("BPFMAN_IMAGE_LAYOUT", daemon.path("layout"));
        command.env("BPFMAN_POLICY", daemon.path("policy.toml")).env("BPFMAN_SOCKET_PATH", daemon.socket());
        Outcome::of(&mut command)
    };
    let load = format!("load image localhost:{port}/examples/xdp-counter:latest --programs xdp:xdp_counter");
    assert_ne!(daemon.bpfman(&load).code, 0);
    let made = make("registry").success();
    assert!(made.contains("bpfman apply -f examples/xdp-firewall/app.yaml"), "{made}");
    daemon.bpfman(&load).success();
    let policy = std::fs::read(daemon.path("policy.toml")).unwrap();
    make("registry").success();
    assert_eq!(std::fs::read(daemon.path("policy.toml")).unwrap(), policy);
    make("registry-stop").success();
    bpfman_tests::wait::until("the registry ends", || TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(make("registry-stop").stderr.contains("no registry of this folder runs"));
}
