use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use kube::Client;
use tracing::info;

use super::certificates::CertificateRenewer;
use super::flags::AdmissionFlags;
use super::identity::AgentIdentity;
use super::known::KnownSlots;
use super::review::Reviewer;
use super::serve;
use crate::clock::ServerClock;
use bpfman_runtime::certificate::{CertificateTerms, alone};
use bpfman_runtime::serve::address;
use bpfman_runtime::tls::{Served, clients, listen};

const SERVICE: &str = "bpfman-admission";

/// Serves reviews and renews the certificate in `served`, also for /metrics. If disabled, only renews it.
pub async fn run(
    client: Client,
    flags: &AdmissionFlags,
    namespace: &str,
    served: Arc<Served>,
    clock: ServerClock,
) -> anyhow::Result<()> {
    let bind = address(&flags.admission_bind_address)?;
    let mut names: Vec<String> =
        ["", ".svc", ".svc.cluster.local"].map(|end| format!("{SERVICE}.{namespace}{end}")).into();
    names.extend(flags.admission_name.iter().cloned());
    let terms = CertificateTerms { seconds: flags.admission_certificate_seconds };
    let Some(bind) = bind else {
        return Ok(alone(&names, terms, &served, || clock.at(Instant::now()).seconds()).await?);
    };
    let clients = flags.admission_client_ca.as_deref().map(clients).transpose()?;
    let policy = flags.admission_failure_policy;
    let keeper =
        CertificateRenewer::new(client.clone(), namespace, names, policy, terms, served.clone(), clock);
    let known = KnownSlots::follow(&client);
    let identity = AgentIdentity::new(client, namespace);
    let reviewer = Arc::new(Reviewer { known, identity });
    let listener = listen(bind, served, clients).await.with_context(|| format!("admission on {bind}"))?;
    info!(%bind, "reviewing applications and state objects");
    tokio::select! {
        () = keeper.run() => Ok(()),
        ended = serve::serve(listener, reviewer) => ended.context("admission"),
    }
}
