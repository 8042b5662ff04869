//! Requests that share a connection with watches.

use std::pin::pin;

use futures::{Stream, StreamExt as _};

/// Awaits work and reads a stream meanwhile: an unread watch would fill the HTTP/2 window shared with the response.
pub async fn reading<T, S>(stream: &mut S, work: impl Future<Output = T>) -> (T, Vec<S::Item>)
where
    S: Stream + Unpin,
{
    let (mut work, mut seen) = (pin!(work), Vec::new());
    loop {
        tokio::select! {
            outcome = &mut work => return (outcome, seen),
            Some(item) = stream.next() => seen.push(item),
        }
    }
}
