//! Puts the parts of admission together.

use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use tracing::info;

use super::certificates::{Keeper, Terms, alone};
use super::flags::Flags;
use super::identity::Identity;
use super::known::Known;
use super::review::Reviewer;
use super::serve;
use super::tls::{Served, listen};
use crate::clock::ServerClock;
use bpfman_runtime::serve::address;

/// The Service in front of all controllers.
const SERVICE: &str = "bpfman-admission";

/// Reviews until the end; never returns if nothing is to be reviewed. Keeps the certificate that is `served`, here and
/// wherever else it is.
///
/// # Errors
/// The address is none, or cannot be listened on.
pub async fn run(
    client: Client,
    flags: &Flags,
    namespace: &str,
    served: Arc<Served>,
    clock: ServerClock,
) -> anyhow::Result<()> {
    let bind = address(&flags.admission_bind_address).map_err(anyhow::Error::msg)?;
    let mut names: Vec<String> =
        ["", ".svc", ".svc.cluster.local"].map(|end| format!("{SERVICE}.{namespace}{end}")).into();
    names.extend(flags.admission_name.iter().cloned());
    let terms = Terms { seconds: flags.admission_certificate_seconds };
    let Some(bind) = bind else { return alone(&names, terms, &served, &clock).await };
    let clients = flags.admission_client_ca.as_deref().map(super::tls::clients).transpose()?;
    let policy = flags.admission_failure_policy;
    let keeper = Keeper::new(client.clone(), namespace, names, policy, terms, served.clone(), clock);
    let known = Known::follow(&client);
    let identity = Identity::new(client, namespace);
    let reviewer = Arc::new(Reviewer { known, identity });
    let listener = listen(bind, served, clients).await.with_context(|| format!("admission on {bind}"))?;
    info!(%bind, "reviewing applications and state objects");
    tokio::select! {
        () = keeper.run() => Ok(()),
        ended = serve::serve(listener, reviewer) => ended.context("admission"),
    }
}
