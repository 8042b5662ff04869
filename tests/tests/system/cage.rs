//! What a running daemon gave up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::{Daemon, Launch};
use bpfmand_cage::KEPT;

use crate::equipment::Program;

/// Lines of `/proc/PID/task/TID/status` of each thread, by name.
fn threads(daemon: &Daemon) -> Vec<BTreeMap<String, String>> {
    let folder = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let status = |entry: std::io::Result<fs::DirEntry>| {
        // A thread may end meanwhile.
        let text = fs::read_to_string(entry.unwrap().path().join("status")).ok()?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Some(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    };
    folder.filter_map(status).collect()
}

/// The set of the table, as the kernel writes it.
fn kept() -> String {
    format!("{:016x}", KEPT.iter().fold(0, |set, kept| set | kept.capability.bitmask()))
}

#[test]
fn every_thread_has_the_capabilities_of_the_table_and_no_others() {
    let daemon = Daemon::start();
    // Threads that serve, and one that enters a namespace, have been started by then.
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let threads = threads(&daemon);
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        let field = |name: &str| thread[name].as_str();
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(field(set), kept(), "{set} of {}", field("Name"));
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {}", field("Name"));
        }
        assert_eq!([field("NoNewPrivs"), field("Seccomp")], ["1", "2"], "{}", field("Name"));
    }
}

/// The store's other engine starts threads while it is opened.
#[test]
fn threads_of_the_store_have_no_more() {
    let config = "[store]\nengine = \"sled\"\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let found: BTreeSet<_> = threads(&daemon)
        .iter()
        .map(|thread| ["CapPrm", "NoNewPrivs", "Seccomp"].map(|name| thread[name].clone()))
        .collect();
    assert_eq!(found, BTreeSet::from([[kept(), "1".to_owned(), "2".to_owned()]]));
}

#[test]
fn root_can_take_the_filter_of_calls_off_and_is_told_so() {
    for (mode, filtered, filters) in [("log", "2", "1"), ("off", "0", "0")] {
        let config = format!("[cage]\nseccomp = \"{mode}\"\n");
        let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
        Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
        for thread in threads(&daemon) {
            assert_eq!([&thread["NoNewPrivs"], &thread["CapEff"]], ["1", &kept()]);
            assert_eq!(thread["Seccomp"], filtered);
            // Since Linux 5.9.
            assert!(thread.get("Seccomp_filters").is_none_or(|count| count == filters));
        }
        assert!(daemon.log().contains(&format!("[cage] seccomp is \"{mode}\"")), "{}", daemon.log());
    }
}

#[test]
fn a_word_that_is_none_of_the_cages_keeps_the_daemon_from_starting() {
    let daemon = Daemon::prepare();
    let config = "[cage]\nseccomp = \"maybe\"\n".to_owned();
    let (status, says) = daemon.refuses(&Launch { config, ..Launch::default() });
    assert!(!status.success());
    assert!(says.contains("cage.seccomp") && says.contains("maybe"), "{says}");
}

/// Whoever starts it without a capability gets a daemon without, and not one that fails.
#[test]
fn what_it_was_started_without_it_does_not_need_to_start() {
    let wrapper = ["capsh", "--drop=cap_sys_ptrace,cap_setpcap", "--", "-c", "exec \"$0\" \"$@\""];
    let mut daemon = Daemon::prepare();
    daemon.again(&Launch { wrapper: wrapper.map(str::to_owned).to_vec(), ..Launch::default() });
    for thread in threads(&daemon) {
        let ptrace = 1 << 19;
        let set = u64::from_str_radix(&thread["CapEff"], 16).unwrap();
        assert_eq!(set | ptrace, u64::from_str_radix(&kept(), 16).unwrap());
        assert_eq!(set & ptrace, 0);
    }
    assert!(daemon.log().contains("bounding set"), "{}", daemon.log());
}
