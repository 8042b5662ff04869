//! Metrics of the daemon, and its robustness against their readers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::certificates::Authority;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, pairs, tracepoint, xdp};
use bpfman_tests::scrape::value_of;
use bpfman_tests::target::Target;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};

use crate::equipment::{Program, unload};
use crate::map_entries::MapBench;

const DROP: i32 = 1;
const PASS: i32 = 2;

fn with_metrics(table: &str) -> Launch {
    Launch { config: format!("[metrics]\n{table}"), ..Launch::default() }
}

#[test]
fn programs_chains_and_the_daemon_are_counted() {
    let (daemon, network) = (Daemon::start_with(&with_metrics("run_statistics = true\n")), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let text = daemon.metrics();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert_eq!(value_of(&text, "bpfman_programs_lost"), Some(0.0));
    assert_eq!(value_of(&text, "bpfman_loads_total{outcome=\"loaded\"}"), Some(0.0));
    assert_eq!(value_of(&text, "bpfman_run_statistics"), Some(1.0));

    let first = Program::member(&wire, "xdp_member", Type::Xdp, 1, PASS);
    let second = Program::member(&wire, "xdp_member", Type::Xdp, 2, DROP);
    let mut request = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    request.metadata = pairs(&[("bpfman_application", "shop")]);
    let probe = Program::of(&wire.load(request).unwrap().programs[0]).id;
    wire.attach(attach(probe, tracepoint("syscalls/sys_enter_getpriority"))).unwrap();
    for (program, priority) in [(&first, 10), (&second, 20)] {
        wire.attach(attach(program.id, xdp(&far, INTERFACE, priority, &[]))).unwrap();
    }
    assert_eq!(traffic.send(7), 0);
    let mut target = Target::start();
    target.get_priority();

    let labels = "program=\"on_tracepoint\",type=\"tracepoint\",owner=\"root\",application=\"shop\"";
    let starts = format!("bpfman_program_runs_total{{{labels},digest=\"");
    until("what ran is counted", || {
        let text = daemon.metrics();
        let runs = text.lines().find(|line| line.starts_with(&starts));
        runs.is_some_and(|line| !line.ends_with(" 0"))
    });
    let text = daemon.metrics();
    // Both members have the same labels and form one series: seven packets are dropped, and no marker.
    let member = format!("hook=\"xdp:{INTERFACE}\",program=\"xdp_member\",owner=\"root\",application=\"\"");
    let of_chain: Vec<&str> = text.lines().filter(|line| line.starts_with("bpfman_chain_")).collect();
    let ended = of_chain.iter().filter(|line| line.contains("verdict=\"drop\""));
    let ended: f64 = ended.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert_eq!(ended, 7.0, "{member}\n{of_chain:#?}");
    for begin in [
        "bpfman_programs{program=\"xdp_member\",type=\"xdp\",owner=\"root\",application=\"\",digest=\"",
        "bpfman_program_memory_bytes{program=\"on_tracepoint\"",
        "bpfman_program_run_seconds_total{program=\"on_tracepoint\"",
        "bpfman_map_memory_bytes{map=\"hits\",type=\"",
        "bpfman_chain_members{hook=\"",
        "bpfman_store_commit_seconds_bucket{le=\"+Inf\"}",
        "bpfman_verifier_seconds_count{programs=\"accepted\"} ",
        "bpfman_verifier_seconds_count{programs=\"chain\"} ",
        &*format!("bpfman_chain_swaps_total{{hook=\"xdp:{INTERFACE}"),
        &*format!("bpfman_chain_swap_seconds_total{{hook=\"xdp:{INTERFACE}"),
        "bpfman_hook_changes_total ",
        "bpfman_journal_last_entry ",
        "process_resident_memory_bytes ",
        "bpfman_build_info{version=\"",
    ] {
        assert!(text.lines().any(|line| line.starts_with(begin)), "{begin} in\n{text}");
    }
    let packets = |text: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with("bpfman_chain_member_packets_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let before = packets(&text);
    unload(&wire, second.id);
    until("the other is alone", || daemon.metrics().lines().all(|line| !line.contains("verdict=\"drop\"")));
    assert!(packets(&daemon.metrics()) <= before, "what is gone is not counted again");
    assert_eq!(value_of(&daemon.metrics(), "bpfman_loads_total{outcome=\"loaded\"}"), Some(3.0));
}

#[test]
fn entries_of_hash_tables_are_counted_beside_scrapes() {
    let bench = MapBench::start(&Launch { config: "[metrics]\n".to_owned(), ..Launch::default() });
    for port in ["80", "443"] {
        let key = format!("address=1,port={port},zone=0,kind=KIND_SHORT");
        bench.set("flows", &[&key, "packets=1"]);
    }
    let of = |text: &str, metric: &str, map: &str| {
        let begin = format!("{metric}{{map=\"{map}\",");
        let line = text.lines().find(|line| line.starts_with(&begin))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    until("entries are counted", || of(&bench.daemon.metrics(), "bpfman_map_entries", "flows").is_some());
    let text = bench.daemon.metrics();
    assert_eq!(of(&text, "bpfman_map_entries", "flows"), Some(2.0));
    assert_eq!(of(&text, "bpfman_map_counted_max_entries", "flows"), Some(4.0));
    let arrays =
        text.lines().filter(|line| line.starts_with("bpfman_map_entries{") && line.contains("array\""));
    assert_eq!(arrays.count(), 0, "{text}");
}

#[test]
fn names_by_users_are_escaped_in_metrics() {
    let daemon = Daemon::start();
    let mut request = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    request.metadata = pairs(&[("bpfman_application", "a\"} 1\nbpfman_detached 1\\\u{1b}[2J")]);
    daemon.wire().load(request).unwrap();
    let text = daemon.metrics();
    let label = "application=\"a\\\"} 1\\nbpfman_detached 1\\\\\\\\u{1b}[2J\",digest=\"";
    assert!(text.lines().any(|line| line.starts_with("bpfman_programs{") && line.contains(label)), "{text}");
    assert_eq!(value_of(&text, "bpfman_detached"), Some(0.0));
}

#[test]
fn runs_are_there_only_while_the_kernel_counts_them() {
    let daemon = Daemon::start();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, PASS);
    // Other processes may enable the statistics by their own descriptors, which is not visible.
    if value_of(&daemon.metrics(), "bpfman_run_statistics") == Some(0.0) {
        assert!(!daemon.metrics().contains("bpfman_program_runs_total"));
    }
    assert!(daemon.metrics().contains("bpfman_programs{program=\"xdp_member\""));
}

#[test]
fn other_paths_and_methods_are_refused() {
    let daemon = Daemon::start();
    for path in ["/", "/metrics/", "/metricsx", "/../metrics"] {
        let answer = daemon.request_metrics("GET", path);
        assert!(answer.status == 404 && answer.body.contains("/metrics"), "{path}: {answer:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = daemon.request_metrics(method, "/metrics");
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
        assert!(answer.head.contains("allow: get, head"), "{answer:?}");
    }
    let head = daemon.request_metrics("HEAD", "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("application/openmetrics-text; version=1.0.0"), "{head:?}");
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    let answer = daemon.ask_metrics(&long);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let answer = daemon.ask_metrics("\u{0}\u{1}\u{2}\r\n\r\n");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(daemon.request_metrics("GET", "/metrics").status, 200);
}

#[test]
fn readers_that_never_read_keep_nobody_out_for_long() {
    let daemon = Daemon::start();
    let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, PASS);
    let connect = || UnixStream::connect(daemon.metrics_socket()).unwrap();
    let mut silent: Vec<UnixStream> = (0..8).map(|_| connect()).collect();
    for (number, stream) in silent.iter_mut().enumerate() {
        if number % 2 == 0 {
            let _closed = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        }
    }
    until("one of them is ended, and others are answered", || {
        daemon.ask_metrics("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    unload(&daemon.wire(), program.id);
    for mut stream in silent {
        let _reset = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_scrape_in_a_loop_is_one_gathering_a_second() {
    let daemon = Daemon::start();
    let began = Instant::now();
    let texts: std::collections::BTreeSet<String> = (0..300).map(|_| daemon.metrics()).collect();
    let seconds = began.elapsed().as_secs() + 2;
    assert!(texts.len() as u64 <= seconds, "{} texts in {seconds} s", texts.len());
}

#[test]
fn the_socket_is_for_whom_the_daemons_own_is_and_grants_decide() {
    let mut daemon = Daemon::start_with(&Launch {
        policy: "[access]\nsocket_group = \"nothing\"\n".to_owned(),
        flags: vec!["--socket-group=64300".to_owned()],
        ..Launch::default()
    });
    let found = fs::metadata(daemon.metrics_socket()).unwrap();
    assert_eq!((found.mode() & 0o777, found.gid()), (0o660, 64_300));
    fs::set_permissions(daemon.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let as_user = |group: &str| {
        let socket = daemon.metrics_socket().display().to_string();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=64301", &format!("--regid={group}"), "--clear-groups", "curl", "-sS"]);
        let output = command.args(["--unix-socket", &socket, "http://localhost/metrics"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(!as_user("64302").0, "the kernel lets in the group alone");
    let (answered, says) = as_user("64300");
    assert!(answered && says.contains("user 64301 may not read"), "{says}");
    fs::write(daemon.path("policy.toml"), "[access]\nsocket_group = \"read\"\n").unwrap();
    assert!(as_user("64300").1.ends_with("# EOF\n"));
    daemon.kill();
    assert!(daemon.metrics_socket().exists());
    daemon.again(&Launch::default());
    assert!(daemon.metrics().ends_with("# EOF\n"));
    assert!(daemon.terminate().success());
    assert!(!daemon.metrics_socket().exists());
}

#[test]
fn daemon_does_not_start_with_bad_certificate_or_port_in_use() {
    let daemon = Daemon::prepare();
    let (ours, others) = (Authority::new(), Authority::new());
    let (good, other) = (ours.issue(&daemon.path(""), "good"), others.issue(&daemon.path(""), "other"));
    let table = |certificate: &std::path::Path, key: &std::path::Path, more: &str| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("listen = \"127.0.0.1:9464\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{more}")
    };
    let nothing = daemon.path("nothing");
    fs::write(&nothing, "").unwrap();
    let refuses = |table: &str, says: &[&str]| {
        let (status, log) = daemon.refuses(&with_metrics(table));
        assert!(!status.success(), "{table}");
        for part in says {
            assert!(log.contains(part), "{table}: {part} in {log}");
        }
        assert!(!daemon.fs().exists() && !daemon.socket().exists(), "nothing was made");
    };
    refuses(&table(&daemon.path("absent"), &good.key, ""), &["metrics", "absent", "No such file"]);
    refuses(&table(&nothing, &good.key, ""), &["nothing has no certificate in PEM format"]);
    refuses(&table(&good.certificate, &nothing, ""), &["nothing has no private key in PEM format"]);
    refuses(&table(&good.certificate, &other.key, ""), &["good.crt", "other.key"]);
    let client_ca = format!("client_ca = \"{}\"\n", nothing.display());
    refuses(&table(&good.certificate, &good.key, &client_ca), &["nothing has no certificate"]);
    refuses("listen = \"0.0.0.0:9464\"\n", &["0.0.0.0:9464", "metrics.certificate"]);
    refuses("listen = \"192.0.2.1:1\"\ncertificate = \"/a\"\n", &["needs metrics.key"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    refuses(&format!("listen = \"{address}\"\n"), &[&address.to_string(), "in use"]);
    let file = format!("socket = \"{}\"\n", daemon.path("bpfman.toml").display());
    let (status, log) = daemon.refuses(&with_metrics(&file));
    assert!(!status.success() && log.contains("metrics.socket") && log.contains("is no socket"), "{log}");
}

#[test]
fn by_tcp_only_clients_with_a_certificate_read() {
    let host = bpfman_tests::network::Namespace::new("metrics");
    let mut daemon = Daemon::prepare();
    let (ours, others) = (Authority::new(), Authority::new());
    let folder = daemon.path("");
    let (server, client, stranger) =
        (ours.issue(&folder, "server"), ours.issue(&folder, "client"), others.issue(&folder, "stranger"));
    let authority = ours.write(&folder, "authority");
    daemon.again(&Launch {
        wrapper: vec!["nsenter".to_owned(), format!("--net={}", host.path().display())],
        ..with_metrics(&format!(
            "listen = \"127.0.0.1:9464\"\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\n",
            server.certificate.display(),
            server.key.display(),
            authority.display()
        ))
    });
    let curl = |words: &[&str]| {
        let output = host.command("curl").arg("-sS").args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let text = |path: &std::path::Path| path.display().to_string();
    let (authority, url) = (text(&authority), "https://localhost:9464/metrics");
    let with = |files: &bpfman_tests::certificates::CertificateFiles| {
        curl(&["--cacert", &authority, "--cert", &text(&files.certificate), "--key", &text(&files.key), url])
    };
    assert!(with(&client).expect("a client of ours").ends_with("# EOF\n"));
    assert_eq!(with(&stranger), None);
    assert_eq!(curl(&["--cacert", &authority, url]), None);
    assert_eq!(curl(&["http://localhost:9464/metrics"]), None);
    assert!(daemon.metrics().contains("bpfman_build_info"));
}
