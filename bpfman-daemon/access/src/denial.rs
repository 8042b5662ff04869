//! Denied calls: reason, and the grant that would allow them.

use std::fmt::Write as _;

use bpfman_model::Peer;

use crate::suggestion::SuggestedGrant;
use crate::{AccessObject, AccessPolicy, AccessVerb};

/// A call that is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// Message that names the caller, the denied action, and for each grant the key that does not allow it.
    pub message: String,
    /// Advice on what would allow it.
    pub hint: DenialHint,
}

/// Advice beside a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenialHint {
    /// A sentence.
    Text(String),
    /// Words of the command by which root would allow the call.
    Command(Vec<String>),
}

impl Denial {
    pub(crate) fn only_root(peer: &Peer, objects: &[AccessObject<'_>]) -> Self {
        let about = objects.first().map(|object| format!(" ({object})")).unwrap_or_default();
        let message = format!("user {} may not do this{about}: only root may", peer.uid);
        Self { message, hint: DenialHint::Text("have root do it: no grant can allow it".to_owned()) }
    }

    /// Names each grant of the caller with the key that stands in the way, or the grant that would be needed.
    pub(crate) fn new(
        policy: &AccessPolicy,
        peer: &Peer,
        verb: AccessVerb,
        objects: &[AccessObject<'_>],
    ) -> Self {
        let mut text = format!("user {} may not {verb}", peer.uid);
        for (place, object) in objects.iter().enumerate() {
            let _written = write!(text, "{} {object}", if place == 0 { ":" } else { "," });
        }
        let mut hint = DenialHint::Text(
            "have root extend the grant in policy.toml; `bpfman whoami` lists yours".to_owned(),
        );
        let mut has_grant = false;
        for grant in policy.grants_of(peer) {
            has_grant = true;
            let name = &grant.name;
            let _written = if grant.verbs.contains(&verb) {
                let obstacle =
                    objects.iter().find_map(|object| Some((object, grant.obstacle(peer, object)?)));
                match obstacle {
                    Some((object, key)) => {
                        if let AccessObject::Application(application) = object
                            && let Some(pattern) = grant.successor_for(application)
                        {
                            hint = DenialHint::Text(format!(
                                "patterns of applications without a slash cover cluster applications alone: have root write \
                                 \"{pattern}\" in \"applications\" of grant \"{name}\""
                            ));
                        }
                        write!(text, "; grant \"{name}\" does not cover {object} by its \"{key}\"")
                    }
                    None => Ok(()),
                }
            } else {
                write!(text, "; grant \"{name}\" does not allow \"{verb}\"")
            };
        }
        let obstacle = policy.grants.iter().find_map(|grant| Some((grant, grant.callers.obstacle(peer)?)));
        if let Some((grant, obstacle)) = obstacle {
            let _written = write!(text, "; grant \"{}\" does not count for it, since {obstacle}", grant.name);
            hint = DenialHint::Text(obstacle.advice().to_owned());
        } else if !has_grant {
            text.push_str("; no grant is for this user");
            hint = DenialHint::Command(SuggestedGrant::new(peer.uid, verb, objects).command());
        }
        Self { message: text, hint }
    }
}
