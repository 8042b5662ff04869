//! Leases, which clients hold while their streams are open.

use std::sync::Arc;

use bpfman_model::ClientLease;
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{Engine, LeasesTaken, MAX_LEASES, MAX_LEASES_OF_ONE};
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::server::Api;
use crate::{audit, status};

struct HeldLease<K: Kernel> {
    engine: Arc<Engine<K>>,
    id: ClientLease,
}

impl<K: Kernel> Drop for HeldLease<K> {
    fn drop(&mut self) {
        self.engine.end_client_lease(self.id);
    }
}

pub type LeaseStream = ReceiverStream<Result<wire::LeaseEvent, Status>>;

/// Grants a lease that ends with the stream. The engine then removes its objects at the next periodic check.
pub fn stream<K: Kernel>(api: &Api<K>, permit: &Permit) -> Result<LeaseStream, Status> {
    let id = api.engine.hold_client_lease(permit.uid, permit.account).map_err(|LeasesTaken { all, own }| {
        status::busy(format!(
            "{all} leases are held, {own} of them by user {}: at most {MAX_LEASES} are at the same time, and \
             {MAX_LEASES_OF_ONE} by one user; end what runs under one of them",
            permit.uid
        ))
    })?;
    let held = HeldLease { engine: Arc::clone(&api.engine), id };
    audit::made(format_args!("lease {id}"));
    let (events, stream) = mpsc::channel(1);
    let granted = events.try_send(Ok(wire::LeaseEvent { lease: id.0 }));
    granted.map_err(|_full| Status::internal("the stream of a lease has no room for its beginning"))?;
    let (ended, activity) = (api.watchers.ended(), api.activity());
    tokio::spawn(async move {
        // A daemon that holds a lease is not idle.
        let _running = activity.begin();
        tokio::select! {
            () = events.closed() => {}
            () = ended => {}
        }
        drop(held);
    });
    Ok(ReceiverStream::new(stream))
}
