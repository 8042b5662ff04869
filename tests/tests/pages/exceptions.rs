//! Command lines that are neither run nor parsed, each with the reason.

use bpfman_tests::page::CommandLine;

pub struct Exception {
    page: &'static str,
    begins: &'static str,
    pub reason: &'static str,
}

const fn because(reason: &'static str, page: &'static str, begins: &'static str) -> Exception {
    Exception { page, begins, reason }
}

const INSTALLS: &str = "installs on the machine; `make test-package` does it in a machine of its own";
const CHANGES_MACHINE: &str = "changes users, units or files of the machine";
const OTHERS_TOOL: &str = "a tool of others at objects that only the reader has";

pub const EXCEPTIONS: &[Exception] = &[
    because(INSTALLS, "docs/tutorials/one-machine.md", "apt-get install"),
    because(INSTALLS, "docs/tutorials/program-author.md", "apt-get install"),
    because(INSTALLS, "docs/tutorials/migration.md", "apt-get install"),
    because(INSTALLS, "docs/upgrading.md", "dpkg -i"),
    because(CHANGES_MACHINE, "docs/tutorials/one-machine.md", "install -D"),
    because(CHANGES_MACHINE, "docs/tutorials/one-machine.md", "systemctl enable"),
    because(CHANGES_MACHINE, "docs/tutorials/migration.md", "systemctl"),
    because(CHANGES_MACHINE, "docs/tutorials/migration.md", "sh take-over.sh"),
    because(CHANGES_MACHINE, "docs/upgrading.md", "systemctl stop bpfmand.service"),
    because(CHANGES_MACHINE, "packaging/README.md", "install "),
    because(CHANGES_MACHINE, "docs/cluster-installation.md", "kubectl bpfman completion |"),
    because(CHANGES_MACHINE, "packaging/README.md", "systemd-sysusers"),
    because(CHANGES_MACHINE, "packaging/README.md", "systemctl daemon-reload"),
    because(CHANGES_MACHINE, "examples/egress-guard/README.md", "systemd-run"),
    because(OTHERS_TOOL, "docs/types.md", "ip "),
    because(OTHERS_TOOL, "docs/types.md", "tc "),
    because(OTHERS_TOOL, "docs/types.md", "sysctl"),
    because(OTHERS_TOOL, "docs/types.md", "readelf"),
    because(OTHERS_TOOL, "docs/metrics.md", "curl"),
    because(OTHERS_TOOL, "examples/egress-guard/README.md", "curl"),
    because(OTHERS_TOOL, "examples/switch-port/README.md", "curl"),
    because(OTHERS_TOOL, "examples/switch-port/README.md", "cat"),
];

pub fn of(line: &CommandLine) -> Option<usize> {
    EXCEPTIONS
        .iter()
        .position(|exception| exception.page == line.page && line.text.starts_with(exception.begins))
}

pub fn describe(which: usize) -> String {
    let Exception { page, begins, .. } = &EXCEPTIONS[which];
    format!("{page}: {begins}")
}
