//! Reading of complete requests, before any service sees them: every call of this daemon has one message.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use super::callers::{ConnectionPlace, RequestMemory};
use super::limits::{ARRIVAL, MAX_REQUEST};
use crate::status;

/// Size of the prefix of a message, in bytes: a compression flag and the length.
const PREFIX: usize = 5;

/// Reads a message with its prefix. Memory for its announced length is reserved before more than a frame is read.
pub async fn whole<B>(mut body: B, place: &ConnectionPlace) -> Result<(Bytes, RequestMemory), Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut read = BytesMut::new();
    let begun = Instant::now();
    while read.len() < PREFIX {
        let Some(data) = next(&mut body, begun).await? else {
            return match read.len() {
                // The service reports the missing message.
                0 => Ok((Bytes::new(), RequestMemory::default())),
                _ => Err(status::invalid("the request's message ends in the middle of its length")),
            };
        };
        read.extend_from_slice(&data);
    }
    let length = u32::from_be_bytes([read[1], read[2], read[3], read[4]]) as usize;
    if length > MAX_REQUEST {
        return Err(too_large(length));
    }
    let room = place.room(length).await;
    // The time of waiting for memory does not count for the client.
    let begun = Instant::now();
    read.reserve(length + PREFIX - read.len().min(length + PREFIX));
    loop {
        if read.len() > length + PREFIX {
            return Err(status::invalid("the request has more than one message"));
        }
        let Some(data) = next(&mut body, begun).await? else { break };
        read.extend_from_slice(&data);
    }
    if read.len() != length + PREFIX {
        return Err(status::invalid(format!(
            "the request's message ends after {} of {length} bytes",
            read.len().saturating_sub(PREFIX)
        )));
    }
    Ok((read.freeze(), room))
}

async fn next<B>(body: &mut B, begun: Instant) -> Result<Option<Bytes>, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        let frame = timeout_at(begun + ARRIVAL, body.frame()).await.map_err(|_late| late())?;
        match frame
            .transpose()
            .map_err(|error| Status::cancelled(format!("the request broke off: {error}")))?
        {
            None => return Ok(None),
            // Trailers of clients have no meaning here.
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn late() -> Status {
    Status::new(
        Code::DeadlineExceeded,
        format!("the request did not arrive whole within {} s; send it again", ARRIVAL.as_secs()),
    )
}

fn too_large(length: usize) -> Status {
    Status::out_of_range(format!(
        "the request is too large: it has {length} bytes, the most that the daemon takes are {MAX_REQUEST}"
    ))
}
