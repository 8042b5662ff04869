//! Admission of a session's command: checks its file by the grants, which also set owner and limits.

use bpfman_model::Owner;
use bpfmand_access::{AccessObject, AccessPolicy, AccessVerb, Allowed, Denial, GrantLimits};
use bpfmand_calls::CommandFile;
use serde::{Deserialize, Serialize};

use crate::decide::policy_of;
use crate::session::{BrokeredSession, SessionFacts};

/// A command that may start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedCommand {
    pub file: CommandFile,
    /// True if this very file was executed, so that grants with its digest count.
    pub held: bool,
    pub owner: Owner,
    #[serde(skip)]
    pub limits: GrantLimits,
    /// True if the command's pins and attachments stay.
    pub keep: bool,
}

impl AdmittedCommand {
    /// Returns the digest that counts for grants; `None` if another file may be executed.
    pub fn digest(&self) -> Option<&str> {
        self.file.sha256.as_deref().filter(|_| self.held)
    }
}

/// Decides whether a session may execute a file. The error has the line of the policy that would allow it.
pub fn admit(
    session: &BrokeredSession,
    policy: &AccessPolicy,
    file: CommandFile,
) -> Result<AdmittedCommand, String> {
    let policy = policy_of(&session.facts, policy);
    let peer = &session.facts.peer;
    let is_named = |digest: &String| {
        let lists = policy.grants_of(peer).filter_map(|grant| grant.executables.as_ref());
        lists.into_iter().any(|list| list.contains(digest))
    };
    let held = file.loose.is_none() && file.sha256.as_ref().is_some_and(is_named);
    let digest = file.sha256.as_deref().filter(|_| file.loose.is_none());
    match policy.decide(peer, AccessVerb::Raw, &[AccessObject::Executable(digest)]) {
        Ok(Allowed { owner, limits, keep, .. }) => Ok(AdmittedCommand { file, held, owner, limits, keep }),
        Err(denial) => Err(reason(&policy, session, &file, &denial)),
    }
}

/// Returns the limits of a session's owner; none if no grant is left.
pub fn limits(facts: &SessionFacts, policy: &AccessPolicy, command: &AdmittedCommand) -> GrantLimits {
    let executable = AccessObject::Executable(command.digest());
    let allowed = policy_of(facts, policy).decide(&facts.peer, AccessVerb::Raw, &[executable]);
    allowed.map(|allowed| allowed.limits).unwrap_or_default()
}

fn reason(policy: &AccessPolicy, session: &BrokeredSession, file: &CommandFile, denial: &Denial) -> String {
    let raw = policy.grants_of(&session.facts.peer).filter(|grant| grant.verbs.contains(&AccessVerb::Raw));
    let asks = raw.into_iter().find(|grant| grant.executables.is_some());
    let (Some(grant), path) = (asks, &file.path) else { return denial.message.clone() };
    let name = &grant.name;
    let demands = format!("{}: grant \"{name}\" allows only executables of its digests", denial.message);
    match (&file.loose, &file.sha256) {
        (Some(loose), _) => format!("{demands}, and {loose}"),
        (None, Some(digest)) => format!(
            "{demands}; to allow {path}, have root add \"sha256:{digest}\" to them in policy.toml: executables = [\"sha256:{digest}\"]"
        ),
        (None, None) => format!("{demands}, and {path} cannot be hashed"),
    }
}
