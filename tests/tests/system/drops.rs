//! `bpfman drops`: programs that drop packets, and the kernel, under real traffic.

use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::xdp;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network};
use serde_json::{Value, json};

use crate::chains::put;
use crate::equipment::Program;
use crate::{grants, strangers};

const XDP_DROP: i32 = 1;
const USER: u32 = 64_214;

/// Datagrams to a port of loopback that no socket has.
struct Unwanted(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Unwanted {
    fn send() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !stopped.load(Ordering::Relaxed) {
                let _sent = sender.send_to(b"bpfman", closed).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

fn hook(network: &Network) -> String {
    format!("xdp:{INTERFACE}@{}", network.far.path().display())
}

fn lone_dropper(daemon: &Daemon, network: &Network) -> Program {
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, XDP_DROP);
    put(&wire, &program, xdp(&network.far.path(), INTERFACE, 10, &[]));
    program
}

fn counts(daemon: &Daemon, hook: &str) -> bool {
    daemon.bpfman(&format!("chain show {hook} -o json")).json()["counters"] == true
}

fn row_of(drops: &Value, program: &Program) -> Option<Value> {
    let rows = drops["programs"].as_array().unwrap();
    rows.iter().find(|row| row["program_id"] == program.id).cloned()
}

#[test]
fn lone_program_and_kernel_are_counted_while_drops_runs() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let program = lone_dropper(&daemon, &network);
    let hook = hook(&network);
    assert!(!counts(&daemon, &hook), "a lone program has no counters");
    let (traffic, unwanted) = (Traffic::new(&network).stream(), Unwanted::send());
    let drops = daemon.bpfman("drops --interval 500ms -o json").json();
    let _sent = traffic.end();
    let row = row_of(&drops, &program).unwrap_or_else(|| panic!("{drops:#}"));
    assert_eq!(
        (&row["hook"], &row["verdict"], &row["owner"]),
        (&json!(hook), &json!("drop"), &json!("root")),
        "{row:#}"
    );
    assert!(
        row["packets_per_second"].as_f64().unwrap() > 0.0 && row["packets"].as_u64() > Some(0),
        "{row:#}"
    );
    let rules = row["rules"].as_str().unwrap();
    assert!(daemon.bpfman(rules.strip_prefix("bpfman ").unwrap()).success().contains("hits"), "{rules}");
    let kernel = drops["kernel"].as_array().unwrap_or_else(|| panic!("{drops:#}"));
    let of = |reason: &str| kernel.iter().find(|row| row["reason"] == reason).cloned();
    assert!(of("NO_SOCKET").is_some_and(|row| row["packets_per_second"].as_f64() > Some(0.0)), "{drops:#}");
    assert_eq!(drops["notes"], json!([]));
    drop(unwanted);
    // When the command ends, the chain stops counting and the program is unloaded.
    until("the chain counts no more", || !counts(&daemon, &hook));
    until("the program of the reasons is gone", || {
        let programs = daemon.bpfman("list programs -o json").json();
        programs["programs"].as_array().unwrap().len() == 1
    });

    let table = daemon.bpfman("drops --interval 100ms").success();
    for text in ["Hook ", "Packets/s", "xdp_member", "by its reason:"] {
        assert!(table.contains(text), "{text}: {table}");
    }
}

fn watch(daemon: &Daemon) -> Child {
    let mut command = daemon.cli_command();
    command.args(["drops", "--watch", "--interval", "100ms", "-o", "json"]);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn killed_watcher_leaves_neither_counters_nor_program() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let _program = lone_dropper(&daemon, &network);
    let hook = hook(&network);
    let programs =
        |daemon: &Daemon| daemon.bpfman("list programs -o json").json()["programs"].as_array().unwrap().len();
    let mut watching = watch(&daemon);
    until("both count", || counts(&daemon, &hook) && programs(&daemon) == 2);
    // A hook that gets its first program later is counted, too.
    let wire = daemon.wire();
    let later = Program::member(&wire, "xdp_member", Type::Xdp, 2, XDP_DROP);
    put(&wire, &later, xdp(&network.near.path(), INTERFACE, 10, &[]));
    let near = format!("xdp:{}@{}", INTERFACE, network.near.path().display());
    until("the new hook counts", || counts(&daemon, &near));
    watching.kill().unwrap();
    let _killed = watching.wait().unwrap();
    until("nothing counts", || !counts(&daemon, &hook) && !counts(&daemon, &near) && programs(&daemon) == 2);

    let mut watching = watch(&daemon);
    until("both count again", || counts(&daemon, &hook) && programs(&daemon) == 3);
    daemon.kill();
    watching.kill().unwrap();
    let _killed = watching.wait().unwrap();
    daemon.again(&Launch::default());
    assert!(!counts(&daemon, &hook), "the next start of the daemon ends it");
    until("the program of the reasons is gone", || programs(&daemon) == 2);
}

#[test]
fn drops_that_nothing_counts_are_named_with_the_reason() {
    let (daemon, network) = (grants::daemon(String::new()), Network::new());
    let program = lone_dropper(&daemon, &network);
    let hook = hook(&network);
    let drops = daemon.bpfman_as(USER, "drops --interval 100ms -o json").json();
    let uncounted = drops["uncounted"].as_array().unwrap();
    let row = uncounted.iter().find(|row| row["program_id"] == program.id).unwrap();
    assert_eq!((&row["place"], &row["managed"]), (&json!(hook), &json!(true)), "{row:#}");
    assert!(
        row["why"].as_str().unwrap().contains(&format!("user {USER} may not change settings")),
        "{row:#}"
    );
    assert_eq!((&drops["kernel"], &drops["programs"]), (&Value::Null, &json!([])), "{drops:#}");
    let notes = drops["notes"].to_string();
    assert!(notes.contains("is not counted") && notes.contains("drop reasons are not counted"), "{notes}");
    assert!(!counts(&daemon, &hook));

    let other = Network::new();
    let object = bpfman_tests::compile::object("stranger").display().to_string();
    let script = format!("ip link set dev {INTERFACE} xdpgeneric obj {object} sec xdp");
    strangers::with_bpffs(&other.far, &script);
    let drops = daemon.bpfman("drops --interval 100ms -o json").json();
    let others = drops["uncounted"].as_array().unwrap().iter().filter(|row| row["managed"] == false);
    let row = others.filter(|row| row["type"] == "xdp").find(|row| row["program_name"] == "stranger");
    let row = row.unwrap_or_else(|| panic!("{drops:#}"));
    assert_eq!(row["kernel_reasons"], json!(["XDP"]), "{row:#}");
    other.far.ip(&["link", "set", INTERFACE, "xdpgeneric", "off"]);
}
