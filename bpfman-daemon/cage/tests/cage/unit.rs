use std::collections::BTreeSet;
use std::process::Command;

use bpfmand_cage::KEPT;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd/bpfmand.service");
/// Maximum exposure by `systemd-analyze security`, in tenths; `docs/cage.md` states the present number.
const MAX_EXPOSURE: &str = "46";

fn unit() -> String {
    std::fs::read_to_string(PATH).unwrap()
}

fn setting(unit: &str, name: &str) -> Vec<String> {
    let mut lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let line = lines.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(lines.next().is_none(), "{name} is there twice");
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn unit_bounds_kept_capabilities() {
    let unit = unit();
    let bounding: BTreeSet<String> = setting(&unit, "CapabilityBoundingSet").into_iter().collect();
    let kept: BTreeSet<String> = KEPT.iter().map(|kept| kept.capability.to_string()).collect();
    assert_eq!(bounding, kept);
    assert_eq!(setting(&unit, "NoNewPrivileges"), ["yes"]);
}

/// Without these calls, the daemon could not build its sandbox, and would not start.
#[test]
fn unit_allows_calls_that_build_the_cage() {
    let allowed = setting(&unit(), "SystemCallFilter");
    let landlock = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"];
    let others = ["@system-service", "seccomp", "bpf", "perf_event_open", "setns", "mount", "umount2"];
    for call in others.into_iter().chain(landlock) {
        assert!(allowed.iter().any(|word| word == call), "{call}");
    }
}

/// systemd makes `openat2` return ENOSYS if set-user-ID bits are restricted: a filter cannot read its mode.
#[test]
fn files_can_be_opened_that_must_not_lead_out_of_a_folder() {
    assert!(!unit().lines().any(|line| line.starts_with("RestrictSUIDSGID=")));
}

#[test]
fn exposure_of_unit_does_not_grow() {
    let arguments = ["security", "--offline=yes", "--no-pager", "--threshold", MAX_EXPOSURE, PATH];
    let Ok(output) = Command::new("systemd-analyze").args(arguments).output() else {
        eprintln!("SKIPPED(systemd-analyze): exposure_of_unit_does_not_grow");
        return;
    };
    let says = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{says}{}", String::from_utf8_lossy(&output.stderr));
    // Each version of systemd computes another number: the page names the version.
    let page = include_str!("../../../../docs/cage.md");
    let version = Command::new("systemd-analyze").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap().split(' ').nth(1).unwrap().to_owned();
    let (judge, found) =
        page.split_once("`systemd-analyze security` of systemd ").unwrap().1.split_once(" reports ").unwrap();
    let exposure = says.lines().last().unwrap().split("service: ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(
        judge != version || found.starts_with(&format!("**{exposure}**")),
        "docs/cage.md is to have **{exposure}**"
    );
}
