//! Commands that show the rules by which a program drops packets.

/// Function names of the gallery's programs, as prefixes, with their companion commands.
const COMPANIONS: [(&str, &str); 4] = [
    ("egress_guard_", "bpfman-egress-guard"),
    ("switch_port_", "bpfman-switch-port"),
    ("xdp_balancer", "bpfman-xdp-balancer"),
    ("xdp_firewall", "bpfman-xdp-firewall"),
];

/// Returns the companion command of a program of the gallery; for other programs, the command that lists
/// maps, some of which may hold rules.
pub fn rule_command(function: &str, program_id: u32, application: Option<&str>) -> String {
    let companion = COMPANIONS.iter().find(|(prefix, _)| function.starts_with(prefix));
    match (companion, application) {
        (Some((_, command)), Some(application)) if is_plain(application) => {
            format!("{command} --app {application} list")
        }
        (Some((_, command)), _) => format!("{command} --program {program_id} list"),
        (None, _) => format!("bpfman map list --program {program_id}"),
    }
}

/// Returns whether a name has no special characters of a shell: owners choose names, and users paste the command.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_can_be_pasted_whatever_the_application_is_called() {
        assert_eq!(rule_command("xdp_firewall", 7, Some("edge")), "bpfman-xdp-firewall --app edge list");
        for hostile in ["x; reboot", "$(id)", "--map-dir", ""] {
            let command = rule_command("switch_port_in", 7, Some(hostile));
            assert_eq!(command, "bpfman-switch-port --program 7 list");
        }
        assert_eq!(rule_command("filter", 9, Some("edge")), "bpfman map list --program 9");
    }
}
