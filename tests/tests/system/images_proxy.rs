//! Registries behind a proxy, which alone resolves the host names here, and machines without certificate authorities.

use std::fs;
use std::path::Path;

use bpfman_tests::network::FAR_ADDRESS;
use bpfman_tests::proxy::Proxy;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, Network, Outcome, binaries, compile};

use crate::images::publish;

struct World {
    registry: Registry,
    daemon: Daemon,
}

const HOST: &str = "registry.test";

impl World {
    fn new() -> Self {
        let (registry, daemon) = (Registry::start(), Daemon::prepare());
        publish(&daemon, &registry.image("team/chain:1"), "chain");
        Self { registry, daemon }
    }

    fn start(&mut self, environment: &[(&str, &str)], config: &str) {
        let mut launch = Launch {
            policy: "[[images]]\npattern = \"*\"\nunsigned = true\n".to_owned(),
            config: config.to_owned(),
            ..Launch::default()
        };
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            let set = environment.iter().find(|(of, _)| *of == name);
            let value = set.map(|(_, value)| (*value).to_owned()).unwrap_or_default();
            launch.environment.push((name.to_lowercase(), value.clone()));
            launch.environment.push((name.to_owned(), value));
        }
        let others = environment.iter().filter(|(name, _)| !name.ends_with("_PROXY"));
        launch.environment.extend(others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.daemon.again(&launch);
    }

    fn load(&self, image: &str) -> Outcome {
        self.daemon.bpfman(&format!("load image -i {image} -p Always --programs xdp:xdp_member"))
    }
}

fn plain_http() -> String {
    format!("[registries.\"{HOST}\"]\nplain_http = true\n")
}

fn with_authority(file: &Path) -> String {
    format!("[registries.\"{HOST}\"]\nca_file = \"{}\"\n", file.display())
}

#[test]
fn registry_is_reached_by_the_proxy_of_the_environment() {
    let mut world = World::new();
    let proxy = Proxy::start(world.registry.address());
    world.start(&[("HTTP_PROXY", &proxy.url())], &plain_http());
    world.load(&format!("{HOST}/team/chain:1")).success();
    let asked = proxy.requests();
    let manifest = format!("GET http://{HOST}/v2/team/chain/manifests/1");
    assert!(asked.contains(&manifest), "{asked:?}");
    assert!(asked.iter().any(|request| request.contains("/blobs/sha256:")), "{asked:?}");
    world.load(&world.registry.image("team/chain:1")).success();
    assert_eq!(proxy.requests(), asked);
}

#[test]
fn tls_registry_is_reached_through_an_opaque_proxy_tunnel() {
    let mut world = World::new();
    let (encrypted, authority) = world.registry.with_tls(HOST);
    let proxy = Proxy::start(encrypted.address());
    world.start(&[("HTTPS_PROXY", &proxy.url())], &with_authority(&authority));
    world.load(&format!("{HOST}/team/chain:1")).success();
    let asked = proxy.requests();
    assert!(
        !asked.is_empty() && asked.iter().all(|request| *request == format!("CONNECT {HOST}:443")),
        "{asked:?}"
    );
    let (stranger, _) = world.registry.with_tls(HOST);
    let astray = Proxy::start(stranger.address());
    world.daemon.terminate();
    world.start(&[("ALL_PROXY", &astray.url())], &with_authority(&authority));
    world.load(&format!("{HOST}/team/chain:1")).fails(9, &[HOST, "certificate"]);
    assert!(!astray.requests().is_empty());
}

#[test]
fn unresponsive_proxy_is_an_error_that_changes_nothing() {
    let mut world = World::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.start(&[("HTTP_PROXY", &format!("http://{gone}"))], &plain_http());
    let before = world.daemon.state();
    let image = format!("{HOST}/team/chain:1");
    world.load(&image).fails(9, &[HOST, "hint: "]);
    assert_eq!(world.daemon.state(), before);
    assert_eq!(world.daemon.bpfman("image list -o json").json(), serde_json::json!([]));
}

#[test]
fn machine_without_ca_bundle_uses_cas_set_for_a_registry() {
    let mut world = World::new();
    let (encrypted, authority) = world.registry.with_tls(HOST);
    let proxy = Proxy::start(encrypted.address());
    let (none, empty) = (world.daemon.path("none.pem"), world.daemon.path("no-authorities"));
    fs::create_dir(&empty).unwrap();
    let (none, empty) = (none.display().to_string(), empty.display().to_string());
    let url = proxy.url();
    let environment = [("HTTPS_PROXY", url.as_str()), ("SSL_CERT_FILE", &none), ("SSL_CERT_DIR", &empty)];
    world.start(&environment, &with_authority(&authority));
    let local = world.registry.image("team/chain:1");
    world.load(&format!("{HOST}/team/chain:1")).success();
    world.load(&local).success();
    // This machine has no certificate authority for other registries.
    let before = world.daemon.state();
    let asked = proxy.requests();
    world.load("other.test/team/chain:1").fails(9, &["other.test", "CA certificates", "ca_file"]);
    assert_eq!((world.daemon.state(), proxy.requests()), (before, asked));
}

/// Loopback is always reached without TLS, so that the registry is on another machine.
#[test]
fn plain_http_registry_of_another_machine_is_pushed_to() {
    let (network, daemon) = (Network::new(), Daemon::prepare());
    let registry = Registry::start_inside(&network.far, FAR_ADDRESS);
    let (prefix, config) = (daemon.path("key").display().to_string(), daemon.path("client.toml"));
    daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    let run = |line: String| {
        let mut command = network.near.command(binaries::find("bpfman").to_str().unwrap());
        command.env("HOME", daemon.path("home")).env("BPFMAN_CONFIG", &config).env("NO_PROXY", FAR_ADDRESS);
        Outcome::of(command.args(line.split_whitespace()))
    };
    let object = compile::object("chain");
    for (number, option) in [(1, "--plain-http"), (2, "")] {
        let image = registry.image(&format!("team/app:{number}"));
        run(format!("image build -t {image} -b {}", object.display())).success();
        if option.is_empty() {
            run(format!("image push {image}")).fails(9, &[registry.address(), "--plain-http"]);
            let table = format!("[registries.\"{}\"]\nplain_http = true\n", registry.address());
            fs::write(&config, table).unwrap();
        }
        run(format!("image push {option} {image}")).success();
        run(format!("image sign {option} {image} --key {prefix}.key")).success();
        let archive = daemon.path(format!("{number}.tar"));
        let saved = run(format!("image save {option} {image} --to {} -o json", archive.display())).json();
        assert_eq!(saved["signatures"], 1, "{saved}");
    }
}
