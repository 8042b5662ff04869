//! Attacks on limits and on the end of a grant: by timing, by calls at once, by selectors, and by streams that stay open.

use std::fs;
use std::sync::{Barrier, mpsc};
use std::time::Duration;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, pairs, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::{DEADLINE, until};
use bpfman_tests::{Daemon, Launch, Network};
use tonic::{Code, Status};

use super::{calls_as, connected};
use crate::grants::load_as;
use crate::over_others::{Bench, EVE};
use crate::rights::as_user::as_user;

const LIMIT: &str = "limits = { cpu = \"0.0001%\", over_cpu = \"detach\" }\n";

fn limited() -> Daemon {
    let policy = format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\n\
         allow = [\"read\", \"load\", \"attach\", \"settings\"]\n{LIMIT}"
    );
    let config = "[limits]\ncpu_window_seconds = 1\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, policy, ..Launch::default() });
    daemon.open_to_users();
    daemon
}

fn excesses(daemon: &Daemon) -> usize {
    let all = daemon.bpfman("history -o json").json()["entries"].take();
    let of_limits = |entry: &&serde_json::Value| {
        entry["daemon"] == "limits" && (entry["verb"] == "OverCpu" || entry["verb"] == "Detach")
    };
    all.as_array().unwrap().iter().filter(of_limits).count()
}

#[test]
fn program_unloaded_before_each_window_ends_costs_nothing() {
    let (daemon, network) = (limited(), Network::new());
    let traffic = Traffic::new(&network);
    let far = network.far.path().display().to_string();
    let line = |program: u64| format!("attach {program} xdp -i {INTERFACE} -p 10 -n {far}");
    let mut refused = None;
    until("the owner is paused", || {
        let program = load_as(&daemon, EVE);
        let attached = daemon.bpfman_as(EVE, &line(program));
        if attached.code != 0 {
            refused = Some((program, attached));
            return true;
        }
        let _received: usize = (0..20).map(|_| traffic.send(10)).sum();
        daemon.bpfman_as(EVE, &format!("unload {program}")).success();
        // The rest of the window passes without a program.
        std::thread::sleep(Duration::from_secs(1));
        false
    });
    let (program, refused) = refused.unwrap();
    refused.fails(6, &["grant \"eve\"", "its programs took more than the limit of the grant"]);
    assert!(excesses(&daemon) >= 2, "the first may be an accident");
    daemon.bpfman(&line(program)).success();
}

#[test]
fn frozen_hook_keeps_a_program_over_its_limit() {
    let (daemon, network) = (limited(), Network::new());
    let traffic = Traffic::new(&network);
    let far = network.far.path().display().to_string();
    let program = load_as(&daemon, EVE);
    daemon.bpfman_as(EVE, &format!("attach {program} xdp -i {INTERFACE} -p 10 -n {far}")).success();
    daemon.bpfman_as(EVE, &format!("debug freeze xdp:{INTERFACE}@{far}")).success();
    until("it is detached", || {
        let _received = traffic.send(10);
        daemon.bpfman("list links -o json").json()["links"].as_array().unwrap().is_empty()
    });
}

#[test]
fn attachments_at_once_pass_the_limit_of_a_grant() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\nlimits = { links = 2 }\n");
    let own = u32::try_from(load_as(&bench.daemon, EVE)).unwrap();
    let (socket, far) = (bench.daemon.socket(), bench.network.far.path());
    let all = Barrier::new(8);
    let answers: Vec<Result<(), Status>> = std::thread::scope(|scope| {
        let callers = (0..8).map(|number| {
            let (all, socket, far) = (&all, &socket, &far);
            scope.spawn(move || {
                calls_as(EVE, socket, |wire| {
                    wire.list(bpfman_proto::v1::ListRequest::default()).unwrap();
                    all.wait();
                    wire.attach(attach(own, xdp(far, INTERFACE, 20 + number, &[]))).map(drop)
                })
            })
        });
        let callers: Vec<_> = callers.collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2, "{answers:?}");
    assert_eq!(bench.chain()["members"].as_array().unwrap().len(), 3, "{}", bench.chain());
}

