//! The audit log: changes and refusals with their callers.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, xdp};
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::Value;

use crate::equipment::{Program, detach, unload};

fn daemon() -> Daemon {
    let config = "[logging]\nformat = \"json\"\nlevel = \"warn\"\n".to_owned();
    Daemon::start_with(&Launch { config, ..Launch::default() })
}

fn lines(daemon: &Daemon, count: usize) -> Vec<HashMap<String, Value>> {
    let read = || -> Vec<HashMap<String, Value>> {
        let log = daemon.log();
        let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let audit = all.filter(|line| line["target"] == "audit");
        audit.map(|line| serde_json::from_value(line["fields"].clone()).unwrap()).collect()
    };
    until("the audit log has its lines", || read().len() >= count);
    read()
}

#[test]
fn every_change_is_logged_with_its_caller_and_reads_are_not() {
    let (daemon, network) = (daemon(), Network::new());
    let wire = daemon.wire();
    let object = compile::object("chain");
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let far = network.far.path();
    let link = wire.attach(attach(program, xdp(&far, INTERFACE, 7, &[]))).unwrap().link_id;
    wire.list(v1::ListRequest::default()).unwrap();
    wire.get(v1::GetRequest { id: program }).unwrap();
    detach(&wire, link);
    unload(&wire, program);
    let refused = wire.get(v1::GetRequest { id: program }).unwrap_err();
    let lines = lines(&daemon, 5);
    let field = |name: &str| lines.iter().map(|line| line[name].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(field("verb"), ["Load", "Attach", "Detach", "Unload", "Get"]);
    assert_eq!(field("result"), ["done", "done", "done", "done", "NotFound"]);
    assert_eq!(
        field("object")[..4],
        [
            format!("file {} xdp_member", object.display()),
            format!("program {program} at xdp {INTERFACE} in {}", far.display()),
            format!("link {link}"),
            format!("program {program}"),
        ]
    );
    assert_eq!(field("made")[..2], [format!("program {program} xdp_member"), format!("link {link}")]);
    assert_eq!(field("reason")[4], refused.message());
    assert!(field("digest")[0].starts_with("sha256:") && field("digest")[0].len() == 71, "{lines:?}");
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    for line in &lines {
        assert_eq!((line["uid"].as_u64(), line["gid"].as_u64()), (Some(0), Some(0)), "{line:?}");
        assert_eq!(line["pid"].as_u64(), Some(u64::from(std::process::id())), "{line:?}");
        let cgroup = line["cgroup"].as_str().unwrap();
        assert!(cgroups.lines().any(|own| own.ends_with(&format!(":{cgroup}"))), "{cgroup}: {cgroups}");
    }
}

#[test]
fn a_refusal_names_who_asked_in_one_line_whatever_they_wrote() {
    const PASSWORD: &str = "hunter2-of-the-audit";
    let daemon = daemon();
    let forged = "/x\n{\"target\":\"audit\",\"fields\":{\"verb\":\"Unload\",\"uid\":0}}\n\" uid=0";
    let path = format!("{forged}.o");
    daemon.open_to_users();
    let refused = daemon.cli_as(65534, 65533, &["load", "file", "-p", &path, "--programs", "xdp:f"]);
    assert_ne!(refused.code, 0);
    let mut secret = load(Path::new("/x.o"), &[("f", Type::Xdp)]);
    secret.bytecode = Some(v1::BytecodeLocation {
        location: Some(v1::bytecode_location::Location::Image(v1::BytecodeImage {
            url: "127.0.0.1:1/none:v1".to_owned(),
            image_pull_policy: 2,
            username: Some("user".to_owned()),
            password: Some(PASSWORD.to_owned()),
        })),
    });
    secret.metadata.insert("token".to_owned(), PASSWORD.to_owned());
    daemon.wire().load(secret).unwrap_err();
    let lines = lines(&daemon, 2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["uid"], &lines[0]["gid"]), (&Value::from(65534), &Value::from(65533)));
    assert_eq!(lines[0]["object"], format!("file {path} f"));
    assert_eq!(
        (&lines[0]["verb"], &lines[0]["result"]),
        (&Value::from("Load"), &Value::from("PermissionDenied"))
    );
    assert_eq!(lines[1]["object"], "image 127.0.0.1:1/none:v1 f");
    assert_ne!(lines[1]["result"], "done");
    assert!(!daemon.log().contains(PASSWORD));
}
