//! Output of iterators, as a stream.

use std::time::{Duration, Instant};

use bpfman_model::LinkId;
use bpfman_proto::ext::v1 as wire;
use bpfmand_kernel::Kernel;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::places::ReadingBounds;
use crate::server::{Api, fail};
use crate::status;

pub type IteratorStream = ReceiverStream<Result<wire::ReadIteratorResponse, Status>>;

/// Maximum time of one reading, which occupies a thread even while the client is slow.
const MAX_TIME: Duration = Duration::from_secs(30);
const MAX_BYTES: usize = 256 << 20;
const AHEAD: usize = 4;

pub const READINGS: usize = 4;
pub const READING_BOUNDS: ReadingBounds = ReadingBounds { most: READINGS, most_of_one: 2, working: READINGS };

pub fn stream<K: Kernel>(api: Api<K>, permit: &Permit, id: LinkId) -> Result<IteratorStream, Status> {
    let place = api.readings.enter(permit.account)?;
    let (sender, stream) = mpsc::channel(AHEAD + 1);
    // Reserve room for a failure at the start: without it, a slow client could take a part for the whole.
    let last_place = sender
        .clone()
        .try_reserve_owned()
        .map_err(|_full| Status::internal("the stream of an iterator has no room for its end"))?;
    // A thread of its own: slow clients must not delay calls that read from the engine.
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let _running = api.activity.begin();
        let mut reading =
            Reading { pieces: sender, ends: Instant::now() + MAX_TIME, bytes: 0, failure: None };
        let done = api.engine.read_iterator(id, &mut |text| reading.take(text)).map_err(fail);
        if let Err(failure) = done.and_then(|()| reading.failure.map_or(Ok(()), Err)) {
            last_place.send(Err(failure));
        }
    });
    Ok(ReceiverStream::new(stream))
}

struct Reading {
    pieces: mpsc::Sender<Result<wire::ReadIteratorResponse, Status>>,
    ends: Instant,
    bytes: usize,
    failure: Option<Status>,
}

impl Reading {
    /// Sends a piece, and returns whether to continue. An empty piece only checks that.
    fn take(&mut self, text: &[u8]) -> bool {
        self.bytes += text.len();
        if self.bytes > MAX_BYTES {
            let most = MAX_BYTES >> 20;
            self.failure =
                Some(status::too_large(format!("the iterator wrote more than {most} MiB; it was ended")));
            return false;
        }
        let mut piece = Ok(wire::ReadIteratorResponse { text: text.to_vec() });
        loop {
            if self.pieces.is_closed() {
                return false;
            }
            if Instant::now() > self.ends {
                let most = MAX_TIME.as_secs();
                self.failure = Some(status::busy(format!(
                    "reading the iterator took more than {most} s; it was ended: read faster, or let it write less"
                )));
                return false;
            }
            if text.is_empty() {
                return true;
            }
            piece = match self.pieces.try_send(piece) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(piece)) => piece,
            };
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ends: Instant) -> (Reading, mpsc::Receiver<Result<wire::ReadIteratorResponse, Status>>) {
        let (pieces, received) = mpsc::channel(AHEAD);
        (Reading { pieces, ends, bytes: 0, failure: None }, received)
    }

    #[test]
    fn a_reading_ends_with_its_client_its_time_and_its_bytes() {
        let far = Instant::now() + Duration::from_secs(3600);
        let (mut one, received) = reading(far);
        assert!(one.take(b"") && one.take(b"text"));
        drop(received);
        assert!(!one.take(b"") && one.failure.is_none());
        // The limit also applies while nothing is written, and nothing waits to be read.
        let (mut late, _received) = reading(Instant::now());
        std::thread::sleep(Duration::from_millis(1));
        assert!(!late.take(b""));
        assert!(late.failure.unwrap().message().contains("took more than 30 s"));
        let (mut long, _received) = reading(far);
        long.bytes = MAX_BYTES;
        assert!(!long.take(b"x"));
        assert!(long.failure.unwrap().message().contains("more than 256 MiB"));
    }
}
