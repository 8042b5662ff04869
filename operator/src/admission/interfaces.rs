//! Validation of interface names.

use bpfman_application::check::pattern;
use bpfman_application::packets::PacketLink;

use super::verdict::ReviewVerdict;

/// Reports entries of interface discovery that never match.
pub fn check(verdict: &mut ReviewVerdict, link: &PacketLink<'_>) {
    let Some(discovery) = &link.interfaces.interfaces_discovery_config else { return };
    let path = format!("{}.interfaceSelector.interfacesDiscoveryConfig", link.path);
    for (at, entry) in discovery.allowed_interfaces.iter().enumerate() {
        let entry = entry.trim();
        if pattern(entry).is_none() && !is_name(entry) {
            verdict.refuse(
                &format!("{path}.allowedInterfaces[{at}]"),
                format!(
                    "\"{entry}\" matches nothing: it is neither a name of an interface (1 to 15 bytes without / : and \
                     spaces) nor a pattern (/regular expression/)"
                ),
            );
        }
    }
    for (at, entry) in discovery.exclude_interfaces.iter().enumerate() {
        if !is_name(entry) {
            verdict.warn(
                &format!("{path}.excludeInterfaces[{at}]"),
                format!("\"{entry}\" excludes nothing: only names of interfaces are compared here"),
            );
        }
    }
}

/// Follows the kernel's `dev_valid_name`.
fn is_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace())
}
