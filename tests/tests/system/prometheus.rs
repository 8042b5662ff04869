//! Debian's Prometheus scrapes a daemon, and every expression shipped for it returns data.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::certificates::Authority;
use bpfman_tests::command::run;
use bpfman_tests::monitoring::{ShippedExpression, alert_expressions, dashboard_expressions, folder};
use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::prometheus::Prometheus;
use bpfman_tests::requests::{attach, load, pairs, tracepoint};
use bpfman_tests::target::Target;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::Value;

use crate::chains::TC_PIPE;
use crate::equipment::{Program, unload};

const DROP: i32 = 1;
const PASS: i32 = 2;

fn rules() -> Value {
    serde_norway::from_str(&fs::read_to_string(folder().join("alerts.yaml")).unwrap()).unwrap()
}

#[test]
fn alert_rules_are_right_and_clusters_have_the_same() {
    let file = |name: &str| folder().join(name).display().to_string();
    run(&["promtool", "check", "rules", &file("alerts.yaml")]);
    run(&["promtool", "test", "rules", &file("alerts.test.yaml")]);
    let cluster = folder().join("../kubernetes/monitoring/rules.yaml");
    let object: Value = serde_norway::from_str(&fs::read_to_string(cluster).unwrap()).unwrap();
    assert_eq!(object["spec"], rules(), "packaging/kubernetes/monitoring/rules.yaml has other rules");
}

fn watched(host: &Namespace) -> (Daemon, String) {
    let mut daemon = Daemon::prepare();
    let (folder, authority) = (daemon.path(""), Authority::new());
    let (server, client) = (authority.issue(&folder, "server"), authority.issue(&folder, "client"));
    let authority = authority.write(&folder, "authority");
    let table = format!(
        "[metrics]\nrun_statistics = true\nlisten = \"127.0.0.1:9464\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         client_ca = \"{}\"\n[chains]\ncounters = \"on\"\n[watch]\ncheck_seconds = 0.2\n",
        server.certificate.display(),
        server.key.display(),
        authority.display()
    );
    daemon.again(&Launch {
        config: table,
        wrapper: vec!["nsenter".to_owned(), format!("--net={}", host.path().display())],
        ..Launch::default()
    });
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [\"{}\"]\n\
         scrape_configs:\n\
         \x20 - job_name: bpfman\n    scheme: https\n\
         \x20   static_configs: [{{ targets: [\"localhost:9464\"] }}]\n\
         \x20   tls_config: {{ ca_file: \"{}\", cert_file: \"{}\", key_file: \"{}\" }}\n",
        bpfman_tests::monitoring::folder().join("alerts.yaml").display(),
        authority.display(),
        client.certificate.display(),
        client.key.display()
    );
    (daemon, config)
}

fn populate(daemon: &Daemon, network: &Network) {
    let (wire, far) = (daemon.wire(), network.far.path().display().to_string());
    let mut request = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    // A name that would break output with unescaped labels.
    request.metadata = pairs(&[("bpfman_application", "shop \"north\"\\\n")]);
    let probe = Program::of(&wire.load(request).unwrap().programs[0]).id;
    wire.attach(attach(probe, tracepoint("syscalls/sys_enter_getpriority"))).unwrap();
    let [shadow, first, last] = [(1, DROP), (2, PASS), (3, DROP)]
        .map(|(who, verdict)| Program::member(&wire, "xdp_member", Type::Xdp, who, verdict).id);
    for (program, words) in [(shadow, "-p 10 --shadow"), (first, "-p 20"), (last, "-p 30")] {
        daemon.bpfman(&format!("attach {program} xdp -i {INTERFACE} -n {far} {words}")).success();
    }
    daemon.bpfman(&format!("chain timing xdp:{INTERFACE}@{far} on")).success();
    let maps = compile::object("typed_maps").display().to_string();
    daemon.bpfman(&format!("load file -p {maps} --programs xdp:use_all")).success();
    let broken = compile::object("broken").display().to_string();
    let refused = daemon.bpfman(&format!("load file -p {broken} --programs xdp:broken"));
    assert!(refused.code != 0, "{refused:?}");
    let image = daemon.bpfman("load image -i 127.0.0.1:1/bpfman/none:1 --programs xdp:pass");
    assert!(image.code != 0, "{image:?}");
}

fn change(daemon: &Daemon, network: &Network) {
    let (wire, far) = (daemon.wire(), network.far.path().display().to_string());
    let program = Program::member(&wire, "tc_member", Type::Tc, 4, TC_PIPE).id;
    daemon.bpfman(&format!("attach {program} tc -i {INTERFACE} -n {far} -d ingress -p 10")).success();
    unload(&wire, program);
}

#[test]
fn every_expression_about_daemons_gives_data() {
    let (host, network) = (Namespace::new("prometheus"), Network::new());
    let (daemon, config) = watched(&host);
    populate(&daemon, &network);
    let traffic = Traffic::new(&network);
    let prometheus = Prometheus::start(&host.path(), &config);
    prometheus.until_scraped(1);

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut target = Target::start();
            while !stop.load(Ordering::Relaxed) {
                let _dropped = traffic.send(200);
                (0..50).for_each(|_| target.get_priority());
                change(&daemon, &network);
            }
        });
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            prometheus.until_all_give_data(&about_daemons());
        }));
        stop.store(true, Ordering::Relaxed);
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    // The label in Prometheus has the user's text.
    let named = prometheus.query("bpfman_programs{application=\"shop \\\"north\\\"\\\\\\n\"}");
    assert_eq!(named.len(), 1);
    // The verifier rejected a program before the first scrape: reject another one, so that the counter grows.
    let broken = compile::object("broken").display().to_string();
    let refused = daemon.bpfman(&format!("load file -p {broken} --programs xdp:broken"));
    assert!(refused.code != 0, "{refused:?}");
    until("the alert fires", || {
        !prometheus.query("ALERTS{alertname=\"BpfmanVerifierRefuses\",alertstate=\"firing\"}").is_empty()
    });
    assert_eq!(prometheus.query("ALERTS{alertname=\"BpfmanDriftNotMended\",alertstate=\"firing\"}").len(), 0);
}

/// Metrics of events that this test does not cause: dropped series. The tests of the rules cover the alert about them.
const ELSEWHERE: [&str; 1] = ["bpfman_metrics_series_left_out"];

fn about_daemons() -> Vec<ShippedExpression> {
    let mut expressions = dashboard_expressions("10s");
    expressions.extend(alert_expressions(&rules()));
    expressions
        .retain(|one| !one.needs_operator() && !ELSEWHERE.iter().any(|name| one.expression.contains(name)));
    assert!(expressions.len() > 50, "{} expressions", expressions.len());
    expressions
}
