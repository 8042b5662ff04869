//! Denied calls: reason, and the grant that would allow them.

use std::fmt::Write as _;

use bpfman_model::{Hint, Peer};

use crate::suggestion::SuggestedGrant;
use crate::{AccessObject, AccessPolicy, AccessVerb};

/// A call that is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// Message that names the caller, the denied action, and for each grant the key that does not allow it.
    pub message: String,
    /// Advice on how to get the call allowed.
    pub hint: Hint,
}

impl Denial {
    /// Returns message and advice, as one line.
    #[must_use]
    pub fn one_line(&self) -> String {
        format!("{}; {}", self.message, self.hint.to_string().replace('\n', "; "))
    }

    pub(crate) fn only_root(peer: &Peer, objects: &[AccessObject<'_>]) -> Self {
        let about = objects.first().map(|object| format!(" ({object})")).unwrap_or_default();
        let message = format!("user {} may not do this{about}: only root may", peer.uid);
        Self { message, hint: "have root do it: no grant can allow it".into() }
    }

    /// Names each grant of the caller with the key that denies the call, or the grant that would be needed.
    pub(crate) fn new(
        policy: &AccessPolicy,
        peer: &Peer,
        verb: AccessVerb,
        objects: &[AccessObject<'_>],
    ) -> Self {
        let mut text = format!("user {} may not {}", peer.uid, verb.phrase());
        for (place, object) in objects.iter().enumerate() {
            let _written = write!(text, "{} {object}", if place == 0 { ":" } else { "," });
        }
        let mut hint = Hint::Lines(vec!["have root extend the grant in policy.toml".into(), Hint::Whoami]);
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
                            let advice = format!(
                                "patterns of applications without a slash cover cluster applications alone: have root write \
                                 \"{pattern}\" in \"applications\" of grant \"{name}\""
                            );
                            hint = advice.into();
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
            hint = obstacle.advice().into();
        } else if !has_grant {
            text.push_str("; no grant is for this user");
            hint = Hint::AllowCall(SuggestedGrant::new(peer.uid, verb, objects).arguments());
        }
        Self { message: text, hint }
    }
}