#[test]
fn selector_makes_more_links_than_the_limit_of_a_grant() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\nlimits = { links = 2 }\n");
    let far = &bench.network.far;
    for number in 0..6 {
        far.ip(&[
            "link",
            "add",
            &format!("many{number}"),
            "type",
            "veth",
            "peer",
            "name",
            &format!("end{number}"),
        ]);
    }
    let own = u32::try_from(load_as(&bench.daemon, EVE)).unwrap();
    let request = ext::AttachMatchingRequest {
        program_id: own,
        attach: attach(own, xdp(&far.path(), "", 20, &[])).attach,
        r#match: Some(ext::InterfaceMatch {
            names: vec!["many*".to_owned()],
            netns: vec![far.path().display().to_string()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = calls_as(EVE, &bench.daemon.socket(), |wire| wire.attach_matching(request));
    let links = bench.daemon.bpfman("list links -o json").json()["links"].take();
    let owned = links.as_array().unwrap().iter().filter(|link| link["owner"] == "grant:eve").count();
    assert!(owned <= 2, "{owned}: {answer:?}");
}

#[test]
fn metadata_of_a_link_counts_it_for_another() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\nlimits = { links = 1 }\n");
    let own = u32::try_from(load_as(&bench.daemon, EVE)).unwrap();
    let far = bench.network.far.path();
    let claims = pairs(&[
        ("bpfman.io/ProgramNamespace", "shop"),
        ("bpfman.io/ProgramName", "wall"),
        ("bpfman.io/uuid", "1-2"),
    ]);
    let socket = bench.daemon.socket();
    let link =
        calls_as(EVE, &socket, |wire| wire.attach(attach(own, xdp(&far, INTERFACE, 20, &[])))).unwrap();
    let mut more = attach(own, xdp(&far, INTERFACE, 21, &[]));
    if let Some(Info::XdpAttachInfo(info)) = more.attach.as_mut().and_then(|attach| attach.info.as_mut()) {
        info.metadata = claims;
    }
    let attached = calls_as(EVE, &socket, |wire| wire.attach(more.clone()));
    assert!(attached.is_err(), "{attached:?}");
    bench.daemon.bpfman(&format!("detach {}", link.link_id)).success();
    if let Ok(attached) = calls_as(EVE, &socket, |wire| wire.attach(more)) {
        let shown = bench.daemon.bpfman(&format!("get link {} -o json", attached.link_id)).json();
        assert_eq!(shown["owner"], "grant:eve");
    }
}

#[test]
fn members_are_timed_after_the_grant_is_gone() {
    let bench = Bench::new("allow = [\"load\", \"attach\", \"settings\"]\nover = \"all\"\n");
    let hook = ext::Hook {
        kind: "xdp".to_owned(),
        iface: INTERFACE.to_owned(),
        netns: bench.network.far.path().display().to_string(),
        ..Default::default()
    };
    let policy = bench.daemon.path("policy.toml");
    let socket = bench.daemon.socket();
    let (begun, begins) = mpsc::channel();
    let last = std::thread::scope(|scope| {
        let timing = scope.spawn(|| {
            as_user(EVE, || {
                connected(&socket, |channel| async {
                    let request = ext::TimeMembersRequest { hook: Some(hook), ..Default::default() };
                    let stream = BpfmanChainsClient::new(channel).time_members(request).await;
                    let mut stream = stream.unwrap().into_inner();
                    stream.message().await.unwrap().unwrap();
                    begun.send(()).unwrap();
                    tokio::time::timeout(DEADLINE, stream.message()).await
                })
            })
        });
        begins.recv().unwrap();
        fs::write(&policy, format!("[files]\nusers = [0, {EVE}]\n")).unwrap();
        timing.join().unwrap()
    });
    let refused = last.expect("the stream goes on").unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let history = || bench.daemon.bpfman("history --accesses").stdout;
    until("no member is timed", || history().contains("timing off: its client has gone"));
}
