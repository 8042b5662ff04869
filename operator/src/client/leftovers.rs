//! Removal of temporary objects: those of this command, and those of killed commands.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde::de::DeserializeOwned;

use crate::rollout::revision::REHEARSAL;

const STALE: i64 = 2 * 3600;

pub async fn remove<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes objects of killed commands: those hours older than `latest`, by the API server's clock.
pub async fn sweep<K>(api: &Api<K>, latest: &ObjectMeta)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let second = |meta: &ObjectMeta| Some(meta.creation_timestamp.as_ref()?.0.as_second());
    let Some(now) = second(latest) else { return };
    let Ok(all) = api.list_metadata(&ListParams::default().labels(REHEARSAL)).await else { return };
    for one in all.items {
        let made = second(&one.metadata).unwrap_or(now);
        if let Some(name) = one.metadata.name.filter(|_| now - made > STALE) {
            _ = remove(api, &name).await;
        }
    }
}
