//! Threads that store the bytecode of loads in parallel. The last one waits some seconds for the next load: the
//! scheduler puts a new thread on the CPU of its parent, and wakes one on an idle CPU.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::BlobFolder;
use crate::blob_id::Blob;

/// Time without an order after which the thread ends.
const IDLE: Duration = Duration::from_secs(5);
/// Size of a thread's stack, in bytes.
const STACK: usize = 128 << 10;

/// Contents that the thread stores.
#[derive(Debug)]
pub struct BlobAhead(Receiver<bool>);

impl BlobAhead {
    /// Waits for the thread, and returns whether the contents are durable.
    #[must_use]
    pub fn is_durable(self) -> bool {
        self.0.recv().unwrap_or(false)
    }
}

#[derive(Debug)]
struct Order {
    folder: Arc<BlobFolder>,
    blob: Blob,
    done: SyncSender<bool>,
}

#[derive(Debug, Default)]
pub struct WriterThread(Mutex<Option<SyncSender<Order>>>);

impl WriterThread {
    /// Starts to store contents; `None` if no thread can be started.
    pub fn put(&self, folder: &Arc<BlobFolder>, blob: &Blob) -> Option<BlobAhead> {
        let (done, stored) = sync_channel(1);
        let order = Order { folder: Arc::clone(folder), blob: blob.clone(), done };
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match thread.as_ref() {
            None => order,
            Some(waiting) => match waiting.try_send(order) {
                Ok(()) => return Some(BlobAhead(stored)),
                Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => order,
            },
        };
        // Without room in the channel, only a waiting thread takes an order. A busy one ends after its work.
        let (orders, received) = sync_channel(0);
        let builder = std::thread::Builder::new().name("bytecode".to_owned()).stack_size(STACK);
        builder.spawn(move || serve(order, &received)).ok()?;
        *thread = Some(orders);
        Some(BlobAhead(stored))
    }
}

fn serve(first: Order, orders: &Receiver<Order>) {
    let mut next = Some(first);
    while let Some(order) = next {
        store(&order);
        drop(order);
        next = orders.recv_timeout(IDLE).ok();
    }
}

fn store(Order { folder, blob, done }: &Order) {
    // After a failure, the load tries again and reports it. It may have been given up meanwhile.
    let _given_up = done.send(folder.put(blob).is_ok());
}
