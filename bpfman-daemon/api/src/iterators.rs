//! What iterators write, as a stream.

use std::time::{Duration, Instant};

use bpfman_proto::ext::v1 as wire;
use bpfmand_core::LinkId;
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::server::{Api, fail};
use crate::status;

pub type IteratorStream = ReceiverStream<Result<wire::ReadIteratorResponse, Status>>;

/// How long one reading may take, a slow client included, which has a thread meanwhile.
const LONGEST: Duration = Duration::from_secs(30);
/// Bytes of one reading.
const MOST_BYTES: usize = 256 << 20;
/// Pieces that a client has not read yet.
const AHEAD: usize = 4;

/// Runs an iterator's program, and hands on what it writes.
pub fn stream<K: Kernel>(api: Api<K>, permit: Permit, id: LinkId) -> IteratorStream {
    let (sender, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let pieces = sender.clone();
        let read = move |api: &Api<K>| {
            let mut reading = Reading { pieces, ends: Instant::now() + LONGEST, bytes: 0, failure: None };
            api.engine.read_iterator(id, &mut |text| reading.take(text)).map_err(fail)?;
            reading.failure.map_or(Ok(()), Err)
        };
        if let Err(failure) = api.view(&permit, read).await {
            let _nobody_reads = sender.send(Err(failure)).await;
        }
    });
    ReceiverStream::new(stream)
}

/// One reading.
struct Reading {
    pieces: mpsc::Sender<Result<wire::ReadIteratorResponse, Status>>,
    ends: Instant,
    bytes: usize,
    failure: Option<Status>,
}

impl Reading {
    /// Sends a piece; false if no more is wanted.
    fn take(&mut self, text: &[u8]) -> bool {
        self.bytes += text.len();
        if self.bytes > MOST_BYTES {
            let most = MOST_BYTES >> 20;
            self.failure =
                Some(status::too_large(format!("the iterator wrote more than {most} MiB; it was ended")));
            return false;
        }
        let mut piece = Ok(wire::ReadIteratorResponse { text: text.to_vec() });
        loop {
            piece = match self.pieces.try_send(piece) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(piece)) => piece,
            };
            if Instant::now() > self.ends {
                let most = LONGEST.as_secs();
                self.failure = Some(Status::deadline_exceeded(format!(
                    "reading the iterator took more than {most} s; it was ended: read faster"
                )));
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
