//! Calls of the daemon, counted by method.

use bpfman_apply::credentials::RegistryCredentials;
use bpfman_apply::desired::Desired;
use bpfman_apply::failure::{CallRefusal, Unreachable, refusal};
use bpfman_apply::reconcile::reconcile;
use bpfman_apply::report::Report;
use bpfman_proto::ext::v1::{ListProgramsRequest, Program};
use bpfman_proto::v1::ListRequest;
use tonic::{Response, Status};

use super::Shared;

impl Shared {
    /// Counts a call and waits for its answer; the inner error is a refusal of the daemon.
    pub async fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Result<T, CallRefusal>, Unreachable> {
        self.metrics.daemon_calls.add(method, 1);
        match call.await {
            Ok(answer) => Ok(Ok(answer.into_inner())),
            Err(status) => refusal(&self.daemon, &status).map(Err),
        }
    }

    /// Lists programs of the daemon. `None` if the daemon refuses.
    pub async fn programs(&self, select: ListRequest) -> Result<Option<Vec<Program>>, Unreachable> {
        let request = ListProgramsRequest { select: Some(select), program_type: String::new() };
        let answer = self.call("ListPrograms", self.daemon.ext().list_programs(request)).await?;
        Ok(answer.ok().map(|answer| answer.programs))
    }

    /// Applies the desired state, and logs the changes.
    pub async fn make(
        &self,
        desired: &Desired,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Report, Unreachable> {
        self.metrics.daemon_calls.add("reconcile", 1);
        let report = reconcile(&self.daemon, desired, credentials).await?;
        for done in &report.done {
            tracing::info!(application = desired.owner.name, uid = desired.owner.uid, "{done}");
        }
        for note in &report.notes {
            tracing::warn!(application = desired.owner.name, uid = desired.owner.uid, "{note}");
        }
        Ok(report)
    }
}
