//! Three hundred interfaces that appear at once. The time until the engine has followed them is printed, not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bpfman_model::{AttachRequest, HookKind, InterfaceMatch, MatchRequest, OrderIntent, Sharing};
use bpfmand_engine::EngineError;
use bpfmand_kernel::KernelError;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, pins};

const COUNT: usize = 300;

fn batch(netns: &str, lines: &str) -> std::process::Child {
    use std::io::Write as _;
    let mut ip = Command::new("ip");
    let mut child = ip.args(["-n", netns, "-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child
}

fn is_interrupted(error: &EngineError) -> bool {
    matches!(error, EngineError::Kernel(KernelError::Call { source, .. }) if source.kind() == ErrorKind::Interrupted)
}

#[test]
fn linux_a_storm_of_interfaces_is_followed_and_leaves_nothing() {
    let bench = crate::linux::bench("storm");
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let netns = bench.netns.as_path();
    let name = netns.file_name().unwrap().to_str().unwrap();
    for (program, priority) in [(alpha, 1), (bravo, 2)] {
        let interfaces = InterfaceMatch::parse(["pod*"], [], [], [netns]).unwrap();
        let (point, order, metadata) = (bench.xdp(priority), OrderIntent::default(), BTreeMap::new());
        let attach = AttachRequest {
            ttl: None,
            program,
            point,
            order,
            sharing: Sharing::default(),
            metadata,
            owner: Default::default(),
            group: None,
        };
        engine.attach_matching(&MatchRequest { attach, interfaces }).unwrap();
    }
    let mut watch = bench.kernel.watch_interfaces(Some(netns)).unwrap();
    let (mut add, mut remove) = (String::new(), String::new());
    for number in 0..COUNT {
        writeln!(add, "link add pod{number} type veth peer name x{number}").unwrap();
        writeln!(remove, "link del pod{number}").unwrap();
    }
    for (what, lines, wanted) in [("came", add, COUNT * 2), ("went", remove, 0)] {
        let (begun, before) = (Instant::now(), engine.hook_changes());
        let (mut rounds, mut events, mut interrupted) = (0, 0, false);
        let mut ip = batch(name, &lines);
        let deadline = begun + Duration::from_secs(150);
        while engine.all_links().len() != wanted || ip.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{} links", engine.all_links().len());
            let heard = watch.next(Duration::from_millis(100)).unwrap();
            if heard.is_empty() && !interrupted {
                continue;
            }
            events += heard.len();
            rounds += 1;
            let report = engine.follow_interfaces(Some(netns));
            interrupted = matches!(&report, Err(error) if is_interrupted(error));
            if !interrupted {
                let report = report.unwrap();
                assert!(report.problems.is_empty(), "{report:?}");
            }
        }
        assert!(ip.wait().unwrap().success());
        let (took, after) = (begun.elapsed(), engine.hook_changes());
        eprintln!(
            "{COUNT} interfaces {what}: {took:?}, {events} events in {rounds} rounds, {} changes of hooks took {:?} in \
             the kernel, the longest {:?}",
            after.calls - before.calls,
            after.total - before.total,
            after.longest
        );
        if wanted > 0 {
            // One loaded chain serves as many hooks as its counters have rows.
            let running: BTreeSet<_> = engine.all_links().iter().map(|link| link.running.unwrap()).collect();
            assert!(running.len() * 30 <= COUNT, "{running:?}");
            assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
            assert_eq!(engine.names(&bench.interface("pod7"), HookKind::Xdp), ["alpha", "bravo"]);
        }
    }
    assert!(pins(&*bench.kernel, std::path::Path::new("xdp")).is_empty());
    drop(engine);
    assert!(bench.records().iter().all(|(name, _)| name.starts_with("programs/")), "{:?}", bench.records());
}
