//! Requests beside watches that share a connection with them.

use std::pin::pin;

use futures::{Stream, StreamExt as _};

/// Awaits work, and reads a stream meanwhile. Returns what came of the work, and what the stream had.
///
/// Everything that an HTTP/2 server sends on one connection shares one window. A watch that nobody reads fills it with its
/// events; then no other watch has any, and the answer for which the work waits does not arrive.
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
