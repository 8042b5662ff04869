#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::node::NodeFailure;
use bpfman_apply::desired::{AttachmentKey, WantedLink};
use bpfman_apply::report::{LinkOutcome, LinkReport, ProgramReport, Report, ReportedLoad};
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{WirePoint, v1};
use serde_json::{Value, json};

use super::notes::{LastEventReport, note};
use super::{ReconcileOutcome, StatusContext, same, size, status};
use crate::agent::objects::state::Status;

fn about() -> StatusContext {
    StatusContext {
        node: "node-a".to_owned(),
        generation: 3,
        revision: Some("3".to_owned()),
        kernel: Some("6.18.0".to_owned()),
        boot_id: Some("boot".to_owned()),
        composition: None,
    }
}

fn spec() -> ApplicationSpec {
    let traced = |name: &str, kind: &str, block: &str| json!({ "name": name, "type": kind, block: { "function": "vfs_unlink", "links": [{ "mode": "Attach" }] } });
    let programs = json!([traced("in_fn", "FEntry", "fentry"), traced("out_fn", "FExit", "fexit")]);
    ApplicationSpec::read(
        None,
        json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": programs }),
    )
    .unwrap()
}

fn link(info: Info, status: LinkOutcome) -> LinkReport {
    LinkReport {
        key: AttachmentKey("here".to_owned()),
        wanted: Some(WantedLink {
            point: WirePoint::from(info),
            order: None,
            on_unavailable: Default::default(),
            pod: None,
        }),
        kept: false,
        uuid: "uuid-1".to_owned(),
        id: (status == LinkOutcome::Attached).then_some(7),
        status,
    }
}

fn program(name: &str, program_type: &'static str, links: Vec<LinkReport>) -> ProgramReport {
    ProgramReport { name: name.to_owned(), program_type, id: Some(42), links, ..ProgramReport::default() }
}

fn report(load: ReportedLoad, programs: Vec<ProgramReport>) -> Report {
    Report { load, programs, ..Report::default() }
}

fn failed(message: &str) -> NodeFailure {
    NodeFailure { reason: "kernel-refused".to_owned(), message: message.to_owned(), ..NodeFailure::default() }
}

fn status_of(report: &Report, before: Option<&Status>) -> Status {
    status(&ReconcileOutcome::Reported(report, &spec()), &about(), before)
}

fn words(status: &Status) -> (String, String) {
    let [condition] = &status.node.conditions[..] else { panic!("one condition: {status:?}") };
    assert_eq!(condition.type_, condition.reason);
    (condition.type_.clone(), condition.message.clone())
}

fn types() -> Vec<(&'static str, &'static str, Info, Value)> {
    let netns = || Some("/run/netns/a".to_owned());
    let xdp = v1::XdpAttachInfo {
        iface: "eth0".to_owned(),
        netns: netns(),
        priority: 50,
        proceed_on: vec![31, 2],
        ..Default::default()
    };
    let tc = v1::TcAttachInfo {
        iface: "eth0".to_owned(),
        direction: "egress".to_owned(),
        priority: 1000,
        proceed_on: vec![3, 30, -1],
        ..Default::default()
    };
    let tcx = v1::TcxAttachInfo {
        iface: "eth0".to_owned(),
        direction: "ingress".to_owned(),
        priority: 5,
        ..Default::default()
    };
    let kprobe = v1::KprobeAttachInfo { fn_name: "vfs_unlink".to_owned(), offset: 8, ..Default::default() };
    let uprobe = v1::UprobeAttachInfo {
        fn_name: Some("malloc".to_owned()),
        offset: 4,
        target: "libc".to_owned(),
        pid: Some(11),
        container_pid: Some(12),
        ..Default::default()
    };
    let by_offset = v1::UprobeAttachInfo {
        fn_name: Some(String::new()),
        offset: 64,
        target: "/bin/sh".to_owned(),
        ..Default::default()
    };
    let point =
        v1::TracepointAttachInfo { tracepoint: "syscalls/sys_enter_openat".to_owned(), ..Default::default() };
    vec![
        (
            "XDP",
            "xdp",
            Info::XdpAttachInfo(xdp),
            json!({ "interfaceName": "eth0", "netnsPath": "/run/netns/a", "priority": 50,
                "proceedOn": ["Pass", "DispatcherReturn"] }),
        ),
        (
            "TC",
            "tc",
            Info::TcAttachInfo(tc),
            json!({ "interfaceName": "eth0", "direction": "Egress", "priority": 1000,
                "proceedOn": ["UnSpec", "Pipe", "DispatcherReturn"] }),
        ),
        (
            "TCX",
            "tcx",
            Info::TcxAttachInfo(tcx),
            json!({ "interfaceName": "eth0", "direction": "Ingress", "priority": 5 }),
        ),
        (
            "KProbe",
            "kprobe",
            Info::KprobeAttachInfo(kprobe.clone()),
            json!({ "function": "vfs_unlink", "offset": 8 }),
        ),
        ("KRetProbe", "kretprobe", Info::KprobeAttachInfo(kprobe), json!({ "function": "vfs_unlink" })),
        (
            "UProbe",
            "uprobe",
            Info::UprobeAttachInfo(uprobe),
            json!({ "function": "malloc", "offset": 4, "target": "libc", "pid": 11, "containerPid": 12 }),
        ),
        (
            "URetProbe",
            "uretprobe",
            Info::UprobeAttachInfo(by_offset),
            json!({ "offset": 64, "target": "/bin/sh" }),
        ),
        (
            "TracePoint",
            "tracepoint",
            Info::TracepointAttachInfo(point),
            json!({ "name": "syscalls/sys_enter_openat" }),
        ),
    ]
}

