//! Output of `bpf_printk`, as a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bpfman_proto::ext::v1 as wire;
use bpfmand_kernel::{Kernel, PrintFeed};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::server::{Api, fail};
use crate::status;

pub type PrintStream = ReceiverStream<Result<wire::FollowPrintsResponse, Status>>;

/// Maximum number of concurrent streams: each has a thread, and a buffer in the kernel.
pub const FOLLOWERS: usize = 4;
/// Maximum time until the end of a stream is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const AHEAD: usize = 4;

#[derive(Debug)]
pub struct PrintFollowers(Arc<Semaphore>);

impl Default for PrintFollowers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(FOLLOWERS)))
    }
}

pub async fn stream<K: Kernel>(api: Api<K>, permit: &Permit) -> Result<PrintStream, Status> {
    let room = Arc::clone(&api.prints.0).try_acquire_owned().map_err(|_none| {
        status::busy(format!(
            "{FOLLOWERS} clients follow what programs print, as many as may at the same time"
        ))
    })?;
    let begin = |api: &Api<K>| api.engine.kernel().follow_prints().map_err(|error| fail(error.into()));
    let feed = api.read(permit, begin).await?;
    let (pieces, stream) = mpsc::channel(AHEAD);
    // An empty answer states that from here on nothing is missed.
    let begun = pieces.try_send(Ok(wire::FollowPrintsResponse::default()));
    begun.map_err(|_full| Status::internal("the stream of prints has no room for its beginning"))?;
    let ended = api.watchers.ended();
    let over = Arc::new(AtomicBool::new(false));
    let (sender, is_over) = (pieces.clone(), Arc::clone(&over));
    tokio::task::spawn_blocking(move || {
        let _room = room;
        let _running = api.activity.begin();
        follow(feed, &sender, &is_over);
    });
    tokio::spawn(async move {
        tokio::select! {
            () = ended => {}
            () = pieces.closed() => {}
        }
        over.store(true, Ordering::Relaxed);
    });
    Ok(ReceiverStream::new(stream))
}

fn follow(
    mut feed: Box<dyn PrintFeed>,
    pieces: &mpsc::Sender<Result<wire::FollowPrintsResponse, Status>>,
    over: &AtomicBool,
) {
    while !over.load(Ordering::Relaxed) {
        let piece = match feed.next(POLL_INTERVAL) {
            Ok(text) if text.is_empty() => continue,
            Ok(text) => Ok(wire::FollowPrintsResponse { text }),
            Err(error) => Err(fail(error.into())),
        };
        let failed = piece.is_err();
        if pieces.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}
