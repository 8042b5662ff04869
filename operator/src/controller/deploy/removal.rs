use super::error::DeployError;
use bpfman_application::orders::NOT_READY_TAINT;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt as _};

use bpfman_application::scope::Scope;

use crate::controller::projection::READY_BOOT;
use bpfman_runtime::sentence::list_of;

const NAMED: u32 = 5;

const PAGE: u32 = 500;

pub async fn blocked(client: &Client) -> Result<Option<String>, DeployError> {
    let (mut names, mut all) = (Vec::new(), 0);
    for scope in Scope::ALL {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &scope.applications());
        match api.list_metadata(&ListParams::default().limit(NAMED)).await {
            Ok(list) => {
                all += list.items.len() + beyond(list.metadata.remaining_item_count);
                names.extend(list.items.iter().map(|item| match item.namespace() {
                    Some(namespace) => format!("{namespace}/{}", item.name_any()),
                    None => item.name_any(),
                }));
            }
            // The definition was deleted, and all objects with it.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(DeployError::about("listing applications")(error)),
        }
    }
    Ok(message(&names, all))
}

pub async fn marked(client: &Client) -> Result<Option<String>, DeployError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = nodes.list(&page).await.map_err(DeployError::about("listing nodes"))?;
        if let Some(node) = list.items.iter().find(|node| is_marked(node)) {
            return Ok(Some(format!("The taint {NOT_READY_TAINT} is being taken from {}", node.name_any())));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(None),
        }
    }
}

fn is_marked(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    node.annotations().contains_key(READY_BOOT)
        || taints.into_iter().any(|taint| taint.key == NOT_READY_TAINT)
}

fn beyond(remaining: Option<i64>) -> usize {
    remaining.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

fn message(names: &[String], all: usize) -> Option<String> {
    (all > 0).then(|| {
        format!(
            "The Config is being deleted, and daemons and agents stay until these applications are deleted: {}",
            list_of(names, NAMED as usize, all, ", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_names_are_listed_and_the_rest_counted() {
        assert_eq!(message(&[], 0), None);
        let names: Vec<String> = (0..7).map(|number| format!("a{number}")).collect();
        let text = message(&names, 12).unwrap_or_default();
        assert!(text.ends_with("deleted: a0, a1, a2, a3, a4 and 7 more"), "{text}");
        let text = message(&names[..1], 1).unwrap_or_default();
        assert!(text.ends_with("deleted: a0"), "{text}");
    }
}
