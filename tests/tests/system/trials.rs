//! Dry runs by the agent's own code: the running kernel's answer about a version, without side effects.

use std::path::Path;

use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::daemon::Daemon as Client;
use bpfman_apply::desired::{Desired, ProgramOwner};
use bpfman_apply::facts::{Facts, NodeInterface};
use bpfman_apply::plan::desired;
use bpfman_apply::reconcile::{dry_run, reconcile};
use bpfman_apply::report::ReportedLoad;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::json;

fn wanted(object: &Path, program: &str, priority: i32) -> Desired {
    let link = json!({ "interfaceSelector": { "interfaces": [INTERFACE] }, "priority": priority });
    let spec = json!({
        "nodeSelector": {},
        "byteCode": { "path": object },
        "programs": [{ "name": program, "type": "XDP", "xdp": { "links": [link] } }],
    });
    let interface = NodeInterface { name: INTERFACE.to_owned(), up: true, ..NodeInterface::default() };
    let facts = Facts { interfaces: Some(vec![interface]), ..Facts::default() };
    let owner = ProgramOwner { namespace: None, name: "tried".to_owned(), uid: "uid-of-tried".to_owned() };
    desired(&owner, &ApplicationSpec::read(None, spec).unwrap(), &facts)
}

#[test]
fn dry_run_reports_the_kernels_result_and_changes_nothing() {
    let network = Network::new();
    let wrapper = vec!["nsenter".to_owned(), format!("--net={}", network.far.path().display())];
    let daemon = Daemon::start_with(&Launch { wrapper, ..Launch::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::at(&daemon.socket());
        let empty = daemon.state();
        let good = wanted(&compile::object("broken"), "sound", 50);
        let trial = dry_run(&client, &good, None).await.unwrap();
        assert!(trial.accepted && !trial.skipped && trial.failure.is_none(), "{trial:?}");
        assert!(trial.verified_instructions > 0);
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(trial.kernel, release.trim());
        assert_eq!(daemon.state(), empty);

        assert_eq!(reconcile(&client, &good, None).await.unwrap().load, ReportedLoad::Loaded);
        let running = daemon.state();
        let again = dry_run(&client, &good, None).await.unwrap();
        assert_eq!((again.accepted, &again.composition), (true, &trial.composition));

        let bad = wanted(&compile::object("broken"), "broken", 50);
        let refused = dry_run(&client, &bad, None).await.unwrap();
        let failure = refused.failure.unwrap();
        assert_eq!(
            (refused.accepted, &*failure.reason, &*failure.program),
            (false, "kernel-refused", "broken")
        );
        assert!(failure.message.contains("invalid access to map value"), "{failure:?}");

        let absent = wanted(&compile::object("broken"), "absent", 50);
        let failure = dry_run(&client, &absent, None).await.unwrap().failure.unwrap();
        assert!(failure.message.contains("absent"), "{failure:?}");
        let invalid = wanted(&compile::object("broken"), "sound", 1001);
        let failure = dry_run(&client, &invalid, None).await.unwrap().failure.unwrap();
        assert_eq!(&*failure.reason, "invalid");
        assert!(failure.message.contains("1001 is out of range"), "{failure:?}");

        let nothing = dry_run(&client, &Desired::nothing(good.owner.clone()), None).await.unwrap();
        assert!(nothing.accepted && nothing.skipped);
        assert_eq!(daemon.state(), running, "no trial changed anything");

        let away = Client::at(Path::new("/nowhere/sock"));
        let error = dry_run(&away, &good, None).await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/sock"), "{error}");
    });
}
