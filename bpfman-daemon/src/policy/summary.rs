//! Summary of a policy, for a check before it comes into force.

use bpfmand_access::{AccessPolicy, Grant, SocketGroup};
use bpfmand_image::{Mode, Policy, PolicyRule, Requirement, RevokedRunning, Signers};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct PolicySummary {
    mode: &'static str,
    images: Vec<RuleSummary>,
    files: Vec<u32>,
    revoked: RevokedSummary,
    socket_group: &'static str,
    grants: Vec<GrantSummary>,
}

#[derive(Debug, Serialize)]
struct RuleSummary {
    pattern: String,
    needs: String,
}

#[derive(Debug, Serialize)]
struct RevokedSummary {
    keys: usize,
    identities: usize,
    digests: usize,
    running: &'static str,
}

#[derive(Debug, Serialize)]
struct GrantSummary {
    name: String,
    /// Callers as in the file, with users and groups by number.
    callers: Vec<String>,
    allow: Vec<String>,
    restrictions: Vec<String>,
}

impl PolicySummary {
    pub fn of(images: &Policy, access: &AccessPolicy) -> Self {
        let revoked = images.revoked();
        Self {
            mode: match images.mode() {
                Mode::Enforce => "enforce",
                Mode::Warn => "warn",
                Mode::Off => "off",
            },
            images: images.rules().iter().map(rule).collect(),
            files: images.files().allowed().collect(),
            revoked: RevokedSummary {
                keys: revoked.keys.len(),
                identities: revoked.identities.len(),
                digests: revoked.digests.len(),
                running: match revoked.running {
                    RevokedRunning::Keep => "keep",
                    RevokedRunning::Detach => "detach",
                },
            },
            socket_group: match access.socket_group {
                SocketGroup::Nothing => "nothing",
                SocketGroup::Read => "read",
                SocketGroup::All => "all",
            },
            grants: access.grants.iter().map(grant).collect(),
        }
    }
}

fn rule(rule: &PolicyRule) -> RuleSummary {
    let needs = match &rule.requirement {
        Requirement::Unsigned => "nothing: images need no signature".to_owned(),
        Requirement::Signed(signers) => signed(signers),
    };
    let digests = rule.digests.as_ref().map(|digests| format!(", only {} digests", digests.len()));
    RuleSummary { pattern: rule.pattern.to_string(), needs: needs + &digests.unwrap_or_default() }
}

fn signed(signers: &Signers) -> String {
    let count = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let signers_of_rule: Vec<String> =
        [count(signers.keys.len(), "key", "keys"), count(signers.identities.len(), "identity", "identities")]
            .into_iter()
            .flatten()
            .collect();
    let mut needs = vec![format!("{} of {}", signers.minimum, signers_of_rule.join(" and "))];
    needs.extend(signers.log_required.then(|| "an entry in the log".to_owned()));
    needs.extend(signers.annotations.iter().map(|(name, value)| format!("{name}={value}")));
    needs.extend(signers.increasing.as_ref().map(|name| format!("{name} never falls")));
    needs.join(", ")
}

fn grant(grant: &Grant) -> GrantSummary {
    let callers = &grant.callers;
    let numbers = |what: &'static str, numbers: &std::collections::BTreeSet<u32>| {
        numbers.iter().map(move |number| format!("{what} {number}")).collect::<Vec<_>>()
    };
    let mut named = numbers("user", &callers.users);
    named.extend(numbers("group", &callers.groups));
    named.extend(callers.units.iter().map(|unit| format!("unit {unit}")));
    named.extend(callers.pods.iter().map(|pod| format!("pod {pod}")));
    GrantSummary {
        name: grant.name.clone(),
        callers: named,
        allow: grant.verbs.iter().map(|verb| verb.name().to_owned()).collect(),
        restrictions: grant.restrictions(),
    }
}
