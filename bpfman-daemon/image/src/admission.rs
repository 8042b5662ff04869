use std::sync::Arc;

use crate::access::Right;
use crate::blocking::blocking;
use crate::inventory::InventoryEntry;
use crate::session::{LoadSession, Resolved};
use crate::{ImageError, ImageStore};

impl ImageStore {
    /// Moves a verified image to the cache; before this call, nothing of it is kept.
    pub(crate) async fn let_in(
        &self,
        session: &LoadSession<'_>,
        resolved: &Resolved,
        entry: InventoryEntry,
    ) -> Result<(), ImageError> {
        let _in_use = match session.is_quick() {
            true => None,
            false => Some(self.in_use.read().await),
        };
        let (cache, image) = (self.cache.clone(), session.image.clone());
        let (offer, staging) = (resolved.verdict.offer.clone(), Arc::clone(&session.staging));
        let signatures = session.signatures_to_keep(resolved)?;
        let right = if resolved.allowed { None } else { session.right() };
        let right = if session.brought.is_some() { Some(Right::Everybody) } else { right };
        let sets_tag = !session.is_quick() && image.digest().is_none();
        let forbidden = blocking(move || {
            if let Some(offer) = &offer
                && let Some(lowest) = cache.accept(offer)?
            {
                return Ok(Some(lowest));
            }
            staging.keep(&entry.members)?;
            for (digest, signatures) in &signatures {
                cache.set_signatures(*digest, signatures)?;
            }
            if let Some(right) = right {
                cache.allow(&entry.name, &[entry.digest, entry.manifest].into(), &right)?;
            }
            if sets_tag {
                // After verification: a tag moved to an unsigned image must not replace a loadable one.
                cache.set_tag(&image, entry.digest)?;
            }
            cache.used(&entry)?;
            // Sync content of other loads too: once the caller gets a success, the image must survive a power cut.
            cache.settle()?;
            Ok(None)
        })
        .await?;
        match (forbidden, &resolved.verdict.offer) {
            (Some(lowest), Some(offer)) => {
                let rule = resolved.verdict.verified_by.rule().unwrap_or_default();
                Err(session.forbidden(rule, offer, &lowest))
            }
            _ => Ok(()),
        }
    }
}
