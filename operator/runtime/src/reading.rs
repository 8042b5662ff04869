//! Requests that share a connection with watches.

use std::pin::pin;

use futures::{Stream, StreamExt as _};

/// Awaits work, and reads a stream meanwhile. Returns the result of the work and the items of the stream.
///
/// All responses of an HTTP/2 server on one connection share one flow-control window. Events of a watch that is not
/// read fill it; then no other watch receives any, and the response that the work awaits does not arrive.
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
