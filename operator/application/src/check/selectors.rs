use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use regex::Regex;

use super::SpecProblem;
use super::fields::SpecProblems;
use crate::interface::InterfaceSelector;
use crate::spec::ApplicationSpec;
use crate::{labels, packets};

/// Checks a selector, which API servers do not: the schema has no rules for operators.
pub fn label_selector(found: &mut SpecProblems, path: &str, selector: &LabelSelector) {
    for (at, expression) in selector.match_expressions.iter().flatten().enumerate() {
        for fault in labels::faults(expression) {
            found.add(format!("{path}.matchExpressions[{at}].{}", fault.field()), fault.to_string());
        }
    }
}

pub fn interface_selector(found: &mut SpecProblems, path: &str, selector: &InterfaceSelector) {
    let path = format!("{path}.interfaceSelector");
    let given = usize::from(selector.interfaces.is_some())
        + usize::from(selector.primary_node_interface.is_some())
        + usize::from(selector.interfaces_discovery_config.is_some());
    if given != 1 {
        found.add(
            &path,
            format!(
                "{given} ways to choose interfaces are given: exactly one of interfaces, primaryNodeInterface and \
                 interfacesDiscoveryConfig is allowed"
            ),
        );
    }
    for (at, name) in selector.interfaces.iter().flatten().enumerate() {
        if !is_interface_name(name) {
            found.add(
                format!("{path}.interfaces[{at}]"),
                format!(
                    "\"{name}\" is no name of an interface: 1 to 15 bytes without / and spaces are allowed"
                ),
            );
        }
    }
}

pub fn is_interface_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace())
}

/// Returns the pattern inside `/…/`, or `None` for a plain name.
#[must_use]
pub fn pattern(entry: &str) -> Option<&str> {
    entry.strip_prefix('/')?.strip_suffix('/')
}

pub fn patterns(spec: &ApplicationSpec) -> Vec<SpecProblem> {
    let mut found = SpecProblems::default();
    for link in packets::links(spec) {
        let path = format!("{}.interfaceSelector.interfacesDiscoveryConfig.allowedInterfaces", link.path);
        let allowed =
            link.interfaces.interfaces_discovery_config.iter().flat_map(|config| &config.allowed_interfaces);
        for (at, entry) in allowed.enumerate() {
            if let Some(Err(error)) = pattern(entry.trim()).map(Regex::new) {
                found.add(
                    format!("{path}[{at}]"),
                    format!("\"{entry}\" is no pattern: {}", last_line(&error)),
                );
            }
        }
    }
    found.problems
}

/// Returns the last line of a compile error, which has the reason; the lines before it draw the position.
#[must_use]
pub fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next_back().unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}
