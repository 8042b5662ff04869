//! Which redirects are followed.

use std::sync::Arc;

use reqwest::redirect::Policy;

use crate::reach::{RegistryReach, shown};

/// Redirects followed in a row. Registries use one, to where their content is stored.
const MAX_REDIRECTS: usize = 4;

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
#[error("it redirects to {0}, which is not followed")]
pub(crate) struct RefusedRedirect(String);

/// Follows what the registry may redirect to, as far as can be told without resolving names.
pub(crate) fn policy(reach: Arc<RegistryReach>) -> Policy {
    Policy::custom(move |attempt| {
        let allowed = attempt.previous().len() <= MAX_REDIRECTS
            && attempt.previous().first().is_some_and(|first| reach.redirects(first, attempt.url()));
        if allowed {
            return attempt.follow();
        }
        let target = shown(attempt.url());
        attempt.error(RefusedRedirect(target))
    })
}