#[test]
fn a_link_that_does_not_run_is_no_success() {
    let lost = failed("link 7 at eth0: lost: the kernel refused the program after the boot");
    let info = || Info::XdpAttachInfo(v1::XdpAttachInfo::default());
    for outcome in [LinkOutcome::AttachFailed(lost.clone()), LinkOutcome::DetachFailed(lost.clone())] {
        let links = vec![link(info(), LinkOutcome::Attached), link(info(), outcome)];
        let report = report(ReportedLoad::Loaded, vec![program("count", "XDP", links)]);
        assert_eq!(report.failure, None, "no call failed");
        let found = super::failure(&report).unwrap();
        assert_eq!((found.program.as_str(), &found.message), ("count", &lost.message));
        let written = status(&ReconcileOutcome::Reported(&report, &spec()), &about(), None);
        assert_eq!(written.node.conditions[0].type_, "Error");
        assert_eq!(written.node.details.failure, Some(found));
    }
}

#[test]
fn every_type_has_its_block_and_its_fields() {
    for (kind, block, info, mut wanted) in types() {
        let report =
            report(ReportedLoad::Loaded, vec![program("one", kind, vec![link(info, LinkOutcome::Attached)])]);
        let shown = serde_json::to_value(status_of(&report, None)).unwrap();
        let common = json!({ "shouldAttach": true, "uuid": "uuid-1", "linkId": 7, "linkStatus": "Attached" });
        wanted.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        assert_eq!(
            shown["programs"],
            json!([{ "name": "one", "type": kind, "programLinkStatus": "Success", "programId": 42,
                block: { "links": [wanted] } }]),
            "{kind}"
        );
    }
}

#[test]
fn fentry_and_fexit_name_their_function_at_the_block() {
    for (name, kind, block, info) in [
        ("in_fn", "FEntry", "fentry", Info::FentryAttachInfo(v1::FentryAttachInfo::default())),
        ("out_fn", "FExit", "fexit", Info::FexitAttachInfo(v1::FexitAttachInfo::default())),
    ] {
        let report =
            report(ReportedLoad::Loaded, vec![program(name, kind, vec![link(info, LinkOutcome::Attached)])]);
        let shown = serde_json::to_value(status_of(&report, None)).unwrap();
        assert_eq!(shown["programs"][0][block]["function"], "vfs_unlink", "{shown}");
        assert_eq!(shown["programs"][0][block]["links"][0]["linkId"], 7);
    }
}

#[test]
fn a_program_without_attachments_has_its_block_all_the_same() {
    let report = report(ReportedLoad::Loaded, vec![program("one", "XDP", Vec::new())]);
    let shown = serde_json::to_value(status_of(&report, None)).unwrap();
    assert_eq!(shown["programs"][0]["xdp"], json!({}));
    assert_eq!(words(&status_of(&report, None)).0, "Success");
}

#[test]
fn status_of_success_names_node_revision_and_kernel() {
    let status = status_of(&report(ReportedLoad::Loaded, Vec::new()), None);
    let shown = serde_json::to_value(&status).unwrap();
    for (field, wanted) in [
        ("node", "node-a"),
        ("appLoadStatus", "LoadSuccess"),
        ("observedRevision", "3"),
        ("kernel", "6.18.0"),
        ("bootId", "boot"),
    ] {
        assert_eq!(shown[field], wanted, "{field}");
    }
    assert_eq!(shown["conditions"][0]["observedGeneration"], 3);
}

