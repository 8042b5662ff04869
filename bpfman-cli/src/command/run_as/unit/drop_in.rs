//! The drop-in of a service.

use std::fmt::Write as _;

use super::file::ServiceUnit;

/// Name of the drop-in's file.
pub const FILE: &str = "50-bpfman-run-as.conf";
/// Settings for a service's own mounts or users, which sessions do not support, and their values for "off".
const NAMESPACES: [(&str, &str); 17] = [
    ("PrivateTmp", "no"),
    ("PrivateDevices", "no"),
    ("PrivateMounts", "no"),
    ("PrivateUsers", "no"),
    ("ProtectSystem", "no"),
    ("ProtectHome", "no"),
    ("ProtectKernelTunables", "no"),
    ("ProtectKernelModules", "no"),
    ("ProtectKernelLogs", "no"),
    ("ProtectControlGroups", "no"),
    ("ProtectProc", "default"),
    ("ReadOnlyPaths", ""),
    ("ReadWritePaths", ""),
    ("InaccessiblePaths", ""),
    ("BindPaths", ""),
    ("BindReadOnlyPaths", ""),
    ("TemporaryFileSystem", ""),
];
/// Settings that name another root folder.
const ROOTS: [&str; 2] = ["RootDirectory", "RootImage"];

/// Returns the text of the drop-in, or why there is none.
pub fn text(name: &str, unit: &ServiceUnit) -> Result<String, String> {
    let starts = unit.all("ExecStart");
    if starts.is_empty() {
        return Err("it has no ExecStart".to_owned());
    }
    if unit.last("Type") == Some("forking") {
        return Err(
            "it has Type=forking: have the command stay in the foreground, as with Type=exec".to_owned()
        );
    }
    if let Some(key) = ROOTS.into_iter().find(|key| unit.last(key).is_some()) {
        return Err(format!("it has {key}: sessions serve no client with another root folder"));
    }
    if starts.iter().any(|start| words(start).next().is_some_and(|word| word.ends_with("bpfman"))) {
        return Err("its command is bpfman already".to_owned());
    }
    let service = name.trim_end_matches(".service");
    let user = service.split('@').next().unwrap_or(service);
    let is_dynamic = unit.is_on("DynamicUser");
    let is_root = !is_dynamic && matches!(unit.last("User"), None | Some("root" | "0"));
    let mut text = format!(
        "# {name}: its command runs by `bpfman run-as`, without a right of its own.\n\
         # Write this to /etc/systemd/system/{name}.d/{FILE}, then: systemctl daemon-reload\n\
         # Its grant in /etc/bpfman/policy.toml:\n\
         #   [[grants]]\n#   name = \"{service}\"\n#   units = [\"{name}\"]\n#   allow = [\"raw\"]\n"
    );
    let mut line = |line: String| {
        let _infallible = writeln!(text, "{line}");
    };
    if is_root || is_dynamic {
        line(format!("# The user has to be there: useradd --system {user}"));
    }
    line("[Service]".to_owned());
    line("ExecStart=".to_owned());
    for start in starts {
        let (prefix, command) = prefix_of(start);
        if prefix.contains('@') {
            return Err(format!(
                "ExecStart={start}: a name of the command beside its path (@) cannot be kept"
            ));
        }
        let kept: String = prefix.chars().filter(|one| matches!(one, '-' | ':')).collect();
        line(format!("ExecStart={kept}/usr/bin/bpfman run-as -- {command}"));
    }
    line("CapabilityBoundingSet=".to_owned());
    line("AmbientCapabilities=".to_owned());
    if is_root {
        line(format!("User={user}"));
    }
    // The group of the daemon's socket.
    line("SupplementaryGroups=bpfman".to_owned());
    if is_dynamic {
        line("# A dynamic user has mounts of its own, which sessions do not serve.".to_owned());
        line("DynamicUser=no".to_owned());
        if matches!(unit.last("User"), None | Some("root" | "0")) {
            line(format!("User={user}"));
        }
    }
    if matches!(unit.last("Type"), Some("notify" | "notify-reload")) {
        line("# The command is no child of the service manager's process.".to_owned());
        line("NotifyAccess=all".to_owned());
    }
    let own = NAMESPACES.into_iter().filter(|(key, _)| unit.is_on(key));
    for (number, (key, without)) in own.enumerate() {
        if number == 0 {
            line("# A session's client has the machine's mounts and users.".to_owned());
        }
        line(format!("{key}={without}"));
    }
    Ok(text)
}

fn words(start: &str) -> std::str::SplitWhitespace<'_> {
    prefix_of(start).1.split_whitespace()
}

/// Splits off the special characters before a command's path, some of which grant privileges.
fn prefix_of(start: &str) -> (&str, &str) {
    let end = start.find(|one: char| !"@-:+!|".contains(one)).unwrap_or(start.len());
    start.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_in(service: &str) -> Result<String, String> {
        let unit =
            ServiceUnit::parse(&[format!("[Service]\n{service}")]).unwrap_or_else(|why| panic!("{why}"));
        text("agent.service", &unit)
    }

    fn settings(service: &str) -> String {
        let text = drop_in(service).unwrap_or_else(|why| panic!("{why}"));
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        lines.join("\n")
    }

    #[test]
    fn command_of_root_gets_a_user_and_loses_capabilities() {
        assert_eq!(
            settings(
                "ExecStart=+/usr/bin/agent --port 80\nAmbientCapabilities=CAP_BPF\nType=notify\nPrivateTmp=yes\n"
            ),
            "[Service]\nExecStart=\nExecStart=/usr/bin/bpfman run-as -- /usr/bin/agent --port 80\nCapabilityBoundingSet=\n\
             AmbientCapabilities=\nUser=agent\nSupplementaryGroups=bpfman\nNotifyAccess=all\nPrivateTmp=no"
        );
        assert_eq!(
            settings("ExecStart=-/usr/bin/agent\nUser=ann\nProtectSystem=strict\n"),
            "[Service]\nExecStart=\nExecStart=-/usr/bin/bpfman run-as -- /usr/bin/agent\nCapabilityBoundingSet=\n\
             AmbientCapabilities=\nSupplementaryGroups=bpfman\nProtectSystem=no"
        );
    }

    #[test]
    fn services_that_no_session_serves_are_refused() {
        for (service, why) in [
            ("Type=oneshot\n", "no ExecStart"),
            ("ExecStart=/a\nType=forking\n", "Type=forking"),
            ("ExecStart=/a\nRootDirectory=/srv\n", "RootDirectory"),
            ("ExecStart=@/a b\n", "cannot be kept"),
            ("ExecStart=/usr/bin/bpfman run-as -- /a\n", "already"),
        ] {
            assert!(drop_in(service).is_err_and(|error| error.contains(why)), "{service}");
        }
    }
}
