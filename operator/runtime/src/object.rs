//! Objects of the API server, whatever their kind.

use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use kube::{Api, Client, Resource};

/// The API of a kind, in a namespace if the objects have one.
#[must_use]
pub fn api<K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>>(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Whether a resource version is known to be older than another. Versions that are no numbers cannot be compared: then
/// the later word counts.
#[must_use]
pub fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}
