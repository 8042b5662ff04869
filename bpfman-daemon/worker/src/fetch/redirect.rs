use std::sync::Arc;

use reqwest::redirect::Policy;

use super::reach::{RegistryReach, shown};

/// Maximum number of redirects. Registries use one, to their storage.
const MAX_REDIRECTS: usize = 4;

#[derive(Debug, thiserror::Error)]
#[error("it redirects to {0}, which is not followed")]
pub(crate) struct RefusedRedirect(String);

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