#[test]
fn each_failure_has_its_own_message() {
    let info = || types().remove(0).2;
    let bad = |outcome| vec![program("one", "XDP", vec![link(info(), outcome)])];
    let mut missing = program("one", "XDP", Vec::new());
    missing.problems.push("the primary interface is not known".to_owned());
    let with = |mut report: Report, message: &str| {
        report.failure = Some(failed(message));
        report
    };
    for (report, word, load, part, program) in [
        (
            with(report(ReportedLoad::Failed, Vec::new()), "R1 invalid mem access"),
            "Error",
            "LoadError",
            "R1 invalid mem access",
            None,
        ),
        (
            with(report(ReportedLoad::OlderRuns, bad(LinkOutcome::Attached)), "no such image"),
            "Error",
            "LoadError",
            "the version before runs on: no such image",
            Some("Success"),
        ),
        (
            with(report(ReportedLoad::Loaded, bad(LinkOutcome::AttachFailed(failed("no eth9")))), "no eth9"),
            "Error",
            "LoadSuccess",
            "one: no eth9",
            Some("Error"),
        ),
        (
            report(ReportedLoad::Loaded, vec![missing]),
            "Error",
            "LoadSuccess",
            "one: the primary interface is not known",
            Some("UpdateAttachInfoError"),
        ),
        (
            with(report(ReportedLoad::UnloadFailed, Vec::new()), "it is pinned by another"),
            "UnloadError",
            "UnloadError",
            "could not be unloaded, and are tried again: it is pinned by another",
            None,
        ),
        (report(ReportedLoad::NotWanted, Vec::new()), "Unloaded", "UnloadSuccess", "nothing", None),
    ] {
        let status = status_of(&report, None);
        let shown = serde_json::to_value(&status).unwrap();
        let (found, message) = words(&status);
        assert_eq!((found.as_str(), &shown["appLoadStatus"]), (word, &json!(load)), "{shown}");
        assert!(message.contains(part), "{message}");
        assert_eq!(shown["programs"][0]["programLinkStatus"].as_str(), program, "{shown}");
        assert_eq!(shown.get("failure").is_some(), word != "Unloaded", "{shown}");
        let told = note(&LastEventReport::default(), &status).map(|(note, _)| note.reason);
        let expected = match (word, load, program) {
            ("Unloaded", ..) => None,
            ("UnloadError", ..) => Some("UnloadError"),
            (_, "LoadError", _) => Some("LoadError"),
            (.., Some("Error" | "UpdateAttachInfoError")) => Some("AttachError"),
            _ => Some("Error"),
        };
        assert_eq!(told.as_deref(), expected, "{shown}");
    }
}

#[test]
fn unwanted_attachment_is_shown_as_before() {
    let (kind, _, info, _) = types().remove(0);
    let before = status_of(
        &report(ReportedLoad::Loaded, vec![program("one", kind, vec![link(info, LinkOutcome::Attached)])]),
        None,
    );
    let mut stuck = program("one", kind, Vec::new());
    stuck.links.push(LinkReport {
        key: AttachmentKey("here".to_owned()),
        wanted: None,
        kept: false,
        uuid: "uuid-1".to_owned(),
        id: Some(7),
        status: LinkOutcome::DetachFailed(failed("busy")),
    });
    let shown =
        serde_json::to_value(status_of(&report(ReportedLoad::Loaded, vec![stuck]), Some(&before))).unwrap();
    let link = &shown["programs"][0]["xdp"]["links"][0];
    assert_eq!((&link["shouldAttach"], &link["linkStatus"]), (&json!(false), &json!("DetachError")));
    assert_eq!((&link["interfaceName"], &link["priority"]), (&json!("eth0"), &json!(50)));
}

#[test]
fn count_and_time_alone_do_not_change_the_event() {
    let one = status_of(&report(ReportedLoad::Loaded, Vec::new()), None);
    let mut other = one.clone();
    other.node.update_count += 1;
    other.node.conditions[0].last_transition_time = super::condition::epoch();
    assert!(same(&one, &other));
    other.node.details.kernel = None;
    assert!(!same(&one, &other));
}

#[test]
fn when_the_daemon_is_away_programs_are_as_they_were() {
    let (kind, _, info, _) = types().remove(0);
    let before = status_of(
        &report(ReportedLoad::Loaded, vec![program("one", kind, vec![link(info, LinkOutcome::Attached)])]),
        None,
    );
    let away = status(&ReconcileOutcome::Unknown(&failed("it does not answer")), &about(), Some(&before));
    assert_eq!(words(&away), ("Error".to_owned(), "it does not answer".to_owned()));
    assert_eq!(away.programs, before.programs);
    assert_eq!(away.node.app_load_status, before.node.app_load_status);
}

#[test]
fn status_of_thousands_of_attachments_fits_and_keeps_failures() {
    let links = (0..8000).map(|number: u32| {
        let outcome = if number.is_multiple_of(1000) {
            LinkOutcome::AttachFailed(failed("no"))
        } else {
            LinkOutcome::Attached
        };
        let info =
            v1::XdpAttachInfo { iface: format!("veth{number:08}"), priority: 50, ..Default::default() };
        let mut link = link(Info::XdpAttachInfo(info), outcome);
        link.uuid = format!("0f0e0d0c-0b0a-8908-8706-{number:012}");
        link
    });
    let report = report(ReportedLoad::Loaded, vec![program("one", "XDP", links.collect())]);
    let mut status = status_of(&report, None);
    let (left_out, all) = size::fit(&mut status, size::MAX_STATUS).unwrap();
    assert_eq!(all, 8000);
    let shown = serde_json::to_value(&status).unwrap();
    assert!(shown.to_string().len() <= size::MAX_STATUS, "{}", shown.to_string().len());
    let links = shown["programs"][0]["xdp"]["links"].as_array().unwrap();
    assert_eq!(links.len(), all - left_out);
    let mut by_status = BTreeMap::<_, usize>::new();
    for link in links {
        *by_status.entry(link["linkStatus"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(by_status["AttachError"], 8, "{by_status:?}");
    assert!(by_status["Attached"] > 2000, "{by_status:?}");
    assert_eq!(size::fit(&mut status, size::MAX_STATUS), None);
}
