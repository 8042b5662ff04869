//! Name resolution for the registry client. Addresses are checked at the connection that uses them, not before.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::reach::RegistryReach;

/// Limit of concurrent lookups. Each takes a shared thread: an unresponsive name server must not take them all.
static LOOKUPS: Semaphore = Semaphore::const_new(8);

pub(crate) fn system(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

pub(crate) struct RegistryResolver {
    reach: Arc<RegistryReach>,
    lookup: fn(&str) -> io::Result<Vec<SocketAddr>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{name} is at the private address {address}, where this registry may not send requests")]
struct Private {
    name: String,
    address: std::net::IpAddr,
}

impl RegistryResolver {
    pub(crate) fn new(reach: Arc<RegistryReach>, lookup: fn(&str) -> io::Result<Vec<SocketAddr>>) -> Self {
        Self { reach, lookup }
    }
}

impl Resolve for RegistryResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, lookup, name) = (Arc::clone(&self.reach), self.lookup, name.as_str().to_owned());
        Box::pin(async move {
            let place = LOOKUPS.acquire().await?;
            let asked = name.clone();
            // The thread keeps its permit even if the caller no longer waits.
            let found = tokio::task::spawn_blocking(move || {
                let _place = place;
                lookup(&asked)
            })
            .await??;
            reach.note(&name, found.iter().map(SocketAddr::ip));
            let refused = found.iter().map(SocketAddr::ip).find(|address| !reach.connects(&name, *address));
            let allowed: Vec<_> =
                found.into_iter().filter(|address| reach.connects(&name, address.ip())).collect();
            match (allowed.is_empty(), refused) {
                (true, Some(address)) => Err(Private { name, address }.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use bpfmand_image::RegistrySettings;

    fn resolver(lookup: fn(&str) -> io::Result<Vec<SocketAddr>>) -> RegistryResolver {
        let image = "registry.example/a".parse().unwrap();
        let places = RegistrySettings::default().places(&image, None).unwrap();
        RegistryResolver::new(Arc::new(RegistryReach::new(&places[0], BTreeSet::new()).unwrap()), lookup)
    }

    fn both(_: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(["10.0.0.1:0", "1.1.1.1:0"].map(|address| address.parse().unwrap()).into())
    }

    #[tokio::test]
    async fn private_addresses_of_other_names_are_left_out_or_refused() {
        let of = async |resolver: &RegistryResolver, name: &str| {
            let found = resolver.resolve(name.parse().unwrap()).await;
            found.map(|found| found.map(|address| address.ip().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(of(&resolver(both), "cdn.example.net").await.unwrap(), ["1.1.1.1"]);
        assert_eq!(of(&resolver(both), "registry.example").await.unwrap(), ["10.0.0.1", "1.1.1.1"]);
        let private = resolver(|_| Ok(vec!["[64:ff9b::a00:1]:0".parse().unwrap()]));
        let error = of(&private, "metadata.example.net").await.unwrap_err().to_string();
        assert!(error.contains("metadata.example.net is at the private address 64:ff9b::a00:1"), "{error}");
        assert!(of(&resolver(system), "localhost").await.is_err());
    }
}
