//! Parts of an archive.

use std::path::PathBuf;

use super::settings::{AllowedSettings, BPFMAN, POLICY};
use crate::args::Global;

/// Maximum number of hooks with their chains; a note lists that others are omitted.
const MAX_HOOKS: usize = 200;
const FILES: [(&str, &str); 7] = [
    ("kernel/version.txt", "/proc/version"),
    ("kernel/lsm.txt", "/sys/kernel/security/lsm"),
    ("kernel/mounts.txt", "/proc/self/mounts"),
    ("kernel/jit.txt", "/proc/sys/net/core/bpf_jit_enable"),
    ("kernel/jit-harden.txt", "/proc/sys/net/core/bpf_jit_harden"),
    ("kernel/unprivileged-bpf-disabled.txt", "/proc/sys/kernel/unprivileged_bpf_disabled"),
    ("os-release.txt", "/etc/os-release"),
];
/// Properties of the unit, without its environment.
const UNIT: &str = "--property=LoadState,ActiveState,SubState,Result,StatusText,NRestarts,ExecMainStatus,MainPID,\
                    ActiveEnterTimestamp,MemoryCurrent,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload";
const UNITS: [&str; 2] = ["bpfman*", "run-bpfman*"];
const LOG_LINES: &str = "5000";

#[derive(Debug)]
pub struct BundlePart {
    pub name: String,
    pub source: PartSource,
    pub command: Vec<String>,
}

#[derive(Debug)]
pub enum PartSource {
    Command(Vec<String>),
    /// Output of a command without values of programs' variables, which may be secret.
    Values(Vec<String>),
    Log(Vec<String>),
    /// Names of all hooks; each has parts of its own.
    Hooks,
    File(PathBuf),
    Settings(PathBuf, &'static AllowedSettings),
}

impl PartSource {
    pub fn describe(&self, command: &[String]) -> String {
        match self {
            Self::Command(command) | Self::Values(command) | Self::Log(command) => command.join(" "),
            Self::Hooks => command.join(" "),
            Self::File(path) => path.display().to_string(),
            Self::Settings(path, _) => format!("{}, without what may be secret", path.display()),
        }
    }
}

/// Returns all parts except those of single hooks, the most informative first.
pub fn of(global: &Global) -> Vec<BundlePart> {
    let ours = |line: &str| ours(global, line);
    let mut parts = vec![
        command("version.json", ours("version -o json")),
        command("doctor.txt", ours("doctor")),
        command("doctor.json", ours("doctor -o json")),
        command("whoami.json", ours("whoami -o json")),
        BundlePart {
            name: "chains/hooks.txt".to_owned(),
            source: PartSource::Hooks,
            command: ours("chain list -q"),
        },
        command("chains/list.txt", ours("chain list")),
        command("programs.txt", ours("list programs")),
        values("programs.json", ours("list programs -o json")),
        command("links.json", ours("list links -o json")),
        command("matches.json", ours("list matches -o json")),
        command("strays.json", ours("stray list -o json")),
        command("maps.json", ours("map list -o json")),
        command("images.json", ours("image list -o json")),
        command("history.json", ours("history --limit 1000 -o json")),
        command("features.json", ours("features -o json")),
        command("radar.json", ours("radar -o json")),
        command("unit.txt", words(&["systemctl", "show", "bpfmand.service", UNIT])),
        command("units.txt", units()),
    ];
    parts.extend(FILES.map(|(name, path)| BundlePart {
        name: name.to_owned(),
        source: PartSource::File(path.into()),
        command: Vec::new(),
    }));
    let given = |variable: &str, usual: &str| {
        std::env::var_os(variable).filter(|path| !path.is_empty()).map_or_else(|| usual.into(), PathBuf::from)
    };
    for (name, variable, usual, allowed) in [
        ("config/bpfman.json", "BPFMAN_CONFIG", "/etc/bpfman/bpfman.toml", &BPFMAN),
        ("config/policy.json", "BPFMAN_POLICY", "/etc/bpfman/policy.toml", &POLICY),
    ] {
        parts.push(BundlePart {
            name: name.to_owned(),
            source: PartSource::Settings(given(variable, usual), allowed),
            command: Vec::new(),
        });
    }
    let log =
        ["journalctl", "--unit=bpfmand.service", "--no-pager", "--output=short-iso", "--lines", LOG_LINES];
    parts.push(BundlePart {
        name: "log.txt".to_owned(),
        source: PartSource::Log(words(&log)),
        command: Vec::new(),
    });
    parts
}

pub fn of_hooks(global: &Global, names: &[u8]) -> Vec<BundlePart> {
    let names = String::from_utf8_lossy(names);
    let hooks = names.lines().filter(|name| !name.is_empty()).take(MAX_HOOKS).enumerate();
    hooks
        .flat_map(|(number, hook)| {
            let file = format!("chains/{number:03}-{}", plain(hook));
            let show = |form: &str| {
                let mut command = ours(global, &format!("chain show{form}"));
                // A hook's name must not be parsed as a flag.
                command.extend(["--".to_owned(), hook.to_owned()]);
                command
            };
            [
                self::command(&format!("{file}.txt"), show("")),
                self::command(&format!("{file}.json"), show(" -o json")),
            ]
        })
        .collect()
}

fn command(name: &str, command: Vec<String>) -> BundlePart {
    BundlePart { name: name.to_owned(), source: PartSource::Command(command), command: Vec::new() }
}

fn values(name: &str, command: Vec<String>) -> BundlePart {
    BundlePart { name: name.to_owned(), source: PartSource::Values(command), command: Vec::new() }
}

fn ours(global: &Global, line: &str) -> Vec<String> {
    let socket = format!("--socket-path={}", global.socket_path.display());
    let mut command = vec!["bpfman".to_owned(), socket];
    command.extend(line.split(' ').map(str::to_owned));
    command
}

/// Returns a command for the states of all units of the packages, including stopped ones. A list contains no settings.
fn units() -> Vec<String> {
    let list = ["systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager"];
    words(&[&list[..], &UNITS[..]].concat())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns a safe file name: names of interfaces and namespaces come from third parties.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().take(80).map(|c| if is_plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    fn global() -> Global {
        Cli::try_parse_from(["bpfman", "--socket-path", "/s", "doctor"]).unwrap().global
    }

    #[test]
    fn each_command_of_ours_is_one_that_there_is() {
        let parts = of(&global());
        let hooks = of_hooks(&global(), b"xdp:eth0\n\ntc:../../x:ingress@/run/netns/a\n");
        assert_eq!(hooks.len(), 4);
        let mut seen = 0;
        for part in parts.iter().chain(&hooks) {
            let line = match &part.source {
                PartSource::Command(line) | PartSource::Values(line) => line,
                PartSource::Hooks => &part.command,
                _ => continue,
            };
            if line[0] == "bpfman" {
                seen += 1;
                Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            }
        }
        assert!(seen > 15, "{seen}");
        let names = hooks.iter().map(|part| part.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names[2], "chains/001-tc_.._.._x_ingress__run_netns_a.txt");
        let many = "xdp:eth0\n".repeat(MAX_HOOKS + 1);
        assert_eq!(of_hooks(&global(), many.as_bytes()).len(), 2 * MAX_HOOKS);
    }
}
